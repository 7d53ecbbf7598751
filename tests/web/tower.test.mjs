/** The dashboard's pure modules: what it says of a fleet, in which order, and how it draws and cuts. */

import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import { test } from "node:test";

import { options } from "../../tower/web/js/acts.js";
import { connectionWords, isStale } from "../../tower/web/js/connection.js";
import { calm, stateOf, together, totals, versions } from "../../tower/web/js/fleet.js";
import { History } from "../../tower/web/js/history.js";
import { matches, pressed, sorted } from "../../tower/web/js/order.js";
import { current, headline, measured, places, told, verdict, worthTelling } from "../../tower/web/js/rollout.js";
import { drainWords } from "../../tower/web/js/row.js";
import { paths } from "../../tower/web/js/sparkline.js";
import { EventCutter } from "../../tower/web/js/sse.js";
import { Token } from "../../tower/web/js/token.js";
import { count, large, listed, millis, moment, rate, sentence, span, took } from "../../tower/web/js/words.js";
import { withoutFigures, wrongWords } from "../../tower/web/js/wrong.js";
import { FakeStorage } from "./fakes.mjs";

const server = (id, state = "ready", others = {}) => ({
  id, state, url: `http://10.0.0.1/${id}`, version: "1", sessions: 10, sends_per_second: 2, deliveries_per_second: 20,
  commit_p99_ms: 1, handshakes_peak: 0, age_s: 1, history: [], ...others,
});
const step = (name, id = "", others = {}) => ({
  step: name, server: id, index: id ? Number(id.slice(1)) : 0, moved: 0, drained: 0, stall_ms: 0, why: "", at: 1, ...others,
});
const rollout = (steps, others = {}) => ({
  id: "r", state: "running", began_at: 100, ended_at: null, version_from: "1", version_to: "2", servers: 3, moved: 0,
  drained: 0, longest_stall_ms: 0, why: "", steps, ...others,
});

test("figures as people read them", () => {
  assert.deepEqual([0, 1_204, 1_500_500].map(count), ["0", "1,204", "1,500,500"]);
  assert.deepEqual([0, 0.04, 0.44, 9.96, 12.6].map(rate), ["0", "0", "0.4", "10", "13"]);
  assert.deepEqual([0.84, 9.94, 84.2, 999, 1_240].map(millis), ["0.8 ms", "9.9 ms", "84 ms", "999 ms", "1.2 s"]);
  assert.deepEqual([-1, 0.9, 99, 100, 5_999, 6_000, 172_799, 172_800].map(span), [
    "0 s", "0 s", "99 s", "1 min", "99 min", "1 h", "47 h", "2 days",
  ]);
  assert.deepEqual([-1, 4.94, 12.6, 200].map(took), ["0 s", "4.9 s", "12 s", "3 min"]);
  assert.deepEqual([[], ["a"], ["a", "b"], ["a", "b", "c", "d"], ["a", "b", "c", "d", "e"]].map((names) => listed(names)), [
    "", "a", "a and b", "a, b, c and d", "a, b, c and 2 more",
  ]);
  const noon = new Date(2026, 10, 26, 12, 0).getTime() / 1_000;
  assert.equal(moment(noon, noon + 3_600), "12:00");
  assert.equal(moment(noon, noon + 86_400), "26 Nov, 12:00");
});

test("sentences begin large, servers' names stay what they are", () => {
  assert.equal(sentence("no server takes newcomers", []), "No server takes newcomers.");
  assert.equal(sentence("alpha is silent!", ["alpha"]), "alpha is silent!");
  assert.equal(large("s4 fell silent", []), "s4 fell silent");
  assert.equal(large("chat-1 fell silent", []), "chat-1 fell silent");
  assert.equal(large("redeploy: s1 failed", []), "Redeploy: s1 failed");
});

test("totals leave out what a server said before it went", () => {
  const servers = [server("s1"), server("s2", "draining"), server("s3", "down"), server("s4", "stopped")];
  assert.deepEqual(totals(servers), { people: 20, sends: 4, deliveries: 40, ready: 1, servers: 3 });
  assert.deepEqual(totals([]), { people: 0, sends: 0, deliveries: 0, ready: 0, servers: 0 });
});

test("versions that run, most first, and by number where as many", () => {
  const fleet = [["s1", "0.10"], ["s2", "0.9"], ["s3", "0.9"], ["s4", "0.2"]].map(([id, version]) => server(id, "ready", { version }));
  assert.deepEqual(versions(fleet), [["0.9", 2], ["0.2", 1], ["0.10", 1]]);
  assert.deepEqual(versions([server("s1", "down")]), []);
});

test("the calm line", () => {
  const lines = [
    [[], "No server has been heard of yet"],
    [[server("s1", "stopped")], "All servers have stopped"],
    [[server("s1")], "s1, the only server, is well"],
    [[server("s1"), server("s2"), server("s3", "stopped")], "Both servers are well"],
    [["a", "b", "c", "d"].map((id) => server(id)), "All 4 servers are well"],
    [[server("a"), server("b", "draining"), server("c", "cordoned"), server("d", "cordoned")],
      "Nothing is wrong: 1 server ready, b is draining, c and d are cordoned"],
  ];
  for (const [servers, line] of lines) assert.equal(calm(servers), line);
});

test("what is wrong is one line, several, or that nothing comes", () => {
  const fleet = { servers: [server("s1")], wrong: [] };
  assert.equal(wrongWords(null, null).tone, "quiet");
  assert.deepEqual(wrongWords(fleet, null), { tone: "good", title: "s1, the only server, is well", lines: [] });
  assert.equal(wrongWords({ servers: [server("s1"), server("s2", "cordoned")], wrong: [] }, null).tone, "busy");
  const one = wrongWords({ ...fleet, wrong: ["s1 has been silent for 74 s"] }, null);
  assert.deepEqual(one, { tone: "bad", title: "s1 has been silent for 74 s.", lines: [] });
  const two = wrongWords({ ...fleet, wrong: ["s1 is slow", "the bus is away"] }, null);
  assert.deepEqual(two, { tone: "bad", title: "2 things are wrong", lines: ["s1 is slow.", "The bus is away."] });
  const stale = wrongWords({ ...fleet, wrong: ["s1 is slow"] }, 1_000);
  assert.equal(stale.tone, "bad");
  assert.match(stale.title, /^Nothing has come from the tower since \d\d:\d\d:\d\d\.$/);
  assert.equal(stale.lines.at(-1), "s1 is slow.");
});

test("a figure that runs is no news, another server is", () => {
  const said = (title) => withoutFigures({ title, lines: [] });
  assert.equal(said("s3 has been silent for 74 s"), said("s3 has been silent for 76 s"));
  assert.equal(said("s3's commits take 1,840 ms"), said("s3's commits take 2,002 ms"));
  assert.notEqual(said("s3 has been silent for 74 s"), said("s4 has been silent for 74 s"));
});

test("a state that a newer tower knows is shown, and has no verbs", () => {
  assert.deepEqual([stateOf(server("s1", "frozen")).word, stateOf(server("s1", "frozen")).verbs], ["frozen", []]);
});

test("the fleet's history is the sum of its servers', and one late beat is no dent", () => {
  const one = server("s1", "ready", { history: [[100, 10, 1], [102, 10, 1], [104, 12, 1], [106, 12, 1]] });
  const two = server("s2", "ready", { history: [[101, 5, 1], [105, 5, 3], [106, 5, 3]] });
  assert.deepEqual(together([one, two], 1).slice(0, 4), [[100, 15], [102, 15], [104, 17], [106, 17]]);
  assert.deepEqual(together([one, two], 2)[2], [104, 4]);
  assert.deepEqual(together([server("s3")], 1), []);
  const wild = server("s4", "ready", { history: [[0, 1, 1], [100, 1, 1]] });
  assert.ok(together([one, wild], 1).length <= 201);
});

test("what the tower before this one told of the last minutes stays known", () => {
  const history = new History();
  const told = (points, now) => history.complete([server("s1", "ready", { history: points })], now)[0].history;
  assert.deepEqual(told([[100, 1, 0], [102, 2, 0]], 102), [[100, 1, 0], [102, 2, 0]]);
  assert.deepEqual(told([[104, 3, 0]], 104), [[100, 1, 0], [102, 2, 0], [104, 3, 0]]);
  assert.deepEqual(told([], 104), [[100, 1, 0], [102, 2, 0], [104, 3, 0]]);
  assert.deepEqual(told([[102, 9, 0], [104, 3, 0]], 401), [[102, 9, 0], [104, 3, 0]], "what the tower says counts");
  history.complete([], 401);
  assert.deepEqual(told([[402, 1, 0]], 402), [[402, 1, 0]]);
});

test("servers by name as people count, by what was pressed, and equal ones by name", () => {
  const fleet = [server("s10", "ready", { sessions: 5 }), server("s2", "down"), server("s1", "ready", { sessions: 5 })];
  const ids = (sorting) => sorted(fleet, sorting).map(({ id }) => id);
  assert.deepEqual(ids({ column: "id", falling: false }), ["s1", "s2", "s10"]);
  assert.deepEqual(ids({ column: "id", falling: true }), ["s10", "s2", "s1"]);
  assert.deepEqual(ids({ column: "state", falling: false }), ["s2", "s1", "s10"]);
  assert.deepEqual(ids({ column: "sessions", falling: true }), ["s2", "s1", "s10"]);
  const first = pressed({ column: "id", falling: false }, "sessions");
  assert.deepEqual(first, { column: "sessions", falling: true });
  assert.deepEqual(pressed(first, "sessions"), { column: "sessions", falling: false });
  assert.deepEqual(fleet.map(({ id }) => id), ["s10", "s2", "s1"], "the fleet itself is left as it came");
});

test("a filter's words are all to be found", () => {
  const it = server("s1", "draining", { version: "0.2.1" });
  for (const filter of ["", "  ", "S1", "drain", "0.2 s1", "10.0.0.1"]) assert.ok(matches(it, filter), filter);
  for (const filter of ["s2", "drain s2", "ready"]) assert.ok(!matches(it, filter), filter);
});

test("small lines are drawn from zero, end at now, and break where beats were missed", () => {
  const { line, area } = paths([[700, 10], [850, 5], [852, 5], [1_000, 10]], 1_000);
  assert.equal(line, "M50 13L50.7 13");
  assert.equal(area, "M50 13L50.7 13L50.7 24L50 24Z");
  const steady = paths(Array.from({ length: 151 }, (_, i) => [700 + 2 * i, 8]), 1_000).line;
  assert.ok(steady.startsWith("M0 2L") && steady.endsWith("L100 2"));
  assert.deepEqual(paths([], 1_000), { line: "", area: "" });
  assert.deepEqual(paths([[10, 5], [12, 5]], 1_000), { line: "", area: "" }, "what is too long ago");
  assert.ok(!paths([[998, 0], [1_000, 0]], 1_000).line.includes("NaN"));
});

test("a drain's progress", () => {
  const drain = { to_move: 1_204, moved: 812, per_second: 100, eta_s: 3.2 };
  assert.equal(drainWords(drain), "812 of 1,204 moved,\nabout 4 s left, 100/s");
  assert.equal(drainWords({ ...drain, per_second: 0, eta_s: 0 }), "812 of 1,204 moved");
  assert.equal(drainWords({ ...drain, moved: 1_204 }), "1,204 moved");
});

test("a rollout's headline, places and verdict", () => {
  const it = rollout([step("began"), step("starting", "s1"), step("handed", "s1"), step("starting", "s2")]);
  assert.equal(headline(it), "Rolling out 1 → 2, server 2 of 3");
  assert.deepEqual(places(it).map(({ server: id, stage }) => `${id}:${stage}`), ["s1:done", "s2:now", ":waits"]);
  assert.equal(verdict(it, 109), "Running for 9 s");
  assert.equal(verdict({ ...it, drained: 1 }, 109), "Running for 9 s: 0 sockets handed over, 1 told to reconnect");
  const done = { ...it, state: "done", ended_at: 112, moved: 5_000, drained: 3, longest_stall_ms: 84.4 };
  assert.equal(headline(done), "Rolled out 1 → 2");
  assert.equal(verdict(done, 999), "Done in 12 s: 5,000 sockets handed over, 3 told to reconnect, longest stall 84 ms");
  const failed = { ...it, state: "failed", ended_at: 130, why: "s2 did not become ready" };
  assert.equal(verdict(failed, 999), "Failed after 30 s: s2 did not become ready");
  assert.equal(headline({ ...failed, version_from: "", version_to: "" }), "The rollout of a redeploy failed");
  assert.equal(headline(rollout([], { servers: 1, version_to: "1" })), "Rolling out 1");
  assert.equal(places(rollout([], { servers: 0 })).length, 0);
});

test("what was measured is said, and nothing more", () => {
  assert.equal(measured({ moved: 0, drained: 7, stall_ms: 0 }), "0 sockets handed over, 7 told to reconnect");
  assert.equal(measured({ moved: 1, drained: 0, stall_ms: 3 }), "1 socket handed over, none told to reconnect, longest stall 3 ms");
});

test("steps as sentences; of a server whose turn is over only how it went", () => {
  const it = rollout([step("began"), step("starting", "s1"), step("handing", "s1"), step("handed", "s1"), step("starting", "s2")]);
  assert.deepEqual(worthTelling(it).map(({ step: name, server: id }) => name + id), ["began", "handeds1", "startings2"]);
  assert.equal(told(step("began"), it).text, "The redeploy of 3 servers began");
  assert.equal(told(step("starting", "s2"), it).text, "s2: the successor starts");
  assert.equal(told(step("drained", "s2", { drained: 4 }), it).text, "s2: drained, 4 clients told to reconnect");
  assert.deepEqual(told(step("failed", "s2", { why: "no code" }), it), { text: "s2 failed: no code", tone: "bad" });
  assert.equal(told(step("failed"), it).text, "The redeploy failed");
  assert.equal(told(step("pondering", "s2"), it).text, "s2: pondering");
});

test("a rollout that has just ended is still told", () => {
  const ended = rollout([], { state: "done", ended_at: 1_000 });
  const running = rollout([]);
  assert.equal(current(running, [ended], 1_001), running);
  assert.equal(current(null, [ended], 1_001), ended);
  assert.equal(current(null, [ended], 1_121), null);
  assert.equal(current(null, [], 1_001), null);
});

test("the connection: nothing alarming in the first three seconds, the truth after that", () => {
  const waiting = { name: "waiting", retryAt: 4_000 };
  for (const state of [waiting, { name: "connecting" }, { name: "live" }]) assert.equal(connectionWords(state, 2_900, 0).text, "Live");
  const soon = connectionWords(waiting, 3_500, 1_500);
  assert.deepEqual([soon.tone, soon.text, soon.counting, soon.now, soon.age], ["warn", "Reconnecting", "in 3 s", true, ""]);
  const late = connectionWords(waiting, 14_200, 3_900);
  assert.deepEqual([late.tone, late.counting, late.age], ["bad", "in 1 s", "the last data are 14 s old"]);
  assert.equal(connectionWords({ name: "live" }, 5_000, 0).text, "Live");
  assert.equal(connectionWords({ name: "live" }, 6_500, 0).text, "Connected, nothing comes");
  assert.equal(connectionWords({ name: "connecting" }, null, 0).text, "Connecting…");
  assert.equal(connectionWords(waiting, null, 0).text, "No answer, trying again");
  assert.deepEqual([null, 5_999, 6_000].map(isStale), [false, false, true]);
});

const STREAM = 'retry: 1000\n\n: comment\nevent: fleet\r\ndata: {"a":1,\r\ndata: "b":2}\r\n\r\nevent: note\rdata:x\r\revent: empty\n\ndata: y\n\ndata: lost';
const EVENTS = [{ event: "fleet", data: '{"a":1,\n"b":2}' }, { event: "note", data: "x" }, { event: "message", data: "y" }];

test("events are the same wherever the stream is cut", () => {
  for (let a = 0; a <= STREAM.length; a += 1) {
    for (let b = a; b <= STREAM.length; b += 7) {
      const cutter = new EventCutter();
      const found = [STREAM.slice(0, a), STREAM.slice(a, b), STREAM.slice(b)].flatMap((piece) => cutter.push(piece));
      assert.deepEqual(found, EVENTS, `cut at ${a} and ${b}`);
      assert.equal(cutter.retry, 1_000);
    }
  }
  const bytewise = new EventCutter();
  assert.deepEqual([...`\ufeff${STREAM}`].flatMap((piece) => bytewise.push(piece)), EVENTS);
});

test("an event without an end is refused, one of 1,000 servers is not", () => {
  const cutter = new EventCutter();
  const piece = "x".repeat(1024 * 1024);
  for (let i = 0; i < 8; i += 1) cutter.push(i === 0 ? `data: ${piece}` : piece);
  assert.equal(cutter.push("\n\n")[0].data.length, 8 * 1024 * 1024);
  assert.throws(() => {
    for (let i = 0; i < 65; i += 1) cutter.push(piece);
  }, /without an end/);
});

test("what the fields of a drain say", () => {
  const none = { perSecond: " ", deadline: "", force: false };
  assert.deepEqual(options(none), {});
  assert.deepEqual(options({ perSecond: "2.5", deadline: "30", force: true }), { per_second: 2.5, deadline: 30, force: true });
  for (const text of ["0", "-1", "ten", "Infinity", "1e999"]) {
    assert.throws(() => options({ ...none, deadline: text }), /no number of seconds/);
  }
});

test("the token lives in the tab, without what a clipboard adds to it", () => {
  const storage = new FakeStorage();
  const token = new Token(() => storage);
  token.keep(" ab.c\n");
  assert.deepEqual([token.value, new Token(() => storage).value], ["ab.c", "ab.c"]);
  token.forget();
  assert.deepEqual([token.value, storage.length], [null, 0]);
  const forbidden = new Token(() => {
    throw new Error("SecurityError");
  });
  forbidden.keep("x");
  assert.equal(forbidden.value, "x");
});

const web = new URL("../../tower/web/", import.meta.url);
const page = readFileSync(new URL("index.html", web), "utf8");

test("the page asks for every module at once, and for nothing that is not there", () => {
  const preloaded = [...page.matchAll(/modulepreload" href="\/js\/([^"]+)"/g)].map((found) => found[1]);
  const needed = readdirSync(new URL("js/", web)).filter((name) => name !== "main.js");
  assert.deepEqual(preloaded.sort(), needed.sort());
  assert.doesNotMatch(page, /<style|\sstyle=|\son[a-z]+=|<script(?![^>]*\ssrc=)/, "the policy forbids what is inline");
});

test("the dashboard's colours are the chat client's", () => {
  const colours = (of) => {
    const css = readFileSync(new URL("css/base.css", of), "utf8");
    return [...css.matchAll(/^\s*(--[a-z-]+: [^;]+);/gm)].map(([, pair]) => pair);
  };
  assert.ok(colours(web).length > 30);
  assert.deepEqual(colours(web), colours(new URL("../../chat/web/", import.meta.url)));
});
