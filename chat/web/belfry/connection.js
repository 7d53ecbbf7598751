/**
 * Keeps one welcomed link to a server: opens it, and after a close does what the close asks for.
 *
 * Up to three links exist at a time: `current` carries what is sent; `next` is being opened; `old` is the one before
 * `current` during a move, still heard until the rooms have answered on the new one (make before break).
 *
 *   what happened                         what follows
 *   ------------------------------------  ----------------------------------------------------------------------
 *   `moving`                              at its moment: open `next` with the ticket, `current` stays
 *   `next` is welcomed                    it becomes `current`; the one before is `old` until its rooms are back
 *   `next` fails, `current` lives         try again, by the token or where the tower says; `current` goes on
 *   `current` closes                      by `afterClose`: the server's window first, then backoff; or stop
 *   the only `next` closes                ask what the socket does not tell (`scout.js`), then backoff; or stop
 */

import { Backoff } from "./backoff.js";
import { AT_ONCE, LATER, NEVER, SPREAD, TOKEN, afterClose, explain } from "./closing.js";
import { Link } from "./link.js";
import { Scout } from "./scout.js";

const STABLE_MS = 5_000; // welcomed this long, a connection has proved itself and backoff starts over
const OVERLAP_MS = 10_000; // the old link's longest life beside the new one
const QUIET_MS = 10_000; // heard this lately, a link needs no proof when its tab is looked at again
const UPDATE_MS = 15_000; // past its window a move is no longer what keeps us away: a restart takes two seconds
const MOVES = 3; // tries of one move while the old link lives; then it is the old server's to close
const WAKE_MS = 500; // first try after the network is back or the tab is looked at: spread a little, felt as at once

export class Connection {
  /** @type {{name: string, [detail: string]: unknown}} */
  state = { name: "idle" };

  #options;
  #clock;
  #backoff;
  #current = null;
  #next = null;
  #old = null;
  #trying = 0; // the number of the try that waits for its token, 0 if none
  #tries = 0;
  #timers = { retry: null, move: null, stable: null, overlap: null };
  #move = null; // what `moving` said, until somebody welcomes us
  #crash = { window_ms: 0 }; // what the last welcome said about coming back
  #home = null; // the address of the last link that was welcomed
  #told = null; // where the tower, or the place a ticket was refused at, sends the next try
  #scout;
  #renewed = false; // a fresh token was asked for since the last stable connection
  #ticketed = new WeakSet(); // links whose token was a ticket

  /**
   * @param {object} options
   * @param {string} options.url
   * @param {(why: {fresh: boolean}) => Promise<string | null> | string | null} options.token
   * @param {boolean} options.renewable whether asking again may give another token
   * @param {new (url: string, protocols: string[]) => WebSocket} options.WebSocket
   * @param {object} options.clock
   * @param {() => number} options.random
   * @param {typeof fetch | undefined} options.fetch
   * @param {(written: string) => string} options.resolve makes an address of what the server wrote
   * @param {object} options.environment a window, or what is like one
   * @param {{hello: Function, welcomed: Function, frame: Function, lost: Function, probe: Function,
   *   state: Function, who: Function}} options.events
   */
  constructor(options) {
    this.#options = options;
    this.#clock = options.clock;
    this.#backoff = new Backoff(options.random);
    this.#scout = new Scout(options.fetch, options.clock);
    const { environment } = options;
    environment.addEventListener?.("online", this.#wake);
    environment.addEventListener?.("offline", this.#doubt);
    environment.document?.addEventListener("visibilitychange", this.#look);
  }

  /** The link to send on, or null. */
  get link() {
    return this.#current;
  }

  /** Begin, or begin again after a stop. */
  start() {
    if (this.#current || this.#next || this.#trying || this.#timers.retry) return;
    this.#renewed = false;
    this.#try("start");
  }

  /** Try now instead of at the moment that was drawn. */
  now() {
    if (this.#timers.retry) this.#try("asked");
  }

  /** End for good. */
  close() {
    const { environment } = this.#options;
    environment.removeEventListener?.("online", this.#wake);
    environment.removeEventListener?.("offline", this.#doubt);
    environment.document?.removeEventListener("visibilitychange", this.#look);
    this.#end({ name: "closed" });
  }

  /** The rooms have answered on this link: the one before it may go. */
  settle(link) {
    if (link !== this.#current || !this.#old) return;
    this.#clear("overlap");
    this.#old.close();
    this.#old = null;
  }

  /** The server is about to stop: be elsewhere at the moment it gave to us. */
  moving(link, frame) {
    if (link !== this.#current) return;
    const until = this.#clock.now() + frame.not_before_ms + frame.window_ms + UPDATE_MS;
    this.#move = { url: frame.url, ticket: frame.ticket, windowMs: frame.window_ms, until, tries: 0 };
    this.#set({ name: "moving" });
    this.#arm("move", frame.not_before_ms, () => this.#try("moving"));
  }

  async #try(cause) {
    if (this.#next || this.#trying) return;
    this.#clear("retry");
    this.#clear("move");
    this.#tries += 1;
    const mine = (this.#trying = this.#tries);
    if (!this.#current) this.#set({ name: this.#move ? "moving" : "connecting" });
    const ticket = this.#move?.ticket ?? null;
    if (this.#move) this.#move.ticket = null; // short-lived, and good for one try: after a failure it explains nothing
    let token = ticket;
    if (token === null) {
      try {
        token = await this.#options.token({ fresh: cause === "renew" });
      } catch (error) {
        if (mine === this.#trying) this.#untold(error);
        return;
      }
      if (mine !== this.#trying) return;
    }
    this.#trying = 0;
    if (typeof token !== "string" || token === "") this.#stop(4500, "there is no token");
    else this.#open(token, cause, ticket !== null);
  }

  /** The token could not be had: as good as a server that could not be reached. */
  #untold(error) {
    this.#trying = 0;
    if (!this.#current) this.#schedule(this.#backoff.next(), { code: 0, reason: `no token: ${error?.message ?? error}` });
  }

  #open(token, cause, ticketed) {
    const { WebSocket, events } = this.#options;
    try {
      this.#next = new Link({
        url: this.#address(),
        WebSocket,
        clock: this.#clock,
        hello: () => ({ ...events.hello(), token, cause }),
        events: { welcomed: this.#welcomed, frame: events.frame, closed: this.#closed },
      });
    } catch (error) {
      this.#stop(0, `This address cannot be connected to: ${error.message}`);
      return;
    }
    if (ticketed) this.#ticketed.add(this.#next);
  }

  #address() {
    const { url, resolve } = this.#options;
    if (this.#move?.url) {
      const target = resolve(this.#move.url);
      this.#move.url = null; // as with the ticket: if nobody is there, go by the ordinary way
      return target;
    }
    if (this.#told !== null) {
      const target = this.#told;
      this.#told = null; // once, for the same reason
      return target;
    }
    // By the server's hint first, then where we were, then where we began, and so on in turn.
    const ways = [...new Set([this.#crash.url && resolve(this.#crash.url), this.#home, url].filter(Boolean))];
    return ways[Math.max(0, this.#backoff.attempt - 1) % ways.length];
  }

  #welcomed = (link, frame) => {
    this.#next = null;
    this.#old?.close();
    this.#old = this.#current;
    this.#current = link;
    this.#move = this.#told = null;
    this.#home = link.url;
    this.#crash = frame.reconnect ?? { window_ms: 0 };
    this.#clear("move");
    this.#clear("retry");
    this.#arm("stable", STABLE_MS, () => {
      this.#backoff.reset();
      this.#renewed = false;
    });
    if (this.#old) this.#arm("overlap", OVERLAP_MS, () => this.settle(link));
    this.#options.events.welcomed(link, frame);
    if (this.#current === link) this.#set({ name: "live", server: frame.server });
  };

  #closed = (link, code, reason) => {
    if (link === this.#old) {
      this.#old = null;
      return;
    }
    if (link === this.#next) {
      this.#next = null;
      if (this.#current) {
        this.#stay();
        void this.#moveAgain(link, code);
        return;
      }
    } else {
      this.#current = null;
      this.#clear("stable");
      this.#clear("move");
      this.#old?.close();
      this.#old = null;
      this.#options.events.lost();
      if (this.#next || this.#trying) {
        this.#set({ name: this.#move ? "moving" : "connecting" });
        return;
      }
    }
    if (link.welcome === null && this.#scout.able && [SPREAD, LATER].includes(afterClose(code))) {
      void this.#unwelcome(link, { code, reason });
    } else {
      this.#after(link, code, reason);
    }
  };

  /** Nobody welcomed us there: ask why, and where to go instead. */
  async #unwelcome(link, told) {
    this.#tries += 1;
    const mine = (this.#trying = this.#tries); // no other try meanwhile
    const { waitMs, target } = await this.#scout.ask(link.url, this.#crash.tower, this.#options.events.who());
    if (mine !== this.#trying) return;
    this.#trying = 0;
    this.#send(target);
    this.#schedule(this.#backoff.after(Math.max(waitMs, link.retryMs)), told);
  }

  /** The place for the next try, if it is one. */
  #send(target) {
    try {
      if (target) this.#told = this.#options.resolve(target);
    } catch {
      this.#told = null; // a tower that is not quite right
    }
  }

  /** A move failed: once more with the token if it was the ticket, else where the tower says, if it says anything. */
  async #moveAgain(link, code) {
    const move = this.#move;
    if (move === null || (move.tries += 1) > MOVES) return;
    if (afterClose(code) === TOKEN && this.#ticketed.has(link)) {
      this.#told = link.url;
    } else {
      if (!this.#crash.tower || !this.#scout.able) return;
      const { target } = await this.#scout.ask(link.url, this.#crash.tower, this.#options.events.who());
      if (!target || move !== this.#move || !this.#current || this.#next || this.#trying) return;
      this.#send(target);
    }
    this.#arm("move", this.#backoff.next(), () => this.#try("moving"));
  }

  /** The move failed, and the old server still talks to us: stay until it closes, or is seen to go on. */
  #stay() {
    const patience = Math.max(STABLE_MS, this.#move?.windowMs ?? 0);
    this.#arm("move", patience, () => {
      this.#move = null;
      this.#set({ name: "live", server: this.#current.welcome.server });
    });
  }

  #after(link, code, reason) {
    const told = { code, reason };
    const first = link.welcome !== null && this.#backoff.attempt === 0;
    switch (afterClose(code)) {
      case NEVER:
        this.#stop(code, reason);
        break;
      case TOKEN:
        if (this.#ticketed.has(link)) {
          this.#told = link.url; // where the ticket was good for nothing the token may be
          this.#schedule(this.#backoff.next(), told);
        } else if (this.#options.renewable && !this.#renewed) {
          this.#renewed = true;
          this.#try("renew");
        } else {
          this.#stop(code, reason);
        }
        break;
      case AT_ONCE: {
        const windowMs = Math.min(this.#move?.windowMs ?? Infinity, this.#crash.window_ms);
        this.#schedule(first ? this.#backoff.within(windowMs) : this.#backoff.next(), told);
        break;
      }
      case LATER:
        this.#schedule(this.#backoff.after(link.retryMs), told);
        break;
      case SPREAD:
        this.#schedule(first ? this.#backoff.within(this.#crash.window_ms) : this.#backoff.next(), told);
        break;
    }
  }

  #schedule(delay, { code, reason }) {
    if (this.#move && this.#clock.now() > this.#move.until) this.#move = null;
    this.#arm("retry", delay, () => this.#try(String(code)));
    const name = this.#options.environment.navigator?.onLine === false ? "offline" : this.#move ? "moving" : "waiting";
    this.#set({ name, retryAt: this.#clock.now() + delay, code, reason });
  }

  #stop(code, reason) {
    this.#end({ name: "stopped", code, reason, message: code === 0 ? reason : explain(code, reason) });
  }

  #end(state) {
    for (const link of [this.#current, this.#next, this.#old]) link?.close();
    const lost = this.#current !== null;
    this.#current = this.#next = this.#old = this.#move = this.#told = null;
    this.#trying = 0;
    for (const name of Object.keys(this.#timers)) this.#clear(name);
    if (lost) this.#options.events.lost();
    this.#set(state);
  }

  /** The network is back: others notice at the same moment, so not quite at once. */
  #wake = () => {
    if (this.#timers.retry) {
      const delay = Math.min(this.#options.random() * WAKE_MS, this.state.retryAt - this.#clock.now());
      this.#schedule(Math.max(0, delay), this.state);
    } else {
      this.#doubt();
    }
  };

  /** The browser says that the network is gone. On its word alone nothing is dropped: localhost needs no network. */
  #doubt = () => {
    if (this.#timers.retry) this.#schedule(Math.max(0, this.state.retryAt - this.#clock.now()), this.state);
    if (this.#current && this.#options.events.probe(this.#current)) this.#current.doubt();
  };

  #look = () => {
    if (this.#options.environment.document.visibilityState !== "visible") return;
    if (!this.#current || this.#current.quietMs > QUIET_MS) this.#wake();
  };

  #set(state) {
    this.state = state;
    this.#options.events.state(state);
  }

  #arm(name, delay, action) {
    this.#clear(name);
    this.#timers[name] = this.#clock.setTimeout(() => {
      this.#timers[name] = null;
      action();
    }, delay);
  }

  #clear(name) {
    if (this.#timers[name] !== null) this.#clock.clearTimeout(this.#timers[name]);
    this.#timers[name] = null;
  }
}
