/** What is wrong now, in plain words, or the one calm line; and said aloud when it becomes something else. */

import { calm } from "./fleet.js";
import { h, mark, say } from "./dom.js";
import { clock, count, counted, sentence } from "./words.js";

const SHOWN = 8; // of a fleet in which everything is wrong; the table has the rest

/**
 * The lines, and how bad it is. Pure.
 *
 * @param {{servers: object[], wrong: string[]} | null} fleet null before the first
 * @param {number | null} heardAt Unix seconds of the last data, if they are too old to be believed
 * @returns {{tone: "quiet" | "good" | "busy" | "bad", title: string, lines: string[]}}
 */
export function wrongWords(fleet, heardAt) {
  if (fleet === null) return { tone: "quiet", title: "Asking the tower how the fleet is", lines: [] };
  const ids = fleet.servers.map(({ id }) => id);
  const wrong = fleet.wrong.map((line) => sentence(line, ids));
  if (heardAt !== null) {
    const line = "Servers go on without it. What stands below is how it was then.";
    return { tone: "bad", title: `Nothing has come from the tower since ${clock(heardAt)}.`, lines: [line, ...wrong] };
  }
  const { servers } = fleet;
  if (wrong.length === 1) return { tone: "bad", title: wrong[0], lines: [] };
  if (wrong.length > 1) return { tone: "bad", title: `${counted(wrong.length, "thing")} are wrong`, lines: wrong };
  const title = calm(servers);
  const alive = servers.some(({ state }) => state !== "stopped");
  const well = alive && servers.every(({ state }) => state === "ready" || state === "stopped");
  return { tone: well ? "good" : alive ? "busy" : "quiet", title, lines: [] };
}

/** The same words without their running figures: "silent for 14 s" and "for 16 s" is no news to a listener. Pure. */
export function withoutFigures(words) {
  return [words.title, ...words.lines].join(". ").replace(/\d[\d,.]*(?= ?(ms|s|min|h|days|%)\b)/g, "#");
}

export class Wrong {
  #title = h("p", { class: "title" });
  #list = h("ul");
  #more = h("p", { class: "hint" });
  #section;
  #spoken;
  #last = "";

  /** @param {HTMLElement} section @param {HTMLElement} spoken a polite live region */
  constructor(section, spoken) {
    this.#section = section;
    this.#spoken = spoken;
    section.append(h("span", { class: "sign", "aria-hidden": "true" }), h("div", {}, this.#title, this.#list, this.#more));
  }

  show(words) {
    mark(this.#section, "data-tone", words.tone);
    say(this.#title, words.title);
    const lines = words.lines.slice(0, SHOWN);
    while (this.#list.children.length > lines.length) this.#list.lastChild.remove();
    while (this.#list.children.length < lines.length) this.#list.append(h("li"));
    for (const [i, line] of lines.entries()) say(this.#list.children[i], line);
    this.#list.hidden = lines.length === 0;
    this.#more.hidden = words.lines.length <= SHOWN;
    say(this.#more, this.#more.hidden ? "" : `and ${count(words.lines.length - SHOWN)} more`);
    const heard = withoutFigures(words);
    if (heard !== this.#last && this.#last !== "") say(this.#spoken, [words.title, ...lines].join(". "));
    this.#last = heard;
  }
}
