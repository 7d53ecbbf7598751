/**
 * Asks by HTTP what a websocket that could not be opened does not tell: whether anybody is there, when to come back,
 * and, of the tower, where to go instead. A browser hides the answer to a refused handshake from its page.
 */

const PATIENCE_MS = 3_000; // for each of the two questions: nothing else happens meanwhile

/** @typedef {{waitMs: number, target: string | null}} Word */

export class Scout {
  #fetch;
  #clock;

  /**
   * @param {typeof fetch | undefined} fetch undefined: nothing can be asked
   * @param {object} clock
   */
  constructor(fetch, clock) {
    this.#fetch = fetch;
    this.#clock = clock;
  }

  /** Whether there is anything to ask with. */
  get able() {
    return this.#fetch !== undefined;
  }

  /**
   * What to do after nobody welcomed us at `url`. Never rejects: what cannot be had is left out.
   * @param {string} url of the websocket
   * @param {string | undefined} tower
   * @param {{user: string | null, room: string | null}} who
   * @returns {Promise<Word>} `waitMs`: what was asked for, 0 if nothing; `target`: where to go, null if nobody knows
   */
  async ask(url, tower, who) {
    const there = await this.#get(new URL(url.replace(/^ws/, "http")));
    if (there !== null && there.status !== 502 && there.status !== 504 && there.code !== "draining") {
      return { waitMs: there.status === 503 ? there.retryMs : 0, target: null };
    }
    if (!tower) return { waitMs: there?.retryMs ?? 0, target: null };
    const question = new URL(`${tower.replace(/\/$/, "")}/v1/assign`);
    for (const [name, value] of Object.entries(who)) if (value !== null) question.searchParams.set(name, value);
    const told = await this.#get(question);
    if (told === null) return { waitMs: there?.retryMs ?? 0, target: null };
    if (told.status === 200 && typeof told.url === "string") return { waitMs: 0, target: told.url };
    return { waitMs: told.status === 503 ? told.retryMs : 0, target: null };
  }

  async #get(url) {
    const abort = new AbortController();
    const timer = this.#clock.setTimeout(() => abort.abort(), PATIENCE_MS);
    try {
      const answer = await this.#fetch(url.href, { signal: abort.signal, cache: "no-store", credentials: "omit" });
      const seconds = Number(answer.headers.get("Retry-After"));
      const body = await answer.json().catch(() => null);
      return {
        status: answer.status,
        retryMs: seconds > 0 && seconds < 86_400 ? 1_000 * seconds : 0,
        code: body?.code,
        url: body?.url,
      };
    } catch {
      return null; // nobody, or nobody who talks to this page
    } finally {
      this.#clock.clearTimeout(timer);
    }
  }
}
