/** The rooms at the left: the open ones with what is unread, and all others, found, sorted and page by page. */

import { bdi, h, icon } from "./dom.js";
import { hashOf } from "./route.js";

const SEARCH_MS = 180; // after the last key: a pause between words, not between letters
const STALE_MS = 30_000; // a list older than this is asked for again when the window is looked at
const COUNTED = 99; // unread messages that are counted out

export class RoomList {
  #parts;
  #desk;
  #api;
  #make;
  #current = null;
  #found = []; // rooms of the directory so far
  #cursor = null;
  #stage = "loading";
  #asked = 0;
  #abort = null;
  #timer = null;
  #frame = 0;

  /**
   * @param {{search: HTMLInputElement, sort: HTMLSelectElement, open: HTMLElement, all: HTMLElement,
   *   openTitle: HTMLElement, allTitle: HTMLElement}} parts
   * @param {import("./desk.js").Desk} desk
   * @param {import("./api.js").Api} api
   * @param {(title: string) => void} make offers to make a room
   */
  constructor(parts, desk, api, make) {
    this.#parts = parts;
    this.#desk = desk;
    this.#api = api;
    this.#make = make;
    parts.search.addEventListener("input", () => {
      clearTimeout(this.#timer);
      this.#timer = setTimeout(() => void this.load(), SEARCH_MS);
      this.#drawOpen();
    });
    parts.sort.addEventListener("change", () => void this.load());
    desk.on("opened", () => this.#draw());
    // Once a frame, however many messages come; a page that is not seen gets none, and is drawn when it is.
    desk.on("changed", () => {
      this.#frame ||= requestAnimationFrame(() => {
        this.#frame = 0;
        this.#drawOpen();
      });
    });
    addEventListener("focus", () => {
      if (Date.now() - this.#asked > STALE_MS) void this.load();
    });
  }

  /** Mark this room as the one that is shown. */
  current(name) {
    this.#current = name;
    this.#draw();
  }

  /** Ask for the first page anew. */
  async load() {
    this.#abort?.abort();
    this.#abort = new AbortController();
    this.#asked = Date.now();
    if (this.#found.length === 0) this.#turn("loading");
    await this.#page(null, this.#abort.signal);
  }

  async #page(cursor, signal) {
    const { search, sort } = this.#parts;
    try {
      const page = await this.#api.rooms({ q: search.value.trim(), by: sort.value, cursor }, signal);
      if (signal.aborted) return;
      this.#found = cursor === null ? page.rooms : this.#found.concat(page.rooms);
      this.#cursor = page.next_cursor;
      for (const { name, title } of page.rooms) if (this.#desk.rooms.has(name)) this.#desk.open(name, title);
      this.#turn("idle");
    } catch {
      if (!signal.aborted) this.#turn("failed");
    }
  }

  #turn(stage) {
    this.#stage = stage;
    this.#draw();
  }

  #draw() {
    this.#drawOpen();
    this.#drawAll();
  }

  #drawOpen() {
    const { search, open, openTitle } = this.#parts;
    const q = search.value.trim().toLowerCase();
    const rooms = [...this.#desk.rooms.values()].filter(
      ({ name, title, gone }) => !gone && (name.includes(q) || title.toLowerCase().includes(q)),
    );
    openTitle.hidden = rooms.length === 0;
    this.#replace(open, rooms.map((room) => this.#openItem(room)));
  }

  #drawAll() {
    const { search, all, allTitle } = this.#parts;
    const q = search.value.trim();
    const others = this.#found.filter(({ name }) => !this.#desk.rooms.has(name));
    const items = others.map((room) => h("li", {}, this.#link(room)));
    const say = (...words) => items.push(h("li", { class: "hint" }, ...words));
    const button = (label, action) => h("button", { type: "button", class: "link", onclick: action }, label);
    allTitle.textContent = q === "" ? "All rooms" : "Found";
    if (this.#stage === "loading") {
      for (let i = 0; i < 4; i += 1) items.push(h("li", { class: "bone", "aria-hidden": "true" }));
    } else if (this.#stage === "failed") {
      say("The rooms could not be loaded. ", button("Try again", () => void this.load()));
    } else if (this.#cursor !== null) {
      say(button("Show more", () => void this.#page(this.#cursor, this.#abort.signal)));
    } else if (others.length === 0 && q !== "" && this.#parts.open.childElementCount === 0) {
      say("No room matches “", bdi(q), "”. ", button("Create it", () => this.#make(q)));
    } else if (others.length === 0 && q === "") {
      say("You have all rooms open.");
    }
    allTitle.hidden = items.length === 0;
    this.#replace(all, items);
  }

  #openItem(open) {
    const unread = open.name === this.#current && document.hasFocus() ? 0 : open.timeline.unread;
    const many = unread > COUNTED ? `${COUNTED}+` : String(unread);
    const count = unread > 0 && h("span", { class: "count" }, many, h("span", { class: "unseen" }, " unread"));
    const close = h(
      "button",
      { type: "button", class: "close", title: "Close this room", onclick: () => this.#desk.close(open.name) },
      icon("close"),
      h("span", { class: "unseen" }, "Close ", open.title),
    );
    return h("li", { class: unread > 0 ? "open unread" : "open" }, this.#link(open, count), close);
  }

  #link({ name, title }, ...more) {
    const current = name === this.#current ? "page" : false;
    const label = bdi(title === "" ? name : title, { class: "title" });
    return h("a", { href: hashOf(name), "aria-current": current, title: name }, icon("room"), label, ...more);
  }

  /** Put new items in the place of old ones; who stood on one with the keyboard stands on its successor. */
  #replace(list, items) {
    const before = [...list.querySelectorAll("a, button")];
    const at = before.indexOf(document.activeElement);
    const href = document.activeElement?.getAttribute("href");
    list.replaceChildren(...items);
    if (at < 0) return;
    const now = [...list.querySelectorAll("a, button")];
    (now.find((element) => href && element.getAttribute("href") === href) ?? now[Math.min(at, now.length - 1)])?.focus();
  }
}
