/** The connection, truthfully, in one small place. */

import { h } from "./dom.js";
import { shortWait } from "./moments.js";

const TICK_MS = 250; // of the countdown: it never shows a second that is over

export class Badge {
  #element;
  #belfry;
  #ticking = null;
  #wasLive = false;

  /** @param {HTMLElement} element the role=status */
  constructor(element, belfry) {
    this.#element = element;
    this.#belfry = belfry;
    belfry.on("state", (state) => this.show(state));
  }

  show(state) {
    clearInterval(this.#ticking);
    this.#ticking = null;
    if (state.name === "live") this.#wasLive = true;
    this.#element.dataset.state = state.name;
    switch (state.name) {
      case "live":
        this.#say("Live");
        break;
      case "moving":
        this.#say("This server is being updated, moving you");
        break;
      case "offline":
        this.#say("Offline, your messages wait");
        break;
      case "waiting":
        this.#countDown(state.retryAt);
        break;
      case "stopped":
        this.#say("Disconnected");
        break;
      default:
        this.#say(this.#wasLive ? "Reconnecting…" : "Connecting…");
    }
  }

  #countDown(retryAt) {
    // Hidden from screen readers, to whom a region that changes each second would talk without end.
    const rest = h("span", { "aria-hidden": "true" });
    const now = h("button", { type: "button", class: "link", onclick: () => this.#belfry.reconnect() }, "now");
    const tick = () => {
      rest.textContent = ` in ${shortWait(Math.max(0, retryAt - Date.now()))}`;
    };
    tick();
    this.#ticking = setInterval(tick, TICK_MS);
    this.#say("Reconnecting", rest, " ", now);
  }

  #say(...words) {
    this.#element.replaceChildren(h("span", { class: "dot", "aria-hidden": "true" }), h("span", {}, ...words));
  }
}
