// Runs of this machine: a list, and one or two of them with metrics, settings and figures.

import { request } from "./api.js";
import { h } from "./dom.js";

export default function create(studio, kept, keepState) {
  let chosen = kept.chosen ?? [];
  let runs = [];
  const list = h("div"), details = h("div");
  const main = h("div", { class: "page" }, list, details);
  const tools = h("div", { class: "row flat" }, h("button", { type: "button", onclick: load }, "Look again"));

  async function load() {
    try {
      const answer = await request("GET", "/api/inspect/runs");
      runs = answer.runs;
      chosen = chosen.filter((name) => runs.some((run) => run.name === name));
      showList(answer.folder);
      await showChosen();
    } catch (error) {
      studio.failed(error);
    }
  }

  function showList(folder) {
    if (!runs.length) {
      list.replaceChildren(h("p", { class: "notice" }, `There are no runs in the folder ${folder} yet. Train one, or start the studio with runs=<folder>.`));
      return;
    }
    const heads = ["", "Run", "Experiment", "Method", "Steps", "State", "Main metric", "When", "Size"];
    list.replaceChildren(
      h("p", { class: "quiet" }, "Tick one run to see it, two to see them side by side."),
      h("div", { class: "scroll" }, h("table", { class: "runs" },
        h("thead", {}, h("tr", {}, heads.map((text) => h("th", { scope: "col" }, text)))),
        h("tbody", {}, runs.map((run) => h("tr", {},
          h("td", {}, h("input", { type: "checkbox", "aria-label": run.name, checked: chosen.includes(run.name), onchange: () => choose(run.name) })),
          h("td", {}, run.name), h("td", {}, run.experiment), h("td", {}, run.method),
          h("td", { class: "number" }, run.steps === null ? "" : run.max_steps ? `${run.steps} of ${run.max_steps}` : `${run.steps}`),
          h("td", {}, run.state),
          h("td", {}, run.value === null ? "" : `${run.monitor} ${short(run.value)}`),
          h("td", {}, new Date(run.time * 1000).toLocaleString()),
          h("td", { class: "number" }, `${(run.size / 1e6).toFixed(1)} MB`)))))));
  }

  /** Of more than two the oldest choice goes. */
  function choose(name) {
    chosen = chosen.includes(name) ? chosen.filter((one) => one !== name) : [...chosen, name].slice(-2);
    for (const box of list.querySelectorAll("input")) box.checked = chosen.includes(box.getAttribute("aria-label"));
    keepState({ chosen });
    showChosen();
  }

  async function showChosen() {
    if (!chosen.length) return details.replaceChildren();
    try {
      const answer = await request("POST", "/api/inspect/runs", { runs: chosen });
      details.replaceChildren(metrics(answer.runs), ...settings(answer), ...figures(answer.runs));
    } catch (error) {
      details.replaceChildren();
      studio.failed(error);
    }
  }

  function metrics(shown) {
    const names = [...new Set(shown.flatMap((run) => Object.keys(run.metrics)))].sort();
    const columns = shown.flatMap((run) => [run.name, "before training"]);
    if (!names.length) return h("p", { class: "quiet" }, "No metrics are written yet.");
    return h("section", {}, h("h2", {}, "Metrics"), h("div", { class: "scroll" }, h("table", {},
      h("thead", {}, h("tr", {}, h("th", {}), columns.map((text) => h("th", { scope: "col" }, text)))),
      h("tbody", {}, names.map((name) => h("tr", { class: shown.some((run) => run.monitor === name) ? "main-metric" : null },
        h("th", { scope: "row" }, name),
        shown.flatMap((run) => [short(run.metrics[name]), short(run.untrained[name])])
          .map((text) => h("td", { class: "number" }, text))))))));
  }

  function settings({ runs: shown, differences }) {
    if (shown.length < 2) return [];
    const rows = differences.map(([key, a, b]) => h("tr", {}, h("th", { scope: "row" }, key), h("td", {}, a ?? "–"), h("td", {}, b ?? "–")));
    return [h("section", {}, h("h2", {}, "Settings that differ"),
      rows.length ? h("div", { class: "scroll" }, h("table", {},
        h("thead", {}, h("tr", {}, h("th", {}), shown.map((run) => h("th", { scope: "col" }, run.name)))),
        h("tbody", {}, rows))) : h("p", { class: "quiet" }, "None."))];
  }

  /** The figures of the last step that each run has drawn. */
  function figures(shown) {
    const columns = shown.map((run) => {
      const last = run.figures.at(-1)?.slice(0, run.figures.at(-1).indexOf("_", 5) + 1);
      const pictures = run.figures.filter((name) => name.startsWith(last));
      return h("div", {}, h("h3", {}, run.name), pictures.map((name) => h("figure", {},
        h("img", { loading: "lazy", alt: name, src: `/api/inspect/figure?run=${encodeURIComponent(run.name)}&name=${encodeURIComponent(name)}` }),
        h("figcaption", { class: "quiet" }, name.replace(/\.png$/, "").replaceAll("_", " ")))),
      pictures.length ? null : h("p", { class: "quiet" }, "No figures."));
    });
    return [h("section", {}, h("h2", {}, "Figures"), h("div", { class: "columns" }, columns))];
  }

  return { main, tools, shown: load };
}

/** A number in as many digits as one reads; empty for none. */
function short(value) {
  if (value === undefined || value === null) return "";
  if (Number.isInteger(value)) return `${value}`;
  return Math.abs(value) >= 1e4 || Math.abs(value) < 1e-3 ? value.toExponential(2) : `${Number(value.toPrecision(4))}`;
}
