/** The HTTP side of the server, /v1, as far as the client needs it. */

const TIMEOUT_MS = 15_000; // then the world is at fault, and trying again is better than waiting

/** An answer that is not what was asked for. `code` as in the server's list; "unreachable" if there was no answer. */
export class Problem extends Error {
  constructor(code, message, status = 0) {
    super(message);
    this.code = code;
    this.status = status;
  }
}

const ORDERS = {
  name: { sort: "name", order: "asc" },
  newest: { sort: "created_at", order: "desc" },
  active: { sort: "active_at", order: "desc" },
};

export class Api {
  #token;
  #refused;
  #origin = location.origin;

  /**
   * @param {() => string | null} token
   * @param {() => void} refused called when the token is not taken any more
   */
  constructor(token, refused) {
    this.#token = token;
    this.#refused = refused;
  }

  /** From now on ask the server that the websocket at `url` belongs to: the page's own may be gone. */
  at(url) {
    this.#origin = new URL(url.replace(/^ws/, "http")).origin;
  }

  /** A guest's token for this name. */
  guest(name) {
    return this.#ask("POST", "guests", { body: { name }, token: null });
  }

  /** Whether a token is good; throws the server's Problem if it is not. */
  check(token) {
    return this.#ask("GET", "rooms", { query: { limit: 1 }, token });
  }

  /** @param {{q?: string, by?: "name" | "newest" | "active", cursor?: string | null, limit?: number}} which */
  rooms({ q = "", by = "name", cursor = null, limit = 50 } = {}, signal = undefined) {
    return this.#ask("GET", "rooms", { query: { q, ...ORDERS[by], limit, cursor }, signal });
  }

  room(name) {
    return this.#ask("GET", `rooms/${name}`);
  }

  create(name, title) {
    return this.#ask("POST", "rooms", { body: title ? { name, title } : { name } });
  }

  /** The page of history right before `seq`. */
  before(room, seq, limit) {
    return this.#ask("GET", `rooms/${room}/messages`, { query: { before: seq, limit } });
  }

  members(room) {
    return this.#ask("GET", `rooms/${room}/members`);
  }

  async #ask(method, path, { query = {}, body = null, token = this.#token(), signal = undefined } = {}) {
    const url = new URL(`/v1/${path}`, this.#origin);
    for (const [name, value] of Object.entries(query)) {
      if (value !== null && value !== "") url.searchParams.set(name, String(value));
    }
    const headers = { Accept: "application/json" };
    if (token !== null) headers.Authorization = `Bearer ${token}`;
    if (body !== null) headers["Content-Type"] = "application/json";
    const late = AbortSignal.timeout(TIMEOUT_MS);
    let response;
    let answer;
    try {
      response = await fetch(url, {
        method,
        headers,
        body: body === null ? undefined : JSON.stringify(body),
        signal: signal ? AbortSignal.any([signal, late]) : late,
        cache: "no-store",
      });
      answer = await response.json();
    } catch (error) {
      if (signal?.aborted) throw error;
      throw new Problem("unreachable", "The server cannot be reached.", response?.status ?? 0);
    }
    if (response.ok) return answer;
    if (response.status === 401 && token !== null && token === this.#token()) this.#refused();
    throw new Problem(answer.code ?? "internal", answer.message ?? "The server failed.", response.status);
  }
}
