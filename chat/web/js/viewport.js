/**
 * A scrolling list of which only what is near the view is in the page, however long it is and however high its rows are.
 *
 * Heights are estimated until a row has been in the page once. So that wrong estimates, rows that come above, and
 * windows that change width never move what somebody reads, each change goes: remember an anchor (a row that is seen,
 * and where), lay out, put the anchor back. The browser's own scroll anchoring is off (css/log.css): it knows only
 * rows that are in the page, and two anchors pull at one rope.
 */

import { h } from "./dom.js";
import { Layout } from "./layout.js";

const MARGIN = 800; // px above and below the view that are in the page too: a quick flick of the wheel
const STICKY = 32; // px from the end that still count as being at the end
const STOPS = "a, button"; // what the keyboard can stand on in a row
const PASSES = 4; // of measuring and laying out again; two are enough unless estimates are far off

export class Viewport {
  #scroller;
  #above = h("div", { class: "spacer", "aria-hidden": "true" });
  #window = h("div", { class: "rows" });
  #below = h("div", { class: "spacer", "aria-hidden": "true" });
  #render;
  #estimate;
  #moved;
  #rows = [];
  #index = new Map(); // key -> index
  #heights = new Map(); // key -> measured height
  #layout = new Layout([]);
  #shown = new Map(); // key -> {element, version}
  #sticks = true;
  #scrollTop = 0; // as we last saw it: when the width changes, the browser has moved it before we are told
  #width = 0;

  /**
   * @param {HTMLElement} scroller
   * @param {{render: (row: object) => HTMLElement, estimate: (row: object) => number, moved: () => void}} behaviour
   *   `moved` is called after each scrolling, by a person or by us
   */
  constructor(scroller, { render, estimate, moved }) {
    this.#scroller = scroller;
    this.#render = render;
    this.#estimate = estimate;
    this.#moved = moved;
    scroller.replaceChildren(this.#above, this.#window, this.#below);
    scroller.addEventListener("scroll", () => this.#scrolled(), { passive: true });
    new ResizeObserver(() => this.#resized()).observe(scroller);
  }

  /** Whether the end is in view; then new rows are followed. */
  get atEnd() {
    return this.#sticks;
  }

  /** Pixels above the view. */
  get fromTop() {
    return this.#scroller.scrollTop;
  }

  /** Pixels below the view. */
  get fromEnd() {
    return this.#layout.height - this.#scroller.scrollTop - this.#scroller.clientHeight;
  }

  /** Show these rows instead, holding on to what is seen. */
  show(rows) {
    const anchors = this.#sticks ? null : this.#anchors();
    this.#rows = rows;
    this.#index = new Map(rows.map((row, i) => [row.key, i]));
    if (this.#heights.size > 2 * rows.length + 1_000) this.#heights.clear();
    this.#paint(anchors);
  }

  /** Another list altogether: nothing of the old one counts. It begins at its end. */
  reset(rows) {
    this.#heights.clear();
    this.#window.replaceChildren();
    this.#shown.clear();
    this.#sticks = true;
    this.show(rows);
  }

  /** Go to the end, and follow it. */
  toEnd() {
    this.#sticks = true;
    this.#paint(null);
  }

  /** Go to a row: it stands at this share of the view's height. */
  toRow(key, share = 0.25) {
    if (!this.#index.has(key)) return;
    this.#sticks = false;
    this.#paint([{ key, delta: share * this.#scroller.clientHeight }]);
    this.#sticks = this.fromEnd < STICKY;
  }

  /** Where a row is: "above", "in" or "below" the view; null if it is not in the list. */
  whereIs(key) {
    const i = this.#index.get(key);
    if (i === undefined) return null;
    if (this.#layout.top(i + 1) <= this.#scroller.scrollTop) return "above";
    return this.#layout.top(i) >= this.#scroller.scrollTop + this.#scroller.clientHeight ? "below" : "in";
  }

  #scrolled() {
    // Our own writes come back as events too; they are where we put them, so this finds nothing to do.
    this.#scrollTop = this.#scroller.scrollTop;
    this.#sticks = this.fromEnd < STICKY;
    this.#paint(this.#anchors());
    this.#moved();
  }

  #resized() {
    const width = this.#scroller.clientWidth;
    const anchors = this.#sticks ? null : this.#anchors();
    if (width !== this.#width) {
      this.#width = width;
      this.#heights.clear(); // lines break elsewhere now
      this.#scrollTop = -1;
    }
    this.#paint(anchors);
  }

  /** The rows in view that keep their place, from the top, with where they stand: the first that survives is used. */
  #anchors() {
    const found = [];
    const top = this.#scrollTop < 0 ? this.#scroller.scrollTop : this.#scrollTop;
    const [from, end] = this.#layout.range(top, top + Math.max(1, this.#scroller.clientHeight));
    for (let i = from; i < end; i += 1) {
      if (this.#rows[i]?.fixed) found.push({ key: this.#rows[i].key, delta: this.#layout.top(i) - top });
    }
    return found;
  }

  /** @param {{key: string, delta: number}[] | null} anchors null: hold on to the end */
  #paint(anchors) {
    const view = this.#scroller.clientHeight;
    if (view === 0) return; // hidden; it is painted when it gets a size
    const anchor = anchors?.find(({ key }) => this.#index.has(key));
    let target = this.#scroller.scrollTop;
    for (let pass = 0; pass < PASSES; pass += 1) {
      this.#layout = new Layout(this.#rows.map((row) => this.#heights.get(row.key) ?? this.#estimate(row)));
      if (anchors === null) target = this.#layout.height - view;
      else if (anchor) target = this.#layout.top(this.#index.get(anchor.key)) - anchor.delta;
      target = Math.max(0, Math.min(target, this.#layout.height - view));
      const [from, end] = this.#layout.range(target - MARGIN, target + view + MARGIN);
      this.#patch(from, end);
      this.#above.style.height = `${this.#layout.top(from)}px`;
      this.#below.style.height = `${this.#layout.height - this.#layout.top(end)}px`;
      if (!this.#measure()) break;
    }
    // Browsers keep fractions of a pixel or round them: half a pixel is no difference.
    if (Math.abs(this.#scroller.scrollTop - target) > 0.5) this.#scroller.scrollTop = target;
    this.#scrollTop = this.#scroller.scrollTop;
  }

  /** Make the page hold exactly the rows [from, end), moving no element that may stay. */
  #patch(from, end) {
    const wanted = new Set();
    for (let i = from; i < end; i += 1) wanted.add(this.#rows[i].key);
    for (const [key, { element }] of this.#shown) {
      if (wanted.has(key)) continue;
      // Who stood in this row with the keyboard stays in the list instead of falling out of it.
      if (element.contains(document.activeElement)) this.#scroller.focus({ preventScroll: true });
      element.remove();
      this.#shown.delete(key);
    }
    let next = this.#window.firstChild;
    for (let i = from; i < end; i += 1) {
      const row = this.#rows[i];
      let shown = this.#shown.get(row.key);
      if (!shown || shown.version !== row.version) {
        const element = this.#render(row);
        if (shown) {
          if (next === shown.element) next = element;
          this.#replace(shown.element, element);
        }
        this.#heights.delete(row.key);
        shown = { element, version: row.version };
        this.#shown.set(row.key, shown);
      }
      if (next === shown.element) next = next.nextSibling;
      else this.#window.insertBefore(shown.element, next);
    }
  }

  /** Put a row's new element where its old one was, and the keyboard where it was in it. */
  #replace(old, element) {
    const stop = [...old.querySelectorAll(STOPS)].indexOf(document.activeElement);
    old.replaceWith(element);
    if (stop < 0) return;
    const same = element.querySelectorAll(STOPS)[stop] ?? this.#scroller; // a button may be gone: it was pressed
    same.focus({ preventScroll: true });
  }

  /** Measure the rows in the page that have not been; returns whether one differs from what the layout took it for. */
  #measure() {
    let differs = false;
    for (const [key, { element }] of this.#shown) {
      if (this.#heights.has(key)) continue;
      const { height } = element.getBoundingClientRect();
      const i = this.#index.get(key);
      this.#heights.set(key, height);
      if (Math.abs(height - (this.#layout.top(i + 1) - this.#layout.top(i))) > 0.01) differs = true;
    }
    return differs;
  }
}
