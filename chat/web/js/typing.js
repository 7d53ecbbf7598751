/** Who types in the room that is shown, in a line above the composer. */

import { bdi } from "./dom.js";

const GOOD_MS = 5_000; // the server's word is good for this long

export class Typing {
  #element;
  #typists = new Map(); // id -> {name, timer}

  constructor(element) {
    this.#element = element;
  }

  started(user) {
    this.stopped(user.id);
    const timer = setTimeout(() => this.stopped(user.id), GOOD_MS);
    this.#typists.set(user.id, { name: user.name, timer });
    this.#show();
  }

  /** They stopped, or said what they typed. */
  stopped(id) {
    clearTimeout(this.#typists.get(id)?.timer);
    if (this.#typists.delete(id)) this.#show();
  }

  /** Another room. */
  clear() {
    for (const { timer } of this.#typists.values()) clearTimeout(timer);
    this.#typists.clear();
    this.#show();
  }

  #show() {
    const names = [...this.#typists.values()].map(({ name }) => bdi(name));
    if (names.length === 0) this.#element.replaceChildren();
    else if (names.length === 1) this.#element.replaceChildren(names[0], " is typing…");
    else if (names.length === 2) this.#element.replaceChildren(names[0], " and ", names[1], " are typing…");
    else this.#element.replaceChildren("Several people are typing…");
  }
}
