/** The connection to the tower, truthfully, in one small place. */

import { connectionWords } from "./connection.js";
import { h, mark, say } from "./dom.js";

export class Badge {
  #element;
  #text = h("span");
  #counting = h("span", { "aria-hidden": "true" });
  #now;
  #age = h("span", { class: "old", "aria-hidden": "true" });

  /**
   * @param {HTMLElement} element the role=status. What changes each second is hidden from screen readers, to whom it
   *   would talk without end.
   * @param {() => void} again try now
   */
  constructor(element, again) {
    this.#element = element;
    this.#now = h("button", { type: "button", class: "link", onclick: again, hidden: true });
    element.append(h("span", { class: "dot", "aria-hidden": "true" }), this.#text, this.#counting, this.#now, this.#age);
  }

  show(state, ageMs, now) {
    const words = connectionWords(state, ageMs, now);
    mark(this.#element, "data-tone", words.tone);
    mark(this.#element, "data-state", state.name);
    say(this.#text, words.text);
    say(this.#counting, words.counting);
    say(this.#age, words.age);
    this.#counting.hidden = words.counting === "";
    this.#age.hidden = words.age === "";
    this.#now.hidden = !words.now;
    say(this.#now, words.now ? "now" : "");
  }
}
