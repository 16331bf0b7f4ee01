// The tab Follow: a video, objects or points of some frames, and where they are in all others.

import { downloadUrl, events, request, upload } from "./api.js";
import { h, select, showSent, toggle } from "./dom.js";
import { cssColour } from "./labels.js";
import { EMPTY, Surface } from "./surface.js";
import { Timeline } from "./timeline.js";
import { toolBar } from "./tools.js";

const TAB = "follow";
const MOST_OBJECTS = 254;
const HINTS = {
  masks: "Paint an object in this frame, or click on it with Point",
  points: "Click on what is to be followed",
};

const FIRST = {
  masks: "First paint an object, in any frame, or click on it with Point.",
  points: "First click on what is to be followed, in any frame.",
};

export default function create(panel, studio) {
  const kept = studio.state(TAB) ?? {};
  let video = kept.video ?? null;
  let kind = kept.kind ?? "masks";
  let names = kept.names ?? ["object 1"];
  let keys = new Map((kept.keys ?? []).map((key) => [key.frame, key]));
  let preset = kept.preset ?? "auto";
  let frame = kept.frame ?? 0;
  let reached = { first: 0, done: 0 };
  let shownResult = false; // whether what is on the surface was found (or corrected) there
  let foundPoints = null;
  let running = null;
  let wanted = null;
  let followed = null; // what was asked when all was followed

  const root = h("div");
  const surface = new Surface(root);
  const hint = h("div", { class: "hint" });
  const picture = h("canvas");
  const timeline = new Timeline((number) => go(number));

  // --- an empty page -----------------------------------------------------------------------

  const input = h("input", { type: "file", accept: "video/*,.mkv", hidden: true,
    onchange: () => { if (input.files.length) send(input.files[0]); input.value = ""; } });
  const sending = h("progress", { max: 1, hidden: true });
  const empty = h("div", { class: "empty" },
    h("p", { class: "big" }, "Follow objects through a video"),
    h("p", {}, "Drop a video here or choose one. It stays on the machine that runs this studio."),
    h("div", { class: "row" },
      h("button", { type: "button", class: "main", onclick: () => input.click() }, "Choose a video"),
      h("button", { type: "button", onclick: example }, "Take the example")),
    sending,
    h("p", { class: "quiet" }, `MP4, MOV, WebM, MKV or AVI, up to ${studio.limits.megabytes} MB and ${Math.round(studio.limits.seconds / 60)} minutes.`),
    input);
  root.append(empty, hint);

  // --- the column beside it ------------------------------------------------------------------

  const objects = h("div", { class: "followed" });
  const maskInput = h("input", { type: "file", accept: "image/*", hidden: true,
    onchange: () => { if (maskInput.files.length) sendMask(maskInput.files[0]); maskInput.value = ""; } });
  const kinds = [["masks", "Objects"], ["points", "Points"]].map(([name, text]) =>
    toggle(text, null, () => choose(name), { "data-kind": name }));
  const uploadMask = h("button", { type: "button", title: "An indexed PNG, or any mask that propagate takes", onclick: () => maskInput.click() }, "Upload a mask");
  const presets = select("Matching", [["auto", "what fits the model"]], "auto", (value) => { preset = value; keep(); showReached(); });
  const start = h("button", { type: "button", class: "main", onclick: () => follow() }, "Follow");
  const cancel = h("button", { type: "button", hidden: true, onclick: () => running?.abort() }, "Cancel");
  const busy = h("progress", { max: 1, hidden: true });
  const told = h("p", { class: "quiet", "aria-live": "polite" });
  const saveButton = (what, text, title) =>
    h("button", { type: "button", title, "data-save": what, onclick: () => save(what) }, text);
  const saves = {
    masks: [saveButton("masks", "Masks", "Indexed PNGs in DAVIS's layout, zipped"), saveButton("boxes", "Boxes", "A table of boxes and areas, CSV")],
    points: [saveButton("csv", "CSV", "Coordinates as a table"), saveButton("json", "JSON", "Coordinates as propagate writes them")],
  };
  const savePart = h("div", {}, h("h2", {}, "Save"),
    h("div", { class: "row" }, saves.masks, saves.points, saveButton("film", "Film", "The video with what was found, MP4")));
  const command = h("p", { class: "quiet", hidden: true });
  const commandPart = h("div", {}, h("h2", {}, "Without this page"),
    h("div", { class: "row" }, saveButton("start", "Command and its files", "What is painted here, and the command that follows it")), command);
  const frameHint = h("p", { class: "quiet" });
  const forget = h("button", { type: "button", onclick: () => clearFrame() }, "Clear this frame");
  const side = h("aside", { class: "side" },
    h("h2", {}, "What to follow"), h("div", { class: "row" }, kinds),
    objects,
    h("div", { class: "row" }, h("button", { type: "button", onclick: () => addObject() }, "Add another"), uploadMask, maskInput),
    frameHint, h("div", { class: "row" }, forget),
    h("h2", {}, "Follow"), presets, h("div", { class: "row" }, start, cancel), busy, told,
    savePart, commandPart);
  const other = h("button", { type: "button", class: "push", onclick: () => open(null) }, "Another video");
  const tools = toolBar(surface, ["brush", "eraser", "point", "pan"], [other]);
  panel.append(h("div", { class: "work" }, tools, root, timeline.element), side);

  request("GET", "/api/follow/presets").then(({ presets: found }) => {
    const list = presets.querySelector("select");
    list.append(...found.slice(1).map((name) => h("option", { value: name }, name)));
    list.value = preset;
  }).catch((error) => studio.failed(error));

  // --- the video -----------------------------------------------------------------------------

  async function send(file) {
    showSent(sending);
    try {
      open(await upload("/api/follow/video", file, { progress: (share) => showSent(sending, share) }));
    } catch (error) {
      studio.failed(error);
    } finally {
      sending.hidden = true;
    }
  }

  async function example() {
    showSent(sending);
    try {
      open(await request("POST", "/api/follow/example"));
    } catch (error) {
      studio.failed(error);
    } finally {
      sending.hidden = true;
    }
  }

  async function open(taken, again = false) {
    running?.abort();
    if (video && video !== taken) request("DELETE", "/api/files", { id: video.id }).catch(() => {});
    video = taken;
    empty.hidden = Boolean(video);
    tools.hidden = side.hidden = timeline.element.hidden = hint.hidden = !video;
    if (!again) {
      keys = new Map();
      names = ["object 1"];
      frame = 0;
      reached = { first: 0, done: 0 };
    }
    if (!video) {
      surface.clear();
      picture.remove();
      keep();
      return;
    }
    picture.width = video.width;
    picture.height = video.height;
    surface.setCanvas(picture);
    timeline.open(video.frames, video.fps);
    surface.label = 1;
    choose(kind, true);
    await go(frame);
    root.focus({ preventScroll: true });
  }

  /** Show a frame: its pixels, and what is painted or was found in it. */
  let going = false;
  async function go(number) {
    wanted = Math.max(0, Math.min(video.frames - 1, number));
    timeline.at(wanted);
    if (going) return;
    going = true;
    try {
      while (wanted !== null && video) {
        const next = wanted;
        wanted = null;
        await showPixels(next);
        frame = next;
        await showMarks();
        root.dataset.frame = next;
      }
    } catch (error) {
      if (error.status === 404) open(null); // of a session that has ended
      else studio.failed(error);
    } finally {
      going = false;
    }
    keep();
  }

  async function showPixels(number) {
    const response = await fetch(`/api/follow/frame?video=${video.id}&frame=${number}`);
    if (!response.ok) throw Object.assign(new Error((await response.json()).error), { status: response.status });
    const image = await createImageBitmap(await response.blob());
    picture.getContext("2d").drawImage(image, 0, 0, picture.width, picture.height);
  }

  async function showMarks() {
    const found = await request("POST", "/api/follow/found", { video: video.id, frame });
    reached = { first: found.first, done: found.done };
    put(frame, found);
    showReached();
  }

  /** What is on the surface of a frame: what was painted there comes before what was found. */
  function put(number, found) {
    const key = keys.get(number);
    foundPoints = found.points ?? null;
    shownResult = Boolean(key ? key.full : found.labels !== undefined || (found.done > number && number >= found.first));
    let doc = EMPTY;
    if (kind === "masks") doc = key ? { shapes: key.clicks ?? [], labels: key.labels } : { shapes: [], labels: found.labels ?? null };
    else doc = { shapes: points(found.points, key), labels: null };
    surface.load(doc);
    showFrame();
  }

  const points = (found, key) => names.flatMap((_, index) => {
    const place = key?.points[index] ?? found?.[index];
    return place ? [{ id: index + 1, type: "point", x: place[0], y: place[1], sign: 1, label: index + 1 }] : [];
  });

  // --- what is painted and placed --------------------------------------------------------------

  surface.addEventListener("change", ({ detail }) => {
    if (!video || detail.reason === "load") return;
    if (kind === "points") tookPoints();
    else {
      const { shapes, labels } = surface.doc;
      const clicks = shapes.filter((shape) => shape.type === "point");
      const before = JSON.stringify(keys.get(frame)?.clicks ?? []);
      if (labels || shownResult || clicks.length) keys.set(frame, { frame, labels, clicks, full: shownResult });
      else keys.delete(frame);
      const clicked = detail.reason === "draw" || detail.reason === "drag";
      if (clicked && before !== JSON.stringify(clicks)) click(clicks);
    }
    showFrame();
    keep();
  });

  function tookPoints() {
    const { shapes } = surface.doc;
    const before = keys.get(frame)?.points ?? [];
    const places = names.map(() => null);
    const fresh = [];
    for (const shape of shapes) {
      const index = shape.label - 1;
      // a second one of the same number is a new point
      if (index < names.length && places[index] === null && !fresh.includes(shape)) places[index] = [shape.x, shape.y, shape.id];
      else fresh.push(shape);
    }
    for (const shape of fresh) {
      names.push(`point ${names.length + 1}`);
      places.push([shape.x, shape.y]);
    }
    const found = foundPoints ?? [];
    const told = places.map((place, index) => {
      if (!place) return null;
      const [x, y] = place, was = found[index];
      // what was found and has not been touched says nothing new
      return was && !before[index] && Math.hypot(x - was[0], y - was[1]) < 0.02 ? null : [x, y];
    });
    if (told.some(Boolean)) keys.set(frame, { frame, points: told });
    else keys.delete(frame);
    if (fresh.length) surface.load({ shapes: points(found, keys.get(frame)), labels: null });
    showObjects();
  }

  /** Masks of what is clicked on, as annotate finds them; what is painted beside them stays. */
  async function click(clicks) {
    const model = studio.model("annotate");
    const at = frame;
    const labels = [...new Set(clicks.filter((one) => one.sign > 0).map((one) => one.label))];
    if (!labels.length || !model) return;
    root.dataset.computing = "";
    try {
      const sent = clicks.map(({ x, y, sign, label }) => ({ x, y, sign, label }));
      const found = await request("POST", "/api/follow/click", { video: video.id, frame: at, model, points: sent });
      if (at !== frame || kind !== "masks") return;
      surface.edit((doc) => { doc.labels = merged(doc.labels, found.labels, labels); });
    } catch (error) {
      studio.failed(error);
    } finally {
      delete root.dataset.computing;
    }
  }

  function merged(old, found, labels) {
    const width = found?.width ?? old?.width, height = found?.height ?? old?.height;
    if (!width) return null;
    const values = (json) => json ? flat(json) : new Uint8Array(width * height);
    const below = values(old), above = values(found);
    const result = below.map((value, i) => above[i] || (labels.includes(value) ? 0 : value));
    return packed(result, width, height);
  }

  async function sendMask(file) {
    try {
      const { labels } = await upload(`/api/follow/mask?video=${video.id}`, file);
      const shown = [...new Set(labels.runs.filter((_, i) => i % 2 === 0))];
      while (names.length < Math.max(...shown)) names.push(`object ${names.length + 1}`);
      surface.edit((doc) => { doc.labels = labels; doc.shapes = []; });
      showObjects();
      keep();
    } catch (error) {
      studio.failed(error);
    }
  }

  function clearFrame() {
    keys.delete(frame);
    keep();
    showMarks().catch((error) => studio.failed(error));
  }

  function addObject() {
    if (names.length >= (kind === "masks" ? MOST_OBJECTS : 64)) return;
    names.push(`${kind === "masks" ? "object" : "point"} ${names.length + 1}`);
    surface.label = names.length;
    surface.tool = kind === "masks" ? "brush" : "point";
    showObjects();
    keep();
  }

  function choose(name, again = false) {
    if (name !== kind) {
      keys = new Map();
      names = [name === "masks" ? "object 1" : "point 1"];
      surface.label = 1;
    }
    kind = name;
    for (const one of kinds) one.setAttribute("aria-pressed", one.dataset.kind === kind);
    for (const tool of ["brush", "eraser"]) tools.querySelector(`[data-tool=${tool}]`).hidden = kind === "points";
    uploadMask.hidden = kind === "points";
    for (const [of, buttons] of Object.entries(saves)) for (const one of buttons) one.hidden = of !== kind;
    surface.tool = kind === "masks" ? "brush" : "point";
    showObjects();
    if (!again) showMarks().catch((error) => studio.failed(error));
  }

  // --- following -------------------------------------------------------------------------------

  function asked() {
    const given = [...keys.values()].sort((a, b) => a.frame - b.frame)
      .map(({ frame: number, labels, full, points: places }) => kind === "masks"
        ? { frame: number, labels, full: Boolean(full) } : { frame: number, points: places });
    return { video: video.id, model: studio.model(TAB), preset, kind, names, keys: given };
  }

  const question = () => JSON.stringify({ ...asked(), names: null });

  async function follow() {
    running?.abort();
    const asking = question();
    const own = new AbortController();
    running = own;
    start.hidden = true;
    cancel.hidden = busy.hidden = false;
    busy.removeAttribute("value");
    root.dataset.following = "";
    surface.locked = true;
    try {
      for await (const event of events("/api/follow/run", asked(), { signal: own.signal })) {
        if (event.frames) reached = { first: event.first, done: event.from };
        if (event.catching_up) told.textContent = "Going back to the frame that has changed …";
        if (event.frame !== undefined) {
          reached.done = Math.max(reached.done, event.frame + 1);
          await showFound(event);
        }
        if (reached.done === video.frames) followed = asking;
        showReached();
        busy.value = reached.done / video.frames;
      }
    } catch (error) {
      studio.failed(error);
    } finally {
      if (running === own) {
        start.hidden = false;
        cancel.hidden = busy.hidden = true;
        surface.locked = false;
        delete root.dataset.following;
        showReached();
        keep();
      }
    }
  }

  /** A frame as it comes, with its pixels if the browser keeps up. */
  let drawing = null;
  async function showFound(event) {
    if (drawing) return;
    drawing = (async () => {
      try {
        timeline.at(event.frame);
        await showPixels(event.frame);
        frame = event.frame;
        put(frame, { ...reached, done: event.frame + 1, labels: event.labels, points: event.points });
        root.dataset.frame = frame;
      } catch (error) {
        if (error.status !== 404) studio.failed(error);
      } finally {
        drawing = null;
      }
    })();
    if (event.frame === video.frames - 1) await drawing;
  }

  // --- what is shown beside it -------------------------------------------------------------------

  function showReached() {
    timeline.mark(reached, [...keys.keys()]);
    const some = reached.done > reached.first;
    savePart.hidden = !some;
    told.textContent = some
      ? `Followed up to frame ${reached.done - 1} of ${video.frames - 1}.${reached.done < video.frames ? " Follow goes on from there." : ""}`
      : keys.size ? "" : FIRST[kind];
    const all = some && reached.done >= video.frames;
    const nothingNew = all && followed === question();
    start.disabled = keys.size === 0 || nothingNew;
    start.title = nothingNew ? "Nothing has changed since all frames were followed" : "";
    start.textContent = some && reached.done < video.frames ? "Go on" : some ? "Follow again from what has changed" : "Follow";
  }

  function showFrame() {
    const key = keys.get(frame);
    commandPart.hidden = keys.size === 0;
    hint.hidden = !video || keys.size > 0;
    hint.textContent = HINTS[kind];
    forget.hidden = !key;
    forget.textContent = key?.full || (kind === "points" && shownResult) ? "Undo the correction of this frame" : "Clear this frame";
    frameHint.textContent = key
      ? (key.full ? "This frame is corrected: frames after it will follow from it." : "Given in this frame.")
      : (shownResult ? "Found in this frame. Paint over it to correct it, then follow again." : "");
    showReached();
  }

  function showObjects() {
    objects.replaceChildren(...names.map((name, index) => h("label", { class: "object" },
      h("input", { type: "radio", name: "follow-object", checked: surface.label === index + 1, "aria-label": `Paint ${name}`,
        onchange: () => { surface.label = index + 1; } }),
      swatch(index + 1),
      h("input", { type: "text", value: name, "aria-label": "Name", maxlength: 100,
        onchange: (event) => { names[index] = event.target.value; keep(); } }))));
  }

  function keep() {
    studio.keep(TAB, { video, kind, names, keys: [...keys.values()], preset, frame });
  }

  async function save(what) {
    const own = new AbortController();
    running = own;
    cancel.hidden = busy.hidden = false;
    try {
      for await (const event of events("/api/follow/save", { ...asked(), what }, { signal: own.signal })) {
        if (event.progress) busy.value = event.progress[0] / event.progress[1];
        if (event.file) download(event.file);
        if (event.command) {
          command.hidden = false;
          command.replaceChildren("Unpack the files beside the video, then:", h("br"), h("code", {}, event.command));
        }
      }
    } catch (error) {
      studio.failed(error);
    } finally {
      cancel.hidden = busy.hidden = true;
    }
  }

  root.addEventListener("keydown", (event) => {
    if (!video || event.target !== root || surface.selected !== null) return;
    const step = { ArrowLeft: -1, ArrowRight: 1, PageUp: -10, PageDown: 10 }[event.key];
    if (!step) return;
    event.preventDefault();
    go(frame + step);
  });

  if (video) open(video, true);
  else open(null);

  return {
    model: () => { if (video) showReached(); },
    take: (files) => (video && files[0]?.type.startsWith("image/") ? sendMask(files[0]) : send(files[0])),
    undo: () => surface.undo(),
    redo: () => surface.redo(),
    surface,
  };
}

function swatch(label) {
  const element = h("span", { class: "swatch" });
  element.style.background = cssColour(label); // a style attribute is against the page's policy
  return element;
}

function flat({ width, height, runs }) {
  const values = new Uint8Array(width * height);
  for (let i = 0, at = 0; i < runs.length; at += runs[i + 1], i += 2) values.fill(runs[i], at, at + runs[i + 1]);
  return values;
}

function packed(values, width, height) {
  const runs = [];
  for (let at = 0; at < values.length;) {
    let end = at + 1;
    while (end < values.length && values[end] === values[at]) end += 1;
    runs.push(values[at], end - at);
    at = end;
  }
  return runs.length === 2 && runs[0] === 0 ? null : { width, height, runs };
}

function download(id) {
  const link = h("a", { href: downloadUrl(id), download: "" });
  document.body.append(link);
  link.click();
  link.remove();
}
