// The tab Move: arrows on a photo, the motion that follows from them, the photo moving.

import { downloadUrl, events, fileUrl, latest, request } from "./api.js";
import { h, select, slider, toggle } from "./dom.js";
import { photoChooser, showPhoto } from "./photos.js";
import { drawFlow } from "./flow.js";
import { EMPTY, Surface } from "./surface.js";
import { toolBar } from "./tools.js";

const TAB = "move";
const SETTINGS = { strength: 1, seconds: 2, loop: "back", easing: "smooth", refine: true, camera: "free", max_side: 1920, show: "photo" };
const MOST_REGIONS = 40;
const HINT = "Drag from a point to where it should go, or press Suggest";

export default function create(panel, studio) {
  const kept = studio.state(TAB) ?? {};
  const settings = { ...SETTINGS, ...kept.settings };
  let photo = kept.photo ?? null;

  const root = h("div");
  const surface = new Surface(root);
  const chooser = photoChooser(studio, "Move a photo", (taken) => open(taken));
  const hint = h("div", { class: "hint", hidden: true }, HINT);
  root.append(chooser.element, hint);

  const film = h("video", { class: "result", muted: true, loop: true, autoplay: true, playsinline: true, "aria-label": "The photo, moving" });
  film.muted = true;
  const large = h("video", { loop: true, autoplay: true, playsinline: true, "aria-label": "The photo, moving, large" });
  large.muted = true;
  const flow = h("img", { class: "result", alt: "The motion in colours: the hue is the direction, the strength the length" });
  const legend = h("p", { class: "quiet" });
  const notes = h("ul", { class: "notes" });
  const busy = h("progress", { max: 1, hidden: true });
  const results = h("div", { hidden: true }, h("h2", {}, "The photo moves"), film, h("h2", {}, "Motion of every pixel"), flow, legend, notes);

  const changeFilm = (name) => (value) => { settings[name] = value; keep(); compute(); };
  const controls = h("div", {},
    h("h2", {}, "Film"),
    slider("Strength", { min: 0.1, max: 3, step: 0.05, value: settings.strength, told: (v) => `${Math.round(v * 100)} %`, onchange: changeFilm("strength") }),
    slider("Length", { min: 0.5, max: 8, step: 0.5, value: settings.seconds, told: (v) => `${v} s`, onchange: changeFilm("seconds") }),
    select("Loop", [["back", "there and back"], ["seamless", "seamless, for small motions"], ["none", "there, then again"]], settings.loop, changeFilm("loop")),
    select("Easing", [["smooth", "smooth"], ["linear", "even"], ["in", "slow at first"], ["out", "slow at the end"]], settings.easing, changeFilm("easing")),
    select("Camera", [["free", "free"], ["still", "still: the border stays"]], settings.camera, changeFilm("camera")),
    select("Edges", [["yes", "those of the photo"], ["no", "as predicted"]], settings.refine ? "yes" : "no", (value) => changeFilm("refine")(value === "yes")),
    select("Size", [["0", "as the photo"], ["1920", "at most 1920 pixels"], ["1280", "at most 1280 pixels"], ["640", "at most 640 pixels"]], `${settings.max_side}`, (value) => { settings.max_side = Number(value); keep(); }));
  const saving = h("div", { class: "row" },
    ...["mp4", "gif", "webp"].map((format) => h("button", { type: "button", onclick: () => saveFilm(format) }, { mp4: "MP4", gif: "GIF", webp: "WebP" }[format])),
    h("button", { type: "button", title: "The motion of every pixel, .flo", onclick: () => saveFile("flow-file") }, "Flow"),
    h("button", { type: "button", title: "For python -m selfsup_motion.animate arrows=…", onclick: () => saveFile("arrows-file") }, "Arrows"));
  const command = h("p", { class: "quiet", hidden: true });
  const cancel = h("button", { type: "button", hidden: true, onclick: () => saved?.abort() }, "Cancel");
  let saved = null;
  const savePart = h("div", {}, h("h2", {}, "Save"), saving, busy, cancel, command);

  const other = h("button", { type: "button", class: "push", onclick: () => open(null) }, "Another photo");
  const shows = { photo: "Drawing", flow: "Motion", film: "Film" };
  const views = Object.entries(shows).map(([name, text]) => toggle(text, null, () => show(name), { "data-show": name }));
  const suggest = h("button", { type: "button", title: "Arrows on what could move, as the network sees it", onclick: suggestArrows }, "Suggest");
  const tools = toolBar(surface, ["arrow", "path", "pin", "brush", "eraser", "pan"],
    [h("span", { class: "gap" }), suggest, h("span", { class: "views" }, views), other]);
  const side = h("aside", { class: "side" }, results, controls, savePart);
  panel.append(h("div", { class: "work" }, tools, root), side);

  function keep() { studio.keep(TAB, { photo, doc: surface.doc, settings }); }

  /** Show what is drawn alone, the motion over the photo, or the film in place of it. */
  function show(name) {
    settings.show = name;
    for (const view of views) view.setAttribute("aria-pressed", view.dataset.show === name);
    surface.layer("flow").hidden = name !== "flow";
    surface.cover(name === "film" && film.src ? large : null);
  }

  /** What the brush paints: the region it begins in, or a new one. */
  function chooseLabel(x, y) {
    const found = surface.labelAt(x, y), used = surface.map?.labels() ?? [];
    const free = Array.from({ length: MOST_REGIONS }, (_, i) => i + 1).find((i) => !used.includes(i));
    surface.label = found || free || 1;
  }
  surface.beforeStroke = chooseLabel;

  root.addEventListener("pointerdown", () => { if (settings.show === "film" && surface.tool !== "pan") show("photo"); });

  async function open(taken, doc = EMPTY) {
    photo = taken;
    film.removeAttribute("src");
    large.removeAttribute("src");
    chooser.element.hidden = Boolean(photo);
    tools.hidden = side.hidden = !photo;
    if (!photo) surface.clear();
    else {
      try {
        await showPhoto(surface, photo);
      } catch {
        return open(null); // of a session that has ended
      }
      surface.load(doc);
      surface.tool = "arrow";
      show("photo");
      root.focus({ preventScroll: true });
    }
    keep();
  }

  /** Add arrows on things that could move. */
  async function suggestArrows() {
    suggest.disabled = true;
    try {
      const { arrows } = await request("POST", "/api/move/suggest", { photo: photo.id, model: studio.model(TAB) });
      surface.edit((doc) => { doc.shapes.push(...arrows.map(([x, y, dx, dy]) => ({ type: "arrow", x, y, dx, dy }))); });
    } catch (error) {
      studio.failed(error);
    } finally {
      suggest.disabled = false;
    }
  }

  /** What the server is asked: the marks, lengths as the slider has it. */
  function asked() {
    const { shapes, labels } = surface.doc;
    const k = settings.strength;
    return {
      photo: photo.id,
      model: studio.model(TAB),
      arrows: shapes.filter((s) => s.type === "arrow").map((s) => [s.x, s.y, s.dx * k, s.dy * k]),
      pins: shapes.filter((s) => s.type === "pin").map((s) => [s.x, s.y]),
      paths: shapes.filter((s) => s.type === "path").map(({ points: [[x, y], ...rest] }) =>
        [[x, y], ...rest.map(([px, py]) => [x + (px - x) * k, y + (py - y) * k])]),
      labels,
      camera: settings.camera,
      refine: settings.refine,
      seconds: settings.seconds,
      loop: settings.loop,
      easing: settings.easing,
      max_side: settings.max_side,
    };
  }

  let running = null;
  const run = latest(async () => {
    root.toggleAttribute("data-computing", Boolean(photo) && studio.loading);
    if (!photo) return;
    const wanted = asked();
    const moves = wanted.arrows.length + wanted.paths.length > 0;
    hint.hidden = moves;
    hint.textContent = wanted.labels ? "Now drag an arrow from what you have painted" : HINT;
    results.hidden = savePart.hidden = !moves;
    if (!moves) {
      show("photo");
      return;
    }
    if (!wanted.model) return;
    running = new AbortController();
    root.dataset.computing = "";
    try {
      for await (const event of events("/api/move/preview", wanted, { signal: running.signal })) {
        if (event.flow) showFlow(event.flow);
        if (event.notes) notes.replaceChildren(...event.notes.map((note) => h("li", {}, note)));
        if (event.film) {
          film.src = large.src = fileUrl(event.film);
          show(settings.show);
        }
      }
    } catch (error) {
      studio.failed(error);
    } finally {
      delete root.dataset.computing;
    }
  });

  function compute() {
    running?.abort();
    run();
  }

  async function showFlow(motion) {
    const { colours, longest } = motion;
    flow.src = colours;
    flow.dataset.grid = JSON.stringify(motion.grid);
    drawFlow(surface.layer("flow"), flow, motion, photo);
    legend.textContent = `Full colour: ${longest.toFixed(longest < 10 ? 1 : 0)} pixels.`;
  }

  async function saveFilm(format) {
    saved = new AbortController();
    busy.hidden = cancel.hidden = false;
    try {
      for await (const { progress, file } of events("/api/move/film", { ...asked(), format }, { signal: saved.signal })) {
        if (progress) busy.value = progress[0] / progress[1];
        if (file) download(file);
      }
    } catch (error) {
      studio.failed(error);
    } finally {
      busy.hidden = cancel.hidden = true;
    }
  }

  async function saveFile(what) {
    try {
      const answer = await request("POST", `/api/move/${what}`, asked());
      download(answer.file);
      if (answer.command) {
        command.hidden = false;
        command.replaceChildren("The same without this page:", h("br"), h("code", {}, answer.command));
      }
    } catch (error) {
      studio.failed(error);
    }
  }

  surface.addEventListener("change", () => { if (photo) { keep(); compute(); } });

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
