/** What the dashboard asks the tower besides its events. */

const PATIENCE_MS = 10_000; // for an answer; a verb waits for the bus at most a few seconds

/** The tower said no, or said nothing: `status` is 0 then. */
export class Refused extends Error {
  constructor(status, code, message) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

export class Api {
  #token;
  #fetch;

  /** @param {() => string | null} token */
  constructor(token, fetch = (...args) => globalThis.fetch(...args)) {
    this.#token = token;
    this.#fetch = fetch;
  }

  /** The last rollouts, newest first. @returns {Promise<object[]>} */
  async rollouts(limit) {
    return (await this.#ask("GET", `/v1/rollouts?limit=${limit}`)).rollouts;
  }

  /** What a verb would do, in the tower's words. @returns {Promise<string>} */
  async wouldDo(server, verb, options) {
    return (await this.#ask("POST", `${verbPath(server, verb)}?dry=1`, options)).says;
  }

  /** Do it. @returns {Promise<string>} what is done, in the tower's words */
  async act(server, verb, options) {
    return (await this.#ask("POST", verbPath(server, verb), options)).says;
  }

  async #ask(method, path, body) {
    const token = this.#token();
    const headers = { ...(token && { Authorization: `Bearer ${token}` }), ...(body && { "Content-Type": "application/json" }) };
    let response;
    let answer = null;
    try {
      const signal = AbortSignal.timeout(PATIENCE_MS);
      response = await this.#fetch(path, { method, headers, body: body && JSON.stringify(body), cache: "no-store", signal });
      answer = await response.json().catch(() => null); // a proxy's error page, say
    } catch {
      throw new Refused(0, "unreachable", "the tower does not answer; try again in a moment");
    }
    if (!response.ok || answer === null) {
      const { code = "unknown", message = `the tower answered ${response.status}` } = answer ?? {};
      throw new Refused(response.status, code, message);
    }
    return answer;
  }
}

const verbPath = (server, verb) => `/v1/servers/${encodeURIComponent(server)}/${verb}`;
