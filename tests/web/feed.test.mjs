/** The dashboard's stream of events: taken up again whenever it ends, and given up only when the tower says so. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { Api, Refused } from "../../tower/web/js/api.js";
import { Feed } from "../../tower/web/js/feed.js";
import { FakeClock, settle } from "./fakes.mjs";

/** A tower whose answers a test hands out one by one. */
class FakeTower {
  asked = [];
  fetch = (url, { headers, signal }) => {
    const answer = {};
    answer.promise = new Promise((resolve, reject) => Object.assign(answer, { resolve, reject }));
    signal.addEventListener("abort", () => answer.reject(new DOMException("aborted", "AbortError")));
    this.asked.push({ url, headers, ...answer, signal });
    return answer.promise;
  };

  get last() {
    return this.asked.at(-1);
  }

  /** Answer with a stream, and give what writes to it. */
  open() {
    let writer;
    const body = new ReadableStream({ start: (controller) => (writer = controller) });
    const { signal, resolve } = this.last;
    signal.addEventListener("abort", () => writer.error(new DOMException("aborted", "AbortError")));
    resolve({ ok: true, status: 200, body });
    const encoder = new TextEncoder();
    return { say: (text) => writer.enqueue(encoder.encode(text)), bytes: (bytes) => writer.enqueue(bytes), end: () => writer.close() };
  }

  refuse(status) {
    this.last.resolve({ ok: false, status, body: new Response("{}").body });
  }
}

function world({ random = () => 0.5, token = () => null } = {}) {
  const clock = new FakeClock();
  const tower = new FakeTower();
  const seen = { states: [], fleets: [], notes: [] };
  const on = {
    state: ({ name }) => seen.states.push(name),
    fleet: (fleet) => seen.fleets.push(fleet),
    note: (note) => seen.notes.push(note),
  };
  const feed = new Feed("/v1/events", token, on, { fetch: tower.fetch, clock, random });
  return { clock, tower, seen, feed };
}

const FLEET = 'event: fleet\ndata: {"n":1}\n\n';

test("fleets and notes come, whatever else comes with them", async () => {
  const { tower, seen, feed, clock } = world();
  feed.start();
  await settle();
  const stream = tower.open();
  stream.say(`retry: 1000\n\nevent: weather\ndata: {\n\n${FLEET}event: note\ndata: {"text":"x"}\n\n`);
  await settle();
  assert.deepEqual([seen.fleets, seen.notes], [[{ n: 1 }], [{ text: "x" }]]);
  assert.deepEqual(seen.states, ["connecting", "live"]);
  assert.equal(feed.heardAt, clock.now());
  feed.stop();
});

test("letters that are cut between bytes come whole", async () => {
  const { tower, seen, feed } = world();
  feed.start();
  await settle();
  const stream = tower.open();
  for (const byte of new TextEncoder().encode('event: note\ndata: {"text":"→ 茶 🔔"}\n\n')) stream.bytes(new Uint8Array([byte]));
  await settle();
  assert.deepEqual(seen.notes, [{ text: "→ 茶 🔔" }]);
  feed.stop();
});

test("a tower that is replaced is asked again within the second that it named", async () => {
  const { tower, seen, feed, clock } = world({ random: () => 0.999 });
  feed.start();
  await settle();
  const stream = tower.open();
  stream.say(`retry: 800\n\n${FLEET}`);
  await settle();
  stream.end();
  await settle();
  assert.equal(feed.state.name, "waiting");
  assert.ok(feed.state.retryAt - clock.now() < 800);
  await clock.pass(800);
  assert.equal(tower.asked.length, 2);
  tower.open().say(FLEET);
  await settle();
  assert.deepEqual(seen.states, ["connecting", "live", "waiting", "connecting", "live"]);
  feed.stop();
});

test("tries that fail wait longer and longer, up to a bound, and a fleet ends that", async () => {
  const { tower, feed, clock } = world({ random: () => 0.999 });
  feed.start();
  const waits = [];
  for (let i = 0; i < 7; i += 1) {
    await settle();
    if (i % 2) tower.refuse(503);
    else tower.last.reject(new TypeError("refused"));
    await settle();
    waits.push(feed.state.retryAt - clock.now());
    await clock.pass(waits.at(-1));
  }
  assert.deepEqual(waits.map((ms) => Math.round(ms / 1_000)), [1, 2, 4, 8, 10, 10, 10]);
  const stream = tower.open();
  stream.say(FLEET);
  await settle();
  stream.end();
  await settle();
  assert.ok(feed.state.retryAt - clock.now() <= 1_000);
  feed.stop();
});

test("a tower that says nothing for seven seconds is gone, headers or not", async () => {
  const { tower, seen, feed, clock } = world({ random: () => 0 });
  feed.start();
  await clock.pass(6_999);
  assert.equal(tower.asked.length, 1);
  await clock.pass(1);
  assert.equal(tower.asked.length, 2);
  const stream = tower.open();
  await settle();
  stream.say(FLEET);
  await clock.pass(5_000);
  stream.say(": still here\n");
  await clock.pass(6_999);
  assert.equal(feed.state.name, "live");
  await clock.pass(1);
  assert.deepEqual(seen.states.slice(-2), ["waiting", "connecting"]);
  assert.equal(tower.asked.length, 3);
  feed.stop();
});

test("401 and 403 end it, until it is started with another token", async () => {
  for (const status of [401, 403]) {
    let token = "old";
    const { tower, feed, clock } = world({ token: () => token });
    feed.start();
    await settle();
    assert.equal(tower.last.headers.Authorization, "Bearer old");
    tower.refuse(status);
    await clock.pass(60_000);
    assert.deepEqual(feed.state, { name: "refused", status });
    assert.equal(tower.asked.length, 1);
    token = "new";
    feed.start();
    await settle();
    assert.equal(tower.last.headers.Authorization, "Bearer new");
    feed.stop();
  }
});

test("without a token none is sent, and nothing of it is in the address", async () => {
  const { tower, feed } = world();
  feed.start();
  await settle();
  assert.deepEqual([tower.last.url, "Authorization" in tower.last.headers], ["/v1/events", false]);
  feed.stop();
});

test("now means now, and one stream is enough", async () => {
  const { tower, feed, clock } = world({ random: () => 0.999 });
  feed.start();
  feed.start();
  await settle();
  assert.equal(tower.asked.length, 1);
  tower.last.reject(new TypeError("refused"));
  await settle();
  feed.start();
  await settle();
  assert.equal(tower.asked.length, 2);
  await clock.pass(5_000);
  assert.equal(tower.asked.length, 2, "the try that was waited for is not made besides");
  feed.stop();
});

test("what is stopped stays so", async () => {
  const { tower, seen, feed, clock } = world();
  feed.start();
  await settle();
  tower.open().say(FLEET);
  await settle();
  feed.stop();
  await clock.pass(60_000);
  assert.equal(tower.asked.length, 1);
  assert.equal(seen.states.at(-1), "live");
});

/** An API over a fetch that gives these answers. */
function api(...answers) {
  const asked = [];
  const fetch = async (path, init) => {
    asked.push({ path, ...init });
    const answer = answers.shift();
    if (answer instanceof Error) throw answer;
    return answer;
  };
  return { asked, api: new Api(() => "t", fetch) };
}

test("a verb is asked dry, then done", async () => {
  const made = api(Response.json({ order: "", says: "would" }), Response.json({ order: "o", says: "does" }, { status: 202 }));
  assert.equal(await made.api.wouldDo("s/1", "drain", { per_second: 5 }), "would");
  assert.equal(await made.api.act("s/1", "drain", {}), "does");
  assert.deepEqual(made.asked.map(({ path }) => path), ["/v1/servers/s%2F1/drain?dry=1", "/v1/servers/s%2F1/drain"]);
  assert.equal(made.asked[0].body, '{"per_second":5}');
  assert.equal(made.asked[0].headers.Authorization, "Bearer t");
});

test("every way to be refused has words", async () => {
  const cases = [
    [Response.json({ code: "last_server", message: "no" }, { status: 409 }), [409, "last_server", "no"]],
    [new Response("<h1>502</h1>", { status: 502 }), [502, "unknown", "the tower answered 502"]],
    [new TypeError("refused"), [0, "unreachable", "the tower does not answer; try again in a moment"]],
  ];
  for (const [answer, expected] of cases) {
    const error = await api(answer).api.act("s1", "drain", {}).catch((caught) => caught);
    assert.ok(error instanceof Refused);
    assert.deepEqual([error.status, error.code, error.message], expected);
  }
});
