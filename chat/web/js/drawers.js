/**
 * Rooms and people beside the conversation, or, where there is no width for them, in drawers over it.
 * What a drawer covers is inert while it is open, and an unseen drawer is inert itself.
 */

export class Drawers {
  #sides;
  #main;
  #scrim;
  #open = null;

  /**
   * @param {{panel: HTMLElement, button: HTMLButtonElement, narrow: string}[]} sides `narrow`: the media query in
   *   which the panel is a drawer; the same as in css/layout.css
   * @param {HTMLElement} main
   * @param {HTMLElement} scrim
   */
  constructor(sides, main, scrim) {
    this.#sides = sides.map((side) => ({ ...side, media: matchMedia(side.narrow) }));
    this.#main = main;
    this.#scrim = scrim;
    for (const side of this.#sides) {
      side.button.addEventListener("click", () => this.#toggle(side));
      side.media.addEventListener("change", () => this.close());
    }
    scrim.addEventListener("click", () => this.close());
    addEventListener("keydown", (event) => {
      if (event.key === "Escape" && this.#open) {
        event.stopImmediatePropagation(); // this Esc closes, the next one marks as read
        this.close();
      }
    });
    this.#apply();
  }

  close() {
    const { button } = this.#open ?? {};
    this.#open = null;
    this.#apply();
    button?.focus();
  }

  /** The room was chosen: show it, and let the composer have the keyboard. */
  chosen() {
    this.#open = null;
    this.#apply();
  }

  #toggle(side) {
    this.#open = this.#open === side ? null : side;
    this.#apply();
    // Not the search field: on a phone it would call the keyboard up over half of the drawer.
    if (this.#open) (side.panel.querySelector("[aria-current], [tabindex='0']") ?? side.panel).focus();
  }

  #apply() {
    for (const side of this.#sides) {
      const open = this.#open === side;
      side.panel.classList.toggle("out", open);
      side.panel.inert = side.media.matches && !open;
      side.button.setAttribute("aria-expanded", String(open));
    }
    this.#main.inert = this.#open !== null;
    this.#scrim.hidden = this.#open === null;
  }
}
