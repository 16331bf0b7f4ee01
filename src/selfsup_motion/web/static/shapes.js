// How marks look, and which part of one is under the pointer.

import { svg } from "./dom.js";

const HEAD = 13;

/** An element of SVG for a mark; `toScreen(x, y)` says where places of the picture are. */
export function drawShape(shape, selected, toScreen) {
  const group = svg("g", { class: selected ? "selected" : "", "data-shape": shape.type });
  if (shape.type === "arrow") {
    const from = toScreen(shape.x, shape.y), to = toScreen(shape.x + shape.dx, shape.y + shape.dy);
    const angle = Math.atan2(to[1] - from[1], to[0] - from[0]);
    group.append(...lines([from, neck(to, angle)], "arrow"), head(to, angle, "arrow-head"), handle(from));
  } else if (shape.type === "path") {
    const points = shape.points.map(([x, y]) => toScreen(x, y));
    const before = points.at(-Math.min(4, points.length)), last = points.at(-1);
    group.append(...lines(points, "path"), handle(points[0]));
    if (points.length > 1) {
      group.append(head(last, Math.atan2(last[1] - before[1], last[0] - before[0]), "path-head"));
    }
  } else if (shape.type === "pin") {
    const [x, y] = toScreen(shape.x, shape.y);
    const drop = `M${x} ${y}c-4 -7 -8 -10 -8 -15a8 8 0 0 1 16 0c0 5 -4 8 -8 15Z`;
    group.append(svg("path", { class: "pin", d: drop }), svg("circle", { class: "pin-dot", cx: x, cy: y - 15, r: 3.5 }));
    group.append(svg("circle", { class: "ring", cx: x, cy: y - 14, r: 12 }));
  } else if (shape.type === "point") {
    const [x, y] = toScreen(shape.x, shape.y);
    group.append(svg("circle", { class: shape.sign > 0 ? "point-plus" : "point-minus", cx: x, cy: y, r: 8 }));
    const sign = shape.sign > 0 ? `M${x - 4} ${y}H${x + 4}M${x} ${y - 4}V${y + 4}` : `M${x - 4} ${y}H${x + 4}`;
    group.append(svg("path", { class: "point-sign", d: sign }), svg("circle", { class: "ring", cx: x, cy: y, r: 11 }));
  }
  return group;
}

/** "head", "body", or null: the part of a mark within `near` pixels of a place on the screen. */
export function grip(shape, at, near, toScreen) {
  const close = (place, reach = near) => Math.hypot(at[0] - place[0], at[1] - place[1]) <= reach;
  if (shape.type === "arrow") {
    const from = toScreen(shape.x, shape.y), to = toScreen(shape.x + shape.dx, shape.y + shape.dy);
    if (close(to)) return "head";
    return distance(at, from, to) <= near * 0.7 || close(from) ? "body" : null;
  }
  if (shape.type === "path") {
    const points = shape.points.map(([x, y]) => toScreen(x, y));
    const on = points.some((point, i) => i && distance(at, points[i - 1], point) <= near * 0.7);
    return on ? "body" : null;
  }
  const [x, y] = toScreen(shape.x, shape.y);
  if (shape.type === "pin") return close([x, y - 12], near + 4) ? "body" : null;
  return close([x, y]) ? "body" : null;
}

function lines(points, name) {
  const d = `M${points.map((point) => point.join(" ")).join("L")}`;
  return [svg("path", { class: "casing", d, "stroke-width": 6 }), svg("path", { class: `line ${name}`, d, "stroke-width": 3 })];
}

function head([x, y], angle, name) {
  const corner = (turn, length) => `${x + length * Math.cos(angle + turn)} ${y + length * Math.sin(angle + turn)}`;
  return svg("path", { class: name, d: `M${x} ${y}L${corner(2.65, HEAD)}L${corner(-2.65, HEAD)}Z` });
}

function neck([x, y], angle) {
  return [x - HEAD * 0.8 * Math.cos(angle), y - HEAD * 0.8 * Math.sin(angle)];
}

function handle([cx, cy]) {
  return svg("circle", { class: "handle", cx, cy, r: 4.5 });
}

function distance([x, y], [ax, ay], [bx, by]) {
  const dx = bx - ax, dy = by - ay, length = dx * dx + dy * dy;
  const t = length ? Math.max(0, Math.min(1, ((x - ax) * dx + (y - ay) * dy) / length)) : 0;
  return Math.hypot(x - ax - t * dx, y - ay - t * dy);
}
