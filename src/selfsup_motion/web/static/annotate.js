// The tab Annotate: points and paint on objects of a photo, masks that follow from them.

import { downloadUrl, events, latest, request } from "./api.js";
import { h, icon, select, slider, toggle } from "./dom.js";
import { COLOURS, LabelMap } from "./labels.js";
import { photoChooser, showPhoto } from "./photos.js";
import { EMPTY, Surface } from "./surface.js";
import { toolBar } from "./tools.js";

const TAB = "annotate";
const SETTINGS = { threshold: 0.5, refine: "grabcut", zoom: 0, all_parts: false, show: "mask" };
const NOT_AN_OBJECT = 255;
const MOST_OBJECTS = 254;
const SLOW = 300; // milliseconds after which the bar shows, so that it does not flicker
const OPACITY = 0.55;
const HINT = "Click on an object; with the right button or Shift, on what is not part of it";

const first = () => ({ ...structuredClone(EMPTY), objects: [{ label: 1, name: "object 1", colour: 1 }] });

export default function create(panel, studio) {
  const kept = studio.state(TAB) ?? {};
  const settings = { ...SETTINGS, ...kept.settings };
  let photo = kept.photo ?? null;
  let clicked = null; // the masks that the points give, a LabelMap
  let shares = {};
  let palette = null; // the object whose colour is being chosen

  const root = h("div");
  const surface = new Surface(root);
  // masks and paint are drawn together, on a layer of their own
  root.querySelector("canvas.labels").hidden = true;
  const chooser = photoChooser(studio, "Mark objects in a photo", (taken) => open(taken));
  const hint = h("div", { class: "hint", hidden: true }, HINT);
  root.append(chooser.element, hint);

  const list = h("ul", { class: "objects", "aria-label": "Objects" });
  const add = h("button", { type: "button", onclick: addObject }, icon("plus"), "Add an object");
  const notes = h("ul", { class: "notes" });
  const busy = h("progress", { max: 1, hidden: true });
  const change = (name) => (value) => { settings[name] = value; keep(); compute(); };
  const controls = h("div", {},
    h("h2", {}, "Masks"),
    select("Edges", [["grabcut", "those of the photo"], ["none", "as scored"]], settings.refine, change("refine")),
    slider("Threshold", { min: 0.05, max: 0.95, step: 0.05, value: settings.threshold, told: (v) => v.toFixed(2), onchange: change("threshold") }),
    select("Look at", [["0", "the whole photo"], ["4", "a square around the points"], ["2", "a small square around them"]], `${settings.zoom}`, (value) => change("zoom")(Number(value))),
    select("Parts", [["no", "those with a point"], ["yes", "all"]], settings.all_parts ? "yes" : "no", (value) => change("all_parts")(value === "yes")));
  const saves = { png: ["PNG", "An indexed PNG, a colour for each object"], coco: ["COCO", "Instances as COCO's JSON"], labelme: ["LabelMe", "LabelMe's JSON"], clicks: ["Clicks", "For python -m selfsup_motion.annotate objects=…"] };
  const command = h("p", { class: "quiet", hidden: true });
  const savePart = h("div", {}, h("h2", {}, "Save"),
    h("div", { class: "row" }, Object.entries(saves).map(([format, [text, title]]) =>
      h("button", { type: "button", title, "data-format": format, onclick: () => save(format) }, text))),
    command);

  const paints = [["brush", "Brush", "brush", "Paint the object; [ and ] change the size"], ["off", "Cut", "eraser", "Paint what does not belong to any object"]]
    .map(([name, text, picture, title]) => {
      const button = toggle(text, picture, () => { surface.tool = "brush"; setErasing(name === "off"); }, { "data-paint": name });
      button.title = title;
      return button;
    });
  const sign = toggle("Not on it", "minus", () => setSign(-surface.sign));
  sign.title = "Points say what is not part of the object, as with the right button or Shift";
  const views = Object.entries({ mask: "Masks", score: "Score", photo: "Photo" })
    .map(([name, text]) => toggle(text, null, () => show(name), { "data-show": name }));
  const other = h("button", { type: "button", class: "push", onclick: () => open(null) }, "Another photo");
  const tools = toolBar(surface, ["point", "eraser", "pan"], [h("span", { class: "gap" }), h("span", { class: "views" }, views), other]);
  const rubber = tools.querySelector("[data-tool=eraser]");
  rubber.replaceChildren("Unpaint");
  rubber.title = "Take away what Brush and Cut have painted, back to what the points give";
  tools.querySelector("[data-tool=point]").after(sign, ...paints);
  const side = h("aside", { class: "side" },
    h("h2", {}, "Objects"), list, h("div", { class: "row" }, add), busy, notes, controls, savePart);
  panel.append(h("div", { class: "work" }, tools, root), side);

  let current = kept.current ?? 1;
  let erasing = false;

  const objects = () => surface.doc.objects ?? [];
  const rgb = (label) => {
    const object = objects().find((one) => one.label === label);
    return object ? COLOURS[object.colour] : [255, 255, 255];
  };
  surface.labelColour = (label) => `rgb(${rgb(label).join(" ")})`;

  function keep() { studio.keep(TAB, { photo, doc: surface.doc, settings, current }); }

  function setErasing(wanted) {
    erasing = wanted;
    surface.label = erasing ? NOT_AN_OBJECT : current;
    for (const button of paints) {
      button.setAttribute("aria-pressed", surface.tool === "brush" && (button.dataset.paint === "off") === erasing);
    }
    surface.redraw();
  }

  function setSign(wanted) {
    surface.sign = wanted;
    surface.tool = "point";
    sign.setAttribute("aria-pressed", wanted < 0);
  }

  function choose(label) {
    if (label === current) return;
    current = label;
    setErasing(surface.tool === "brush" && erasing);
    showObjects();
    keep();
    if (settings.show === "score") compute();
  }

  function addObject() {
    const used = objects().map((one) => one.label);
    const label = Array.from({ length: MOST_OBJECTS }, (_, i) => i + 1).find((i) => !used.includes(i));
    if (!label) return;
    current = label;
    surface.edit((doc) => {
      doc.objects.push({ label, name: `object ${label}`, colour: 1 + ((label - 1) % (COLOURS.length - 1)) });
    });
    setErasing(false);
    root.focus({ preventScroll: true });
  }

  function removeObject(label) {
    surface.edit((doc) => {
      doc.objects = doc.objects.filter((one) => one.label !== label);
      if (!doc.objects.length) doc.objects = first().objects;
      doc.shapes = doc.shapes.filter((shape) => shape.label !== label);
      if (doc.labels) {
        const map = LabelMap.fromJson(doc.labels);
        map.data.forEach((value, at) => { if (value === label) map.data[at] = 0; });
        doc.labels = map.toJson();
      }
    });
  }

  const edit = (label, values) => surface.edit((doc) => {
    Object.assign(doc.objects.find((one) => one.label === label), values);
  });

  const rows = new Map();

  /** The line of an object in the list; made once, so that it stays while its name is typed. */
  function rowOf(label) {
    const nameOf = () => objects().find((one) => one.label === label)?.name ?? "";
    const swatch = h("button", { type: "button", class: "swatch", title: "Choose a colour", "aria-label": `Colour of object ${label}`,
      onclick: (event) => { event.stopPropagation(); palette = palette === label ? null : label; showObjects(); } });
    const input = h("input", { type: "text", maxlength: 80, "aria-label": `Name of object ${label}`,
      onfocus: () => choose(label),
      onchange: () => edit(label, { name: input.value.trim() || nameOf() }),
      onkeydown: (event) => { if (event.key === "Enter") root.focus(); } });
    const output = h("output");
    const remove = h("button", { type: "button", title: "Remove the object", "aria-label": `Remove object ${label}`,
      onclick: (event) => { event.stopPropagation(); removeObject(label); } }, icon("trash"));
    const row = h("li", { "data-label": label, onclick: () => choose(label) }, swatch, input, output, remove);
    const colours = h("li", { class: "swatches" }, COLOURS.map((one, index) => {
      if (!one) return null;
      const choice = h("button", { type: "button", class: "swatch", "aria-label": `Colour ${index}`,
        onclick: (event) => { event.stopPropagation(); palette = null; edit(label, { colour: index }); } });
      choice.style.background = `rgb(${one.join(" ")})`;
      return choice;
    }));
    function fill({ name, colour }) {
      row.setAttribute("aria-current", `${label === current}`);
      swatch.style.background = `rgb(${COLOURS[colour].join(" ")})`;
      if (document.activeElement !== input) input.value = name;
      output.textContent = shares[label] === undefined ? "" : `${(100 * shares[label]).toFixed(1)} %`;
    }
    return { row, colours, fill };
  }

  function showObjects() {
    const wanted = objects().flatMap((object) => {
      const { label } = object;
      if (!rows.has(label)) rows.set(label, rowOf(label));
      const { row, colours, fill } = rows.get(label);
      fill(object);
      return palette === label ? [row, colours] : [row];
    });
    const there = [...list.children];
    if (wanted.length !== there.length || wanted.some((row, at) => row !== there[at])) list.replaceChildren(...wanted);
    add.disabled = objects().length >= MOST_OBJECTS;
  }

  // --- what is shown ------------------------------------------------------------------------

  function show(name) {
    settings.show = name;
    for (const view of views) view.setAttribute("aria-pressed", view.dataset.show === name);
    surface.layer("mask").hidden = name !== "mask";
    surface.layer("score").hidden = name !== "score";
    keep();
    if (name === "score") compute();
  }

  /** Draw the masks with the paint on top, in a box of the photo [left, top, right, bottom], or all. */
  function draw(box = null) {
    const canvas = surface.layer("mask");
    const { map } = surface;
    const { width, height } = map ?? clicked ?? { width: 1, height: 1 };
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    const base = clicked?.width === width && clicked?.height === height ? clicked.data : null;
    const share = width / surface.width;
    const [left, top, right, bottom] = box
      ? [Math.max(0, Math.floor(box[0] * share)), Math.max(0, Math.floor(box[1] * share)),
        Math.min(width, Math.ceil(box[2] * share)), Math.min(height, Math.ceil(box[3] * share))]
      : [0, 0, width, height];
    if (right <= left || bottom <= top) return;
    const image = new ImageData(right - left, bottom - top);
    const colours = new Map(objects().map((one) => [one.label, COLOURS[one.colour]]));
    for (let y = top, to = 0; y < bottom; y += 1) {
      for (let at = y * width + left, end = y * width + right; at < end; at += 1, to += 4) {
        const label = map?.data[at] || (base ? base[at] : 0);
        const colour = label === NOT_AN_OBJECT ? null : colours.get(label);
        if (!colour) continue;
        [image.data[to], image.data[to + 1], image.data[to + 2]] = colour;
        image.data[to + 3] = 255 * OPACITY;
      }
    }
    canvas.getContext("2d").putImageData(image, left, top);
  }

  let last = null;
  const stroke = (event) => {
    const painting = event.buttons && ["brush", "eraser"].includes(surface.tool);
    const frame = root.getBoundingClientRect();
    const at = surface.toPicture(event.clientX - frame.left, event.clientY - frame.top);
    if (painting && surface.map) {
      const reach = surface.brush / surface.scale + 2, [x0, y0] = last ?? at, [x1, y1] = at;
      draw([Math.min(x0, x1) - reach, Math.min(y0, y1) - reach, Math.max(x0, x1) + reach, Math.max(y0, y1) + reach]);
    }
    last = at;
  };
  root.addEventListener("pointerdown", (event) => {
    if (["brush", "eraser"].includes(surface.tool) && settings.show !== "mask") show("mask");
    last = null;
    stroke(event);
  });
  root.addEventListener("pointermove", stroke);

  async function drawScore(url) {
    const image = new Image();
    image.src = url;
    await image.decode();
    const canvas = surface.layer("score");
    Object.assign(canvas, { width: image.width, height: image.height });
    const context = canvas.getContext("2d");
    context.globalAlpha = 0.75;
    context.drawImage(image, 0, 0);
  }

  // --- what is asked of the server ------------------------------------------------------------

  function asked() {
    const { shapes, labels } = surface.doc;
    const points = (label, wanted) => shapes
      .filter((one) => one.type === "point" && one.label === label && one.sign === wanted)
      .map((one) => [one.x, one.y]);
    return {
      photo: photo.id,
      model: studio.model(TAB),
      objects: objects().map(({ label, name }) => ({ label, name, positive: points(label, 1), negative: points(label, -1) })),
      labels,
      threshold: settings.threshold,
      refine: settings.refine,
      zoom: settings.zoom,
      all_parts: settings.all_parts,
    };
  }

  let running = null;
  const run = latest(async () => {
    root.toggleAttribute("data-computing", Boolean(photo) && studio.loading);
    if (!photo) return;
    const wanted = { ...asked(), current, score: settings.show === "score" };
    const marked = wanted.labels || wanted.objects.some((one) => one.positive.length);
    hint.hidden = Boolean(marked);
    savePart.hidden = !marked;
    if (!wanted.model) return;
    running = new AbortController();
    root.dataset.computing = "";
    busy.removeAttribute("value"); // until it is known how much there is to do
    const slow = setTimeout(() => { busy.hidden = false; }, SLOW);
    try {
      let scored = false;
      for await (const event of events("/api/annotate/masks", wanted, { signal: running.signal })) {
        const [done, all] = event.progress;
        if (all > 1) busy.value = done / all;
        clicked = LabelMap.fromJson(event.labels);
        draw();
        if (event.score) { scored = true; await drawScore(event.score); }
        if (event.notes) notes.replaceChildren(...event.notes.map((note) => h("li", {}, note)));
        if (event.shares) {
          shares = event.shares;
          showObjects();
        }
      }
      if (!scored && wanted.score) Object.assign(surface.layer("score"), { width: 1, height: 1 });
    } catch (error) {
      studio.failed(error);
    } finally {
      clearTimeout(slow);
      busy.hidden = true;
      delete root.dataset.computing;
    }
  });

  function compute() {
    running?.abort();
    run();
  }

  async function save(format) {
    try {
      const answer = await request("POST", "/api/annotate/save", { ...asked(), format });
      answer.files.forEach(download);
      if (answer.command) {
        command.hidden = false;
        command.replaceChildren("The same without this page, in the folder with the photo and the files:", h("br"), h("code", {}, answer.command));
      }
    } catch (error) {
      studio.failed(error);
    }
  }

  // --- photos ---------------------------------------------------------------------------------

  async function open(taken, doc = first()) {
    photo = taken;
    clicked = null;
    shares = {};
    command.hidden = true;
    notes.replaceChildren();
    chooser.element.hidden = Boolean(photo);
    tools.hidden = side.hidden = !photo;
    if (!photo) {
      surface.clear();
      hint.hidden = true;
    } else {
      try {
        await showPhoto(surface, photo);
      } catch {
        return open(null); // of a session that has ended
      }
      surface.layer("score").width = 1;
      surface.layer("mask").width = 1;
      surface.load({ ...first(), ...doc });
      surface.tool = "point";
      show(settings.show);
      root.focus({ preventScroll: true });
    }
    keep();
  }

  surface.addEventListener("change", () => {
    if (!photo) return;
    const labels = objects().map((one) => one.label);
    if (labels.length && !labels.includes(current)) current = labels.at(-1);
    setErasing(erasing);
    showObjects();
    draw();
    keep();
    compute();
  });
  surface.addEventListener("tool", () => setErasing(surface.tool === "brush" && erasing));
  root.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const object = objects()[Number(event.key) - 1];
    if (event.key >= "1" && event.key <= "9" && object) choose(object.label);
    else if (event.key === "n") addObject();
    else if (event.key === "x") setSign(-surface.sign);
    else return;
    event.preventDefault();
  });

  if (photo) open(photo, kept.doc);
  else open(null);

  return {
    take: (files) => chooser.send(files[0]),
    model: () => compute(),
    undo: () => surface.undo(),
    redo: () => surface.redo(),
    surface,
  };
}

function download(id) {
  const link = h("a", { href: downloadUrl(id), download: "" });
  document.body.append(link);
  link.click();
  link.remove();
}
