/** Each kind of row as an element. */

import { avatar } from "./avatar.js";
import { bdi, h, icon } from "./dom.js";
import { linkify } from "./links.js";
import { clockTime, dayName, fullMoment, shortTime } from "./moments.js";

const LINE = 24; // px of one line of text, as in css/log.css
const CHARS = 60; // in a line of a desktop's width; a phone's has half of them, and is measured soon enough

/** A first guess of a row's height, for rows that have not been in the page yet. */
export function estimate(row) {
  switch (row.kind) {
    case "message":
    case "own": {
      const text = row.message?.text ?? row.text;
      const lines = Math.ceil(text.length / CHARS) + (text.includes("\n") ? text.split("\n").length - 1 : 0);
      return LINE * Math.max(1, lines) + (row.head ? 36 : 4);
    }
    case "begin":
      return 150;
    default:
      return 44;
  }
}

export class RowView {
  #actions;

  /**
   * @param {{retry: Function, edit: Function, discard: Function, older: Function}} actions
   */
  constructor(actions) {
    this.#actions = actions;
  }

  render = (row) => {
    switch (row.kind) {
      case "message":
        return this.#message(row, row.message.from, row.message.text, row.message.ms);
      case "own":
        return this.#own(row);
      case "day":
        return h("div", { class: "row divider", role: "separator" }, h("span", {}, dayName(row.ms)));
      case "new":
        return h("div", { class: "row divider new", role: "separator" }, h("span", {}, "New messages"));
      case "gap":
        return h("div", { class: "row note" }, "This room was restored on its server. It may differ from what you saw before.");
      case "begin":
        return this.#begin(row);
      case "end":
        return h("div", { class: "row end", "aria-hidden": "true" });
      default:
        return this.#older(row);
    }
  };

  #message(row, from, text, ms, state = "") {
    const time = (words) => h("time", { datetime: new Date(ms).toISOString(), title: fullMoment(ms) }, words);
    // What sighted people see from the grouping is said to others for each message.
    const who = row.head
      ? h("div", { class: "who" }, bdi(from.name, { class: "name" }), time(clockTime(ms)))
      : h("div", { class: "who unseen" }, bdi(from.name), " ", time(clockTime(ms)));
    return h(
      "article",
      { class: `row message ${row.head ? "head" : "more"} ${state}` },
      row.head ? avatar(from) : h("span", { class: "at", "aria-hidden": "true" }, time(shortTime(ms))),
      h("div", { class: "said" }, who, body(text)),
    );
  }

  #own(row) {
    const element = this.#message(row, row.me, row.text, row.ms, row.state);
    const said = element.querySelector(".said");
    if (row.state === "pending") said.append(h("span", { class: "unseen" }, "Not delivered yet"));
    if (row.state === "refused") {
      const { retry, edit, discard } = this.#actions;
      const button = (label, action) =>
        h("button", { type: "button", class: "link", onclick: () => action(row.nonce, row.text) }, label);
      said.append(
        h(
          "div",
          { class: "refusal" },
          icon("alert"),
          h("span", {}, `Not delivered: ${sentence(row.refusal.message)}`),
          h("span", { class: "ways" }, button("Retry", retry), button("Edit", edit), button("Discard", discard)),
        ),
      );
    }
    return element;
  }

  #begin(row) {
    const words = row.spoken ? "This is where it begins." : "Nobody has said anything yet. The first word is yours.";
    return h("div", { class: "row begin" }, icon("bell"), h("h2", {}, bdi(row.title)), h("p", {}, words));
  }

  #older(row) {
    if (row.version !== "failed") return h("div", { class: "row note", "data-loading": true }, "Loading earlier messages…");
    const again = h("button", { type: "button", class: "link", onclick: () => this.#actions.older() }, "Try again");
    return h("div", { class: "row note" }, "Earlier messages could not be loaded. ", again);
  }
}

/** The text itself: its direction its own, its lines kept, its addresses links. */
function body(text) {
  const pieces = linkify(text).map(({ text: piece, href }) =>
    href ? h("a", { href, target: "_blank", rel: "noopener noreferrer", dir: "auto" }, piece) : piece,
  );
  return h("div", { class: "text", dir: "auto" }, ...pieces);
}

/** The server's words as a sentence of ours. */
function sentence(words) {
  const text = words.charAt(0).toLowerCase() + words.slice(1);
  return /[.!?]$/.test(text) ? text : `${text}.`;
}
