/** Who is in the room. */

import { avatar } from "./avatar.js";
import { bdi, h } from "./dom.js";

const SHOWN = 200; // names in the page; a longer list nobody reads

const byName = new Intl.Collator(undefined, { sensitivity: "base", numeric: true });

export class People {
  #list;
  #counts;
  #me;
  #api;
  #large = null; // the room whose list was asked for over HTTP

  /**
   * @param {HTMLElement} list
   * @param {HTMLElement[]} counts where the number stands
   * @param {() => {id: string} | null} me
   */
  constructor(list, counts, me, api) {
    this.#list = list;
    this.#counts = counts;
    this.#me = me;
    this.#api = api;
  }

  /** @param {import("./desk.js").OpenRoom | null} open */
  show(open) {
    const count = open?.stage === "in" ? open.count : 0;
    for (const element of this.#counts) element.textContent = count > 0 ? count.toLocaleString() : "";
    if (count === 0) {
      this.#list.replaceChildren();
    } else if (open.members) {
      this.#large = null;
      this.#names(open.members, count);
    } else if (this.#large !== open.name) {
      // In a large room nobody is told who comes and goes; one look at the list has to do.
      this.#large = open.name;
      void this.#ask(open);
    }
  }

  async #ask(open) {
    let members = [];
    try {
      ({ members } = await this.#api.members(open.name));
    } catch {
      this.#large = null; // the number is known; the names come with the next change
    }
    if (open.members === null) this.#names(members, open.count);
  }

  #names(members, count) {
    const me = this.#me()?.id;
    const sorted = [...members].sort((a, b) => byName.compare(a.name, b.name)).slice(0, SHOWN);
    const items = sorted.map((user) =>
      h("li", {}, avatar(user), bdi(user.name, { class: "name" }), user.id === me && h("span", { class: "you" }, "you")),
    );
    if (count > sorted.length) {
      const more = `${(count - sorted.length).toLocaleString()} ${sorted.length > 0 ? "more" : "people"}`;
      items.push(h("li", { class: "rest" }, more));
    }
    this.#list.replaceChildren(...items);
  }
}
