// Getting a photo: chosen, dropped, pasted, or the example. Used by the tabs that work on one photo.

import { request, upload, fileUrl } from "./api.js";
import { h, showSent } from "./dom.js";

/**
 * What stands in an empty surface, with the ways to get a photo.
 * `take(photo)` is given {id, name, width, height, view}; show `fileUrl(photo.view)`.
 */
export function photoChooser(studio, text, take) {
  const input = h("input", { type: "file", accept: "image/*", hidden: true,
    onchange: () => { if (input.files.length) send(input.files[0]); input.value = ""; } });
  const bar = h("progress", { max: 1, hidden: true });
  const { megabytes, megapixels } = studio.limits;
  const element = h("div", { class: "empty" },
    h("p", { class: "big" }, text),
    h("p", {}, "Drop a photo here, paste one, or choose one. It stays on the machine that runs this studio."),
    h("div", { class: "row" },
      h("button", { type: "button", class: "main", onclick: () => input.click() }, "Choose a photo"),
      h("button", { type: "button", onclick: example }, "Take the example")),
    bar,
    h("p", { class: "quiet" }, `JPEG, PNG, WebP, BMP or TIFF, up to ${megapixels} megapixels and ${megabytes} MB.`),
    input);

  async function send(file) {
    showSent(bar);
    try {
      take(await upload("/api/photos", file, { progress: (share) => showSent(bar, share) }));
    } catch (error) {
      studio.failed(error);
    } finally {
      bar.hidden = true;
    }
  }

  async function example() {
    showSent(bar);
    try {
      take(await request("POST", "/api/photos/example"));
    } catch (error) {
      studio.failed(error);
    } finally {
      bar.hidden = true;
    }
  }

  return { element, send, choose: () => input.click(), example };
}

/** Show a photo of the session on a surface. */
export async function showPhoto(surface, photo) {
  await surface.setImage(fileUrl(photo.view), photo.width, photo.height);
}
