/** The ordering machine of one room: however frames are cut, repeated and interleaved, each message comes once, in order. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { Room } from "../../chat/web/belfry/room.js";
import { body, joined } from "./fakes.mjs";

/** A small generator that gives the same numbers each time: a failure can be looked at. (mulberry32) */
function seeded(seed) {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

test("before the first `joined` there is no position", () => {
  assert.equal(new Room("lobby").position, null);
});

test("an empty beginning stands at the head", () => {
  const room = new Room("lobby");
  const begun = room.begin(joined("lobby", [], { head: 7 }));
  assert.deepEqual([begun.fresh, begun.gap, room.position], [true, null, ["e1", 7]]);
  assert.equal(room.offer("e1", body(8)), "next");
});

test("messages of another epoch are of another room", () => {
  const room = new Room("lobby");
  room.begin(joined("lobby", [1, 2]));
  assert.equal(room.offer("e0", body(3)), "stale");
  assert.deepEqual(room.position, ["e1", 2]);
});

test("a `joined` that does not connect says so, and hands on nothing behind the hole", () => {
  const room = new Room("lobby");
  room.begin(joined("lobby", [1, 2]));
  const begun = room.begin(joined("lobby", [4, 5]));
  assert.deepEqual([begun.hole, begun.messages, room.seq, room.head], [true, [], 2, 5]);
});

test("a gap starts anew, the read mark of the same epoch stays", () => {
  const room = new Room("lobby");
  room.begin(joined("lobby", [1, 2], { read: 2 }));
  const begun = room.begin(joined("lobby", [50, 51], { gap: true, read: 0 }));
  assert.deepEqual([begun.fresh, begun.gap, begun.messages.length, room.read], [true, "gap", 2, 2]);
  room.begin(joined("lobby", [1], { epoch: "e2" }));
  assert.equal(room.read, 0);
});

test("large rooms have a count and no list", () => {
  const room = new Room("lobby");
  room.begin(joined("lobby", [], { members: undefined, count: 5_000 }));
  room.presence({ joined: [{ id: "u9", name: "x" }], left: [], count: 5_001 });
  assert.deepEqual([room.members, room.count], [null, 5_001]);
});

test("cut, repeated, overlapped, lost and asked for again: the same outcome", () => {
  for (let seed = 1; seed <= 500; seed += 1) {
    const random = seeded(seed);
    const below = (n) => Math.floor(random() * n);
    const head = 1 + below(40);
    const room = new Room("lobby");
    const seen = [];
    const rejoin = () => {
      // The server's promise: everything after the position, in a first frame and what did not fit behind it.
      const after = room.position ? room.seq : 0;
      const all = Array.from({ length: head - after }, (_, i) => after + 1 + i);
      const cut = room.position ? below(all.length + 1) : all.length;
      const begun = room.begin(joined("lobby", all.slice(0, cut), { head }));
      assert.equal(begun.hole, false);
      seen.push(...begun.messages.map(({ seq }) => seq));
      for (const seq of all.slice(cut, cut + below(all.length - cut + 1))) offer(seq);
    };
    const offer = (seq) => {
      const verdict = room.offer("e1", body(seq));
      if (verdict === "next") seen.push(seq);
      else if (verdict === "hole") rejoin();
    };
    room.begin(joined("lobby", [], { head: 0 }));
    for (let i = 0; i < 30; i += 1) {
      if (random() < 0.3) rejoin();
      else offer(1 + below(head));
    }
    while (room.seq < head) rejoin();
    assert.deepEqual(seen, Array.from({ length: head }, (_, i) => i + 1), `seed ${seed}`);
  }
});
