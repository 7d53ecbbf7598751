/**
 * The rooms somebody has open: one timeline each, fed by the connection, and the list of them kept over reloads.
 *
 * Tells `changed(room)` when a room looks different, `spoken(room, message)` when somebody else said something,
 * `typing(room, user)`, `people(room)` and `opened()` when the list of rooms is another.
 */

import { Emitter } from "../belfry/emitter.js";
import { Timeline } from "./timeline.js";

const ROOMS = "belfry.rooms"; // the open rooms' names and titles
const MARKS = "belfry.marks"; // read marks: a server that crashed may have an older one than we told it
const MARK_MS = 1_000; // the server is told of reading at most this often a room
const GONE = new Set(["room_missing", "room_deleted", "room_name_invalid"]);
const PAGE = 100; // messages a page of history: three screens
const REACH = 50; // pages that one wish to go back may ask for: 5,000 messages, a second or two

export class OpenRoom {
  timeline = new Timeline();
  title;
  /** @type {"entering" | "in" | "shut"} */
  stage = "entering";
  shut = null; // {code, message} when it did not let us in
  history = "idle";
  members = null;
  count = 0;
  unasked; // opened just now and never read: what is there already is not news
  /** @type {Promise<void> | null} the page of history that is on its way */
  page = null;
  #later = null;
  #timer = null;

  constructor(name, title, unasked) {
    this.name = name;
    this.title = title ?? name;
    this.unasked = unasked;
  }

  /** Whether there is no such room (any more): nothing to keep in a list. */
  get gone() {
    return this.stage === "shut" && GONE.has(this.shut.code);
  }

  /** Do this once, in a second, or when the page is left. */
  soon(action) {
    this.#later = action;
    this.#timer ??= setTimeout(() => this.now(), MARK_MS);
  }

  /** Do what was to be done soon. */
  now() {
    clearTimeout(this.#timer);
    this.#timer = null;
    const action = this.#later;
    this.#later = null;
    action?.();
  }
}

export class Desk extends Emitter {
  /** @type {Map<string, OpenRoom>} */
  rooms = new Map();
  /** @type {OpenRoom | null} whose messages are looked at: nothing of it is forgotten meanwhile */
  shown = null;
  #belfry;
  #api;
  #storage;
  #marks;
  #lost = new Set(); // rooms whose next `joined` follows a gap

  constructor({ belfry, api, storage }) {
    super();
    this.#belfry = belfry;
    this.#api = api;
    this.#storage = storage;
    this.#marks = parsed(storage.getItem(MARKS), {});
    for (const entry of parsed(storage.getItem(ROOMS), [])) {
      if (Array.isArray(entry) && typeof entry[0] === "string") this.#add(entry[0], entry[1], false);
    }
    addEventListener("pagehide", () => this.rooms.forEach((open) => open.now()));
    belfry.on("joined", (event) => this.#joined(event));
    belfry.on("message", (event) => this.#message(event));
    belfry.on("gap", ({ room }) => this.#lost.add(room));
    belfry.on("ack", (event) => this.#touch(event.room, (open) => open.timeline.commit(event)));
    belfry.on("refused", ({ room }) => this.emit("changed", room));
    belfry.on("shut", (event) => this.#shut(event));
    belfry.on("presence", (event) => this.#presence(event));
    belfry.on("typing", ({ room, user }) => this.emit("typing", { room, user }));
    belfry.on("read", ({ room, seq, own }) => own && this.#touch(room, (open) => open.timeline.mark(seq)));
  }

  /** Open a room, or do nothing if it is open. */
  open(name, title = null) {
    let open = this.rooms.get(name);
    if (open && open.stage !== "shut") {
      if (title !== null && title !== open.title) this.#named(open, title);
      return open;
    }
    open = this.#add(name, title ?? open?.title, true);
    this.#save();
    if (title === null) void this.#learnTitle(open);
    return open;
  }

  /** Close a room: no more news of it. */
  close(name) {
    if (!this.rooms.delete(name)) return;
    this.#belfry.leave(name);
    this.#save();
    this.emit("opened");
  }

  /** Try again to enter a room that did not let us in. */
  again(name) {
    const { title } = this.rooms.get(name) ?? {};
    this.rooms.delete(name);
    return this.open(name, title);
  }

  /** Everything up to the end is read. */
  read(open) {
    const { timeline } = open;
    if (!timeline.mark(timeline.head)) return;
    this.#marks[open.name] = [timeline.epoch, timeline.read];
    open.soon(() => {
      this.#storage.setItem(MARKS, JSON.stringify(this.#marks));
      this.#belfry.read(open.name, open.timeline.read);
    });
    this.emit("changed", open.name);
  }

  /** Say something. Returns false if there is no room left for more unsent messages. */
  say(name, text) {
    try {
      this.#belfry.send(name, text);
    } catch (error) {
      if (error instanceof RangeError) return false;
      throw error;
    }
    this.emit("changed", name);
    return true;
  }

  retry(nonce, room) {
    this.#belfry.retry(nonce);
    this.emit("changed", room);
  }

  discard(nonce, room) {
    this.#belfry.discard(nonce);
    this.emit("changed", room);
  }

  unsent(name) {
    return this.#belfry.unsent(name);
  }

  /** Get the page of history before what is at hand; whoever asks while one is on its way waits for that one. */
  older(open) {
    if (open.page === null && (open.stage !== "in" || open.timeline.complete)) return Promise.resolve();
    open.page ??= this.#fetchPage(open).finally(() => (open.page = null));
    return open.page;
  }

  /** Write nothing more into the storage. */
  forget() {
    this.#storage = { setItem: () => {} };
  }

  /** Get pages of history until this number is at hand. Returns whether it is. */
  async reach(open, seq) {
    for (let page = 0; page < REACH && open.timeline.first > seq; page += 1) {
      const { first } = open.timeline;
      await this.older(open);
      if (open.timeline.first === first) break;
    }
    return open.timeline.first <= seq;
  }

  async #fetchPage(open) {
    const { timeline } = open;
    this.#turn(open, "loading");
    const { epoch, first } = timeline;
    try {
      const page = await this.#api.before(open.name, first, PAGE);
      if (this.rooms.get(open.name) !== open) return;
      // Another epoch: the room is another one, and the connection is about to say so.
      if (page.epoch === epoch && timeline.epoch === epoch) timeline.prepend(page.messages);
      this.#turn(open, "idle");
    } catch {
      this.#turn(open, "failed");
    }
  }

  #turn(open, history) {
    open.history = history;
    this.emit("changed", open.name);
  }

  #add(name, title, unasked) {
    const open = new OpenRoom(name, title, unasked);
    this.rooms.set(name, open);
    this.#belfry.join(name);
    this.emit("opened");
    return open;
  }

  async #learnTitle(open) {
    try {
      const { title } = await this.#api.room(open.name);
      this.#named(open, title);
    } catch {
      // It is called by its name then; whether it can be entered is for the connection to say.
    }
  }

  #named(open, title) {
    open.title = title;
    this.#save();
    this.emit("opened");
    this.emit("changed", open.name);
  }

  #touch(name, action) {
    const open = this.rooms.get(name);
    if (!open) return;
    action(open);
    this.emit("changed", name);
  }

  #joined({ room, fresh, epoch, head, read, count, members }) {
    const gap = this.#lost.delete(room);
    this.#touch(room, (open) => {
      const [markEpoch, mark] = this.#marks[room] ?? [null, 0];
      const known = Math.max(read, markEpoch === epoch ? mark : 0);
      open.stage = "in";
      if (open.history === "failed") open.history = "idle"; // whatever it was, the server is back
      open.count = count;
      open.members = members;
      open.timeline.begin({ epoch, head, read: known, fresh, gap });
      if (open.unasked && known === 0) this.read(open);
      open.unasked = false;
    });
    this.emit("people", room);
  }

  #message(event) {
    this.#touch(event.room, (open) => {
      open.timeline.append(event, event.own);
      if (open !== this.shown) open.timeline.trim();
      if (event.live && !event.own) this.emit("spoken", event);
    });
  }

  #shut({ room, code, message }) {
    this.#touch(room, (open) => {
      open.stage = "shut";
      open.shut = { code, message };
    });
    this.#save();
    this.emit("opened");
  }

  #presence({ room, members, count }) {
    const open = this.rooms.get(room);
    if (!open) return;
    open.count = count;
    open.members = members;
    this.emit("people", room);
  }

  #save() {
    const kept = [...this.rooms.values()].filter(({ gone }) => !gone).map(({ name, title }) => [name, title]);
    this.#storage.setItem(ROOMS, JSON.stringify(kept));
  }
}

function parsed(text, otherwise) {
  try {
    return JSON.parse(text) ?? otherwise;
  } catch {
    return otherwise;
  }
}
