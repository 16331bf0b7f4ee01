// The bar above a surface: its tools, undo and redo; zoom in a corner of the surface.

import { h, icon, toggle } from "./dom.js";

const TOOLS = {
  arrow: ["Arrow", "arrow", "Drag from a point to where it should go"],
  pin: ["Pin", "pin", "Click on what should stay"],
  path: ["Path", "path", "Draw the way that a point goes"],
  point: ["Point", "plus", "Click on the object; Shift or the right button: not on it"],
  brush: ["Brush", "brush", "Paint; [ and ] change the size"],
  eraser: ["Eraser", "eraser", "Rub out; [ and ] change the size"],
  pan: ["Hand", "pan", "Move the picture; the wheel zooms"],
};

/** A bar for a surface; `names` are those of its tools, `more` further elements behind them. */
export function toolBar(surface, names, more = []) {
  const buttons = names.map((name) => {
    const [text, picture, title] = TOOLS[name];
    const button = toggle(text, picture, () => { surface.tool = name; });
    button.title = title;
    button.dataset.tool = name;
    return button;
  });
  const step = (text, name, keys, onclick) =>
    h("button", { type: "button", title: `${text} (${keys})`, "aria-label": text, onclick }, icon(name));
  const undo = step("Undo", "undo", "Ctrl+Z", () => surface.undo());
  const redo = step("Redo", "redo", "Ctrl+Shift+Z", () => surface.redo());
  const remove = step("Delete what is selected", "trash", "Delete", () => surface.removeSelected());
  const view = h("div", { class: "zooms", role: "toolbar", "aria-label": "Zoom" },
    step("Smaller", "minus", "-", () => surface.zoom(0.8)),
    step("Larger", "plus", "+", () => surface.zoom(1.25)),
    step("Whole picture", "fit", "0", () => surface.fit()));
  surface.corner(view);
  const bar = h("div", { class: "bar", role: "toolbar" }, buttons, h("span", { class: "gap" }),
    undo, redo, remove, more);

  function shown() {
    for (const button of buttons) button.setAttribute("aria-pressed", button.dataset.tool === surface.tool);
    undo.disabled = !surface.canUndo;
    redo.disabled = !surface.canRedo;
    remove.disabled = surface.selected === null;
  }
  for (const name of ["change", "tool", "select"]) surface.addEventListener(name, shown);
  shown();
  return bar;
}
