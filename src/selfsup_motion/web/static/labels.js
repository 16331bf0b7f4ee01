// A raster of labels, 0 to 255, that brushes paint: 0 is nothing, each other number an object.
// As plain JSON it is {width, height, runs: [label, count, label, count, …]}, row by row.

export const COLOURS = [
  null, [230, 60, 90], [40, 160, 240], [60, 190, 90], [250, 170, 30], [160, 90, 230], [0, 190, 180],
  [240, 110, 200], [150, 190, 40], [120, 120, 250], [250, 120, 60], [90, 210, 240], [200, 160, 110],
];

/** The colour of a label, [r, g, b]. */
export const colourOf = (label) => COLOURS[1 + ((label - 1) % (COLOURS.length - 1))];

/** "rgb(…)" of a label. */
export const cssColour = (label) => `rgb(${colourOf(label).join(" ")})`;

export class LabelMap {
  constructor(width, height) {
    this.width = width;
    this.height = height;
    this.data = new Uint8Array(width * height);
  }

  static fromJson({ width, height, runs }) {
    const map = new LabelMap(width, height);
    let at = 0;
    for (let i = 0; i < runs.length; i += 2) {
      map.data.fill(runs[i], at, at + runs[i + 1]);
      at += runs[i + 1];
    }
    return map;
  }

  /** null if nothing is painted. */
  toJson() {
    const { data } = this;
    const runs = [];
    for (let at = 0; at < data.length;) {
      const label = data[at];
      let end = at + 1;
      while (end < data.length && data[end] === label) end += 1;
      runs.push(label, end - at);
      at = end;
    }
    if (runs.length === 2 && runs[0] === 0) return null;
    return { width: this.width, height: this.height, runs };
  }

  /** Label of a pixel; 0 outside. */
  at(x, y) {
    const column = Math.round(x), row = Math.round(y);
    const inside = column >= 0 && row >= 0 && column < this.width && row < this.height;
    return inside ? this.data[row * this.width + column] : 0;
  }

  /** The labels that are painted somewhere, ascending. */
  labels() {
    const seen = new Uint8Array(256);
    for (const label of this.data) seen[label] = 1;
    return [...seen.keys()].filter((label) => label && seen[label]);
  }

  /** Paint a stroke from one place to another; gives the box [x, y, width, height] it touched. */
  stroke(x0, y0, x1, y1, radius, label) {
    const left = Math.max(0, Math.floor(Math.min(x0, x1) - radius));
    const right = Math.min(this.width - 1, Math.ceil(Math.max(x0, x1) + radius));
    const top = Math.max(0, Math.floor(Math.min(y0, y1) - radius));
    const bottom = Math.min(this.height - 1, Math.ceil(Math.max(y0, y1) + radius));
    const dx = x1 - x0, dy = y1 - y0, length = dx * dx + dy * dy;
    for (let y = top; y <= bottom; y += 1) {
      for (let x = left; x <= right; x += 1) {
        const along = length ? Math.max(0, Math.min(1, ((x - x0) * dx + (y - y0) * dy) / length)) : 0;
        const ex = x - x0 - along * dx, ey = y - y0 - along * dy;
        if (ex * ex + ey * ey <= radius * radius) this.data[y * this.width + x] = label;
      }
    }
    return [left, top, right - left + 1, bottom - top + 1];
  }

  /** Draw a box of it, or all of it, on a canvas of the same size. */
  draw(canvas, box = [0, 0, this.width, this.height], opacity = 0.5) {
    const [left, top, width, height] = box;
    if (width <= 0 || height <= 0) return;
    const image = new ImageData(width, height);
    for (let y = 0; y < height; y += 1) {
      for (let x = 0; x < width; x += 1) {
        const label = this.data[(top + y) * this.width + left + x];
        if (!label) continue;
        const [r, g, b] = colourOf(label);
        image.data.set([r, g, b, 255 * opacity], 4 * (y * width + x));
      }
    }
    canvas.getContext("2d").putImageData(image, left, top);
  }
}
