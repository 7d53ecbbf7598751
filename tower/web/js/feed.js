/**
 * The tower's events, for as long as somebody looks: a stream read by fetch, taken up again whenever it ends.
 *
 * What it is doing is its `state`:
 *
 *     connecting -> live -> waiting -> connecting ...        refused: the tower wants another token, or none of ours
 */

import { EventCutter } from "./sse.js";

const SILENCE_MS = 7_000; // the fleet comes at least each 2 s: after three missed ones nobody is there
const BASE_MS = 1_000; // within this the first try is made, unless the tower says otherwise: a tower being replaced is back
const CAP_MS = 10_000; // between tries; somebody is looking, and towers have few who do
const systemClock = {
  now: () => Date.now(),
  setTimeout: (action, delay) => setTimeout(action, delay),
  clearTimeout: (timer) => clearTimeout(timer),
};

/** @typedef {{name: "connecting" | "live" | "waiting" | "refused", retryAt?: number, status?: number}} State */

export class Feed {
  #url;
  #token;
  #on;
  #fetch;
  #clock;
  #random;
  #attempt = 0;
  #retryMs = BASE_MS;
  #timer = null;
  #running = null; // the AbortController of the one stream there may be

  /** @type {State} */
  state = { name: "connecting" };

  /** When the last fleet came, by the clock; null before the first. */
  heardAt = null;

  /**
   * @param {string} url
   * @param {() => string | null} token
   * @param {{state: (state: State) => void, fleet: (fleet: object) => void, note: (note: object) => void}} on
   * @param {{fetch?: typeof fetch, clock?: typeof systemClock, random?: () => number}} [world]
   */
  constructor(url, token, on, { fetch = (...args) => globalThis.fetch(...args), clock = systemClock, random = Math.random } = {}) {
    this.#url = url;
    this.#token = token;
    this.#on = on;
    this.#fetch = fetch;
    this.#clock = clock;
    this.#random = random;
  }

  /** Begin, or try again at once; what runs is left alone. */
  start() {
    if (this.#running) return;
    this.#clock.clearTimeout(this.#timer);
    void this.#run();
  }

  stop() {
    this.#clock.clearTimeout(this.#timer);
    this.#running?.abort();
    this.#running = null;
  }

  async #run() {
    const running = new AbortController();
    this.#running = running;
    this.#become({ name: "connecting" });
    let silence = null;
    const listen = () => {
      this.#clock.clearTimeout(silence);
      silence = this.#clock.setTimeout(() => running.abort(), SILENCE_MS);
    };
    let refused = null;
    try {
      listen();
      const response = await this.#fetch(this.#url, { headers: this.#headers(), cache: "no-store", signal: running.signal });
      if (response.status === 401 || response.status === 403) refused = response.status;
      else if (response.ok) await this.#read(response.body.getReader(), listen);
      void response.body?.cancel().catch(() => {}); // an answer that is not read keeps its connection
    } catch (error) {
      if (error instanceof SyntaxError) console.error("the tower said what is no JSON", error);
      // Everything else is the network's, or our own abort: the stream is over, and that is all there is to know.
    }
    this.#clock.clearTimeout(silence);
    if (this.#running !== running) return; // stopped, and perhaps started anew
    this.#running = null;
    if (refused === null) this.#wait();
    else this.#become({ name: "refused", status: refused });
  }

  #headers() {
    const token = this.#token();
    return { Accept: "text/event-stream", ...(token && { Authorization: `Bearer ${token}` }) };
  }

  async #read(reader, listen) {
    const cutter = new EventCutter();
    const decoder = new TextDecoder();
    try {
      for (;;) {
        const { done, value } = await reader.read();
        if (done) return;
        listen();
        for (const { event, data } of cutter.push(decoder.decode(value, { stream: true }))) this.#take(event, data);
        this.#retryMs = Math.min(CAP_MS, cutter.retry ?? BASE_MS);
      }
    } finally {
      reader.releaseLock();
    }
  }

  #take(event, data) {
    if (event === "note") this.#on.note(JSON.parse(data));
    if (event !== "fleet") return;
    const fleet = JSON.parse(data);
    this.heardAt = this.#clock.now();
    this.#attempt = 0; // it has proved itself
    if (this.state.name !== "live") this.#become({ name: "live" });
    this.#on.fleet(fleet);
  }

  #wait() {
    // Full jitter under a bound that doubles, as in the chat client: a wall of dashboards is a crowd too.
    const bound = Math.min(CAP_MS, this.#retryMs * 2 ** Math.min(this.#attempt, 8));
    this.#attempt += 1;
    const delay = this.#random() * bound;
    this.#timer = this.#clock.setTimeout(() => void this.#run(), delay);
    this.#become({ name: "waiting", retryAt: this.#clock.now() + delay });
  }

  #become(state) {
    this.state = state;
    this.#on.state(state);
  }
}
