// Elements in one line: h("button", { class: "main", onclick: save }, "Save").

const SVG = "http://www.w3.org/2000/svg";

function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "value" || name === "checked" || name === "disabled") element[name] = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
  return element;
}

/** An element of HTML. Children are elements or text; text is never read as HTML. */
export function h(name, attributes = {}, ...children) {
  return filled(document.createElement(name), attributes, children);
}

/** An element of SVG. */
export function svg(name, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, name), attributes, children);
}

const ICONS = {
  arrow: "M5 19 19 5M10 5h9v9",
  pin: "M12 21s-6-6.2-6-11a6 6 0 0 1 12 0c0 4.8-6 11-6 11ZM12 10h.01",
  brush: "M4 20c2 0 4-.5 4-3a2.5 2.5 0 0 1 5 0c0 3-4 4-9 3ZM12 14 20 4M9.5 14.5 18 4",
  eraser: "M4 15 13 6l6 6-7 7H7ZM9 10l6 6M12 19h8",
  path: "M4 18c3-9 6 3 9-6 1.500-4 3-6 7-6M16 3l4 3-3 4",
  pan: "M12 3v18M3 12h18M9 6l3-3 3 3M9 18l3 3 3-3M6 9l-3 3 3 3M18 9l3 3-3 3",
  plus: "M12 5v14M5 12h14",
  minus: "M5 12h14",
  undo: "M9 7 4 12l5 5M4 12h10a6 6 0 0 1 6 6",
  redo: "m15 7 5 5-5 5M20 12H10a6 6 0 0 0-6 6",
  trash: "M5 7h14M10 7V4h4v3M7 7l1 13h8l1-13",
  fit: "M4 9V4h5M20 9V4h-5M4 15v5h5M20 15v5h-5",
  play: "M8 5v14l11-7Z",
  stop: "M6 6h12v12H6Z",
};

/** One of the icons above. */
export function icon(name) {
  return svg("svg", { viewBox: "0 0 24 24", "aria-hidden": "true" }, svg("path", { d: ICONS[name] }));
}

/** A slider with its name and its value; `told(value)` is what stands behind it. */
export function slider(name, { min, max, step, value, told = (v) => `${v}`, oninput, onchange }) {
  const output = h("output", {}, told(value));
  const input = h("input", {
    type: "range", min, max, step, "aria-label": name,
    oninput: () => { output.textContent = told(Number(input.value)); oninput?.(Number(input.value)); },
    onchange: () => onchange?.(Number(input.value)),
  });
  input.value = value;
  const field = h("label", { class: "field" }, h("span", {}, name), input, output);
  field.set = (given) => { input.value = given; output.textContent = told(given); };
  return field;
}

/** A choice of words: `options` is [[value, text], …]. */
export function select(name, options, value, onchange) {
  const input = h("select", { "aria-label": name, onchange: () => onchange(input.value) },
    options.map(([key, text]) => h("option", { value: key }, text)));
  input.value = value;
  const field = h("label", { class: "field" }, h("span", {}, name), input);
  field.set = (given) => { input.value = given; };
  return field;
}

/** A button that shows whether it is pressed. */
export function toggle(text, iconName, onclick, attributes = {}) {
  return h("button", { type: "button", "aria-pressed": "false", title: text, onclick, ...attributes },
    iconName ? icon(iconName) : null, h("span", {}, text));
}

/** Show in a <progress> which share of a file is sent; when all is, or nothing is, that the server is at work. */
export function showSent(bar, share = 1) {
  bar.hidden = false;
  if (share < 1) bar.value = share;
  else bar.removeAttribute("value");
}
