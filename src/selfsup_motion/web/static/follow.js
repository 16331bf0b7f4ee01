// The tab Follow.

import { h } from "./dom.js";

export default function create(panel) {
  panel.append(h("p", { class: "notice" }, "This tab is not here yet."));
}
