/** A room's messages as the page holds them, what of them is read, and the rows they become. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { buildRows } from "../../chat/web/js/rows.js";
import { Timeline } from "../../chat/web/js/timeline.js";

const at = (minutes) => new Date(2026, 10, 23, 10, minutes).toISOString();
const message = (seq, user = "u2", minutes = 0) => ({ seq, from: { id: user, name: user }, text: `m${seq}`, at: at(minutes) });

function filled(seqs, { read = 0, head = seqs.at(-1) ?? 0 } = {}) {
  const timeline = new Timeline();
  timeline.begin({ epoch: "e1", head, read, fresh: true });
  for (const seq of seqs) timeline.append(message(seq), false);
  return timeline;
}

const rows = (timeline, more = {}) =>
  buildRows(timeline, { unsent: [], me: { id: "u1", name: "Ada" }, title: "Lobby", history: "idle", ...more });
const kinds = (timeline, more) => rows(timeline, more).map(({ kind, message: said }) => (said ? said.seq : kind));

test("unread are the messages of others above the mark", () => {
  const timeline = filled([8, 9, 10], { read: 7 });
  assert.equal(timeline.unread, 3);
  timeline.append(message(11, "u1"), true);
  assert.equal(timeline.unread, 3);
  timeline.mark(9);
  assert.equal(timeline.unread, 1);
  timeline.mark(11);
  assert.equal(timeline.unread, 0);
  assert.equal(timeline.mark(4), false);
});

test("messages that are not at hand are unread too", () => {
  assert.equal(filled([99, 100], { read: 20 }).unread, 80);
});

test("history is taken when it fits, and left when it does not", () => {
  const timeline = filled([5, 6]);
  assert.equal(timeline.prepend([message(1), message(2)]), 0);
  assert.equal(timeline.prepend([message(2), message(3), message(4), message(5)]), 3);
  assert.equal(timeline.first, 2);
  assert.equal(timeline.complete, false);
  timeline.prepend([message(1)]);
  assert.equal(timeline.complete, true);
});

test("a message that does not follow is an error, not a hole", () => {
  assert.throws(() => filled([1, 2]).append(message(4), false), /4 follows 2/);
});

test("a new epoch starts anew, with nothing read", () => {
  const timeline = filled([1, 2, 3], { read: 3 });
  timeline.begin({ epoch: "e2", head: 1, read: 0, fresh: true, gap: true });
  timeline.append(message(1), false);
  assert.deepEqual([timeline.messages.length, timeline.read, timeline.unread, timeline.gapBefore], [1, 0, 1, 1]);
});

test("a room that began anew under our eyes says where", () => {
  const timeline = filled([1, 2, 3]);
  timeline.begin({ epoch: "e1", head: 9, read: 3, fresh: true, gap: true });
  assert.deepEqual(kinds(timeline), ["older", "end"]);
  timeline.append(message(9), false);
  assert.deepEqual(kinds(timeline), ["older", "gap", "day", 9, "end"]);
  timeline.prepend([message(8)]);
  assert.deepEqual(kinds(timeline), ["older", "day", 8, "gap", 9, "end"]);
});

test("very long rooms are cut at their oldest end, and can be read back", () => {
  const timeline = filled(Array.from({ length: 20_000 }, (_, i) => i + 1));
  assert.equal(timeline.trim(), false);
  timeline.append(message(20_001), false);
  assert.equal(timeline.trim(), true);
  assert.deepEqual([timeline.messages.length, timeline.first, timeline.complete], [10_000, 10_002, false]);
});

test("a committed message stands below until it is heard", () => {
  const timeline = filled([1]);
  timeline.commit({ nonce: "n", seq: 2, text: "mine", at: at(1) });
  assert.deepEqual(kinds(timeline), ["begin", "day", 1, "own", "end"]);
  timeline.append(message(2, "u1"), true);
  assert.deepEqual(kinds(timeline), ["begin", "day", 1, 2, "end"]);
  timeline.commit({ nonce: "n", seq: 2, text: "mine", at: at(1) });
  assert.deepEqual(kinds(timeline), ["begin", "day", 1, 2, "end"]);
});

test("one's own message is the same row from the keyboard until it is heard", () => {
  const timeline = filled([1]);
  const row = (unsent = []) => rows(timeline, { unsent }).filter(({ fixed }) => fixed).at(-1);
  const seen = [row([{ nonce: "n", text: "mine", at: at(1), state: "waiting" }])];
  timeline.commit({ nonce: "n", seq: 2, text: "mine", at: at(1) });
  seen.push(row());
  timeline.append(message(2, "u1"), true);
  seen.push(row());
  assert.deepEqual(seen.map(({ key }) => key), ["nn", "nn", "nn"]);
  assert.equal(new Set(seen.map(({ version }) => version)).size, 3);
});

test("one person's messages within five minutes are one group", () => {
  const timeline = filled([]);
  const said = [["u2", 0], ["u2", 5], ["u2", 11], ["u3", 11], ["u2", 11]];
  said.forEach(([user, minutes], i) => timeline.append(message(i + 1, user, minutes), false));
  const heads = rows(timeline).filter(({ kind }) => kind === "message").map(({ head }) => head);
  assert.deepEqual(heads, [true, false, true, true, true]);
});

test("each day has its line, and begins a group", () => {
  const timeline = filled([]);
  timeline.append(message(1, "u2", 0), false);
  timeline.append({ ...message(2), at: new Date(2026, 10, 24, 0, 1).toISOString() }, false);
  assert.deepEqual(kinds(timeline), ["begin", "day", 1, "day", 2, "end"]);
});

test("the line stands where reading stopped, moves only forward, and only for what is unread", () => {
  const timeline = filled([1, 2, 3], { read: 1 });
  timeline.drawLine();
  assert.deepEqual(kinds(timeline), ["begin", "day", 1, "new", 2, 3, "end"]);
  timeline.mark(3);
  timeline.drawLine();
  assert.equal(timeline.line, 1);
  timeline.append(message(4), false);
  timeline.drawLine();
  assert.deepEqual(kinds(timeline), ["begin", "day", 1, 2, 3, "new", 4, "end"]);
});

test("where reading stopped above what is at hand, no line is drawn yet", () => {
  const timeline = filled([9, 10], { read: 3 });
  timeline.drawLine();
  assert.deepEqual(kinds(timeline), ["older", "day", 9, 10, "end"]);
  timeline.prepend([message(3), message(4), message(5), message(6), message(7), message(8)]);
  assert.deepEqual(kinds(timeline).slice(0, 5), ["older", "day", 3, "new", 4]);
});

test("what is on its way stands last, in one's own group", () => {
  const timeline = filled([]);
  timeline.append(message(1, "u1", 0), true);
  const unsent = [
    { nonce: "a", text: "a", at: at(1), state: "sent", refusal: null },
    { nonce: "b", text: "b", at: at(2), state: "refused", refusal: { message: "no" } },
    { nonce: "c", text: "c", at: at(30), state: "waiting", refusal: null },
  ];
  const own = rows(timeline, { unsent }).filter(({ kind }) => kind === "own");
  assert.deepEqual(own.map(({ state, head }) => [state, head]), [["pending", false], ["refused", false], ["pending", true]]);
});

test("every row has a key of its own", () => {
  const timeline = filled([1, 2, 3], { read: 1 });
  timeline.drawLine();
  const keys = rows(timeline).map(({ key }) => key);
  assert.equal(new Set(keys).size, keys.length);
});

test("10,000 messages become rows in the blink of an eye", () => {
  const timeline = filled(Array.from({ length: 10_000 }, (_, i) => i + 1));
  assert.equal(rows(timeline).length, 10_003);
});
