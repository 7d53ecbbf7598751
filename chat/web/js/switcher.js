/** Ctrl/Cmd+K: from room to room by typing. */

import { bdi, h, icon } from "./dom.js";

const SEARCH_MS = 150;
const SHOWN = 12; // more are not chosen from, but narrowed down

export class Switcher {
  #dialog;
  #field;
  #list;
  #desk;
  #api;
  #go;
  #rooms = []; // what the list shows
  #found = []; // what the server found
  #at = 0;
  #timer = null;
  #abort = null;

  /**
   * @param {HTMLDialogElement} dialog with an input and a listbox
   * @param {(room: {name: string, title: string}) => void} go
   */
  constructor(dialog, desk, api, go) {
    this.#dialog = dialog;
    this.#field = dialog.querySelector("input");
    this.#list = dialog.querySelector("[role=listbox]");
    this.#desk = desk;
    this.#api = api;
    this.#go = go;
    this.#field.addEventListener("input", () => this.#typed());
    this.#field.addEventListener("keydown", (event) => this.#key(event));
    dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  }

  show() {
    if (this.#dialog.open) return;
    this.#field.value = "";
    this.#found = [];
    this.#dialog.showModal();
    this.#typed();
  }

  #typed() {
    this.#at = 0;
    this.#draw();
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => void this.#search(), SEARCH_MS);
  }

  async #search() {
    this.#abort?.abort();
    this.#abort = new AbortController();
    const { signal } = this.#abort;
    try {
      const { rooms } = await this.#api.rooms({ q: this.#field.value.trim(), by: "active", limit: SHOWN }, signal);
      if (signal.aborted) return;
      this.#found = rooms;
    } catch {
      if (signal.aborted) return;
      this.#found = []; // the open rooms can be gone to all the same
    }
    this.#draw();
  }

  #key(event) {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step) {
      event.preventDefault();
      this.#at = (this.#at + step + this.#rooms.length) % Math.max(1, this.#rooms.length);
      this.#draw();
    } else if (event.key === "Enter" && !event.isComposing) {
      event.preventDefault();
      this.#choose(this.#at);
    }
  }

  #choose(i) {
    const room = this.#rooms[i];
    if (!room) return;
    this.#dialog.close();
    this.#go(room);
  }

  #draw() {
    const q = this.#field.value.trim().toLowerCase();
    // Unread rooms first, then open ones, then what the server found.
    const open = [...this.#desk.rooms.values()]
      .filter(({ name, title, gone }) => !gone && (name.includes(q) || title.toLowerCase().includes(q)))
      .sort((a, b) => Number(b.timeline.unread > 0) - Number(a.timeline.unread > 0));
    const others = this.#found.filter(({ name }) => !this.#desk.rooms.has(name));
    this.#rooms = [...open, ...others].slice(0, SHOWN);
    this.#at = Math.min(this.#at, Math.max(0, this.#rooms.length - 1));
    const items = this.#rooms.map((room, i) => this.#item(room, i));
    if (items.length === 0) items.push(h("li", { class: "hint", role: "presentation" }, "No room matches."));
    this.#list.replaceChildren(...items);
    this.#list.children[this.#at]?.scrollIntoView({ block: "nearest" });
    if (this.#rooms.length > 0) this.#field.setAttribute("aria-activedescendant", `jump-${this.#at}`);
    else this.#field.removeAttribute("aria-activedescendant");
  }

  #item(room, i) {
    const unread = room.timeline?.unread ?? 0;
    return h(
      "li",
      { id: `jump-${i}`, role: "option", "aria-selected": String(i === this.#at), onclick: () => this.#choose(i) },
      icon("room"),
      bdi(room.title || room.name, { class: "title" }),
      room.title !== room.name && h("span", { class: "address" }, room.name),
      unread > 0 && h("span", { class: "count" }, unread > 99 ? "99+" : String(unread), h("span", { class: "unseen" }, " unread")),
    );
  }
}
