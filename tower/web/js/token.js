/** The admin token: for as long as this tab lives, and never in an address. */

const KEY = "belfry.tower.token";

export class Token {
  #storage;
  #value = null;

  /** @param {() => Storage} open may throw, as merely touching sessionStorage can; then it lives as long as the page */
  constructor(open = () => globalThis.sessionStorage) {
    try {
      this.#storage = open();
      this.#value = this.#storage.getItem(KEY);
    } catch {
      this.#storage = null;
    }
  }

  /** The token, or null. */
  get value() {
    return this.#value;
  }

  /** @param {string} token as it was pasted: whatever no token has in it, line breaks above all, is taken out */
  keep(token) {
    this.#value = token.replace(/[^\x21-\x7e]/g, "") || null;
    this.#write();
  }

  forget() {
    this.#value = null;
    this.#write();
  }

  #write() {
    try {
      if (this.#value === null) this.#storage?.removeItem(KEY);
      else this.#storage?.setItem(KEY, this.#value);
    } catch {
      this.#storage = null; // full, or forbidden since
    }
  }
}
