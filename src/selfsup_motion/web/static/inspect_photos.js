// Photos as an encoder sees them: colours of the features, what is like a place, flow, neighbours.

import { binary, events, fileUrl, latest, request, upload } from "./api.js";
import { h, select, slider, toggle } from "./dom.js";
import { drawFlow } from "./flow.js";
import { photoChooser, showPhoto } from "./photos.js";
import { Surface } from "./surface.js";

const TAB = "inspect";
const SETTINGS = { show: "photo", side: 512, sharpness: 6, among: "session" };
const FLOW = "Choose two frames, then press Flow.";
const HEADER = 16;
const NEAR = 14;

export default function create(studio, kept, keepState) {
  const settings = { ...SETTINGS, ...kept.settings };
  const panes = [
    pane("Look into a photo", "First photo", kept.photo),
    pane("Compare with a second one", "Second photo", kept.reference),
  ];
  let held = null; // {from, x, y}
  let colours = null, motion = null, alike = null;

  function pane(text, name, photo) {
    const root = h("div", { "aria-label": name });
    const surface = new Surface(root);
    const own = { root, surface, photo: photo ?? null, down: null };
    own.chooser = photoChooser(studio, text, (taken) => open(own, taken));
    own.other = h("button", { type: "button", class: "corner", onclick: () => open(own, null) }, "Another");
    own.hint = h("div", { class: "hint", hidden: true });
    root.append(own.chooser.element, own.other, own.hint);
    surface.addEventListener("hover", ({ detail: { x, y } }) => { if (!held) look(x === null ? null : { from: own, x, y }); });
    root.addEventListener("pointerdown", (event) => { own.down = [event.clientX, event.clientY]; });
    root.addEventListener("click", (event) => clicked(own, event));
    root.addEventListener("keydown", (event) => { if (event.key === "Escape") release(); });
    return own;
  }

  const info = h("p", { class: "quiet" });
  const told = h("p", { class: "quiet" });
  const flowTold = h("p", { class: "quiet" }, FLOW);
  const found = h("div", { class: "found" });
  const more = h("input", { type: "file", accept: "image/*", multiple: true, hidden: true,
    onchange: () => { add([...more.files]); more.value = ""; } });
  const among = select("Among", [["session", "this session"], ["folder", ""]], "session", (value) => { settings.among = value; keep(); });
  among.hidden = true;
  let comparing = null;
  const cancel = h("button", { type: "button", hidden: true, onclick: () => comparing?.abort() }, "Cancel");
  const place = h("button", { type: "button", disabled: true, onclick: () => neighbours(true) }, "Like the held place");
  const side = h("aside", { class: "side" },
    h("h2", {}, "Features"), info,
    select("Photos", [["256", "256 pixels"], ["384", "384 pixels"], ["512", "512 pixels"], ["768", "768 pixels"], ["1024", "1024 pixels"]],
      `${settings.side}`, (value) => { settings.side = Number(value); keep(); compute(); }),
    h("h2", {}, "What is like a place"), told,
    slider("Sharpness", { min: 1, max: 30, step: 1, value: settings.sharpness, oninput: (value) => { settings.sharpness = value; keep(); drawAlike(); } }),
    h("h2", {}, "Motion from the first to the second"), flowTold,
    h("h2", {}, "Photos that are alike"),
    among, h("p", { class: "quiet" }, "Photos in the order of how much they are like the first one. A click takes one as the second photo."),
    h("div", { class: "row" },
      h("button", { type: "button", onclick: () => neighbours(false) }, "Like the first photo"), place,
      h("button", { type: "button", onclick: () => more.click() }, "Add photos"), more, cancel),
    found);

  request("GET", "/api/inspect/folder").then(({ folder, photos }) => {
    if (!folder) return;
    among.querySelector("[value=folder]").textContent = `${folder} (${photos})`;
    among.hidden = false;
    among.set(settings.among);
  }).catch((error) => studio.failed(error));

  const shows = { photo: "Photo", colours: "Colours", flow: "Flow" };
  const buttons = Object.entries(shows).map(([name, text]) => toggle(text, null, () => { show(name); keep(); }, { "data-show": name }));
  buttons[1].title = "Colours by the three directions in which the features differ most";
  const tools = h("div", { class: "row flat shows" }, h("span", { class: "quiet" }, "Show"), h("span", { class: "views" }, buttons));
  const main = h("div", { class: "pair" }, panes.map((one) => one.root));

  function keep() {
    keepState({ settings, photo: panes[0].photo, reference: panes[1].photo });
  }

  function show(name) {
    settings.show = name;
    for (const button of buttons) button.setAttribute("aria-pressed", button.dataset.show === name);
    showLayers();
    if (name === "flow") flow();
  }

  function showLayers() {
    for (const [i, { surface, hint }] of panes.entries()) {
      const heat = alike?.target === panes[i];
      surface.layer("colours").hidden = settings.show !== "colours" || !colours || heat;
      surface.layer("flow").hidden = i > 0 || settings.show !== "flow" || !motion || heat;
      surface.layer("alike").hidden = !heat;
      hint.hidden = i > 0 || !panes[0].photo;
      hint.textContent = held ? "Held; click the pin to let go" : "Point at a place to see what is like it; click to hold it";
    }
  }

  async function open(own, taken) {
    own.photo = taken;
    held = alike = motion = colours = null;
    for (const { surface } of panes) surface.load(null);
    own.chooser.element.hidden = Boolean(taken);
    own.other.hidden = !taken;
    if (!taken) own.surface.clear();
    else {
      try {
        await showPhoto(own.surface, taken);
      } catch {
        return open(own, null); // of a session that has ended
      }
    }
    flowTold.textContent = FLOW;
    told.textContent = "";
    showLayers();
    keep();
    compute();
    if (settings.show === "flow") flow();
  }

  const asked = () => ({ model: studio.model(TAB), side: settings.side });

  const compute = latest(async () => {
    const [first, second] = panes.map((one) => one.photo);
    place.disabled = !held;
    const known = first ?? second;
    if (!known || !asked().model) {
      info.textContent = known && studio.models.length ? "No model fits." : "";
      return;
    }
    computed = wanted();
    alike = null;
    info.textContent = "Encoding …";
    main.dataset.computing = "";
    try {
      const answer = await request("POST", "/api/inspect/features",
        { ...asked(), photo: known.id, reference: first && second ? second.id : null });
      const [h0, w0] = answer.photos[0].grid;
      info.textContent = `${answer.channels} channels, ${w0} × ${h0} cells of ${answer.stride} pixels.`;
      colours = answer;
      const shown = first ? panes : [panes[1]];
      await Promise.all(answer.photos.map((picture, i) => drawColours(shown[i], picture, answer.stride)));
      for (const own of panes) own.size = own.grid = null;
      answer.photos.forEach((picture, i) => Object.assign(shown[i], { size: picture.size, grid: picture.grid, stride: answer.stride }));
      if (held) look(held);
    } catch (error) {
      info.textContent = "";
      colours = computed = null;
      studio.failed(error);
    } finally {
      delete main.dataset.computing;
      showLayers();
    }
  });

  /** Stretch a picture of cells over the photo; the last cells may reach beyond it. */
  function stretch(canvas, cells, [height, width], [rows, columns], stride) {
    canvas.width = width;
    canvas.height = height;
    const context = canvas.getContext("2d");
    context.imageSmoothingQuality = "high";
    context.drawImage(cells, 0, 0, columns * stride, rows * stride);
  }

  async function drawColours(own, picture, stride) {
    const image = new Image();
    image.src = picture.colours;
    await image.decode();
    stretch(own.surface.layer("colours"), image, picture.size, picture.grid, stride);
  }

  const cells = document.createElement("canvas");

  function drawAlike() {
    if (!alike) return;
    const { target, levels } = alike, [rows, columns] = target.grid;
    cells.width = columns;
    cells.height = rows;
    const context = cells.getContext("2d"), pixels = context.createImageData(columns, rows);
    for (let i = 0; i < levels.length; i++) {
      const share = (levels[i] / 255) ** settings.sharpness;
      const dark = 0.7 * (1 - share), red = 0.5 * share;
      const alpha = 1 - (1 - dark) * (1 - red);
      pixels.data.set([255 * red / alpha, 50 * red / alpha, 0, 255 * alpha], 4 * i);
    }
    context.putImageData(pixels, 0, 0);
    stretch(target.surface.layer("alike"), cells, target.size, target.grid, target.stride);
  }

  const look = latest(async (at) => {
    const target = at && (panes.find((one) => one !== at.from && one.photo) ?? at.from);
    if (!at || !at.from.photo || !at.from.grid || !target.grid) {
      alike = null;
      mark();
      showLayers();
      return;
    }
    const body = { ...asked(), photo: at.from.photo.id, target: target.photo.id, x: at.x, y: at.y };
    const begun = performance.now();
    let data;
    try {
      data = await binary("POST", "/api/inspect/similar", body);
    } catch (error) {
      studio.failed(error);
      return;
    }
    const [low, high, x, y] = ["0", "4", "8", "12"].map((k) => new DataView(data).getFloat32(Number(k), true));
    const levels = new Uint8Array(data, HEADER);
    if (levels.length !== target.grid[0] * target.grid[1]) return; // of other photos, meanwhile
    alike = { target, levels, low, high, best: [x, y] };
    main.dataset.hover = Math.round(performance.now() - begun);
    mark(at, target);
    drawAlike();
    showLayers();
    const number = colours?.measure === "cosine"
      ? `Cosine similarity from ${low.toFixed(2)} to ${high.toFixed(2)}`
      : `Distance of colours from ${distance(high)} to ${distance(low)}`;
    told.textContent = `${number}; most alike at ${Math.round(x)}, ${Math.round(y)}.`;
  });

  function mark(at = null, target = null) {
    for (const own of panes) {
      const shapes = [];
      if (own === at?.from) shapes.push({ id: 1, type: "pin", x: at.x, y: at.y });
      if (own === target && own !== at.from) shapes.push({ id: 2, type: "point", x: alike.best[0], y: alike.best[1], sign: 1, label: 1 });
      if (shapes.length || own.surface.doc.shapes.length) own.surface.load({ shapes });
    }
  }

  function clicked(own, event) {
    if (!own.photo || event.target.closest("button, a, input")) return;
    const moved = own.down && Math.hypot(event.clientX - own.down[0], event.clientY - own.down[1]) > 4;
    if (moved) return;
    const box = own.root.getBoundingClientRect();
    const at = [event.clientX - box.left, event.clientY - box.top];
    const [x, y] = own.surface.toPicture(...at);
    if (x < -0.5 || y < -0.5 || x > own.photo.width - 0.5 || y > own.photo.height - 0.5) return;
    if (held?.from === own) {
      const [px, py] = own.surface.toScreen(held.x, held.y);
      if (Math.hypot(px - at[0], py - at[1]) < NEAR) return release();
    }
    held = { from: own, x, y };
    place.disabled = own !== panes[0];
    look(held);
  }

  function release() {
    held = null;
    place.disabled = true;
    look(null);
  }

  const flowImage = h("img", { alt: "" });
  const flow = latest(async () => {
    const [first, second] = panes.map((one) => one.photo);
    if (!first || !second) {
      flowTold.textContent = FLOW;
      return;
    }
    if (motion?.of[0] === first.id && motion.of[1] === second.id) return;
    flowTold.textContent = "Computing …";
    try {
      const answer = await request("POST", "/api/inspect/flow", { photo: first.id, reference: second.id });
      motion = { of: [first.id, second.id], ...answer };
      flowImage.src = answer.flow.colours;
      await drawFlow(panes[0].surface.layer("flow"), flowImage, answer.flow, first);
      const { longest } = answer.flow;
      flowTold.textContent = `Full colour: ${longest.toFixed(longest < 10 ? 1 : 0)} pixels. For ${Math.round(answer.agree * 100)} % of the pixels the way back agrees.`;
    } catch (error) {
      motion = null;
      flowTold.textContent = "";
      studio.failed(error);
    }
    showLayers();
  });

  async function add(files) {
    for (const file of files) {
      try {
        await upload("/api/photos", file);
      } catch (error) {
        studio.failed(error);
      }
    }
    if (panes[0].photo) await neighbours(false);
  }

  async function neighbours(local) {
    if (!panes[0].photo) {
      studio.say("Choose a first photo to compare the others with.");
      return;
    }
    comparing?.abort();
    const own = comparing = new AbortController();
    const line = h("p", { class: "quiet" }, "Comparing …");
    found.replaceChildren(line);
    cancel.hidden = false;
    const body = { ...asked(), photo: panes[0].photo.id, among: among.hidden ? "session" : settings.among };
    if (local && held) Object.assign(body, { x: held.x, y: held.y });
    try {
      let answer;
      for await (const event of events("/api/inspect/neighbours", body, { signal: own.signal })) {
        if (event.progress) line.textContent = `Comparing: ${event.progress[0]} of ${event.progress[1]} …`;
        else answer = event;
      }
      if (comparing !== own) return;
      found.replaceChildren(...answer.found.map((one) =>
        h("button", { type: "button", title: one.name ?? one.photo.name, onclick: () => taken(one) },
          h("img", { src: one.photo ? fileUrl(one.photo.view) : `/api/inspect/folder-photo?name=${encodeURIComponent(one.name)}`, alt: one.name ?? one.photo.name }),
          h("span", {}, answer.measure === "cosine" ? one.similarity.toFixed(2) : `distance ${distance(one.similarity)}`))));
      if (answer.left_out) found.append(h("p", { class: "quiet" }, `${answer.left_out} files could not be read.`));
      if (!answer.found.length) found.append(h("p", { class: "quiet" }, body.among === "folder" ? "The folder has no photos." : "There are no other photos yet; add some."));
    } catch (error) {
      if (comparing === own) found.replaceChildren();
      studio.failed(error);
    } finally {
      if (comparing === own) cancel.hidden = true;
    }
  }

  /** One that is alike becomes the second photo. */
  async function taken({ photo, name }) {
    try {
      open(panes[1], photo ?? await request("POST", "/api/inspect/folder-photo", { name }));
    } catch (error) {
      studio.failed(error);
    }
  }

  async function begin() {
    for (const own of panes) {
      const taken = own.photo;
      own.chooser.element.hidden = Boolean(taken);
      own.other.hidden = !taken;
      if (taken) await showPhoto(own.surface, taken).catch(() => open(own, null));
    }
    show(settings.show);
  }
  begin();

  /** What the features shown are of; they are computed when the tab is looked at. */
  const wanted = () => JSON.stringify([asked(), panes.map((one) => one.photo?.id)]);
  let computed = null;

  return {
    main, tools, side,
    shown: () => { if (wanted() !== computed) compute(); },
    take: async (files) => {
      const free = panes.filter((one) => !one.photo);
      const into = files.length > 1 ? panes : [free[0] ?? panes[1]];
      for (const [i, own] of into.entries()) await own.chooser.send(files[i]);
    },
  };
}

/** Of a similarity that is minus half the squared distance. */
function distance(similarity) { return Math.sqrt(Math.max(0, -2 * similarity)).toFixed(2); }
