/** What was typed and not sent, per room, over reloads and over a change of who one is. */

const PREFIX = "belfry.draft.";

export class Drafts {
  #storage;

  /** @param {Storage} storage */
  constructor(storage) {
    this.#storage = storage;
  }

  read(room) {
    return this.#storage.getItem(PREFIX + room) ?? "";
  }

  keep(room, text) {
    if (text === "") this.#storage.removeItem(PREFIX + room);
    else this.#storage.setItem(PREFIX + room, text);
  }
}
