// The page: tabs, the model picker, messages, files that are dropped and pasted.
// A tab is a module whose default export makes it:
//   export default function create(panel, studio) {
//     …
//     return { take(files), shown(), model(), undo(), redo(), part() };  // all may be left out
//   }

import { request } from "./api.js";
import { h } from "./dom.js";
import annotate from "./annotate.js";
import follow from "./follow.js";
import inspect from "./inspect.js";
import move from "./move.js";

const MAKERS = { move, annotate, follow, inspect };
const KEEP_AFTER = 400; // milliseconds
const KEEP_AGAIN = 3000; // if the studio does not answer

/** What a tab is given. */
class Studio {
  #session; #models = []; #chosen = {}; #unkept = new Set(); #sent = null; #timer = 0;

  constructor(session) { this.#session = session; }

  /** Largest files, photos and videos: {megabytes, megapixels, seconds}. */
  get limits() { return this.#session.limits; }

  /** The files of the session as it was loaded, with `kind`: "photo", "video", …. */
  get files() { return this.#session.files; }

  /** What `keep` was given last, also before the page was reloaded; undefined if nothing. */
  state(tab) { return this.#session.states[tab] ?? undefined; }

  /** Keep plain JSON for a tab, in the session; written a moment later. */
  keep(tab, state) {
    this.#session.states[tab] = state;
    this.#unkept.add(tab);
    this.#write(KEEP_AFTER);
  }

  /** Write what waits to be kept, as the page goes away. */
  flush() {
    if (this.#sent) this.#unkept.add(this.#sent); // the browser may drop it
    for (const tab of this.#unkept) this.#put(tab, true).catch(() => {});
  }

  /** Write what is not kept yet, one after the other: a later state never arrives before an earlier one. */
  #write(after) {
    document.body.dataset.keeping = ""; // until all is kept
    clearTimeout(this.#timer);
    if (this.#sent) return;
    this.#timer = setTimeout(async () => {
      let again = KEEP_AFTER;
      for (const tab of [...this.#unkept]) {
        this.#unkept.delete(tab);
        this.#sent = tab;
        try {
          await this.#put(tab);
        } catch (error) { // told by the next request that matters
          if (error.status) continue; // refused, as it would be the next time
          this.#unkept.add(tab);
          again = KEEP_AGAIN;
        }
      }
      this.#sent = null;
      if (this.#unkept.size) this.#write(again);
      else delete document.body.dataset.keeping;
    }, after);
  }

  #put(tab, last = false) {
    return request("PUT", "/api/states", { tab, state: this.#session.states[tab] }, { last });
  }

  /** Whether the models are not known yet; then `model()` of the tabs is called. */
  loading = true;

  /** The models, see `GET /api/models`: [{name, label, about, unfit: {tab: reason}}]. */
  get models() { return this.#models; }
  set models(models) { this.#models = models; }

  /** The name of the model that is chosen for a tab; undefined if none fits, or before it is known. */
  model(tab) {
    const fits = this.#models.filter((model) => !(tab in model.unfit));
    const wanted = fits.find((model) => model.name === this.#chosen[tab]) 
      ?? (tab === "follow" ? fits.find((model) => model.preferred) : undefined) ?? fits[0];
    return wanted?.name;
  }

  choose(tab, name) { this.#chosen[tab] = name; }

  /** To be called by a tab when its `part()` is another one: the picker shows what fits that. */
  partChanged = () => {};

  /** Show a sentence; `kind` is "bad" for what went wrong. */
  say(message, kind = "") {
    const box = document.getElementById("messages");
    for (const old of [...box.children]) if (old.firstChild.textContent === message) old.remove();
    const line = h("div", { class: kind }, h("span", {}, message),
      h("button", { type: "button", "aria-label": "Close", onclick: () => line.remove() }, "×"));
    box.append(line);
    setTimeout(() => line.remove(), kind === "bad" ? 15000 : 6000);
  }

  /** Say what an error is; what was cancelled is none. */
  failed(error) {
    if (error.name === "AbortError") return;
    if (error.status === 401) setTimeout(() => location.reload(), 2500);
    this.say(error.message, "bad");
    if (error.status === undefined) console.error(error);
  }
}

async function start() {
  let session;
  try {
    session = await request("GET", "/api/session");
  } catch (error) {
    if (error.status === 401) location.reload();
    document.querySelector("main").append(h("p", { class: "notice" }, error.message));
    return;
  }
  const studio = new Studio(session);
  const tabs = {};
  for (const [name, make] of Object.entries(MAKERS)) {
    tabs[name] = make(document.getElementById(`panel-${name}`), studio) ?? {};
  }
  let active;

  function open(name, focus = false) {
    if (!(name in MAKERS)) name = "move";
    active = name;
    for (const tab of Object.keys(MAKERS)) {
      const button = document.getElementById(`tab-${tab}`);
      button.setAttribute("aria-selected", tab === name);
      button.tabIndex = tab === name ? 0 : -1;
      if (tab === name && focus) button.focus();
      document.getElementById(`panel-${tab}`).hidden = tab !== name;
    }
    if (location.hash !== `#${name}`) history.replaceState(null, "", `#${name}`);
    showModels();
    tabs[name].shown?.();
  }

  const picker = document.getElementById("model");
  const part = () => tabs[active].part?.() ?? active;
  function showModels() {
    if (!studio.models.length) return;
    picker.disabled = false;
    picker.replaceChildren(...studio.models.map((model) => {
      const reason = model.unfit[part()];
      return h("option", { value: model.name, disabled: Boolean(reason), title: reason ?? model.about },
        reason ? `${model.label} – ${reason}` : model.label);
    }));
    picker.value = studio.model(part()) ?? "";
    picker.title = studio.models.find((model) => model.name === picker.value)?.about ?? "";
  }
  picker.addEventListener("change", () => {
    studio.choose(part(), picker.value);
    showModels();
    tabs[active].model?.();
  });

  const nav = document.querySelector("nav");
  nav.addEventListener("click", (event) => {
    const name = event.target.closest("[data-tab]")?.dataset.tab;
    if (name) open(name);
  });
  nav.addEventListener("keydown", (event) => {
    const names = Object.keys(MAKERS), at = names.indexOf(active);
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (step) open(names[(at + step + names.length) % names.length], true);
  });
  window.addEventListener("hashchange", () => open(location.hash.slice(1)));
  window.addEventListener("keydown", (event) => {
    if (!(event.ctrlKey || event.metaKey) || event.target.matches?.("input[type=text], textarea")) return;
    const key = event.key.toLowerCase();
    const what = key === "z" ? (event.shiftKey ? "redo" : "undo") : key === "y" ? "redo" : null;
    if (!what || !tabs[active][what]) return;
    event.preventDefault();
    tabs[active][what]();
  });
  window.addEventListener("pagehide", () => studio.flush());

  studio.partChanged = showModels;
  takeFiles((files) => tabs[active].take?.(files));
  open(location.hash.slice(1));
  try {
    studio.models = (await request("GET", "/api/models")).models;
    showModels();
  } catch (error) {
    studio.failed(error);
  } finally {
    studio.loading = false;
  }
  for (const tab of Object.values(tabs)) tab.model?.();
}

/** Files that are dropped anywhere on the page or pasted. */
function takeFiles(take) {
  let depth = 0;
  const main = document.querySelector("main");
  const hasFiles = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");
  const mark = (by) => { depth = Math.max(0, depth + by); main.classList.toggle("dropping", depth > 0); };
  window.addEventListener("dragenter", (event) => hasFiles(event) && mark(1));
  window.addEventListener("dragleave", (event) => hasFiles(event) && mark(-1));
  window.addEventListener("dragover", (event) => hasFiles(event) && event.preventDefault());
  window.addEventListener("drop", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    mark(-Infinity);
    take([...event.dataTransfer.files]);
  });
  window.addEventListener("paste", (event) => {
    const files = [...(event.clipboardData?.files ?? [])];
    if (!files.length) return;
    event.preventDefault();
    take(files);
  });
}

start();
