// The tab Inspect: what an encoder sees in photos, motion in a video, and runs of this machine.

import { h, toggle } from "./dom.js";
import photosView from "./inspect_photos.js";
import runsView from "./inspect_runs.js";
import videoView from "./inspect_video.js";

const TAB = "inspect";
const VIEWS = { photos: ["Photos", photosView], video: ["Video", videoView], runs: ["Runs", runsView] };

export default function create(panel, studio) {
  const state = { view: "photos", ...studio.state(TAB) };
  if (!(state.view in VIEWS)) state.view = "photos";
  const asked = new URLSearchParams(location.search).getAll("run").slice(0, 2);
  if (asked.length) {  // the address names runs: of `show=` of the studio
    state.view = "runs";
    state.runs = { ...state.runs, chosen: asked };
  }
  const bar = h("div", { class: "bar", role: "toolbar" });
  const work = h("div", { class: "work" }, bar);
  panel.append(work);

  /** Each view keeps its own part of the state. */
  const keep = (name) => (value) => { state[name] = value; studio.keep(TAB, state); };

  const views = {};
  for (const [name, [, make]] of Object.entries(VIEWS)) {
    views[name] = make(studio, state[name] ?? {}, keep(name));
    work.append(views[name].main);
    if (views[name].side) panel.append(views[name].side);
  }
  const buttons = Object.entries(VIEWS).map(([name, [text]]) =>
    toggle(text, null, () => choose(name), { "data-view": name }));
  bar.append(h("span", { class: "views" }, buttons), h("span", { class: "gap" }), ...Object.values(views).map((view) => view.tools));

  function choose(name) {
    show(name);
    studio.keep(TAB, state);
    studio.partChanged();
    views[name].shown?.();
  }

  function show(name) {
    state.view = name;
    for (const button of buttons) button.setAttribute("aria-pressed", button.dataset.view === name);
    for (const [key, view] of Object.entries(views)) {
      for (const element of [view.main, view.tools, view.side]) if (element) element.hidden = key !== name;
    }
  }
  show(state.view);

  return {
    part: () => views[state.view].part ?? TAB,
    take: (files) => views[state.view].take?.(files),
    shown: () => views[state.view].shown?.(),
    model: () => { if (!panel.hidden) views[state.view].shown?.(); },
  };
}
