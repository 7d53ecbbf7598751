/**
 * The room that is shown: its log, where reading stopped, what is on its way, and what there is to say when the room
 * cannot be shown.
 */

import { bdi, h } from "./dom.js";
import { buildRows } from "./rows.js";
import { RowView, estimate } from "./rowview.js";
import { hashOf } from "./route.js";
import { Viewport } from "./viewport.js";

const NEAR_TOP = 1_500; // px above the view at which the next page is asked for: nobody should have to wait for it
const FAR_UP = 400; // px from the end at which the way down is offered

export class Conversation {
  #parts;
  #desk;
  #me;
  #actions;
  #viewport;
  /** @type {import("./desk.js").OpenRoom | null} */
  #open = null;
  #settled = false; // the room was in, and has been shown from where reading stopped
  #seen = null; // the line that has been in view
  #frame = 0;

  /**
   * @param {{log: HTMLElement, notice: HTMLElement, skeleton: HTMLElement, jump: HTMLButtonElement,
   *   back: HTMLButtonElement}} parts
   * @param {import("./desk.js").Desk} desk
   * @param {() => {id: string, name: string}} me
   * @param {{edit: (text: string) => void, create: (name: string) => void}} actions
   */
  constructor(parts, desk, me, actions) {
    this.#parts = parts;
    this.#desk = desk;
    this.#me = me;
    this.#actions = actions;
    const rowView = new RowView({
      retry: (nonce) => desk.retry(nonce, this.#open.name),
      discard: (nonce) => desk.discard(nonce, this.#open.name),
      edit: (nonce, text) => {
        desk.discard(nonce, this.#open.name);
        actions.edit(text);
      },
      older: () => desk.older(this.#open),
    });
    this.#viewport = new Viewport(parts.log, { render: rowView.render, estimate, moved: () => this.#moved() });
    parts.jump.addEventListener("click", () => this.catchUp());
    parts.back.addEventListener("click", () => void this.#goBack());
    desk.on("changed", (room) => room === this.#open?.name && this.#soon());
    for (const event of ["focus", "visibilitychange"]) {
      addEventListener(event, () => this.#attend(), true);
    }
  }

  /** The room that is shown, or null. */
  get open() {
    return this.#open;
  }

  /** Show this room. */
  show(open) {
    if (this.#open && this.#open !== open) this.#open.timeline.line = null;
    this.#open = open;
    this.#desk.shown = open;
    this.#settled = false;
    this.#seen = null;
    this.#parts.log.setAttribute("aria-label", open ? open.title : "");
    cancelAnimationFrame(this.#frame);
    this.#frame = 0;
    this.#refresh();
  }

  /** Everything is read: go to the end, take the line away. */
  catchUp() {
    if (this.#open?.stage !== "in") return;
    this.#open.timeline.line = null;
    this.#desk.read(this.#open);
    this.#viewport.toEnd();
    this.#soon();
  }

  /** Go to where reading stopped, however far back that is. */
  async #goBack() {
    const open = this.#open;
    const { line } = open.timeline;
    if (line === null || !(await this.#desk.reach(open, line + 1))) return;
    if (this.#open !== open) return;
    this.#refresh();
    this.#viewport.toRow("new");
    this.#parts.log.focus({ preventScroll: true });
  }

  /** One's own word was added: who speaks has read. */
  spoke() {
    this.catchUp();
  }

  /** Draw once before the next frame, however many messages come. */
  #soon() {
    // A page that is not seen gets no frames; it is drawn when it is looked at.
    this.#frame ||= requestAnimationFrame(() => {
      this.#frame = 0;
      this.#refresh();
    });
  }

  #refresh() {
    const open = this.#open;
    const { log, notice, skeleton } = this.#parts;
    const stage = open?.stage ?? "none";
    log.hidden = stage !== "in";
    skeleton.hidden = stage !== "entering";
    notice.hidden = stage !== "shut";
    if (stage === "shut") this.#explain(open);
    if (stage !== "in") {
      this.#parts.jump.hidden = this.#parts.back.hidden = true;
      return;
    }
    log.setAttribute("aria-label", open.title);
    const first = !this.#settled;
    const attended = this.#attended();
    if (first || !attended || !this.#viewport.atEnd) open.timeline.drawLine();
    if (this.#viewport.atEnd) open.timeline.trim();
    const rows = buildRows(open.timeline, {
      unsent: this.#desk.unsent(open.name),
      me: this.#me(),
      title: open.title,
      history: open.history,
    });
    if (first) this.#begin(rows);
    else this.#viewport.show(rows);
    this.#attend();
    this.#moved();
  }

  /** A room is shown from where reading stopped, if that is further up than the view is high; else from its end. */
  #begin(rows) {
    this.#settled = true;
    this.#viewport.reset(rows);
    if (this.#viewport.whereIs("new") === "above") this.#viewport.toRow("new");
  }

  /** Whether somebody looks at this window. */
  #attended() {
    return document.visibilityState === "visible" && document.hasFocus();
  }

  #attend() {
    const open = this.#open;
    if (open?.stage !== "in" || !this.#settled || !this.#viewport.atEnd || !this.#attended()) return;
    if (open.timeline.unread > 0 || open.timeline.read < open.timeline.head) this.#desk.read(open);
  }

  #moved() {
    const open = this.#open;
    if (open?.stage !== "in") return;
    if (this.#viewport.fromTop < NEAR_TOP && open.history === "idle") void this.#desk.older(open);
    this.#attend();
    const { jump, back } = this.#parts;
    const { unread, line, first, head } = open.timeline;
    // Until the line has been seen once, there is a way back to it; it may be above what is at hand, too.
    const place = first <= (line ?? 0) + 1 ? this.#viewport.whereIs("new") : "above";
    if (place === "in") this.#seen = line;
    back.hidden = line === null || line === this.#seen || place !== "above";
    if (!back.hidden) back.querySelector("span").textContent = `${Math.min(head - line, 9_999)} new`;
    jump.hidden = this.#viewport.atEnd || (unread === 0 && this.#viewport.fromEnd < FAR_UP);
    jump.querySelector("span").textContent = unread > 0 ? `${unread > 999 ? "999+" : unread} new` : "Latest";
  }

  /** Why there is no log, and what can be done. */
  #explain(open) {
    const { notice } = this.#parts;
    const key = `${open.name} ${open.shut.code}`;
    if (notice.dataset.shows === key) return;
    notice.dataset.shows = key;
    const [title, text, ...ways] = this.#reason(open);
    notice.replaceChildren(h("h2", {}, ...title), h("p", {}, text), h("div", { class: "ways" }, ...ways));
  }

  #reason({ name, shut: { code, message } }) {
    const button = (label, action, kind = "") => h("button", { type: "button", class: kind, onclick: action }, label);
    const again = button("Try again", () => this.show(this.#desk.again(name)));
    const home = h("a", { class: "button", href: hashOf("lobby") }, "Go to the lobby");
    const create = button("Create it", () => this.#actions.create(name), "primary");
    switch (code) {
      case "room_missing":
        return [["There is no room ", bdi(name), " yet"], "It may have another name, or be waiting for you.", create, home];
      case "room_deleted":
        return [["The room ", bdi(name), " was deleted"], "Its messages went with it.", home];
      case "not_allowed":
        return [["You may not enter ", bdi(name)], "Ask whoever runs this server to let you in.", again, home];
      case "too_many_rooms":
        return [["You are in too many rooms"], "Close one of the rooms on the left, then try again.", again];
      default:
        return [["The room ", bdi(name), " cannot be shown"], `The server said: ${message}`, again, home];
    }
  }
}
