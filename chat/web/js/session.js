/** Who we are here: a token, whose it is and how long it is good; and what to call somebody who comes back later. */

const KEY = "belfry.session";
const MARGIN_MS = 10_000; // a token this close to its end is not worth a connection

/** @typedef {{token: string, user: {id: string, name: string} | null, expiresAt: number | null, guest: boolean}} Pass */

export class Session {
  #storage;
  /** @type {Pass | null} */
  pass = null;
  name = ""; // as last used

  /** @param {Storage} storage */
  constructor(storage) {
    this.#storage = storage;
    try {
      const stored = JSON.parse(storage.getItem(KEY) ?? "null");
      this.name = typeof stored?.name === "string" ? stored.name : "";
      if (typeof stored?.pass?.token === "string") this.pass = stored.pass;
    } catch {
      this.pass = null; // written by something else
    }
  }

  /** Whether there is a token that should still be good. */
  valid(now = Date.now()) {
    return this.pass !== null && (this.pass.expiresAt === null || this.pass.expiresAt - MARGIN_MS > now);
  }

  /** @param {Pass} pass */
  begin(pass) {
    this.pass = pass;
    this.name = pass.user?.name ?? this.name;
    this.#save();
  }

  /** The server told who we are. */
  known(user) {
    if (this.pass === null) return;
    this.pass = { ...this.pass, user };
    this.name = user.name;
    this.#save();
  }

  /** Forget the token, remember the name. */
  end() {
    this.pass = null;
    this.#save();
  }

  #save() {
    this.#storage.setItem(KEY, JSON.stringify({ name: this.name, pass: this.pass }));
  }
}
