// The drawing surface: a picture with zoom and pan, marks and painted labels on it, undo and redo.
// It knows nothing of what the marks are for.
//
//   const surface = new Surface(element);
//   await surface.setImage(url, width, height);
//   surface.tool = "arrow";
//   surface.addEventListener("input", …);   // while something is dragged
//   surface.addEventListener("change", …);  // done: `surface.doc` is plain JSON
//
// The document: {shapes: [shape, …], labels: null | {width, height, runs}, …whatever a tab adds}
// with the shapes
//   {id, type: "arrow", x, y, dx, dy}            the point x, y moves by dx, dy
//   {id, type: "pin", x, y}                      the point stays
//   {id, type: "path", points: [[x, y], …]}      the first point moves along the others
//   {id, type: "point", x, y, sign, label}       sign 1 or -1: belongs to an object or does not
// Positions are in pixels of the picture; whole numbers are pixel centres.

import { h, svg } from "./dom.js";
import { History } from "./history.js";
import { LabelMap, cssColour } from "./labels.js";
import { drawShape, grip } from "./shapes.js";

const NEAR = { mouse: 10, pen: 14, touch: 22 };
const LEAST_DRAG = 5;
const MOST_ZOOM = 40;
const LABELS_SIDE = 2048;
const PATH_STEP = 4;

export const EMPTY = Object.freeze({ shapes: [], labels: null });

export class Surface extends EventTarget {
  #root; #stage; #marks; #labelCanvas; #picture = null;
  #scale = 1; #x = 0; #y = 0; #fitted = true;
  #doc = structuredClone(EMPTY); #history = new History(EMPTY); #map = null;
  #tool = "pan"; #selected = null; #drag = null; #pointers = new Map(); #space = false;
  #cursor = null; #frame = 0; #nextId = 1;

  /** Label that the brush paints and that new points have. */
  label = 1;
  /** Sign of new points; Shift and the right button turn it round. */
  sign = 1;
  /** The colour of a label, as CSS. */
  labelColour = cssColour;
  /** Radius of brush and eraser, in pixels of the screen. */
  brush = 14;
  /** With true, nothing can be drawn. */
  locked = false;
  /** Called with x and y before the brush begins, to choose `label`. */
  beforeStroke = null;

  constructor(root) {
    super();
    this.#root = root;
    root.classList.add("surface");
    root.tabIndex = 0;
    root.setAttribute("role", "application");
    this.#stage = h("div", { class: "stage" });
    this.#labelCanvas = h("canvas", { class: "labels" });
    this.#stage.append(this.#labelCanvas);
    this.#marks = svg("svg", { class: "marks" });
    root.append(this.#stage, this.#marks);
    root.addEventListener("pointerdown", (e) => this.#down(e));
    root.addEventListener("pointermove", (e) => this.#move(e));
    root.addEventListener("pointerup", (e) => this.#up(e));
    root.addEventListener("pointercancel", (e) => this.#up(e, true));
    root.addEventListener("pointerleave", () => { this.#cursor = null; this.#hovered(null); this.#redraw(); });
    root.addEventListener("wheel", (e) => this.#wheel(e), { passive: false });
    root.addEventListener("contextmenu", (e) => e.preventDefault());
    root.addEventListener("keydown", (e) => this.#key(e));
    root.addEventListener("keyup", (e) => { if (e.code === "Space") this.#space = false; });
    new ResizeObserver(() => (this.#fitted ? this.fit() : this.#redraw())).observe(root);
    this.tool = "pan";
  }

  // --- the picture -------------------------------------------------------------------------

  get width() { return this.#picture?.width ?? 0; }
  get height() { return this.#picture?.height ?? 0; }
  /** Keep an element in a corner, above the picture; it is not drawn through. */
  corner(element) {
    for (const name of ["pointerdown", "dblclick", "contextmenu"]) element.addEventListener(name, (e) => e.stopPropagation());
    this.#root.append(element);
  }

  /** Pixels of the screen for one of the picture. */
  get scale() { return this.#scale; }

  /** Show a picture; the view stays if its size is that of the one before. */
  async setImage(url, width, height) {
    const image = new Image();
    image.src = url;
    await image.decode();
    this.#show(image, width, height);
  }

  /** Show what is drawn on a canvas, as frames of a video are; draw on it again whenever you like. */
  setCanvas(canvas, width = canvas.width, height = canvas.height) {
    this.#show(canvas, width, height);
  }

  /** Show nothing. */
  clear() {
    this.#picture?.element.remove();
    this.#picture = null;
    this.cover(null);
    for (const canvas of this.#stage.querySelectorAll("canvas.layer")) canvas.remove();
    this.load(EMPTY);
  }

  /**
   * A canvas above the picture and below the labels, made when it is first asked for; its own size
   * may be any, it is stretched over the picture.
   */
  layer(name) {
    let canvas = this.#stage.querySelector(`canvas.layer[data-name="${name}"]`);
    if (!canvas) {
      canvas = h("canvas", { class: "layer", "data-name": name });
      this.#stage.insertBefore(canvas, this.#labelCanvas);
    }
    return canvas;
  }

  /** Show an element (a video) in place of the picture and the marks; null: no more. */
  cover(element) {
    const old = this.#stage.querySelector(".cover");
    if (old !== element) {
      old?.remove();
      if (element) {
        element.classList.add("cover");
        this.#stage.append(element);
      }
    }
    this.#marks.style.visibility = element ? "hidden" : "";
  }

  #show(element, width, height) {
    const same = this.width === width && this.height === height;
    if (this.#picture && this.#picture.element !== element) this.#picture.element.remove();
    this.#picture = { element, width, height };
    this.#stage.prepend(element);
    this.#stage.style.width = `${width}px`;
    this.#stage.style.height = `${height}px`;
    if (!same) {
      const shrink = Math.min(1, LABELS_SIDE / Math.max(width, height));
      this.#labelCanvas.width = Math.max(1, Math.round(width * shrink));
      this.#labelCanvas.height = Math.max(1, Math.round(height * shrink));
      this.#map = null;
      this.#readLabels();
      this.fit();
    } else this.#redraw();
  }

  // --- the document ------------------------------------------------------------------------

  /** A copy of what is drawn. */
  get doc() { return structuredClone(this.#doc); }

  /** Begin anew with a document, without a way back to what was before. */
  load(doc) {
    this.#doc = { ...structuredClone(EMPTY), ...structuredClone(doc ?? {}) };
    this.#history = new History(this.#doc);
    this.#took("load");
  }

  /** Change the document as one step of the history: `surface.edit((doc) => { doc.shapes = [] })`. */
  edit(change) {
    const doc = this.doc;
    change(doc);
    this.#doc = doc;
    this.#number();
    this.#readLabels();
    this.#commit("edit");
  }

  /** Marks that come without an id get one; later ones count on from there. */
  #number() {
    this.#nextId = 1 + Math.max(0, ...this.#doc.shapes.map((shape) => shape.id ?? 0));
    for (const shape of this.#doc.shapes) shape.id ??= this.#nextId++;
  }

  get canUndo() { return this.#history.canUndo; }
  get canRedo() { return this.#history.canRedo; }

  undo() {
    if (!this.canUndo || this.#drag) return;
    this.#doc = this.#history.undo();
    this.#took("undo");
  }

  redo() {
    if (!this.canRedo || this.#drag) return;
    this.#doc = this.#history.redo();
    this.#took("redo");
  }

  /** The id of the mark that is selected, or null. */
  get selected() { return this.#selected; }
  set selected(id) {
    this.#selected = id;
    this.#redraw();
    this.#tell("select");
  }

  /** Remove the selected mark. */
  removeSelected() {
    const id = this.#selected;
    if (id === null || this.locked) return;
    this.#selected = null;
    this.edit((doc) => { doc.shapes = doc.shapes.filter((shape) => shape.id !== id); });
  }

  /** Label that is painted at a place of the picture. */
  labelAt(x, y) { return this.#map ? this.#map.at(...this.#onMap(x, y)) : 0; }

  /** The painted labels, or null. */
  get map() { return this.#map; }

  #took(reason) {
    this.#number();
    if (!this.#doc.shapes.some((shape) => shape.id === this.#selected)) this.#selected = null;
    this.#readLabels();
    this.#redraw();
    this.#tell("change", { reason });
  }

  #commit(reason) {
    this.#redraw();
    if (this.#history.push(this.#doc)) this.#tell("change", { reason });
  }

  #tell(name, detail = {}) { this.dispatchEvent(new CustomEvent(name, { detail })); }

  #readLabels() {
    const canvas = this.#labelCanvas, { labels } = this.#doc;
    canvas.getContext("2d").clearRect(0, 0, canvas.width, canvas.height);
    this.#map = null;
    if (!labels) return;
    if (labels.width !== canvas.width || labels.height !== canvas.height) {
      if (!this.#picture) return; // drawn once there is a picture
      canvas.width = labels.width;
      canvas.height = labels.height;
    }
    this.#map = LabelMap.fromJson(labels);
    this.#map.draw(canvas);
  }

  // --- the view ----------------------------------------------------------------------------

  /** Show the whole picture. */
  fit() {
    this.#fitted = true;
    if (!this.#picture) return;
    const { clientWidth, clientHeight } = this.#root, { width, height } = this.#picture;
    this.#scale = Math.max(0.01, Math.min(8, (clientWidth - 24) / width, (clientHeight - 24) / height));
    this.#x = (clientWidth - width * this.#scale) / 2;
    this.#y = (clientHeight - height * this.#scale) / 2;
    this.#redraw();
  }

  /** Enlarge by a factor; the place of the screen stays where it is. */
  zoom(factor, x = this.#root.clientWidth / 2, y = this.#root.clientHeight / 2) {
    if (!this.#picture) return;
    const least = Math.min(1, 40 / Math.max(this.width, this.height));
    const scale = Math.min(MOST_ZOOM, Math.max(least, this.#scale * factor));
    this.#x = x - (x - this.#x) * (scale / this.#scale);
    this.#y = y - (y - this.#y) * (scale / this.#scale);
    this.#scale = scale;
    this.#fitted = false;
    this.#redraw();
    this.#tell("view");
  }

  /** Pixels of the picture → of the surface. */
  toScreen(x, y) { return [(x + 0.5) * this.#scale + this.#x, (y + 0.5) * this.#scale + this.#y]; }

  /** Pixels of the surface → of the picture; may be outside of it. */
  toPicture(x, y) { return [(x - this.#x) / this.#scale - 0.5, (y - this.#y) / this.#scale - 0.5]; }

  #inside(x, y) { return x >= -0.5 && y >= -0.5 && x <= this.width - 0.5 && y <= this.height - 0.5; }

  #clamped(x, y) {
    return [Math.min(this.width - 1, Math.max(0, x)), Math.min(this.height - 1, Math.max(0, y))];
  }

  #onMap(x, y) {
    const share = this.#labelCanvas.width / this.width;
    return [(x + 0.5) * share - 0.5, (y + 0.5) * share - 0.5];
  }

  #place(event) {
    const box = this.#root.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  }

  // --- pointers and keys -------------------------------------------------------------------

  /** "pan", "arrow", "pin", "path", "point", "brush" or "eraser". */
  get tool() { return this.#tool; }
  set tool(name) {
    this.#tool = name;
    this.#root.dataset.tool = name;
    this.#redraw();
    this.#tell("tool");
  }

  #down(event) {
    if (event.target.closest?.("button, a, input, select")) return;
    this.#root.focus({ preventScroll: true });
    if (!this.#picture) return;
    const at = this.#place(event);
    this.#pointers.set(event.pointerId, at);
    this.#root.setPointerCapture(event.pointerId);
    if (this.#pointers.size === 2) { // two fingers move and zoom, whatever the first has begun
      this.#cancel();
      this.#drag = { kind: "pinch" };
    } else if (this.#pointers.size === 1) this.#drag = this.#begin(event, at);
    this.#redraw();
  }

  #begin(event, at) {
    const pan = { kind: "pan", from: at, moved: false };
    if (event.button === 1 || this.#space || this.#tool === "pan" || this.locked) {
      this.#root.dataset.panning = "";
      return pan;
    }
    if (event.button !== 0 && this.#tool !== "point") return null;
    const [x, y] = this.toPicture(...at);
    const found = this.#under(at, event.pointerType);
    if (found) {
      this.selected = found.shape.id;
      return { kind: "shape", from: [x, y], ...found, before: structuredClone(found.shape) };
    }
    if (!this.#inside(x, y)) {
      this.selected = null;
      return pan;
    }
    this.selected = null;
    switch (this.#tool) {
      case "arrow": return { kind: "new", from: at, shape: { type: "arrow", x, y, dx: 0, dy: 0 } };
      case "path": return { kind: "new", from: at, shape: { type: "path", points: [[x, y]] } };
      case "pin": return { kind: "new", from: at, shape: { type: "pin", x, y }, ready: true };
      case "point": {
        const turned = event.button === 2 || event.shiftKey || event.altKey;
        const shape = { type: "point", x, y, sign: turned ? -this.sign : this.sign, label: this.label };
        return { kind: "new", from: at, shape, ready: true };
      }
      case "brush":
      case "eraser": return this.#beginStroke(x, y);
      default: return null;
    }
  }

  #beginStroke(x, y) {
    if (this.#tool === "brush") this.beforeStroke?.(x, y);
    if (!this.#map) this.#map = new LabelMap(this.#labelCanvas.width, this.#labelCanvas.height);
    const label = this.#tool === "eraser" ? 0 : this.label;
    const drag = { kind: "stroke", label, last: this.#onMap(x, y) };
    this.#paint(drag, x, y);
    return drag;
  }

  #paint(drag, x, y) {
    const to = this.#onMap(x, y);
    const radius = Math.max(0.5, this.brush / this.#scale * (this.#labelCanvas.width / this.width));
    const box = this.#map.stroke(...drag.last, ...to, radius, drag.label);
    this.#map.draw(this.#labelCanvas, box);
    drag.last = to;
  }

  #move(event) {
    const at = this.#place(event);
    this.#cursor = at;
    const drag = this.#drag;
    if (!drag || !this.#pointers.has(event.pointerId)) {
      this.#hovered(at);
      const found = !this.locked && this.#tool !== "pan" && this.#under(at, event.pointerType);
      if (found) this.#root.dataset.over = "mark";
      else delete this.#root.dataset.over;
      if (this.#tool === "brush" || this.#tool === "eraser") this.#redraw();
      return;
    }
    const before = this.#pointers.get(event.pointerId);
    if (drag.kind === "pinch") this.#pinch(event.pointerId, at);
    this.#pointers.set(event.pointerId, at);
    if (drag.kind === "pan") {
      this.#x += at[0] - before[0];
      this.#y += at[1] - before[1];
      this.#fitted = false;
      this.#tell("view");
    } else if (drag.kind === "stroke") {
      for (const part of event.getCoalescedEvents?.() ?? [event]) {
        this.#paint(drag, ...this.toPicture(...this.#place(part)));
      }
    } else if (drag.kind === "new" || drag.kind === "shape") {
      const parts = drag.shape.type === "path" && drag.kind === "new" ? event.getCoalescedEvents?.() ?? [event] : [event];
      for (const part of parts.length ? parts : [event]) this.#drawn(drag, this.#place(part), event);
      this.#tell("input");
    }
    this.#redraw();
  }

  #drawn(drag, at, event) {
    const [x, y] = this.toPicture(...at);
    const { shape } = drag;
    if (drag.kind === "new") {
      if (Math.hypot(at[0] - drag.from[0], at[1] - drag.from[1]) > LEAST_DRAG) drag.ready = true;
      if (shape.type === "arrow") [shape.dx, shape.dy] = straight(x - shape.x, y - shape.y, event.shiftKey);
      else if (shape.type === "path") {
        const last = this.toScreen(...shape.points.at(-1));
        if (Math.hypot(at[0] - last[0], at[1] - last[1]) >= PATH_STEP) shape.points.push([x, y]);
      } else [shape.x, shape.y] = this.#clamped(x, y);
      return;
    }
    const { before } = drag, dx = x - drag.from[0], dy = y - drag.from[1];
    if (drag.part === "head") {
      [shape.dx, shape.dy] = straight(before.dx + dx, before.dy + dy, event.shiftKey);
    } else if (shape.type === "path") {
      const [x0, y0] = this.#clamped(before.points[0][0] + dx, before.points[0][1] + dy);
      const by = [x0 - before.points[0][0], y0 - before.points[0][1]];
      shape.points = before.points.map(([px, py]) => [px + by[0], py + by[1]]);
    } else [shape.x, shape.y] = this.#clamped(before.x + dx, before.y + dy);
  }

  #pinch(id, at) {
    const [other] = [...this.#pointers].filter(([key]) => key !== id).map(([, place]) => place);
    const before = this.#pointers.get(id);
    if (!other) return;
    const far = (a, b) => Math.max(1, Math.hypot(a[0] - b[0], a[1] - b[1]));
    this.#x += (at[0] - before[0]) / 2;
    this.#y += (at[1] - before[1]) / 2;
    this.zoom(far(at, other) / far(before, other), (at[0] + other[0]) / 2, (at[1] + other[1]) / 2);
  }

  #up(event, cancelled = false) {
    if (!this.#pointers.delete(event.pointerId)) return;
    const drag = this.#drag;
    if (drag?.kind === "pinch" && this.#pointers.size) return;
    if (cancelled) this.#cancel();
    this.#drag = null;
    delete this.#root.dataset.panning;
    if (cancelled || !drag) return;
    if (drag.kind === "stroke") {
      this.#doc.labels = this.#map.toJson();
      this.#commit("brush");
    } else if (drag.kind === "new" && drag.ready && (drag.shape.type !== "path" || drag.shape.points.length > 1)) {
      drag.shape.id = this.#nextId;
      this.#nextId += 1;
      this.#doc.shapes.push(rounded(drag.shape));
      this.selected = drag.shape.type === "point" ? null : drag.shape.id;
      this.#commit("draw");
    } else if (drag.kind === "shape") {
      Object.assign(drag.shape, rounded(drag.shape));
      this.#commit("drag");
    }
    this.#redraw();
  }

  #cancel() {
    const drag = this.#drag;
    if (drag?.kind === "shape") Object.assign(drag.shape, drag.before);
    if (drag?.kind === "stroke") this.#readLabels();
    this.#drag = null;
    delete this.#root.dataset.panning;
    this.#redraw();
    if (drag?.kind === "shape") this.#tell("input");
  }

  #under(at, pointerType) {
    if (["brush", "eraser", "pan"].includes(this.#tool)) return null;
    const near = NEAR[pointerType] ?? NEAR.mouse;
    // the one drawn last is on top
    for (const shape of [...this.#doc.shapes].reverse()) {
      const part = grip(shape, at, near, (x, y) => this.toScreen(x, y));
      if (part) return { shape, part };
    }
    return null;
  }

  #hovered(at) {
    const place = at && this.#picture ? this.toPicture(...at) : null;
    const inside = place && this.#inside(...place);
    this.#tell("hover", inside ? { x: place[0], y: place[1] } : { x: null, y: null });
  }

  #wheel(event) {
    if (!this.#picture) return;
    event.preventDefault();
    const lines = event.deltaMode === 1 ? 16 : 1;
    this.zoom(Math.exp(-event.deltaY * lines * 0.0015), ...this.#place(event));
  }

  #key(event) {
    if (event.target !== this.#root) return;
    const command = event.ctrlKey || event.metaKey;
    if (event.code === "Space") this.#space = true;
    else if (event.key === "Escape") { if (this.#drag) this.#cancel(); else this.selected = null; }
    else if (event.key === "Delete" || event.key === "Backspace") this.removeSelected();
    else if (event.key === "[") this.brush = Math.max(2, this.brush / 1.25);
    else if (event.key === "]") this.brush = Math.min(200, this.brush * 1.25);
    else if (event.key === "0" && !command) this.fit();
    else if ((event.key === "+" || event.key === "=") && !command) this.zoom(1.25);
    else if (event.key === "-" && !command) this.zoom(0.8);
    else if (event.key.startsWith("Arrow") && this.#selected !== null) this.#nudge(event);
    else return;
    event.preventDefault();
    this.#redraw();
  }

  #nudge(event) {
    if (this.locked) return;
    const step = event.shiftKey ? 10 : 1, id = this.#selected;
    const by = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] }[event.key];
    this.edit((doc) => {
      const shape = doc.shapes.find((one) => one.id === id);
      if (shape.type === "path") shape.points = shape.points.map(([x, y]) => [x + by[0], y + by[1]]);
      else [shape.x, shape.y] = this.#clamped(shape.x + by[0], shape.y + by[1]);
    });
  }

  // --- drawing -----------------------------------------------------------------------------

  /** Draw the marks again, as after a change of `labelColour`. */
  redraw() { this.#redraw(); }

  #redraw() {
    if (this.#frame) return;
    this.#frame = requestAnimationFrame(() => { this.#frame = 0; this.#render(); });
  }

  #render() {
    this.#stage.hidden = !this.#picture;
    this.#stage.style.transform = `translate(${this.#x}px, ${this.#y}px) scale(${this.#scale})`;
    this.#stage.classList.toggle("large", this.#scale > 4);
    const toScreen = (x, y) => this.toScreen(x, y);
    const shapes = this.#picture ? [...this.#doc.shapes] : [];
    if (this.#drag?.kind === "new") shapes.push(this.#drag.shape);
    const drawn = shapes.map((shape) => {
      const element = drawShape(shape, shape.id === this.#selected, toScreen);
      if (shape.type === "point") element.style.setProperty("--of", this.labelColour(shape.label));
      return element;
    });
    if (this.#cursor && this.#picture && (this.#tool === "brush" || this.#tool === "eraser")) {
      const [cx, cy] = this.#cursor;
      const ring = (name) => svg("circle", { class: name, cx, cy, r: this.brush });
      drawn.push(ring("brush-casing"), ring("brush"));
      if (this.#tool === "brush") drawn.at(-1).style.stroke = this.labelColour(this.label);
    }
    this.#marks.replaceChildren(...drawn);
  }
}

/** With Shift, a vector along the nearest of eight directions. */
function straight(dx, dy, wanted) {
  if (!wanted) return [dx, dy];
  const turn = Math.PI / 4;
  const angle = Math.round(Math.atan2(dy, dx) / turn) * turn;
  const length = Math.hypot(dx, dy);
  return [length * Math.cos(angle), length * Math.sin(angle)];
}

/** Positions to a hundredth of a pixel, which files can be read with. */
function rounded(shape) {
  const round = (value) => Math.round(value * 100) / 100;
  const result = { ...shape };
  for (const name of ["x", "y", "dx", "dy"]) if (name in result) result[name] = round(result[name]);
  if (result.points) result.points = result.points.map(([x, y]) => [round(x), round(y)]);
  return result;
}
