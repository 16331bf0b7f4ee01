// A video as an encoder of clips sees it: which motion it finds, and where.

import { events, fileUrl, request, upload } from "./api.js";
import { h, select, showSent } from "./dom.js";

const PART = "inspect.motion";

export default function create(studio, kept, keepState) {
  const settings = { stride: 1, motion: "", ...kept.settings };
  let video = kept.video ?? null, running = null;

  const input = h("input", { type: "file", accept: "video/*,.mkv", hidden: true,
    onchange: () => { if (input.files.length) send(input.files[0]); input.value = ""; } });
  const sending = h("progress", { max: 1, hidden: true });
  const { megabytes, seconds } = studio.limits;
  const missing = h("p", {}, "It needs a run of MoSI: python -m selfsup_motion.train experiment=mosi");
  const empty = h("div", { class: "empty" },
    h("p", { class: "big" }, "See where motion is found"),
    h("p", {}, "Drop a video here or choose one. It stays on the machine that runs this studio."),
    h("div", { class: "row" },
      h("button", { type: "button", class: "main", onclick: () => input.click() }, "Choose a video"),
      h("button", { type: "button", onclick: example }, "Take the example")), sending, missing,
    h("p", { class: "quiet" }, `MP4, MOV, WebM, MKV or AVI, up to ${Math.round(seconds / 6) / 10} minutes and ${megabytes} MB.`), input);
  const film = h("video", { loop: true, controls: true, playsinline: true, "aria-label": "The video with what was found" });
  film.muted = film.autoplay = true;
  const picture = h("img", { alt: "A frame with what was found", hidden: true });
  const stage = h("div", { class: "cinema" }, picture, film);
  const main = h("div", { class: "surface" }, empty, stage);

  const name = h("p", { class: "quiet" });
  const motions = select("Motion", [["", "the likeliest"]], "", (value) => { settings.motion = value; keep(); });
  const start = h("button", { type: "button", class: "main", onclick: run }, "Find motion");
  const cancel = h("button", { type: "button", hidden: true, onclick: () => running?.abort() }, "Cancel");
  const busy = h("progress", { max: 1, hidden: true });
  const rows = h("tbody");
  const table = h("table", { hidden: true }, h("thead", {}, h("tr", {}, ["Second", "Motion", "Probability"].map((text) => h("th", { scope: "col" }, text)))), rows);
  const explained = h("p", { class: "quiet" }, "x is sideways, y up or down; the number is the speed, in pixels a frame as the network sees it.");
  const side = h("aside", { class: "side" },
    h("h2", {}, "Video"), name,
    select("Frames", [["1", "every one"], ["2", "every second"], ["4", "every fourth"]], `${settings.stride}`, (value) => { settings.stride = Number(value); keep(); }),
    motions, h("div", { class: "row" }, start, cancel), busy,
    h("h2", {}, "What each clip moves like"), explained, table);
  const again = h("button", { type: "button", onclick: () => input.click() }, "Another video");
  const tools = h("div", { class: "row flat" }, again);

  function keep() { keepState({ settings, video }); }

  function show() {
    const model = studio.model(PART);
    missing.hidden = Boolean(model) || !studio.models.length;
    empty.hidden = Boolean(video);
    again.hidden = explained.hidden = !video;
    stage.hidden = !video;
    start.disabled = !video || !model;
    name.textContent = video ? `${video.name}: ${video.frames} frames, ${video.seconds} s.` : "None yet.";
    if (video && !model && studio.models.length) name.textContent += " There is no run of MoSI to look at it with.";
  }

  async function send(file) {
    sending.hidden = false;
    try {
      open(await upload("/api/inspect/video", file, { progress: (share) => showSent(sending, share) }));
    } catch (error) {
      studio.failed(error);
    } finally {
      sending.hidden = true;
    }
  }

  async function example() {
    showSent(sending);
    try {
      open(await request("POST", "/api/inspect/example-video"));
    } catch (error) {
      studio.failed(error);
    } finally {
      sending.hidden = true;
    }
  }

  function open(taken) {
    running?.abort();
    video = taken;
    film.removeAttribute("src");
    film.hidden = picture.hidden = table.hidden = true;
    rows.replaceChildren();
    keep();
    show();
    if (studio.model(PART)) run();
  }

  async function run() {
    running?.abort();
    const own = running = new AbortController();
    rows.replaceChildren();
    busy.hidden = cancel.hidden = table.hidden = false;
    busy.removeAttribute("value");
    film.hidden = true;
    const body = { video: video.id, model: studio.model(PART), stride: settings.stride, motion: settings.motion };
    try {
      for await (const event of events("/api/inspect/evidence", body, { signal: own.signal })) {
        if (event.progress) busy.value = event.progress[0] / event.progress[1];
        if (event.clip) rows.append(h("tr", {},
          h("td", { class: "number" }, event.clip.second.toFixed(1)), h("td", {}, event.clip.motion),
          h("td", { class: "number" }, `${Math.round(100 * event.clip.probability)} %`)));
        if (event.picture) {
          picture.src = event.picture;
          picture.hidden = false;
        }
        if (event.film) {
          film.src = fileUrl(event.film);
          film.hidden = false;
          picture.hidden = true;
        }
      }
    } catch (error) {
      if (error.status === 404 && /clip/.test(error.message)) {
        video = null; // of a session that has ended
        keep();
        show();
      } else studio.failed(error);
    } finally {
      if (running === own) busy.hidden = cancel.hidden = true;
    }
  }

  async function model() {
    show();
    const wanted = studio.model(PART);
    if (!wanted || main.hidden) return;
    try {
      const answer = await request("GET", `/api/inspect/motions?model=${encodeURIComponent(wanted)}`);
      if (settings.motion && !answer.motions.includes(settings.motion)) settings.motion = "";
      motions.querySelector("select").replaceChildren(
        ...["", ...answer.motions].map((motion) => h("option", { value: motion }, motion || "the likeliest")));
      motions.set(settings.motion);
    } catch (error) {
      studio.failed(error);
    }
  }

  film.hidden = true;
  show();
  return { main, tools, side, part: PART, take: (files) => send(files[0]), shown: model };
}
