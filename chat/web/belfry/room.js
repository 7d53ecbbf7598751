/**
 * One room as this client has seen it: where it stands, and what of the frames that come is next.
 *
 * Pure: no socket, no timer. A position is (epoch, seq). Of the messages that arrive, `seq + 1` is next, anything at
 * or below `seq` is a repeat (two sockets overlap while a client moves; a join is answered twice), and anything above
 * `seq + 1` is a hole, which the server promises not to make: then the caller joins again after the position.
 */

/** @typedef {{seq: number, from: {id: string, name: string}, text: string, at: string}} Message */

export class Room {
  /** @param {string} name */
  constructor(name) {
    this.name = name;
    /** @type {string | null} null until the first `joined` */
    this.epoch = null;
    this.seq = 0; // the last message handed to the application
    this.head = 0; // the room's highest number that we know of
    this.read = 0; // this user's read mark
    this.count = 0; // people here now
    /** @type {Map<string, {id: string, name: string}> | null} null in rooms too large to list */
    this.members = null;
  }

  /** [epoch, seq], or null before the first `joined`. */
  get position() {
    return this.epoch === null ? null : [this.epoch, this.seq];
  }

  /**
   * Take a `joined` frame.
   * @returns {{fresh: boolean, gap: null | "gap" | "epoch", messages: Message[], hole: boolean}}
   *   `fresh`: what the application has of this room is not continued, it starts with these messages.
   *   `gap`: why, if it had something: history between is gone, or the room's storage was replaced.
   *   `hole`: the messages do not connect.
   */
  begin(frame) {
    const known = this.epoch !== null;
    const fresh = !known || frame.gap || frame.epoch !== this.epoch;
    let gap = null;
    if (known && fresh) gap = frame.epoch === this.epoch ? "gap" : "epoch";
    if (fresh) {
      this.epoch = frame.epoch;
      this.seq = frame.messages.length > 0 ? frame.messages[0].seq - 1 : frame.head;
      this.head = this.seq;
      if (gap === "epoch") this.read = 0;
    }
    this.head = Math.max(this.head, frame.head);
    this.read = Math.max(this.read, Math.min(frame.read ?? 0, this.head));
    this.count = frame.count;
    this.members = frame.members ? new Map(frame.members.map((user) => [user.id, user])) : null;
    const messages = [];
    let hole = false;
    for (const message of frame.messages) {
      const verdict = this.offer(frame.epoch, message);
      if (verdict === "next") messages.push(message);
      if (verdict === "hole") {
        hole = true;
        break;
      }
    }
    return { fresh, gap, messages, hole };
  }

  /**
   * Take one message that was sent under `epoch`.
   * @param {Message} message
   * @returns {"next" | "repeat" | "hole" | "stale"} hand it over only when it is "next"
   */
  offer(epoch, message) {
    if (epoch !== this.epoch) return "stale"; // from the older of two sockets, after the room's storage was replaced
    if (message.seq <= this.seq) return "repeat";
    this.head = Math.max(this.head, message.seq);
    if (message.seq > this.seq + 1) return "hole";
    this.seq = message.seq;
    return "next";
  }

  /** Take a `presence` frame: who came and went. */
  presence(frame) {
    this.count = frame.count;
    if (this.members === null) return;
    for (const id of frame.left) this.members.delete(id);
    for (const user of frame.joined) this.members.set(user.id, user);
  }
}
