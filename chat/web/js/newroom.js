/** The dialog that makes a room. */

import { slug } from "./slug.js";

const PROBLEMS = {
  room_taken: "A room with this address exists already. Choose another, or open that one.",
  room_name_invalid: "An address is 1 to 64 of a-z, 0-9, dot, dash and underscore.",
  unreachable: "The server cannot be reached. Try again in a moment.",
};

export class NewRoom {
  #dialog;
  #title;
  #name;
  #problem;
  #button;
  #api;
  #made;
  #ownName = false; // the address was typed, not derived

  /**
   * @param {HTMLDialogElement} dialog
   * @param {import("./api.js").Api} api
   * @param {(room: {name: string, title: string}) => void} made
   */
  constructor(dialog, api, made) {
    this.#dialog = dialog;
    this.#api = api;
    this.#made = made;
    this.#title = dialog.querySelector("[name=title]");
    this.#name = dialog.querySelector("[name=name]");
    this.#problem = dialog.querySelector(".problem");
    this.#button = dialog.querySelector("[type=submit]");
    this.#title.addEventListener("input", () => {
      if (!this.#ownName) this.#name.value = slug(this.#title.value);
      this.#say("");
    });
    this.#name.addEventListener("input", () => {
      this.#ownName = this.#name.value !== "";
      this.#say("");
    });
    dialog.querySelector("[data-cancel]").addEventListener("click", () => dialog.close());
    dialog.querySelector("form").addEventListener("submit", (event) => {
      event.preventDefault();
      void this.#submit();
    });
  }

  /** Ask for a room, which may have a title or an address already. */
  show({ title = "", name = "" } = {}) {
    this.#title.value = title || name;
    this.#name.value = name || slug(title);
    this.#ownName = name !== "";
    this.#say("");
    this.#dialog.showModal();
    this.#title.focus();
    this.#title.select();
  }

  async #submit() {
    const title = this.#title.value.trim();
    const name = this.#name.value.trim().toLowerCase();
    if (title === "") return this.#say("Give the room a name.", this.#title);
    if (!/^[a-z0-9._-]{1,64}$/.test(name)) return this.#say(PROBLEMS.room_name_invalid, this.#name);
    this.#button.disabled = true;
    try {
      const room = await this.#api.create(name, title);
      this.#dialog.close();
      this.#made(room);
    } catch (error) {
      this.#say(PROBLEMS[error.code] ?? `${error.message}.`, error.code === "title_invalid" ? this.#title : this.#name);
    } finally {
      this.#button.disabled = false;
    }
  }

  #say(problem, field = null) {
    this.#problem.textContent = problem;
    for (const input of [this.#title, this.#name]) input.setAttribute("aria-invalid", String(input === field));
    field?.focus();
  }
}
