/** The client's other pure modules: heights, addresses, names, moments, and what the browser keeps. */

import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import { test } from "node:test";

import { socketAddress } from "../../chat/web/belfry/address.js";
import { Backoff } from "../../chat/web/belfry/backoff.js";
import { hue, initial } from "../../chat/web/js/avatar.js";
import { Drafts } from "../../chat/web/js/drafts.js";
import { Layout } from "../../chat/web/js/layout.js";
import { dayName, dayNumber, shortWait } from "../../chat/web/js/moments.js";
import { hashOf, roomOf } from "../../chat/web/js/route.js";
import { SafeStorage } from "../../chat/web/js/safe-storage.js";
import { Session } from "../../chat/web/js/session.js";
import { slug } from "../../chat/web/js/slug.js";
import { FakeStorage } from "./fakes.mjs";

test("Layout: tops, the row at a height, the rows in a view", () => {
  const layout = new Layout([10, 20, 30]);
  assert.deepEqual([layout.height, layout.top(0), layout.top(2), layout.top(3)], [60, 0, 30, 60]);
  assert.deepEqual([-5, 0, 9, 10, 29, 30, 500].map((y) => layout.at(y)), [0, 0, 0, 1, 1, 2, 2]);
  assert.deepEqual(layout.range(0, 10), [0, 1]);
  assert.deepEqual(layout.range(9, 31), [0, 3]);
  assert.deepEqual(layout.range(15, 16), [1, 2]);
  assert.deepEqual(layout.range(-100, 1_000), [0, 3]);
});

test("Layout: nothing at all", () => {
  const layout = new Layout([]);
  assert.deepEqual([layout.height, layout.at(5), layout.range(0, 100)], [0, -1, [0, 0]]);
});

test("Layout: the row at a height is the one that a walk from the top finds", () => {
  const heights = Array.from({ length: 200 }, (_, i) => ((i * 37) % 50) + 1);
  const layout = new Layout(heights);
  for (let y = 0; y < layout.height; y += 7) {
    let i = 0;
    for (let top = heights[0]; top <= y; top += heights[i]) i += 1;
    assert.equal(layout.at(y), i);
  }
});

test("addresses of the websocket", () => {
  assert.equal(socketAddress("https://chat.example"), "wss://chat.example/ws");
  assert.equal(socketAddress("http://127.0.0.1:8000/"), "ws://127.0.0.1:8000/ws");
  assert.equal(socketAddress("wss://chat.example/behind/ws#x"), "wss://chat.example/behind/ws");
  assert.equal(socketAddress(undefined, "https://chat.example"), "wss://chat.example/ws");
  assert.equal(socketAddress("//other.example", "wss://chat.example/ws"), "wss://other.example/ws");
  assert.throws(() => socketAddress("chat", undefined));
});

test("backoff is never longer than its bound, and spread over all of it", () => {
  const low = new Backoff(() => 0);
  const high = new Backoff(() => 0.999);
  for (let i = 0; i < 100; i += 1) {
    assert.equal(low.next(), 0);
    assert.ok(high.next() <= Math.min(30_000, 500 * 2 ** i));
  }
});

test("rooms in addresses", () => {
  assert.equal(roomOf("#/r/lobby"), "lobby");
  assert.equal(roomOf(hashOf("a.b_c-1")), "a.b_c-1");
  for (const hash of ["", "#", "#/r/", "#/r/Lobby", "#/r/a b", "#/r/<script>", `#/r/${"a".repeat(65)}`, "#/r/a/b"]) {
    assert.equal(roomOf(hash), null);
  }
});

test("names made of titles are names, or nothing", () => {
  const names = [
    ["Tea & Biscuits", "tea-biscuits"],
    ["  Élan vital! ", "elan-vital"],
    ["Straße 7", "strasse-7"],
    ["release 2026.12", "release-2026.12"],
    ["...", ""],
    ["茶", ""],
    ["-a-", "a"],
    ["x".repeat(100), "x".repeat(64)],
  ];
  for (const [title, name] of names) {
    assert.equal(slug(title), name);
    if (name) assert.equal(roomOf(hashOf(name)), name);
  }
});

test("days by the calendar", () => {
  const now = new Date(2026, 2, 30, 0, 30).getTime();
  assert.equal(dayName(now, now), "Today");
  assert.equal(dayName(new Date(2026, 2, 29, 0, 10).getTime(), now), "Yesterday");
  assert.notEqual(dayName(new Date(2026, 2, 28, 23, 59).getTime(), now), "Yesterday");
  assert.match(dayName(new Date(2025, 2, 30).getTime(), now), /2025/);
  assert.equal(dayNumber(new Date(2026, 10, 3).getTime()), 20_261_103);
});

test("short waits", () => {
  assert.deepEqual([0, 1, 1_000, 1_001, 89_000, 100_000].map(shortWait), ["0 s", "1 s", "1 s", "2 s", "89 s", "2 min"]);
});

test("first letters, as readers see them", () => {
  assert.deepEqual(["ada", "  öl", "👩‍👩‍👧 family", "é", ""].map(initial), ["A", "Ö", "👩‍👩‍👧", "É", "?"]);
  assert.equal(hue("u1"), hue("u1"));
  assert.ok(new Set(Array.from({ length: 64 }, (_, i) => hue(`u${i}`))).size > 4);
});

test("drafts are kept a room, and an empty one is none", () => {
  const storage = new FakeStorage();
  const drafts = new Drafts(storage);
  drafts.keep("lobby", "half a");
  drafts.keep("ops", "other");
  assert.equal(new Drafts(storage).read("lobby"), "half a");
  drafts.keep("lobby", "");
  assert.deepEqual([drafts.read("lobby"), drafts.read("ops"), storage.length], ["", "other", 1]);
});

test("a session is good until shortly before its end, and its name outlives it", () => {
  const storage = new FakeStorage();
  const session = new Session(storage);
  session.begin({ token: "t", user: { id: "u1", name: "Ada" }, expiresAt: 100_000, guest: true });
  assert.equal(session.valid(89_000), true);
  assert.equal(session.valid(91_000), false);
  session.end();
  const again = new Session(storage);
  assert.deepEqual([again.valid(0), again.name, again.pass], [false, "Ada", null]);
});

test("a session that something else wrote is none", () => {
  for (const text of ["{", "[]", "null", '{"pass":{"token":7}}']) {
    const storage = new FakeStorage();
    storage.setItem("belfry.session", text);
    assert.equal(new Session(storage).valid(0), false);
  }
});

test("a storage that is forbidden or full keeps things in memory", () => {
  const forbidden = new SafeStorage(() => {
    throw new Error("SecurityError");
  });
  forbidden.setItem("belfry.a", "1");
  assert.deepEqual([forbidden.getItem("belfry.a"), forbidden.length, forbidden.key(0)], ["1", 1, "belfry.a"]);
  const below = new FakeStorage();
  const full = new SafeStorage(() => below);
  full.setItem("belfry.a", "old");
  below.setItem = () => {
    throw new Error("QuotaExceededError");
  };
  full.setItem("belfry.a", "new");
  assert.equal(full.getItem("belfry.a"), "new");
  full.clear("belfry.");
  assert.deepEqual([full.getItem("belfry.a"), below.length], [null, 0]);
});

test("the page asks for every module at once, and for nothing that is not there", () => {
  const web = new URL("../../chat/web/", import.meta.url);
  const page = readFileSync(new URL("index.html", web), "utf8");
  const preloaded = [...page.matchAll(/modulepreload" href="\/([^"]+)"/g)].map((found) => found[1]);
  const modules = (folder) => readdirSync(new URL(folder, web)).map((name) => folder + name);
  const needed = ["belfry.js", ...modules("belfry/"), ...modules("js/")].filter((path) => path !== "js/main.js");
  assert.deepEqual(preloaded.sort(), needed.sort());
  assert.doesNotMatch(page, /<style|\sstyle=|\son[a-z]+=|<script(?![^>]*\ssrc=)/, "the policy forbids what is inline");
});
