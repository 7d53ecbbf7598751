/** What happened, newest first, as the tower tells it. */

import { h } from "./dom.js";
import { clock, large } from "./words.js";

const KEPT = 200; // notes; a night of a fleet that is left alone has fewer
const LEVELS = { warning: "Warning", error: "Error" };

export class Notes {
  #list;
  #none;
  #known = new Set();

  /** @param {HTMLElement} list @param {HTMLElement} none said while there is nothing */
  constructor(list, none) {
    this.#list = list;
    this.#none = none;
  }

  /**
   * @param {{at: number, level: string, text: string}} note one that was told before is told once
   * @param {string[]} ids the servers', which are called as they are called
   */
  add({ at, level, text }, ids) {
    const key = `${at} ${text}`;
    if (this.#known.has(key)) return;
    this.#known.add(key);
    const line = h(
      "li",
      { "data-level": level, "data-at": String(at) },
      h("time", {}, clock(at)),
      h("span", {}, LEVELS[level] && h("b", {}, `${LEVELS[level]}: `), large(text, ids)),
    );
    const older = [...this.#list.children].find((child) => Number(child.dataset.at) <= at) ?? null;
    this.#list.insertBefore(line, older);
    while (this.#list.children.length > KEPT) this.#list.lastChild.remove();
    if (this.#known.size > 4 * KEPT) this.#known = new Set([...this.#known].slice(-2 * KEPT));
    this.#none.hidden = true;
    this.#list.hidden = false;
  }
}
