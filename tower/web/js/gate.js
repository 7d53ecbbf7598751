/** A form that asks for the admin token: the whole page where nobody may look without one, a dialog before a verb. */

const REASONS = {
  401: "This token is not one of this fleet's, or has expired.",
  403: "This token is good, but not an administrator's.",
};

export class Gate {
  #form;
  #field;
  #problem;
  #button;

  /** @param {HTMLFormElement} form @param {(token: string) => void} given */
  constructor(form, given) {
    this.#form = form;
    this.#field = form.querySelector("input");
    this.#problem = form.querySelector(".problem");
    this.#button = form.querySelector("[type=submit]");
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const token = this.#field.value.trim();
      if (token === "") this.#say("Paste the token that you were given.");
      else {
        this.#button.disabled = true;
        given(token);
      }
    });
  }

  /** Ask. @param {number} status of the answer that made us ask @param {boolean} tried whether a token was sent */
  ask(status, tried) {
    this.#button.disabled = false;
    this.#say(tried || status === 403 ? REASONS[status] : "");
    if (tried) this.#field.select();
    this.#field.focus();
  }

  /** It was let in: nothing of the token stays in the page. */
  passed() {
    this.#button.disabled = false;
    this.#field.value = "";
    this.#say("");
  }

  get form() {
    return this.#form;
  }

  #say(problem) {
    this.#problem.textContent = problem;
    this.#field.setAttribute("aria-invalid", String(problem !== ""));
    if (problem) this.#field.focus();
  }
}
