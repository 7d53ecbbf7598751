/** A rollout as it happens, and those of before. */

import { h, mark, say } from "./dom.js";
import { headline, places, told, verdict, versionsOf, worthTelling } from "./rollout.js";
import { clock, counted, moment } from "./words.js";

const WORDS = { waits: "waits", now: "in progress", done: "done", failed: "failed" };

export class Story {
  #section;
  #title = h("h2");
  #verdict = h("p", { class: "verdict" });
  #places = h("ol", { class: "places", "aria-label": "Servers of the rollout" });
  #steps = h("ol", { class: "steps", "aria-label": "What happened, newest first", tabindex: "0" });
  #key = "";

  /** @param {HTMLElement} section */
  constructor(section) {
    this.#section = section;
    section.append(h("header", {}, this.#title, this.#verdict), this.#places, this.#steps);
  }

  /** @param {object | null} rollout */
  show(rollout, now) {
    this.#section.hidden = rollout === null;
    if (rollout === null) return;
    mark(this.#section, "data-state", rollout.state);
    say(this.#title, headline(rollout));
    say(this.#verdict, verdict(rollout, now));
    const key = `${rollout.id} ${rollout.state} ${rollout.steps.length} ${rollout.steps.at(-1)?.at}`;
    if (key === this.#key) return;
    this.#key = key;
    this.#places.replaceChildren(
      ...places(rollout).map(({ index, server, stage }) => {
        const name = server || `server ${index}`;
        return h("li", { "data-stage": stage }, h("span", { class: "name" }, name), h("span", { class: "unseen" }, ` ${WORDS[stage]}`));
      }),
    );
    this.#steps.replaceChildren(...worthTelling(rollout).toReversed().map((step) => stepLine(step, rollout)));
  }
}

function stepLine(step, rollout) {
  const { text, tone } = told(step, rollout);
  return h("li", { "data-tone": tone || null }, h("time", {}, clock(step.at)), h("span", {}, text));
}

/** The rollouts of before, with how each ended. */
export class Past {
  #list;
  #tally;
  #none;

  /** @param {HTMLElement} list @param {HTMLElement} tally @param {HTMLElement} none said when there is none */
  constructor(list, tally, none) {
    this.#list = list;
    this.#tally = tally;
    this.#none = none;
  }

  /** @param {object[]} rollouts newest first @param {number} limit as many as were asked for */
  show(rollouts, limit, now) {
    const ended = rollouts.filter(({ state }) => state !== "running");
    say(this.#tally, ended.length >= limit ? `${limit} and more` : String(ended.length || ""));
    this.#none.hidden = ended.length > 0;
    this.#list.hidden = ended.length === 0;
    this.#list.replaceChildren(
      ...ended.map((rollout) => {
        const what = [versionsOf(rollout), rollout.servers > 0 && counted(rollout.servers, "server")].filter(Boolean);
        return h(
          "li",
          { "data-state": rollout.state },
          h("p", { class: "head" }, h("span", {}, what.join(", ") || "A redeploy"), h("time", {}, moment(rollout.began_at, now))),
          h("p", { class: "what" }, verdict(rollout, now)),
        );
      }),
    );
  }
}
