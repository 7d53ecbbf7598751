/**
 * One room's messages as the page holds them, and what of them is read. Pure.
 *
 * `messages` is one unbroken piece of the room, ascending, growing at its end as people talk and at its beginning as
 * somebody scrolls back.
 */

import { dayNumber } from "./moments.js";

const KEPT = 10_000; // messages kept when there are more than twice as many: about 5 MB
const MAX = 2 * KEPT;

/**
 * `nonce` is that of a message that was written here and has just been heard.
 * @typedef {{seq: number, from: {id: string, name: string}, text: string, ms: number, day: number, nonce?: string}} Line
 */

export class Timeline {
  /** @type {Line[]} */
  messages = [];
  epoch = null;
  head = 0;
  read = 0; // everything up to this number is read
  /** @type {number | null} where the "New messages" line stands: below this number; null for nowhere */
  line = null;
  /** @type {number | null} the first message after the room began anew under our eyes; 0 while there is none yet */
  gapBefore = null;
  /** Own messages that are committed but not heard back yet: seq -> {nonce, text, ms}. */
  acknowledged = new Map();
  #own = []; // numbers of own messages above `read`

  /** The number of the first message at hand; one above the head if there are none. */
  get first() {
    return this.messages.length > 0 ? this.messages[0].seq : this.head + 1;
  }

  /** The number of the last message at hand. */
  get last() {
    return this.messages.length > 0 ? this.messages.at(-1).seq : this.head;
  }

  /** Whether the room's beginning is at hand. */
  get complete() {
    return this.first <= 1;
  }

  /** Messages of others that are not read. */
  get unread() {
    return Math.max(0, this.head - this.read - this.#own.length);
  }

  /** The room begins, or begins anew. */
  begin({ epoch, head, read, fresh, gap = false }) {
    if (fresh) {
      if (this.epoch !== null && this.epoch !== epoch) this.read = 0;
      this.messages = [];
      this.line = null;
      this.#own = [];
      this.acknowledged.clear();
      this.gapBefore = gap ? 0 : null; // until the first message tells the number
    }
    this.epoch = epoch;
    this.head = head;
    this.read = Math.min(Math.max(this.read, read), head);
  }

  /** Take the next message. @param {boolean} own */
  append(message, own) {
    const line = lineOf(message);
    if (this.gapBefore === 0) this.gapBefore = line.seq;
    if (this.messages.length > 0 && line.seq !== this.last + 1) throw new Error(`${line.seq} follows ${this.last}`);
    line.nonce = this.acknowledged.get(line.seq)?.nonce;
    this.messages.push(line);
    this.head = Math.max(this.head, line.seq);
    this.acknowledged.delete(line.seq);
    if (own && line.seq > this.read) this.#own.push(line.seq);
    return line;
  }

  /** Take a page of history; what does not end right before the first message at hand is left out. */
  prepend(messages) {
    const before = messages.filter(({ seq }) => seq < this.first).map(lineOf);
    if (before.length === 0 || before.at(-1).seq !== this.first - 1) return 0;
    this.messages = before.concat(this.messages);
    return before.length;
  }

  /** Forget the oldest when there are very many; they can be asked for again. */
  trim() {
    if (this.messages.length <= MAX) return false;
    this.messages = this.messages.slice(-KEPT);
    return true;
  }

  /** An own message was committed: show it where it will stand until it is heard. */
  commit({ nonce, seq, text, at }) {
    if (seq > this.last) this.acknowledged.set(seq, { nonce, text, ms: Date.parse(at) });
  }

  /** Everything up to `seq` is read. Returns whether that was news. */
  mark(seq) {
    if (seq <= this.read) return false;
    this.read = seq;
    this.#own = this.#own.filter((own) => own > seq);
    return true;
  }

  /** Put the line where reading stopped, unless one stands there or below. */
  drawLine() {
    if (this.unread > 0 && (this.line === null || this.line < this.read)) this.line = this.read;
  }
}

function lineOf({ seq, from, text, at }) {
  const ms = Date.parse(at);
  return { seq, from, text, ms, day: dayNumber(ms) };
}
