// The bar below a video: frame by frame, with what is painted and how far it is followed.

import { h, icon } from "./dom.js";

export class Timeline {
  #input; #told; #marks; #frames = 1; #fps = 25; #at = 0; #go; #playing = null; #play;

  /** `go(number)` is called with the frame that somebody wants to see. */
  constructor(go) {
    this.#go = go;
    this.#input = h("input", { type: "range", min: 0, max: 0, step: 1, "aria-label": "Frame",
      oninput: () => this.#want(Number(this.#input.value)) });
    this.#told = h("output", {});
    this.#marks = h("canvas", { class: "marks-bar", width: 1000, height: 6, "aria-hidden": "true" });
    const step = (text, name, by) => h("button", { type: "button", "aria-label": text, title: text,
      onclick: () => this.#want(this.#at + by) }, name);
    this.#play = h("button", { type: "button", "aria-label": "Play", title: "Play", onclick: () => this.#toggle() }, icon("play"));
    this.element = h("div", { class: "timeline" },
      this.#play, step("One frame back", "‹", -1), step("One frame on", "›", 1),
      h("div", { class: "track" }, this.#input, this.#marks), this.#told);
  }

  /** A video of so many frames. */
  open(frames, fps) {
    this.#stop();
    this.#frames = frames;
    this.#fps = fps;
    this.#input.max = frames - 1;
    this.at(0);
  }

  /** Show that a frame is on the page. */
  at(number) {
    this.#at = number;
    this.#input.value = number;
    this.#told.textContent = `${number} / ${this.#frames - 1}`;
  }

  /** Colour the frames that are followed, and those in which something is painted. */
  mark({ first, done }, painted) {
    const canvas = this.#marks, context = canvas.getContext("2d");
    const place = (number) => number / Math.max(1, this.#frames - 1) * canvas.width;
    context.clearRect(0, 0, canvas.width, canvas.height);
    if (done > first) {
      context.fillStyle = "#4f8bd5";
      context.fillRect(place(first), 1, Math.max(2, place(done - 1) - place(first)), 4);
    }
    context.fillStyle = "#ffb000";
    for (const number of painted) context.fillRect(Math.min(canvas.width - 6, Math.max(0, place(number) - 3)), 0, 6, 6);
  }

  #want(number) {
    const wanted = Math.max(0, Math.min(this.#frames - 1, number));
    if (wanted !== this.#at) this.#go(wanted);
  }

  #toggle() {
    if (this.#playing) return this.#stop();
    this.#play.replaceChildren(icon("stop"));
    this.#playing = setInterval(() => {
      if (this.#at >= this.#frames - 1) this.#stop();
      else this.#go(this.#at + 1);
    }, 1000 / Math.min(this.#fps, 30));
  }

  #stop() {
    clearInterval(this.#playing);
    this.#playing = null;
    this.#play.replaceChildren(icon("play"));
  }
}
