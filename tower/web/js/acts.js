/** The verbs, asked once: a dialog that says what will happen, in the tower's own words, before anything does. */

import { Gate } from "./gate.js";
import { VERBS } from "./row.js";
import { sentence } from "./words.js";

const SETTLE_MS = 300; // after the last key in a field, before the tower is asked anew

/** What the fields say, as the tower wants it; throws one line for people. Pure. */
export function options({ perSecond, deadline, force }) {
  const found = {};
  for (const [name, text, what] of [["per_second", perSecond, "people a second"], ["deadline", deadline, "seconds"]]) {
    if (text.trim() === "") continue;
    const number = Number(text);
    if (!Number.isFinite(number) || number <= 0) throw new Error(`“${text.trim()}” is no number of ${what}; leave it empty for what is right.`);
    found[name] = number;
  }
  if (force) found.force = true;
  return found;
}

export class Acts {
  #api;
  #token;
  #done;
  #dialog;
  #unlock;
  #gate;
  #parts;
  #asked = null; // {server, verb}
  #question = 0; // only the latest answer counts
  #timer = null;

  /**
   * @param {HTMLDialogElement} dialog
   * @param {HTMLDialogElement} unlock asks for a token
   * @param {import("./api.js").Api} api
   * @param {import("./token.js").Token} token
   * @param {(text: string) => void} done
   */
  constructor(dialog, unlock, api, token, done) {
    [this.#dialog, this.#unlock, this.#api, this.#token, this.#done] = [dialog, unlock, api, token, done];
    const find = (name) => dialog.querySelector(name);
    this.#parts = {
      title: find("h2"), says: find(".says"), problem: find(".problem"), more: find("details"), sure: find("[type=submit]"),
      rate: find("[name=rate]"), deadline: find("[name=deadline]"), anyway: find(".anyway"), force: find("[name=force]"),
    };
    for (const field of [this.#parts.rate, this.#parts.deadline]) {
      field.addEventListener("input", () => this.#askSoon());
    }
    this.#parts.force.addEventListener("change", () => void this.#ask());
    find("form").addEventListener("submit", (event) => {
      event.preventDefault();
      if (!this.#parts.sure.disabled) void this.#act();
    });
    dialog.addEventListener("close", () => clearTimeout(this.#timer));
    for (const each of [dialog, unlock]) {
      each.querySelector("[data-cancel]").addEventListener("click", () => each.close());
    }
    this.#gate = new Gate(unlock.querySelector("form"), (given) => {
      token.keep(given);
      void this.#ask();
    });
  }

  /** A verb's button was pressed. */
  open(server, verb) {
    const { title, more, sure, rate, deadline, anyway, force } = this.#parts;
    this.#asked = { server, verb };
    const name = `${VERBS[verb]} ${server}`;
    title.textContent = name;
    sure.textContent = name;
    this.#dialog.dataset.verb = verb;
    rate.value = deadline.value = "";
    force.checked = false;
    anyway.hidden = true;
    more.open = false;
    more.hidden = verb !== "drain";
    this.#dialog.showModal();
    this.#dialog.querySelector("[data-cancel]").focus(); // Enter, pressed too often, does nothing
    void this.#ask();
  }

  #askSoon() {
    clearTimeout(this.#timer);
    this.#parts.sure.disabled = true;
    this.#timer = setTimeout(() => void this.#ask(), SETTLE_MS);
  }

  #options() {
    const { rate, deadline, force } = this.#parts;
    return options({ perSecond: rate.value, deadline: deadline.value, force: force.checked });
  }

  async #ask() {
    this.#question += 1;
    const question = this.#question;
    const { server, verb } = this.#asked;
    this.#say({ says: "Asking the tower what this does…", ready: false });
    try {
      const says = await this.#api.wouldDo(server, verb, this.#options());
      if (question !== this.#question) return;
      this.#passed();
      this.#say({ says, ready: true });
    } catch (error) {
      if (question === this.#question) this.#refused(error);
    }
  }

  async #act() {
    this.#question += 1;
    const { server, verb } = this.#asked;
    this.#parts.sure.disabled = true;
    try {
      const says = await this.#api.act(server, verb, this.#options());
      this.#dialog.close();
      this.#done(sentence(says, [server]));
    } catch (error) {
      this.#refused(error);
    }
  }

  #refused(error) {
    if (error.status === 401 || error.status === 403) {
      const tried = this.#unlock.open || this.#token.value !== null;
      this.#token.forget();
      this.#dialog.close();
      if (!this.#unlock.open) this.#unlock.showModal();
      this.#gate.ask(error.status, tried);
      return;
    }
    this.#passed();
    if (error.status === 409 && error.code === "last_server") this.#parts.anyway.hidden = false;
    this.#say({ problem: sentence(error.message, [this.#asked.server]), ready: false });
  }

  /** The tower takes our token: back to the question. */
  #passed() {
    if (!this.#unlock.open) return;
    this.#gate.passed();
    this.#unlock.close();
    this.#dialog.showModal();
    this.#dialog.querySelector("[data-cancel]").focus();
  }

  #say({ says = "", problem = "", ready }) {
    const { sure } = this.#parts;
    this.#parts.says.textContent = says && sentence(says, [this.#asked.server]);
    this.#parts.problem.textContent = problem;
    sure.disabled = !ready;
  }
}
