/** A small line in the page. It is decoration: the figure beside it says how much it is now. */

import { mark, svg } from "./dom.js";
import { HEIGHT, paths, WIDTH } from "./sparkline.js";

export class Spark {
  #area = svg("path", { class: "area" });
  #line = svg("path", { class: "line" });

  constructor() {
    const viewBox = `0 0 ${WIDTH} ${HEIGHT}`;
    const attributes = { class: "spark", viewBox, preserveAspectRatio: "none", "aria-hidden": "true" };
    this.element = svg("svg", attributes, this.#area, this.#line);
  }

  show(points, now) {
    const { line, area } = paths(points, now);
    mark(this.#line, "d", line);
    mark(this.#area, "d", area);
  }
}
