/** One server in the table. Made once; each beat writes only what it changes. */

import { h, mark, say } from "./dom.js";
import { stateOf } from "./fleet.js";
import { Spark } from "./spark.js";
import { count, millis, NOTHING, rate, span } from "./words.js";

export const VERBS = { cordon: "Cordon", uncordon: "Uncordon", drain: "Drain", abort: "Abort" };
const LATE = 6; // seconds; three missed beats

/** How far a drain is, in two short lines. Pure. */
export function drainWords({ to_move: all, moved, per_second: pace, eta_s: eta }) {
  if (moved >= all) return `${count(moved)} moved`;
  const rest = [eta > 0 && `about ${span(Math.ceil(eta))} left`, pace > 0 && `${rate(pace)}/s`].filter(Boolean);
  return [`${count(moved)} of ${count(all)} moved`, rest.join(", ")].filter(Boolean).join(",\n");
}

export class Row {
  #id;
  #url = h("a", { class: "url", target: "_blank", rel: "noopener noreferrer" });
  #state = h("span", { class: "word" });
  #bar = h("progress", { max: "1", value: "0" });
  #drain = h("span", { class: "sub" });
  #version = h("span");
  #up = h("span", { class: "sub" });
  #sessions = h("span");
  #spark = new Spark();
  #sends = h("span");
  #deliveries = h("span", { class: "sub" });
  #commit = h("span");
  #handshakes = h("span");
  #limit = h("span", { class: "sub" });
  #age = h("span");
  #verbs = {};
  #seen = false; // until the observer says so
  #latest = null;

  constructor(id) {
    this.#id = id;
    mark(this.#bar, "aria-label", `Moved away from ${id}`);
    for (const [verb, word] of Object.entries(VERBS)) {
      const named = { type: "button", "data-verb": verb, "data-server": id, "aria-label": `${word} ${id}` };
      this.#verbs[verb] = h("button", named, word);
    }
    this.element = h(
      "tr",
      { role: "row", "data-id": id },
      h("th", { role: "rowheader", scope: "row" }, h("span", { class: "id" }, h("bdi", {}, id)), this.#url),
      cell("state", "", this.#state, this.#bar, this.#drain),
      cell("version", "Version", this.#version, this.#up),
      cell("people", "People", this.#sessions, this.#spark.element),
      cell("number", "Messages/s", this.#sends, this.#deliveries),
      cell("number", "Commit p99", this.#commit),
      cell("number wide", "Handshakes/s", this.#handshakes, this.#limit),
      cell("number", "Last beat", this.#age),
      cell("verbs", "", h("div", {}, ...Object.values(this.#verbs))),
    );
  }

  show(server, now) {
    const state = stateOf(server);
    mark(this.element, "data-state", server.state);
    say(this.#url, server.url.replace(/^https?:\/\//, ""));
    mark(this.#url, "href", /^https?:\/\//.test(server.url) ? server.url : null);
    mark(this.#state, "data-tone", state.tone);
    say(this.#state, state.word);
    this.#showDrain(server.drain);
    say(this.#version, server.version);
    const up = server.started_at > 0 && server.state !== "down" && server.state !== "stopped";
    say(this.#up, up ? `up ${span(now - server.started_at)}` : "");
    say(this.#sessions, count(server.sessions));
    say(this.#sends, rate(server.sends_per_second));
    say(this.#deliveries, `${rate(server.deliveries_per_second)} out`);
    say(this.#commit, server.commit_p99_ms > 0 ? millis(server.commit_p99_ms) : NOTHING);
    say(this.#handshakes, count(server.handshakes_peak));
    say(this.#limit, server.handshakes_per_second > 0 ? `of ${count(server.handshakes_per_second)}` : "");
    say(this.#age, server.age_s < 2.5 ? "now" : `${span(server.age_s)} ago`);
    mark(this.#age, "class", server.age_s >= LATE && server.state !== "stopped" ? "late" : null);
    this.#offer(state.verbs);
    this.#latest = [server.history, now];
    if (this.#seen) this.#draw();
  }

  /** Whether it is in view: a line that nobody sees is not drawn. */
  set seen(seen) {
    this.#seen = seen;
    if (seen && this.#latest) this.#draw();
  }

  #draw() {
    this.#spark.show(...this.#latest);
  }

  #offer(verbs) {
    const focused = Object.values(this.#verbs).includes(document.activeElement) ? document.activeElement : null;
    for (const [verb, button] of Object.entries(this.#verbs)) button.hidden = !verbs.includes(verb);
    if (focused?.hidden) this.#verbs[verbs[0]]?.focus(); // the keyboard stays with the server whose state it changed
  }

  #showDrain(drain) {
    this.#bar.hidden = drain === null;
    say(this.#drain, drain === null ? "" : drainWords(drain));
    if (drain === null) return;
    mark(this.#bar, "max", String(Math.max(1, drain.to_move)));
    mark(this.#bar, "value", String(Math.min(drain.moved, Math.max(1, drain.to_move))));
  }
}

/** `label` is what the column's head says, for cards on a phone, where there is no head. */
function cell(kind, label, ...content) {
  return h("td", { role: "cell", class: kind, "data-label": label || null }, ...content);
}
