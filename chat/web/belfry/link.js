/**
 * One websocket, from `hello` to its close. It answers pings, and notices a peer that has gone silent.
 *
 * It ends exactly once, by `closed(code, reason)`: a browser's own `close` event can come a minute late when the network
 * is gone, so a link that gives up says so at once and leaves the socket to its fate.
 */

const SUBPROTOCOL = "belfry.v1";
const WELCOME_MS = 10_000; // from connecting to `welcome`: three lost packets on a slow phone, and then some
const SILENT_BEATS = 2.5; // heartbeats without a frame: two may be lost or late, the third is not coming
const PROBE_MS = 4_000; // for an answer when there is reason to doubt

export class Link {
  url; // where it goes
  /** @type {Map<string, string>} room -> the epoch its messages on this socket belong to */
  epochs = new Map();
  /** @type {Set<string>} rooms asked for that have not answered yet */
  awaited = new Set();
  welcome = null; // the `welcome` frame, once it is here
  retryMs = 0; // what the last temporary refusal asked for

  #socket;
  #clock;
  #events;
  #ended = false;
  #heard = 0; // the moment of the last frame
  #frames = 0;
  #deadline = null;

  /**
   * @param {object} options
   * @param {string} options.url
   * @param {new (url: string, protocols: string[]) => WebSocket} options.WebSocket
   * @param {object} options.clock now, setTimeout, clearTimeout
   * @param {() => object} options.hello the first frame, made when the socket is open
   * @param {{welcomed: Function, frame: Function, closed: Function}} options.events
   */
  constructor({ url, WebSocket, clock, hello, events }) {
    this.url = url;
    this.#clock = clock;
    this.#events = events;
    this.#deadline = clock.setTimeout(() => this.#end(1006, "no welcome in time"), WELCOME_MS);
    this.#socket = new WebSocket(url, [SUBPROTOCOL]);
    this.#socket.onopen = () => this.send(hello());
    this.#socket.onmessage = (event) => this.#receive(event.data);
    this.#socket.onclose = (event) => this.#end(event.code, event.reason);
    this.#socket.onerror = () => {}; // says nothing that the close after it does not
  }

  get live() {
    return this.welcome !== null && !this.#ended;
  }

  /** Milliseconds since the peer last said something. */
  get quietMs() {
    return this.#clock.now() - this.#heard;
  }

  /** Send a frame; false if the socket does not take it any more. */
  send(frame) {
    if (this.#ended || this.#socket.readyState !== 1) return false;
    this.#socket.send(JSON.stringify(frame));
    return true;
  }

  /** Ask for a room; with a position, for everything after it. */
  join(room, position, limit) {
    this.awaited.add(room);
    return this.send(position ? { t: "join", room, after: position } : { t: "join", room, limit });
  }

  /** Doubt the peer: it must say something soon. The caller sends what it has to answer. */
  doubt() {
    if (!this.live) return;
    this.#clock.clearTimeout(this.#deadline);
    const before = this.#frames;
    this.#deadline = this.#clock.setTimeout(() => {
      if (this.#frames === before) this.#end(1006, "no answer");
      else this.#watch();
    }, PROBE_MS);
  }

  /** Close on purpose; `closed` is not called. */
  close(code = 1000, reason = "bye") {
    this.#ended = true;
    this.#clock.clearTimeout(this.#deadline);
    this.#release(code, reason);
  }

  #receive(data) {
    if (this.#ended || typeof data !== "string") return;
    this.#heard = this.#clock.now();
    this.#frames += 1;
    let frame;
    try {
      frame = JSON.parse(data);
    } catch {
      this.#end(4000, "the server sent what is not JSON");
      return;
    }
    if (frame.t === "ping") {
      this.send({ t: "pong" });
    } else if (frame.t === "welcome") {
      this.welcome = frame;
      this.#watch();
      this.#events.welcomed(this, frame);
    } else {
      if (frame.t === "error" && frame.ref === undefined) this.retryMs = frame.retry_ms ?? 0; // a 1013 may follow
      this.#events.frame(this, frame);
    }
  }

  #watch() {
    this.#clock.clearTimeout(this.#deadline);
    const silence = SILENT_BEATS * this.welcome.heartbeat_ms;
    if (!(silence > 0)) return; // a server without heartbeat
    const wait = Math.max(0, this.#heard + silence - this.#clock.now());
    this.#deadline = this.#clock.setTimeout(() => {
      // One timer a silence, not one a frame: at 1,000 messages/s re-arming would cost more than reading them.
      if (this.#clock.now() - this.#heard >= silence) this.#end(1006, "the server has gone silent");
      else this.#watch();
    }, wait);
  }

  #end(code, reason) {
    if (this.#ended) return;
    this.#ended = true;
    this.#clock.clearTimeout(this.#deadline);
    this.#release(4000, "gave up");
    this.#events.closed(this, code, reason ?? "");
  }

  #release(code, reason) {
    this.#socket.onopen = this.#socket.onmessage = this.#socket.onclose = null;
    try {
      if (this.#socket.readyState < 2) this.#socket.close(code, reason);
    } catch {
      // Some sockets refuse to close while they connect; nobody listens to this one any more.
    }
  }
}
