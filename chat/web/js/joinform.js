/** The way in: a name, where guests are welcome; a token elsewhere. */

const PROBLEMS = {
  unreachable: "The server cannot be reached. Try again in a moment.",
  rate_limited: "Too many people are coming in right now. Try again in a moment.",
  bad_token: "This token is not one of this server's, or has expired.",
};

export class JoinForm {
  #page;
  #forms;
  #session;
  #api;
  #joined;

  /**
   * @param {HTMLElement} page holds both forms
   * @param {import("./session.js").Session} session
   * @param {import("./api.js").Api} api
   * @param {() => void} joined called when the session has a token
   */
  constructor(page, session, api, joined) {
    this.#page = page;
    this.#session = session;
    this.#api = api;
    this.#joined = joined;
    this.#forms = { name: page.querySelector("#by-name"), token: page.querySelector("#by-token") };
    this.#forms.name.addEventListener("submit", (event) => void this.#submit(event, () => this.#byName()));
    this.#forms.token.addEventListener("submit", (event) => void this.#submit(event, () => this.#byToken()));
    for (const button of page.querySelectorAll("[data-way]")) {
      button.addEventListener("click", () => this.#turn(button.dataset.way));
    }
  }

  /** @param {{why?: string, way?: "name" | "token"}} [how] */
  show({ why = "", way = "name" } = {}) {
    this.#page.hidden = false;
    const reason = this.#page.querySelector(".why");
    reason.textContent = why;
    reason.hidden = why === "";
    this.#forms.name.elements.name.value = this.#session.name;
    this.#forms.token.elements.token.value = "";
    this.#turn(way);
  }

  hide() {
    this.#page.hidden = true;
  }

  #turn(way, problem = "") {
    for (const [name, form] of Object.entries(this.#forms)) form.hidden = name !== way;
    const form = this.#forms[way];
    this.#say(form, problem);
    const field = form.querySelector("input");
    field.focus();
    field.select();
  }

  async #submit(event, enter) {
    event.preventDefault();
    const form = event.currentTarget;
    const button = form.querySelector("[type=submit]");
    if (button.disabled) return;
    button.disabled = true;
    this.#say(form, "");
    try {
      await enter();
    } catch (error) {
      if (error.code === "guests_off") {
        this.#turn("token", "This server takes no guests. Whoever runs it can give you a token.");
        this.#page.querySelector("#by-token [data-way]").hidden = true;
      } else {
        this.#say(form, PROBLEMS[error.code] ?? `${error.message.charAt(0).toUpperCase()}${error.message.slice(1)}.`);
        form.querySelector("input").focus();
      }
    } finally {
      button.disabled = false;
    }
  }

  async #byName() {
    const name = this.#forms.name.elements.name.value.trim();
    if (name === "") throw new Error("tell people what to call you");
    const { token, user, expires_at: expires } = await this.#api.guest(name);
    this.#session.begin({ token, user, expiresAt: Date.parse(expires), guest: true });
    this.#joined();
  }

  async #byToken() {
    const token = this.#forms.token.elements.token.value.trim();
    if (token === "") throw new Error("paste the token that you were given");
    await this.#api.check(token);
    this.#session.begin({ token, user: null, expiresAt: null, guest: false });
    this.#joined();
  }

  #say(form, problem) {
    form.querySelector(".problem").textContent = problem;
    form.querySelector("input").setAttribute("aria-invalid", String(problem !== ""));
  }
}
