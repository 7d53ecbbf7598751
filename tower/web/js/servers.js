/** The servers: a table that stays quick with a thousand of them, filtered and sorted by whoever looks. */

import { mark, say } from "./dom.js";
import { COLUMNS, matches, pressed, sorted } from "./order.js";
import { Row } from "./row.js";
import { count, counted } from "./words.js";

const FEW = 8; // servers that leave room beneath them on a screen 900 px high

export class Servers {
  #parts;
  /** @type {Map<string, Row>} */
  #rows = new Map();
  #byElement = new WeakMap();
  #shown = ""; // the ids in their order, as they stand in the page
  #sorting = { column: "id", falling: false };
  #fleet = null;
  #watching;

  /**
   * @param {{table: HTMLTableElement, body: HTMLElement, filter: HTMLInputElement, sort: HTMLSelectElement,
   *   tally: HTMLElement, empty: HTMLElement}} parts
   * @param {(server: string, verb: string) => void} ask a verb's button was pressed
   */
  constructor(parts, ask) {
    this.#parts = parts;
    this.#watching = new IntersectionObserver(
      (entries) => {
        for (const { target, isIntersecting } of entries) this.#byElement.get(target).seen = isIntersecting;
      },
      { rootMargin: "200px" }, // px; drawn just before it comes into view
    );
    parts.filter.addEventListener("input", () => this.#arrange());
    parts.filter.addEventListener("keydown", (event) => {
      if (event.key !== "Escape" || parts.filter.value === "") return;
      parts.filter.value = "";
      this.#arrange();
    });
    parts.table.addEventListener("click", ({ target }) => {
      const { column, verb, server } = target.closest("button")?.dataset ?? {};
      if (column) this.#sort(pressed(this.#sorting, column));
      if (verb) ask(server, verb);
    });
    parts.sort.addEventListener("change", () => {
      const column = parts.sort.value;
      this.#sort({ column, falling: COLUMNS[column].falling });
    });
    this.#sort(this.#sorting);
  }

  show(fleet) {
    this.#fleet = fleet;
    const there = new Set();
    for (const server of fleet.servers) {
      there.add(server.id);
      this.#row(server.id).show(server, fleet.now);
    }
    for (const [id, row] of this.#rows) {
      if (there.has(id)) continue;
      this.#watching.unobserve(row.element);
      row.element.remove();
      this.#rows.delete(id);
    }
    this.#arrange({ calmly: true });
  }

  #row(id) {
    let row = this.#rows.get(id);
    if (!row) {
      row = new Row(id);
      this.#rows.set(id, row);
      this.#byElement.set(row.element, row);
      this.#watching.observe(row.element);
    }
    return row;
  }

  #sort(sorting) {
    this.#sorting = sorting;
    this.#parts.sort.value = sorting.column;
    for (const button of this.#parts.table.querySelectorAll("button[data-column]")) {
      const way = sorting.falling ? "descending" : "ascending";
      mark(button.closest("th"), "aria-sort", button.dataset.column === sorting.column ? way : null);
    }
    this.#arrange();
  }

  /**
   * Put the rows that are to be seen in order. `calmly`: nobody asked, so rows do not change places under a pointer or
   * while the keyboard is among them.
   */
  #arrange({ calmly = false } = {}) {
    if (this.#fleet === null) return;
    const { body, filter, table } = this.#parts;
    const { servers } = this.#fleet;
    const shown = sorted(servers.filter((server) => matches(server, filter.value)), this.#sorting);
    this.#tell(shown.length, servers.length);
    table.closest(".columns").classList.toggle("few", servers.length <= FEW);
    const order = shown.map(({ id }) => id);
    const key = order.join("\n");
    if (key === this.#shown) return;
    const same = order.length === body.children.length && order.every((id) => this.#rows.get(id).element.isConnected);
    if (calmly && same && body.matches(":hover, :focus-within")) return;
    this.#shown = key;
    const focused = body.contains(document.activeElement) ? document.activeElement : null;
    body.replaceChildren(...order.map((id) => this.#rows.get(id).element));
    if (focused?.isConnected) focused.focus({ preventScroll: true });
    mark(table, "aria-rowcount", String(order.length + 1));
  }

  #tell(shown, all) {
    const { empty, tally, filter, table } = this.#parts;
    say(tally, shown === all ? count(all) : `${count(shown)} of ${count(all)}`);
    empty.hidden = shown > 0;
    table.hidden = shown === 0;
    if (shown > 0) return;
    const how = "Servers tell the tower of themselves over the bus, as soon as they start on the same one.";
    const words = `None of the ${counted(all, "server")} has “${filter.value.trim()}” in its name, state, version or address.`;
    say(empty, all === 0 ? how : words);
  }
}
