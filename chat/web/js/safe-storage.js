/**
 * A browser's localStorage that cannot fail: where it is forbidden or full, what is kept lives as long as the page.
 */
export class SafeStorage {
  #below;
  #memory = new Map();

  /** @param {() => Storage} open may throw, as merely touching localStorage can */
  constructor(open = () => globalThis.localStorage) {
    try {
      this.#below = open();
    } catch {
      this.#below = null;
    }
  }

  get length() {
    return this.#below?.length ?? this.#memory.size;
  }

  key(i) {
    return this.#below ? this.#below.key(i) : ([...this.#memory.keys()][i] ?? null);
  }

  getItem(key) {
    return this.#memory.get(key) ?? this.#below?.getItem(key) ?? null;
  }

  setItem(key, value) {
    try {
      if (!this.#below) throw new Error("no storage");
      this.#below.setItem(key, value);
      this.#memory.delete(key);
    } catch {
      this.#memory.set(key, value);
    }
  }

  removeItem(key) {
    this.#memory.delete(key);
    this.#below?.removeItem(key);
  }

  /** Remove every key that begins so. */
  clear(prefix) {
    const keys = Array.from({ length: this.length }, (_, i) => this.key(i));
    for (const key of keys) if (key?.startsWith(prefix)) this.removeItem(key);
    this.#memory.clear();
  }
}
