/**
 * Says new messages to screen readers, politely and not each of a flood.
 *
 * The log itself is silent (aria-live="off"): it is virtual, so scrolling back adds rows that are not news at all.
 */

const GATHER_MS = 800; // what comes within this is said together
const SPOKEN = 3; // messages said in full; of more, only how many
const CHARS = 200; // of one message

export class Announcer {
  #element;
  #waiting = [];
  #timer = null;

  /** @param {HTMLElement} element with aria-live="polite" */
  constructor(element) {
    this.#element = element;
  }

  say(text) {
    this.#waiting.push(text.length > CHARS ? `${text.slice(0, CHARS)}…` : text);
    this.#timer ??= setTimeout(() => this.#speak(), GATHER_MS);
  }

  #speak() {
    this.#timer = null;
    const all = this.#waiting.splice(0);
    this.#element.textContent = all.length > SPOKEN ? `${all.length} new messages` : all.join(". ");
  }
}
