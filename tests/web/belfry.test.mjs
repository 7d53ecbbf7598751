/** belfry.js against a scripted server: what it sends, what it hands on, and what it does after each way to lose a socket. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { Belfry } from "../../chat/web/belfry.js";
import { FakeClock, FakeNetwork, FakeStorage, FakeWindow, body, joined, message, settle } from "./fakes.mjs";

/** A client in a lobby of its own, with everything it tells. */
function start(options = {}) {
  const clock = new FakeClock();
  const network = new FakeNetwork();
  const window = new FakeWindow();
  const belfry = new Belfry({
    url: "http://chat.example",
    token: "t0",
    WebSocket: network.WebSocket,
    clock,
    random: () => 0.5,
    storage: null,
    environment: window,
    ...options,
  });
  const told = [];
  for (const name of ["state", "message", "joined", "ack", "refused", "gap", "shut", "typing", "read", "presence", "error"]) {
    belfry.on(name, (event) => told.push([name, event]));
  }
  const of = (name) => told.filter(([kind]) => kind === name).map(([, event]) => event);
  return { belfry, clock, network, window, of, seqs: () => of("message").map((event) => event.seq) };
}

/** The same, welcomed and joined with messages 1 to `head`. */
async function inLobby(head = 2, options = {}) {
  const all = start(options);
  all.belfry.join("lobby");
  all.belfry.connect();
  await settle();
  all.network.last.welcome();
  all.network.last.say(joined("lobby", Array.from({ length: head }, (_, i) => i + 1)));
  return all;
}

test("hello comes first, with the token and without positions; then the rooms are asked for", async () => {
  const { belfry, network } = start();
  belfry.join("lobby", { limit: 30 });
  belfry.connect();
  await settle();
  assert.equal(network.last.url, "ws://chat.example/ws");
  assert.deepEqual(network.last.protocols, ["belfry.v1"]);
  network.last.welcome();
  assert.deepEqual(network.last.sent, [
    { t: "hello", token: "t0", client: "belfry.js", resume: {}, cause: "start" },
    { t: "join", room: "lobby", limit: 30 },
  ]);
});

test("each message is handed on once and in order", async () => {
  const { network, seqs } = await inLobby(2);
  network.last.say(message("lobby", 3), message("lobby", 3), message("lobby", 1), message("lobby", 4));
  assert.deepEqual(seqs(), [1, 2, 3, 4]);
});

test("a hole is asked for once, and filled", async () => {
  const { network, seqs } = await inLobby(2);
  network.last.say(message("lobby", 4), message("lobby", 5));
  assert.deepEqual(network.last.sentOf("join").slice(1), [{ t: "join", room: "lobby", after: ["e1", 2] }]);
  network.last.say(joined("lobby", [3, 4, 5]), message("lobby", 6));
  assert.deepEqual(seqs(), [1, 2, 3, 4, 5, 6]);
});

test("after a crash it comes back inside the window with its positions, and gets what it missed", async () => {
  const { network, clock, seqs, of } = await inLobby(2);
  network.last.drop(1006);
  assert.equal(of("state").at(-1).name, "waiting");
  assert.equal(of("state").at(-1).retryAt, clock.now() + 1_000); // half of window_ms
  await clock.pass(999);
  assert.equal(network.sockets.length, 1);
  await clock.pass(1);
  assert.equal(network.sockets.length, 2);
  network.last.welcome();
  assert.deepEqual(network.last.sent, [
    { t: "hello", token: "t0", client: "belfry.js", resume: { lobby: ["e1", 2] }, cause: "1006" },
  ]);
  network.last.say(joined("lobby", [3, 4]), message("lobby", 5));
  assert.deepEqual(seqs(), [1, 2, 3, 4, 5]);
  assert.deepEqual(of("gap"), []);
});

test("a long resume in several frames loses nothing", async () => {
  const { network, clock, seqs } = await inLobby(1);
  network.last.drop();
  await clock.pass(2_000);
  network.last.welcome();
  network.last.say(joined("lobby", [2, 3], { head: 6 }), joined("lobby", [4], { head: 6 }), message("lobby", 5), message("lobby", 6));
  assert.deepEqual(seqs(), [1, 2, 3, 4, 5, 6]);
});

for (const [reason, more] of [["gap", { gap: true }], ["epoch", { epoch: "e2" }]]) {
  test(`${reason}: the room is started anew, and that is said first`, async () => {
    const { network, clock, of, seqs } = await inLobby(2);
    network.last.drop();
    await clock.pass(2_000);
    network.last.welcome();
    network.last.say(joined("lobby", [900, 901], more), message("lobby", 902));
    assert.equal(of("gap").length, 1);
    assert.equal(of("gap")[0].reason, reason);
    assert.equal(of("joined").at(-1).fresh, true);
    assert.deepEqual(seqs(), [1, 2, 900, 901, 902]);
  });
}

test("a new epoch with smaller numbers starts at its own", async () => {
  const { network, clock, seqs } = await inLobby(5);
  network.last.drop();
  await clock.pass(2_000);
  network.last.welcome();
  network.last.say(joined("lobby", [], { epoch: "e2", head: 0 }), message("lobby", 1));
  assert.deepEqual(seqs(), [1, 2, 3, 4, 5, 1]);
});

test("an ack ends a send, and the next of the room goes out", async () => {
  const { belfry, network, of } = await inLobby(0);
  const first = belfry.send("lobby", "one");
  const second = belfry.send("lobby", "two");
  assert.deepEqual(network.last.sentOf("send").map((frame) => frame.text), ["one"]);
  network.last.say({ t: "ack", room: "lobby", nonce: first, seq: 1, at: "x" }, message("lobby", 1, { user: "u1" }));
  assert.deepEqual(network.last.sentOf("send").map((frame) => frame.text), ["one", "two"]);
  assert.deepEqual(of("ack").map((event) => event.nonce), [first]);
  assert.equal(of("message")[0].own, true);
  assert.deepEqual(belfry.unsent().map((entry) => entry.nonce), [second]);
});

test("what was not acknowledged goes out again with the same nonce, in order, once the room is back", async () => {
  const { belfry, network, clock } = await inLobby(0);
  const nonces = [belfry.send("lobby", "one"), belfry.send("lobby", "two")];
  network.last.drop();
  nonces.push(belfry.send("lobby", "three"));
  await clock.pass(2_000);
  network.last.welcome();
  assert.deepEqual(network.last.sentOf("send"), []);
  network.last.say(joined("lobby", [1], { messages: [body(1, { user: "u1", text: "one" })] }));
  for (const [i, nonce] of nonces.entries()) {
    assert.equal(network.last.sentOf("send").length, i + 1);
    assert.equal(network.last.sentOf("send")[i].nonce, nonce);
    network.last.say({ t: "ack", room: "lobby", nonce, seq: i + 1, at: "x" });
  }
  assert.deepEqual(belfry.unsent(), []);
});

test("unsent messages survive a reload, and those of somebody else are held back", async () => {
  const storage = new FakeStorage();
  const first = await inLobby(0, { storage });
  const nonce = first.belfry.send("lobby", "before the reload");
  first.belfry.close();
  const again = await inLobby(0, { storage });
  assert.equal(again.network.last.sentOf("send")[0].nonce, nonce);
  again.belfry.close();
  const other = start({ storage });
  other.belfry.join("lobby");
  other.belfry.connect();
  await settle();
  other.network.last.welcome({ user: { id: "u9", name: "Eve" } });
  other.network.last.say(joined("lobby", []));
  assert.deepEqual(other.network.last.sentOf("send"), []);
  assert.equal(other.of("refused")[0].code, "other_user");
  other.of("refused")[0].retry();
  assert.equal(other.network.last.sentOf("send")[0].nonce, nonce);
  other.network.last.say({ t: "ack", room: "lobby", nonce, seq: 1, at: "x" });
  assert.equal(storage.length, 0);
});

test("a temporary refusal is tried again after retry_ms; the next message does not overtake it", async () => {
  const { belfry, network, clock, of } = await inLobby(0);
  const nonce = belfry.send("lobby", "one");
  belfry.send("lobby", "two");
  network.last.say({ t: "error", code: "rate_limited", message: "slow", temporary: true, retry_ms: 700, ref: nonce });
  await clock.pass(699);
  assert.equal(network.last.sentOf("send").length, 1);
  await clock.pass(1_000);
  assert.deepEqual(network.last.sentOf("send").map((frame) => frame.text), ["one", "one"]);
  assert.deepEqual(of("refused"), []);
});

test("temporary refusals come to an end, and the writer is told", async () => {
  const { belfry, network, clock, of } = await inLobby(0);
  const nonce = belfry.send("lobby", "one");
  for (let i = 0; i < 8; i += 1) {
    network.last.say({ t: "error", code: "store_unavailable", message: "down", temporary: true, retry_ms: 0, ref: nonce });
    network.last.say({ t: "ping" });
    await clock.pass(31_000);
  }
  assert.equal(of("refused").length, 1);
  assert.equal(network.last.sentOf("send").length, 8);
});

test("another refusal is given to the application, and the next message goes out", async () => {
  const { belfry, network, of } = await inLobby(0);
  const nonce = belfry.send("lobby", "one");
  belfry.send("lobby", "two");
  network.last.say({ t: "error", code: "text_invalid", message: "no", temporary: false, ref: nonce });
  assert.deepEqual(network.last.sentOf("send").map((frame) => frame.text), ["one", "two"]);
  const [refused] = of("refused");
  assert.equal(refused.text, "one");
  network.last.say({ t: "ack", room: "lobby", nonce: belfry.unsent()[1].nonce, seq: 1, at: "x" });
  refused.retry();
  assert.equal(network.last.sentOf("send").at(-1).nonce, nonce);
});

test("a text over the limit is refused here, by characters and not by UTF-16 units", async () => {
  const { belfry, network, of } = await inLobby(0);
  belfry.send("lobby", "🐝".repeat(20));
  assert.equal(network.last.sentOf("send").length, 1);
  belfry.send("lobby", "x".repeat(21));
  network.last.say({ t: "ack", room: "lobby", nonce: network.last.sentOf("send")[0].nonce, seq: 1, at: "x" });
  assert.equal(of("refused")[0].code, "text_too_long");
});

test("backoff: capped, then jittered; it starts over only after 5 s of a welcomed connection", async () => {
  const { network, clock, of } = await inLobby(0);
  const waits = [];
  network.last.drop();
  for (let i = 0; i < 9; i += 1) {
    waits.push(of("state").at(-1).retryAt - clock.now());
    await clock.pass(waits.at(-1));
    network.last.drop();
  }
  assert.deepEqual(waits, [1_000, 500, 1_000, 2_000, 4_000, 8_000, 15_000, 15_000, 15_000]);
  await clock.pass(15_000);
  network.last.welcome();
  network.last.drop();
  assert.equal(of("state").at(-1).retryAt - clock.now(), 15_000);
  await clock.pass(15_000);
  network.last.welcome();
  await clock.pass(5_000);
  network.last.drop();
  assert.equal(of("state").at(-1).retryAt - clock.now(), 1_000);
});

test("moving: make before break, with the ticket, and no repeat while both sockets talk", async () => {
  const { belfry, network, clock, seqs, of } = await inLobby(2);
  const old = network.last;
  old.say({ t: "moving", not_before_ms: 300, window_ms: 5_000, url: "http://other.example:81", ticket: "k1" });
  assert.equal(of("state").at(-1).name, "moving");
  await clock.pass(299);
  assert.equal(network.sockets.length, 1);
  await clock.pass(1);
  const next = network.last;
  assert.equal(next.url, "ws://other.example:81/ws");
  next.accept();
  assert.equal(next.sent[0].token, "k1");
  assert.deepEqual(next.sent[0].resume, { lobby: ["e1", 2] });
  old.say(message("lobby", 3));
  const nonce = belfry.send("lobby", "mine");
  assert.equal(old.sentOf("send").length, 1);
  next.welcome();
  assert.equal(old.closedWith, null);
  next.say(joined("lobby", [3, 4]));
  assert.equal(old.closedWith.code, 1000);
  assert.equal(next.sentOf("send")[0].nonce, nonce);
  next.say(message("lobby", 4), message("lobby", 5));
  assert.deepEqual(seqs(), [1, 2, 3, 4, 5]);
  assert.deepEqual(of("state").map((state) => state.name), ["connecting", "live", "moving", "live"]);
});

test("moving: refused at the new place, the old one is kept until it closes; then the ordinary token", async () => {
  const { network, clock, of, seqs } = await inLobby(1);
  const old = network.last;
  old.say({ t: "moving", not_before_ms: 0, window_ms: 5_000, url: "http://other.example", ticket: "k1" });
  await clock.pass(0);
  network.last.drop();
  old.say(message("lobby", 2));
  assert.deepEqual(seqs(), [1, 2]);
  old.drop(1012);
  assert.equal(of("state").at(-1).name, "moving");
  assert.equal(of("state").at(-1).retryAt - clock.now(), 1_000); // half of the smaller window
  await clock.pass(1_000);
  assert.equal(network.last.url, "ws://chat.example/ws");
  network.last.welcome();
  assert.equal(network.last.sent[0].token, "t0");
});

test("1012 before the given moment: come back inside the window, with the ticket", async () => {
  const { network, clock } = await inLobby(1);
  network.last.say({ t: "moving", not_before_ms: 60_000, window_ms: 400, ticket: "k1" });
  network.last.drop(1012);
  await clock.pass(200);
  network.last.welcome();
  assert.equal(network.last.sent[0].token, "k1");
  await clock.pass(60_000);
  assert.equal(network.sockets.length, 2);
});

test("a ticket that is refused is followed by the ordinary token", async () => {
  const { network, clock, of } = await inLobby(1);
  network.last.say({ t: "moving", not_before_ms: 60_000, window_ms: 400, ticket: "k1" });
  network.last.drop(1012);
  await clock.pass(200);
  network.last.accept();
  network.last.drop(4500, "token refused");
  assert.notEqual(of("state").at(-1).name, "stopped");
  await clock.pass(30_000);
  network.last.accept();
  assert.equal(network.last.sent[0].token, "t0");
});

test("1013 waits at least as long as the server asked", async () => {
  const { network, clock, of } = await inLobby(0);
  network.last.say({ t: "error", code: "overloaded", message: "full", temporary: true, retry_ms: 9_000 });
  network.last.drop(1013);
  assert.ok(of("state").at(-1).retryAt - clock.now() >= 9_000);
});

for (const code of [1002, 1003, 1007, 1008, 1009, 4501, 4502, 4999]) {
  test(`${code} stops, and says why`, async () => {
    const { belfry, network, clock, of } = await inLobby(0);
    network.last.drop(code);
    assert.equal(of("state").at(-1).name, "stopped");
    assert.equal(of("state").at(-1).code, code);
    assert.ok(of("state").at(-1).message.length > 10);
    await clock.pass(600_000);
    assert.equal(network.sockets.length, 1);
    belfry.connect();
    await settle();
    assert.equal(network.sockets.length, 2);
  });
}

for (const code of [1001, 1005, 1006, 1011, 4001, 4002, 4003, 4321]) {
  test(`${code} comes back`, async () => {
    const { network, clock } = await inLobby(0);
    network.last.drop(code);
    await clock.pass(2_000);
    assert.equal(network.sockets.length, 2);
  });
}

test("4500 with a token function: one fresh token is asked for, then it stops", async () => {
  const asked = [];
  const { network, of } = await inLobby(0, {
    token: async ({ fresh }) => {
      asked.push(fresh);
      return fresh ? "t1" : "t0";
    },
  });
  network.last.drop(4500, "token expired");
  await settle();
  network.last.accept();
  assert.equal(network.last.sent[0].token, "t1");
  network.last.drop(4500, "token expired");
  await settle();
  assert.equal(of("state").at(-1).name, "stopped");
  assert.equal(of("state").at(-1).message, "The token has expired.");
  assert.deepEqual(asked, [false, true]);
});

test("4500 with a fixed token stops; a token function without a token stops", async () => {
  const fixed = await inLobby(0);
  fixed.network.last.drop(4500);
  assert.equal(fixed.of("state").at(-1).name, "stopped");
  const none = start({ token: () => null });
  none.belfry.connect();
  await settle();
  assert.equal(none.of("state").at(-1).name, "stopped");
});

test("a token function that fails is tried again later", async () => {
  let fails = 1;
  const { belfry, network, clock, of } = start({
    token: () => {
      if (fails-- > 0) throw new Error("no network");
      return "t0";
    },
  });
  belfry.connect();
  await settle();
  assert.equal(of("state").at(-1).name, "waiting");
  await clock.pass(500);
  assert.equal(network.sockets.length, 1);
});

test("ping is answered with pong", async () => {
  const { network } = await inLobby(0);
  network.last.say({ t: "ping" });
  assert.deepEqual(network.last.sent.at(-1), { t: "pong" });
});

test("a peer that says nothing for two and a half heartbeats is given up", async () => {
  const { network, clock, of } = await inLobby(0);
  await clock.pass(50_000);
  network.last.say({ t: "ping" });
  await clock.pass(62_400);
  assert.equal(of("state").at(-1).name, "live");
  await clock.pass(101);
  assert.equal(of("state").at(-1).name, "waiting");
  assert.equal(network.last.closedWith.code, 4000);
});

test("a server that accepts and says nothing is given up after 10 s", async () => {
  const { belfry, network, clock, of } = start();
  belfry.connect();
  await settle();
  network.last.accept();
  await clock.pass(10_000);
  assert.equal(of("state").at(-1).name, "waiting");
});

test("offline: nothing is dropped on the browser's word, but the peer must prove itself", async () => {
  const { network, clock, window, of } = await inLobby(2);
  window.goOffline();
  assert.deepEqual(network.last.sent.at(-1), { t: "join", room: "lobby", after: ["e1", 2] });
  network.last.say(joined("lobby", [], { head: 2 }));
  await clock.pass(10_000);
  assert.equal(of("state").at(-1).name, "live");
  window.dispatchEvent(new Event("offline"));
  await clock.pass(4_000);
  assert.equal(of("state").at(-1).name, "offline");
  await clock.pass(1_000);
  network.last.drop();
  window.goOnline();
  await clock.pass(250);
  network.last.welcome();
  assert.equal(of("state").at(-1).name, "live");
});

test("`reconnect` does not wait for the moment that was drawn", async () => {
  const { belfry, network } = await inLobby(0);
  network.last.drop();
  belfry.reconnect();
  await settle();
  assert.equal(network.sockets.length, 2);
});

test("a room that is missing is left, and said so; one that cannot be had now is asked for again", async () => {
  const { belfry, network, clock, of } = await inLobby(0);
  belfry.join("gone");
  belfry.join("later");
  network.last.say({ t: "error", code: "room_missing", message: "no", temporary: false, ref: "gone" });
  network.last.say({ t: "error", code: "store_unavailable", message: "no", temporary: true, retry_ms: 100, ref: "later" });
  assert.deepEqual(of("shut").map((event) => [event.room, event.code]), [["gone", "room_missing"]]);
  assert.equal(belfry.room("gone"), null);
  await clock.pass(1_000);
  assert.equal(network.last.sentOf("join").filter((frame) => frame.room === "later").length, 2);
});

test("a server that has forgotten our room is asked to let us in again, and the message goes out then", async () => {
  const { belfry, network, of } = await inLobby(2);
  const nonce = belfry.send("lobby", "one");
  network.last.say({ t: "error", code: "not_joined", message: "no", temporary: false, ref: nonce });
  assert.deepEqual(network.last.sentOf("join").at(-1), { t: "join", room: "lobby", after: ["e1", 2] });
  network.last.say(joined("lobby", [], { head: 2 }));
  assert.deepEqual(network.last.sentOf("send").map((frame) => frame.nonce), [nonce, nonce]);
  assert.deepEqual(of("refused"), []);
});

test("typing is told at most every 3 s, and one's own is not told back", async () => {
  const { belfry, network, clock, of } = await inLobby(0);
  belfry.typing("lobby");
  belfry.typing("lobby");
  await clock.pass(3_000);
  belfry.typing("lobby");
  assert.equal(network.last.sentOf("typing").length, 2);
  network.last.say({ t: "typing", room: "lobby", from: { id: "u1", name: "Ada" } });
  network.last.say({ t: "typing", room: "lobby", from: { id: "u2", name: "Bo" } });
  assert.deepEqual(of("typing").map((event) => event.user.id), ["u2"]);
});

test("read marks go out once, forward only, and again after a reconnect if the server has less", async () => {
  const { belfry, network, clock } = await inLobby(3);
  belfry.read("lobby", 3);
  belfry.read("lobby", 2);
  assert.deepEqual(network.last.sentOf("read").map((frame) => frame.seq), [3]);
  network.last.drop();
  await clock.pass(2_000);
  network.last.welcome();
  network.last.say(joined("lobby", [], { head: 3, read: 1 }));
  assert.deepEqual(network.last.sentOf("read").map((frame) => frame.seq), [3]);
});

test("presence keeps the list of members", async () => {
  const { network, of } = await inLobby(0);
  network.last.say({ t: "presence", room: "lobby", joined: [{ id: "u2", name: "Bo" }], left: [], count: 2 });
  network.last.say({ t: "presence", room: "lobby", joined: [], left: ["u1"], count: 1 });
  assert.deepEqual(of("presence").map((event) => event.members.map((user) => user.id)), [["u1", "u2"], ["u2"]]);
});

test("what a newer server says and we do not know is passed over; what is not JSON ends the socket", async () => {
  const { network, of, seqs } = await inLobby(1);
  network.last.say({ t: "sparkle" }, message("lobby", 2), message("elsewhere", 1));
  assert.deepEqual(seqs(), [1, 2]);
  network.last.onmessage({ data: "{" });
  assert.equal(of("state").at(-1).name, "waiting");
});

test("`close` is the end: no socket, no timer", async () => {
  const { belfry, network, clock, window, of } = await inLobby(0);
  belfry.close();
  assert.equal(of("state").at(-1).name, "closed");
  window.goOnline();
  await clock.pass(600_000);
  assert.equal(network.sockets.length, 1);
  assert.equal(network.last.closedWith.code, 1000);
});

test("a listener that throws does not stop the next, nor the connection, and its error comes out", async (t) => {
  const { belfry, network, seqs } = await inLobby(0);
  const later = [];
  t.mock.method(globalThis, "queueMicrotask", (task) => later.push(task));
  belfry.on("message", () => {
    throw new Error("the application's own");
  });
  belfry.on("message", () => later.push("next"));
  network.last.say(message("lobby", 1));
  assert.deepEqual(seqs(), [1]);
  assert.equal(later[1], "next");
  assert.throws(later[0], /the application's own/);
});

test("a move whose server does not come back is in the end what it is: waiting", async () => {
  const { network, clock, of } = await inLobby(1);
  network.last.say({ t: "moving", not_before_ms: 0, window_ms: 1_000, ticket: "k1" });
  await clock.pass(0);
  network.last.drop();
  network.sockets[0].drop(1012);
  assert.equal(of("state").at(-1).name, "moving");
  for (let i = 0; i < 8; i += 1) {
    await clock.pass(of("state").at(-1).retryAt - clock.now());
    network.last.drop();
  }
  assert.equal(of("state").at(-1).name, "waiting");
});
