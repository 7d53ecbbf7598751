/** Where one writes: grows to six lines, keeps drafts, shows the limit before it is hit. */

const NEAR = 0.9; // of the limit: from here on what is left is shown
const DRAFT_MS = 300; // after the last key a draft is kept; leaving the page keeps it at once
const NOT_TEXT = /[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f]/g; // what the server refuses; nobody types it

export class Composer {
  #form;
  #field;
  #button;
  #counter;
  #drafts;
  #said;
  #typed;
  #limit = 0;
  #room = null;
  #timer = null;

  /**
   * @param {HTMLFormElement} form with a textarea, a submit button and an element of class counter
   * @param {import("./drafts.js").Drafts} drafts
   * @param {{said: (text: string) => boolean, typed: () => void}} events
   */
  constructor(form, drafts, { said, typed }) {
    this.#form = form;
    this.#field = form.querySelector("textarea");
    this.#button = form.querySelector("button[type=submit]");
    this.#counter = form.querySelector(".counter");
    this.#drafts = drafts;
    this.#said = said;
    this.#typed = typed;
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#submit();
    });
    this.#field.addEventListener("keydown", (event) => this.#key(event));
    this.#field.addEventListener("input", () => this.#changed());
    addEventListener("pagehide", () => this.#keep());
  }

  /** Write to this room now; null for none. */
  room(name, title = name) {
    this.#field.placeholder = name === null ? "" : `Message ${title}`;
    if (name === this.#room) return;
    this.#keep();
    this.#room = name;
    this.#field.disabled = name === null;
    this.#field.value = name === null ? "" : this.#drafts.read(name);
    this.#refresh();
  }

  /** @param {number} chars in one message; 0 is without limit */
  limit(chars) {
    this.#limit = chars;
    this.#refresh();
  }

  focus() {
    this.#field.focus();
  }

  /** Put a text here to be changed, before what is here already. */
  edit(text) {
    this.#field.value = this.#field.value === "" ? text : `${text}\n${this.#field.value}`;
    this.#changed();
    this.#field.focus();
  }

  #key(event) {
    // While an input method composes, Enter chooses a word.
    if (event.key !== "Enter" || event.shiftKey || event.altKey || event.isComposing) return;
    event.preventDefault();
    this.#submit();
  }

  #submit() {
    const text = this.#text();
    if (this.#room === null || text === "" || this.#over() > 0) return;
    if (!this.#said(text)) {
      this.#counter.textContent = "Too much is unsent already";
      return;
    }
    this.#field.value = "";
    this.#keep();
    this.#refresh();
  }

  #text() {
    return this.#field.value.replace(/\r\n?/g, "\n").replace(NOT_TEXT, "").replace(/^\s*\n|\s+$/g, "");
  }

  #changed() {
    this.#refresh();
    if (this.#field.value !== "") this.#typed();
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#keep(), DRAFT_MS);
  }

  #keep() {
    clearTimeout(this.#timer);
    if (this.#room !== null) this.#drafts.keep(this.#room, this.#field.value);
  }

  /** Characters over the limit; as the server counts them, by code points. */
  #over() {
    return this.#limit > 0 ? [...this.#text()].length - this.#limit : -Infinity;
  }

  #refresh() {
    const over = this.#over();
    const near = this.#limit > 0 && over > -(1 - NEAR) * this.#limit;
    this.#counter.textContent = !near ? "" : over > 0 ? `${over} over the limit` : `${-over} left`;
    this.#counter.classList.toggle("over", over > 0);
    this.#button.disabled = this.#room === null || this.#text() === "" || over > 0;
    this.#field.setAttribute("aria-invalid", String(over > 0));
    // The height of its text, between one line and six (css/composer.css).
    this.#field.style.height = "auto";
    this.#field.style.height = `${this.#field.scrollHeight}px`;
  }
}
