/** What the library's tests put in place of time, chance, the network, a browser's storage and its window. */

/** A clock that stands still until it is told to go on. */
export class FakeClock {
  #now = 1_700_000_000_000;
  #timers = new Map();
  #id = 0;

  now = () => this.#now;

  setTimeout = (action, delay) => {
    this.#id += 1;
    this.#timers.set(this.#id, { at: this.#now + Math.max(0, delay), action });
    return this.#id;
  };

  clearTimeout = (id) => {
    this.#timers.delete(id);
  };

  /** Let time pass: each timer goes off at its own moment, and promises settle in between. */
  async pass(ms) {
    const end = this.#now + ms;
    await settle();
    for (;;) {
      const due = [...this.#timers].filter(([, { at }]) => at <= end).sort((a, b) => a[1].at - b[1].at || a[0] - b[0])[0];
      if (!due) break;
      this.#now = Math.max(this.#now, due[1].at);
      this.#timers.delete(due[0]);
      due[1].action();
      await settle();
    }
    this.#now = end;
  }
}

/** Let everything that only waits for promises go on. */
export const settle = () => new Promise((resolve) => setImmediate(resolve));

/** Makes fake sockets and remembers them; hand `WebSocket` to the library. */
export class FakeNetwork {
  /** @type {FakeSocket[]} */
  sockets = [];

  constructor() {
    const { sockets } = this;
    this.WebSocket = class extends FakeSocket {
      constructor(url, protocols) {
        super(url, protocols);
        sockets.push(this);
      }
    };
  }

  get last() {
    return this.sockets.at(-1);
  }
}

export class FakeSocket {
  readyState = 0;
  /** @type {any[]} frames the client sent */
  sent = [];
  closedWith = null;

  constructor(url, protocols) {
    this.url = url;
    this.protocols = protocols;
  }

  send(text) {
    if (this.readyState !== 1) throw new Error("InvalidStateError");
    this.sent.push(JSON.parse(text));
  }

  close(code, reason) {
    this.readyState = 3;
    this.closedWith = { code, reason };
  }

  // --- the server's side ---

  accept() {
    this.readyState = 1;
    this.onopen?.({});
  }

  say(...frames) {
    for (const frame of frames) this.onmessage?.({ data: JSON.stringify(frame) });
  }

  drop(code = 1006, reason = "") {
    this.readyState = 3;
    this.onclose?.({ code, reason });
  }

  /** Accept, and welcome Ada. */
  welcome(more = {}) {
    this.accept();
    this.say({
      t: "welcome",
      user: { id: "u1", name: "Ada" },
      server: "s1",
      heartbeat_ms: 25_000,
      reconnect: { window_ms: 2_000 },
      limits: { text_chars: 20, frame_bytes: 65_536, rooms_per_session: 100, send_rate: 20, send_burst: 60 },
      ...more,
    });
  }

  sentOf(type) {
    return this.sent.filter((frame) => frame.t === type);
  }
}

/** A browser's storage. */
export class FakeStorage {
  map = new Map();

  get length() {
    return this.map.size;
  }

  key = (i) => [...this.map.keys()][i] ?? null;
  getItem = (key) => this.map.get(key) ?? null;
  setItem = (key, value) => void this.map.set(key, value);
  removeItem = (key) => void this.map.delete(key);
}

/** A window, as far as the library looks at one. */
export class FakeWindow extends EventTarget {
  navigator = { onLine: true };
  document = Object.assign(new EventTarget(), { visibilityState: "visible" });

  goOffline() {
    this.navigator.onLine = false;
    this.dispatchEvent(new Event("offline"));
  }

  goOnline() {
    this.navigator.onLine = true;
    this.dispatchEvent(new Event("online"));
  }
}

export const body = (seq, { user = "u2", text = `m${seq}` } = {}) => ({
  seq,
  from: { id: user, name: user },
  text,
  at: "2026-11-23T10:00:00.000000Z",
});
export const message = (room, seq, more) => ({ t: "message", room, ...body(seq, more) });
export const joined = (room, seqs, { head = seqs.at(-1) ?? 0, ...more } = {}) => ({
  t: "joined",
  room,
  epoch: "e1",
  head,
  gap: false,
  count: 1,
  read: 0,
  members: [{ id: "u1", name: "Ada" }],
  messages: seqs.map((seq) => body(seq)),
  ...more,
});
