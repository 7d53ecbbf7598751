/**
 * The Belfry client: rooms over one websocket that comes back exactly where it was. No framework, no dependency.
 *
 *     import { Belfry } from "./belfry.js";
 *     const belfry = new Belfry({ url: "https://chat.example", token: "..." });
 *     belfry.on("message", ({ room, seq, from, text }) => console.log(room, seq, from.name, text));
 *     belfry.join("lobby");
 *     belfry.connect();
 *     belfry.send("lobby", "hello");
 *
 * Each message of a joined room arrives by one `message` event: in order, none twice, none left out, over reconnects
 * and server moves. Where that cannot be kept a `gap` event says so first. What is sent is kept until the server has
 * committed it. docs/reference/belfry-js.md has every option and event.
 */

import { socketAddress } from "./belfry/address.js";
import { systemClock } from "./belfry/clock.js";
import { Connection } from "./belfry/connection.js";
import { Emitter } from "./belfry/emitter.js";
import { CAPACITY, Outbox, defaultStorage, newNonce } from "./belfry/outbox.js";
import { MAX_ATTEMPTS, holdMs } from "./belfry/refusals.js";
import { Room } from "./belfry/room.js";

const TYPING_MS = 3_000; // at most one `typing` a room in this time; the server's word is good for 5 s
const HISTORY = 50; // messages that a first join brings

export class Belfry extends Emitter {
  #clock;
  #random;
  #client;
  #connection;
  #outbox;
  /** @type {Map<string, {room: Room, limit: number, read: number, typed: number, attempts: number, timer: any}>} */
  #joined = new Map();
  #user = null;
  #writer; // whose unsent messages these are: the user's id, known before the welcome if the application knows it
  #limits = null;
  #hold = null; // sends wait for this timer

  /**
   * @param {object} options
   * @param {string} [options.url] of the server (http, https, ws or wss); in a browser, the page's own by default
   * @param {string | ((why: {fresh: boolean}) => string | null | Promise<string | null>)} options.token
   *   a function is asked before each connection, with `fresh: true` after its last token was refused
   * @param {typeof WebSocket} [options.WebSocket]
   * @param {Storage | null} [options.storage] keeps unsent messages over a reload; localStorage by default, if there is one
   * @param {string} [options.user] this user's id, if it is known before the server tells it
   * @param {string} [options.client] a name for the server's log
   * @param {typeof fetch} [options.fetch] asks why a connection was refused, and the tower where to go
   * @param {object} [options.clock] for tests, as are `random` and `environment`, which stands for the window
   */
  constructor(options) {
    super();
    const { WebSocket = globalThis.WebSocket, environment = globalThis } = options;
    if (typeof WebSocket !== "function") throw new TypeError("no WebSocket here: pass one as the option WebSocket");
    if (!options.token) throw new TypeError("a token is needed: a string, or a function that returns one");
    this.#clock = options.clock ?? systemClock;
    this.#random = options.random ?? Math.random;
    this.#client = options.client ?? "belfry.js";
    this.#writer = options.user ?? null;
    this.#outbox = new Outbox(options.storage === undefined ? defaultStorage() : options.storage);
    const url = socketAddress(options.url, environment.location?.origin);
    const renewable = typeof options.token === "function";
    this.#connection = new Connection({
      url,
      token: renewable ? options.token : () => options.token,
      renewable,
      WebSocket,
      clock: this.#clock,
      random: this.#random,
      environment,
      fetch: options.fetch ?? environment.fetch?.bind(environment),
      resolve: (written) => socketAddress(written, url),
      events: {
        hello: () => this.#hello(),
        welcomed: (link, frame) => this.#welcomed(link, frame),
        frame: (link, frame) => this.#frame(link, frame),
        lost: () => this.#lost(),
        probe: (link) => this.#probe(link),
        state: (state) => this.emit("state", state),
        who: () => ({ user: this.#writer, room: this.#joined.keys().next().value ?? null }),
      },
    });
  }

  /** What the connection does now; the same object as in the `state` event. */
  get state() {
    return this.#connection.state;
  }

  /** Who the server says we are, or null before the first welcome. */
  get user() {
    return this.#user;
  }

  /** `welcome.limits`, or null before the first welcome. */
  get limits() {
    return this.#limits;
  }

  /** What is known of a joined room, or null: name, epoch, seq, head, read, count, members. */
  room(name) {
    return this.#joined.get(name)?.room ?? null;
  }

  /** What was said and is not committed yet, in order: {nonce, room, text, at, state, refusal}. */
  unsent(room = null) {
    return this.#outbox.entries(room).map((entry) => ({ ...entry }));
  }

  /** Begin. After a `stopped` state: begin again. */
  connect() {
    this.#connection.start();
  }

  /** While waiting to reconnect: do it now. */
  reconnect() {
    this.#connection.now();
  }

  /** End for good. What is not sent stays in the storage. */
  close() {
    this.#release();
    for (const joined of this.#joined.values()) this.#clock.clearTimeout(joined.timer);
    this.#connection.close();
  }

  /**
   * Enter a room, now or as soon as there is a connection, and stay in it over reconnects.
   * @param {{limit?: number}} [options] how many of the newest messages to begin with, 0 to 500
   */
  join(name, { limit = HISTORY } = {}) {
    if (this.#joined.has(name)) return;
    const joined = { room: new Room(name), limit, read: 0, typed: -Infinity, attempts: 0, timer: null };
    this.#joined.set(name, joined);
    this.#ask(joined);
  }

  /** Leave a room. What waits to be sent there waits on. */
  leave(name) {
    if (!this.#drop(name)) return;
    this.#connection.link?.send({ t: "leave", room: name });
  }

  /**
   * Say something in a room. It is kept and tried until the server has committed it (`ack`) or refused it (`refused`).
   * @returns {string} the nonce by which `ack`, `message` and `refused` will speak of it
   * @throws {RangeError} if too much is unsent already
   */
  send(name, text) {
    if (this.#outbox.size >= CAPACITY) throw new RangeError(`${CAPACITY} messages are unsent: no room for more`);
    const nonce = newNonce();
    this.#outbox.add({ nonce, room: name, text, user: this.#writer, now: this.#clock.now() });
    this.#flush(name);
    return nonce;
  }

  /** Try a refused message once more, behind the others of its room. */
  retry(nonce) {
    const entry = this.#outbox.renew(nonce, this.#writer);
    if (entry) this.#flush(entry.room);
  }

  /** Forget an unsent message. One that is in flight may still arrive. */
  discard(nonce) {
    const entry = this.#outbox.remove(nonce);
    if (entry) this.#flush(entry.room);
  }

  /** Say that we are typing; call it at every key, it is told at most every 3 s. */
  typing(name) {
    const joined = this.#joined.get(name);
    if (!joined || this.#clock.now() - joined.typed < TYPING_MS) return;
    if (this.#ready(name)?.send({ t: "typing", room: name })) joined.typed = this.#clock.now();
  }

  /** Say that we have read a room up to a number; told as soon as there is a connection. */
  read(name, seq) {
    const joined = this.#joined.get(name);
    if (!joined || seq <= joined.read) return;
    joined.read = seq;
    joined.room.read = Math.max(joined.room.read, seq);
    this.#ready(name)?.send({ t: "read", room: name, seq });
  }

  // --- the connection ---

  #hello() {
    const resume = {};
    for (const [name, { room }] of this.#joined) if (room.position) resume[name] = room.position;
    return { t: "hello", client: this.#client, resume };
  }

  #welcomed(link, frame) {
    this.#user = frame.user;
    this.#writer = frame.user.id;
    this.#limits = frame.limits;
    this.#outbox.rewind();
    this.#release();
    for (const entry of this.#outbox.claim(frame.user.id)) {
      this.#refuse(entry, { code: "other_user", message: "This was written under another name.", temporary: false });
    }
    this.emit("welcome", { user: frame.user, server: frame.server, limits: frame.limits, url: link.url });
    for (const [name, joined] of this.#joined) {
      if (joined.room.position) link.awaited.add(name); // `resume` asked already
      else link.join(name, null, joined.limit);
    }
    if (link.awaited.size === 0) this.#connection.settle(link);
  }

  #lost() {
    this.#outbox.rewind();
    this.#release();
  }

  /** Ask something that must be answered: a room we are in, after where we are. False if there is none. */
  #probe(link) {
    for (const [name, { room }] of this.#joined) if (room.position) return link.join(name, room.position);
    return false;
  }

  /** The link on which this room is joined, or null. */
  #ready(name) {
    const link = this.#connection.link;
    return link?.epochs.has(name) ? link : null;
  }

  #ask(joined) {
    const { room, limit } = joined;
    this.#connection.link?.join(room.name, room.position, limit);
  }

  #drop(name) {
    const joined = this.#joined.get(name);
    if (!joined) return false;
    this.#clock.clearTimeout(joined.timer);
    this.#joined.delete(name);
    this.#connection.link?.epochs.delete(name);
    this.#answered(this.#connection.link, name);
    return true;
  }

  #answered(link, name) {
    if (!link?.awaited.delete(name)) return;
    if (link.awaited.size === 0) this.#connection.settle(link);
  }

  // --- what the server says ---

  #frame(link, frame) {
    const older = link !== this.#connection.link; // during a move: its messages count, its news of people do not
    switch (frame.t) {
      case "joined":
        this.#began(link, frame);
        break;
      case "message":
        this.#message(link, frame);
        break;
      case "ack":
        this.#acknowledged(frame);
        break;
      case "error":
        this.#error(link, frame);
        break;
      case "moving":
        this.#connection.moving(link, frame);
        this.emit("moving", { inMs: frame.not_before_ms, windowMs: frame.window_ms });
        break;
      case "presence":
      case "typing":
      case "read":
        if (!older && this.#joined.has(frame.room)) this.#news(frame, this.#joined.get(frame.room).room);
        break;
      default: // a frame of a newer server: what we do not know we cannot miss
    }
  }

  #began(link, frame) {
    const joined = this.#joined.get(frame.room);
    if (!joined) return;
    const { room } = joined;
    link.epochs.set(room.name, frame.epoch);
    joined.attempts = 0;
    const from = room.position;
    const { fresh, gap, messages, hole } = room.begin(frame);
    if (gap) this.emit("gap", { room: room.name, reason: gap, from, to: room.position });
    const { epoch, head, read, count, members } = room;
    this.emit("joined", { room: room.name, fresh, epoch, head, read, count, members: members && [...members.values()] });
    for (const message of messages) this.#deliver(room.name, message, false);
    if (hole) {
      link.join(room.name, room.position);
      return;
    }
    this.#answered(link, room.name);
    if (gap === "epoch") joined.read = 0;
    if (joined.read > (frame.read ?? 0)) link.send({ t: "read", room: room.name, seq: joined.read });
    this.#flush(room.name);
  }

  #message(link, frame) {
    const joined = this.#joined.get(frame.room);
    const epoch = link.epochs.get(frame.room);
    if (!joined || epoch === undefined) return;
    const verdict = joined.room.offer(epoch, frame);
    if (verdict === "next") this.#deliver(frame.room, frame, true);
    if (verdict === "hole" && !link.awaited.has(frame.room)) link.join(frame.room, joined.room.position);
  }

  #deliver(room, { seq, from, text, at }, live) {
    this.emit("message", { room, seq, from, text, at, live, own: from.id === this.#user?.id });
  }

  #acknowledged({ room, nonce, seq, at }) {
    const entry = this.#outbox.remove(nonce);
    if (!entry) return; // acknowledged on both links of a move
    this.emit("ack", { room, nonce, seq, at, text: entry.text });
    this.#flush(room);
  }

  #news(frame, room) {
    if (frame.t === "presence") {
      room.presence(frame);
      const members = room.members && [...room.members.values()];
      this.emit("presence", { room: room.name, joined: frame.joined, left: frame.left, count: frame.count, members });
    } else if (frame.t === "typing") {
      if (frame.from.id !== this.#user?.id) this.emit("typing", { room: room.name, user: frame.from });
    } else {
      const own = frame.user === this.#user?.id;
      if (own) room.read = Math.max(room.read, frame.seq); // read in another tab or on another device
      this.emit("read", { room: room.name, user: frame.user, seq: frame.seq, own });
    }
  }

  // --- refusals ---

  #error(link, frame) {
    const entry = frame.ref === undefined ? undefined : this.#outbox.entry(frame.ref);
    const name = entry?.room ?? frame.ref;
    if (frame.code === "not_joined" && link.epochs.delete(name) && this.#joined.has(name)) {
      // The server knows less of us than we do (it dropped the room on its side): come in again, then go on.
      if (entry?.state === "sent") entry.state = "waiting";
      this.#ask(this.#joined.get(name));
    } else if (entry) this.#refused(entry, frame);
    else if (frame.ref !== undefined && this.#joined.has(frame.ref)) this.#shut(link, frame);
    else this.emit("error", { code: frame.code, message: frame.message, ref: frame.ref });
  }

  #refused(entry, { code, message, temporary, retry_ms: retryMs = 0 }) {
    if (entry.state !== "sent") return; // refused on the older link of a move, waiting on the newer
    entry.attempts += 1;
    if (!temporary || entry.attempts >= MAX_ATTEMPTS) {
      this.#refuse(entry, { code, message, temporary });
      this.#flush(entry.room);
      return;
    }
    entry.state = "waiting";
    // Every room waits: what is refused for the moment is refused for the session or by the database, hardly for a room.
    this.#release();
    this.#hold = this.#clock.setTimeout(() => {
      this.#hold = null;
      for (const name of this.#joined.keys()) this.#flush(name);
    }, holdMs(entry.attempts, retryMs, this.#random));
  }

  #refuse({ nonce }, refusal) {
    const { room, text } = this.#outbox.refuse(nonce, refusal);
    this.emit("refused", { room, nonce, text, ...refusal, retry: () => this.retry(nonce) });
  }

  /** A room did not let us in, or is gone. */
  #shut(link, { ref: room, code, message, temporary, retry_ms: retryMs = 0 }) {
    const joined = this.#joined.get(room);
    joined.attempts += 1;
    if (temporary && joined.attempts < MAX_ATTEMPTS) {
      joined.timer = this.#clock.setTimeout(() => this.#ask(joined), holdMs(joined.attempts, retryMs, this.#random));
    } else {
      this.#drop(room);
      this.emit("shut", { room, code, message, temporary });
    }
    this.#answered(link, room);
  }

  // --- sending ---

  #flush(name) {
    const link = this.#ready(name);
    if (!link || this.#hold !== null) return;
    const entry = this.#outbox.next(name);
    if (!entry) return;
    const limit = this.#limits?.text_chars ?? 0;
    if (limit > 0 && [...entry.text].length > limit) {
      // Told here and not by the server: a frame over its bound would cost the connection, again after each reload.
      this.#refuse(entry, { code: "text_too_long", message: `Longer than ${limit} characters.`, temporary: false });
      this.#flush(name);
    } else if (link.send({ t: "send", room: name, nonce: entry.nonce, text: entry.text })) {
      entry.state = "sent";
    }
  }

  #release() {
    this.#clock.clearTimeout(this.#hold);
    this.#hold = null;
  }
}
