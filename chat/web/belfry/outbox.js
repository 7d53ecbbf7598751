/**
 * What was said and is not acknowledged yet, in order, over reconnects and (with a storage) over reloads.
 *
 * An entry keeps its nonce for ever, so that sending it again is harmless: the server answers with the number of the
 * first time. One entry a room is in flight: were there more, a refused one would be overtaken by the next.
 * The price is one round trip a message, which nobody who types can notice.
 *
 * In the storage each entry has a key of its own. One list under one key would be simpler, but two tabs of one browser
 * would overwrite each other's; so they at worst both send the same entry, which is harmless too.
 */

export const CAPACITY = 200; // entries; at 4,000 characters of 2 bytes, 1.6 MB of the 5 MB a browser gives an origin

/**
 * @typedef {object} Entry
 * @property {string} nonce
 * @property {string} room
 * @property {string} text
 * @property {string | null} user who wrote it; null until somebody was welcomed
 * @property {number} order ascending
 * @property {string} at when it was written, RFC 3339
 * @property {"waiting" | "sent" | "refused"} state
 * @property {{code: string, message: string, temporary: boolean} | null} refusal
 * @property {number} attempts temporary refusals so far
 */

export class Outbox {
  /** @type {Map<string, Entry>} */
  #entries = new Map();
  #storage;
  #prefix;
  #lastOrder = 0;

  /**
   * @param {Pick<Storage, "getItem" | "setItem" | "removeItem" | "key" | "length"> | null} storage
   * @param {string} prefix of the storage keys
   */
  constructor(storage = null, prefix = "belfry.unsent.") {
    this.#storage = storage;
    this.#prefix = prefix;
    for (const entry of this.#stored()) this.#entries.set(entry.nonce, entry);
  }

  get size() {
    return this.#entries.size;
  }

  /** @returns {Entry | undefined} */
  entry(nonce) {
    return this.#entries.get(nonce);
  }

  /** All entries, or a room's, in order. @returns {Entry[]} */
  entries(room = null) {
    return [...this.#entries.values()]
      .filter((entry) => room === null || entry.room === room)
      .sort((a, b) => a.order - b.order);
  }

  /** @returns {Entry} */
  add({ nonce, room, text, user, now }) {
    this.#lastOrder = Math.max(this.#lastOrder + 1, now);
    const entry = { nonce, room, text, user, order: this.#lastOrder, at: new Date(now).toISOString() };
    Object.assign(entry, { state: "waiting", refusal: null, attempts: 0 });
    this.#entries.set(nonce, entry);
    this.#save(entry);
    return entry;
  }

  /** The entry to send now in this room, or null: none waits, or one is in flight. */
  next(room) {
    const open = this.entries(room).filter((entry) => entry.state !== "refused");
    return open.length > 0 && open[0].state === "waiting" ? open[0] : null;
  }

  /** The connection is gone: what was in flight may or may not have arrived, so it waits again. */
  rewind() {
    for (const entry of this.#entries.values()) if (entry.state === "sent") entry.state = "waiting";
  }

  /** It arrived, or is no longer wanted. */
  remove(nonce) {
    const entry = this.#entries.get(nonce);
    this.#entries.delete(nonce);
    this.#forget(nonce);
    return entry;
  }

  refuse(nonce, refusal) {
    const entry = this.#entries.get(nonce);
    entry.state = "refused";
    entry.refusal = refusal;
    this.#save(entry);
    return entry;
  }

  /** Let a refused entry try again, as the last of its room. */
  renew(nonce, user) {
    const entry = this.#entries.get(nonce);
    if (!entry || entry.state !== "refused") return null;
    this.#lastOrder += 1;
    Object.assign(entry, { state: "waiting", refusal: null, attempts: 0, order: this.#lastOrder });
    entry.user = user ?? entry.user;
    this.#save(entry);
    return entry;
  }

  /**
   * Somebody was welcomed: entries without a writer are theirs.
   * @returns {Entry[]} those that somebody else wrote; they must not go out under a wrong name unasked
   */
  claim(user) {
    const strangers = [];
    for (const entry of this.entries()) {
      if (entry.user === null) {
        entry.user = user;
        this.#save(entry);
      } else if (entry.user !== user && entry.state !== "refused") {
        strangers.push(entry);
      }
    }
    return strangers;
  }

  #stored() {
    const found = [];
    try {
      for (let i = 0; this.#storage && i < this.#storage.length; i += 1) {
        const key = this.#storage.key(i);
        if (!key?.startsWith(this.#prefix)) continue;
        const { nonce, room, text, user, order, at, refusal } = JSON.parse(this.#storage.getItem(key));
        if (typeof nonce !== "string" || typeof room !== "string" || typeof text !== "string") continue;
        const state = refusal ? "refused" : "waiting";
        found.push({ nonce, room, text, user: user ?? null, order, at, state, refusal: refusal ?? null, attempts: 0 });
      }
    } catch {
      return found; // a storage that is blocked or was meddled with costs what it held, not the page
    }
    for (const entry of found) this.#lastOrder = Math.max(this.#lastOrder, entry.order);
    return found;
  }

  #save(entry) {
    try {
      this.#storage?.setItem(this.#prefix + entry.nonce, JSON.stringify(entry));
    } catch {
      // Full or forbidden: the entry lives on in memory and is sent all the same; only a reload would lose it.
    }
  }

  #forget(nonce) {
    try {
      this.#storage?.removeItem(this.#prefix + nonce);
    } catch {
      // As above. Should it come back after a reload, its nonce makes the second send harmless.
    }
  }
}

/** 128 random bits as text. */
export function newNonce() {
  const bytes = new Uint8Array(16);
  if (globalThis.crypto) crypto.getRandomValues(bytes);
  else bytes.forEach((_, i) => (bytes[i] = Math.random() * 256)); // Node 18: it must be unique, it need not be secret
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** The browser's localStorage; null where there is none or it is forbidden. */
export function defaultStorage() {
  try {
    return globalThis.document ? globalThis.localStorage : null; // newer Nodes have one too, but warn when it is touched
  } catch {
    return null;
  }
}
