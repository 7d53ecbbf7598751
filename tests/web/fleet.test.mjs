/** belfry.js in a fleet: refused by a full server, sent on by the tower, moved by tickets that are good or not. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { Belfry } from "../../chat/web/belfry.js";
import { FakeClock, FakeNetwork, FakeWindow, joined, settle } from "./fakes.mjs";

/** What answers fetch: by the address's beginning; nothing there rejects, as a network error does. */
class FakeWeb {
  asked = [];
  answers = {};

  fetch = async (url) => {
    this.asked.push(url);
    const found = Object.keys(this.answers).find((beginning) => url.startsWith(beginning));
    if (found === undefined) throw new TypeError("Failed to fetch");
    const { status = 200, retryAfter = null, body = {} } = this.answers[found];
    return {
      status,
      headers: { get: (name) => (name === "Retry-After" ? retryAfter : null) },
      json: async () => body,
    };
  };
}

const TOWER = { window_ms: 2_000, tower: "http://tower.example" };

async function inLobby(options = {}, welcome = {}) {
  const clock = new FakeClock();
  const network = new FakeNetwork();
  const web = new FakeWeb();
  const states = [];
  const belfry = new Belfry({
    url: "http://one.example",
    token: "t0",
    WebSocket: network.WebSocket,
    fetch: web.fetch,
    clock,
    random: () => 0.5,
    storage: null,
    environment: new FakeWindow(),
    ...options,
  });
  belfry.on("state", (state) => states.push(state));
  belfry.join("lobby");
  belfry.connect();
  await settle();
  network.last.welcome(welcome);
  network.last.say(joined("lobby", [1]));
  return { belfry, clock, network, web, states };
}

const waits = ({ states, clock }) => states.at(-1).retryAt - clock.now();

test("refused by a full server: it asks why, and waits as long as it is told and a part of a second more", async () => {
  const all = await inLobby();
  const { network, clock, web, states } = all;
  web.answers["http://one.example/ws"] = { status: 503, retryAfter: "7", body: { code: "overloaded" } };
  network.last.drop();
  assert.deepEqual(web.asked, []); // a crash: first inside the window, without a question
  await clock.pass(1_000);
  network.last.drop();
  await settle();
  assert.equal(states.at(-1).name, "waiting");
  assert.equal(waits(all), 7_500);
  assert.deepEqual(web.asked, ["http://one.example/ws"]);
  await clock.pass(7_500);
  assert.equal(network.sockets.length, 3);
  assert.equal(network.last.url, "ws://one.example/ws");
  assert.equal(states.at(-1).name, "connecting");
});

test("no answer, and no tower: backoff as ever", async () => {
  const all = await inLobby();
  all.network.last.drop();
  await all.clock.pass(1_000);
  all.network.last.drop();
  await settle();
  assert.equal(waits(all), 500); // half of the second bound
});

test("nobody there: the tower is asked, and where it says is where it goes; the next crash retries that address", async () => {
  const { network, clock, web } = await inLobby({}, { reconnect: TOWER });
  web.answers["http://tower.example/v1/assign"] = { body: { url: "http://two.example", server: "s2" } };
  network.last.drop();
  await clock.pass(1_000);
  assert.equal(network.last.url, "ws://one.example/ws");
  network.last.drop();
  await clock.pass(500);
  assert.deepEqual(web.asked, ["http://one.example/ws", "http://tower.example/v1/assign?user=u1&room=lobby"]);
  assert.equal(network.last.url, "ws://two.example/ws");
  network.last.welcome();
  assert.deepEqual(network.last.sent[0].resume, { lobby: ["e1", 1] });
  network.last.drop();
  await clock.pass(2_000);
  assert.equal(network.last.url, "ws://two.example/ws");
});

for (const [what, answer, wait] of [
  ["has nobody", { status: 503, retryAfter: "3" }, 3_500],
  ["is wrong", { body: { url: "http://" } }, 500],
  ["says nothing", { status: 500 }, 500],
  ["is down", undefined, 500],
]) {
  test(`a tower that ${what} does not stop anybody`, async () => {
    const all = await inLobby({}, { reconnect: TOWER });
    const { network, clock, web } = all;
    if (answer) web.answers["http://tower.example/v1/assign"] = answer;
    network.last.drop();
    await clock.pass(1_000);
    network.last.drop();
    await settle();
    assert.equal(waits(all), wait);
    await clock.pass(wait);
    assert.equal(network.last.url, "ws://one.example/ws");
  });
}

test("an answer that never comes is waited for three seconds", async () => {
  const fetch = (url, { signal }) =>
    new Promise((_, reject) => signal.addEventListener("abort", () => reject(new Error("aborted"))));
  const { network, clock, states } = await inLobby({ fetch });
  network.last.drop();
  await clock.pass(1_000);
  network.last.drop();
  await clock.pass(2_999);
  assert.equal(states.at(-1).name, "connecting");
  await clock.pass(1);
  assert.equal(states.at(-1).name, "waiting");
});

test("closed while it asks: it stays closed", async () => {
  const { belfry, network, clock, states } = await inLobby({ fetch: () => new Promise(() => {}) });
  network.last.drop();
  await clock.pass(1_000);
  network.last.drop();
  belfry.close();
  await clock.pass(60_000);
  assert.equal(states.at(-1).name, "closed");
  assert.equal(network.sockets.length, 2);
});

test("a ticket that is refused while the old connection lives: the same place again, with the token", async () => {
  const { network, clock, states } = await inLobby();
  const old = network.last;
  old.say({ t: "moving", not_before_ms: 0, window_ms: 5_000, url: "http://two.example", ticket: "k1" });
  await clock.pass(0);
  network.last.accept();
  assert.equal(network.last.sent[0].token, "k1");
  network.last.drop(4500, "token refused");
  await clock.pass(500);
  assert.equal(network.sockets.length, 3);
  assert.equal(network.last.url, "ws://two.example/ws");
  network.last.welcome();
  assert.equal(network.last.sent[0].token, "t0");
  assert.equal(old.closedWith, null);
  network.last.say(joined("lobby", []));
  assert.equal(old.closedWith.code, 1000);
  assert.equal(states.at(-1).name, "live");
});

test("nobody at the new place: the tower's, while the old connection lives", async () => {
  const { network, clock, web } = await inLobby({}, { reconnect: TOWER });
  const old = network.last;
  web.answers["http://tower.example/v1/assign"] = { body: { url: "http://three.example" } };
  old.say({ t: "moving", not_before_ms: 0, window_ms: 5_000, url: "http://two.example", ticket: "k1" });
  await clock.pass(0);
  network.last.drop();
  await clock.pass(500);
  assert.equal(network.last.url, "ws://three.example/ws");
  assert.equal(old.closedWith, null);
  network.last.welcome();
});

test("nowhere to move to: a few tries, and the old connection is kept", async () => {
  const { network, clock, web, states } = await inLobby({}, { reconnect: TOWER });
  const old = network.last;
  web.answers["http://tower.example/v1/assign"] = { body: { url: "http://three.example" } };
  old.say({ t: "moving", not_before_ms: 0, window_ms: 5_000, url: "http://two.example", ticket: "k1" });
  await clock.pass(0);
  for (let i = 0; i < 4; i += 1) {
    network.last.drop();
    await clock.pass(4_000);
  }
  assert.equal(network.sockets.length, 5);
  await clock.pass(30_000);
  assert.equal(network.sockets.length, 5);
  assert.equal(old.closedWith, null);
  assert.equal(states.at(-1).name, "live");
});
