/**
 * What a conversation shows, row by row: messages grouped by person, a line a day, where reading stopped, what is on
 * its way. Pure.
 *
 * Built anew on each change: 10,000 rows are a millisecond, and a list that is never patched is never wrong.
 * A row's `key` is its identity over changes, its `version` what it looks like, and rows with `fixed` keep their
 * place among their neighbours, so that the view may hold on to them while others come and go.
 */

import { dayName } from "./moments.js";

const GROUP_MS = 5 * 60_000; // one person's messages within this stand under one name

/**
 * @param {import("./timeline.js").Timeline} timeline
 * @param {{unsent: object[], me: {id: string, name: string}, title: string, history: "idle" | "loading" | "failed"}} more
 */
export function buildRows(timeline, { unsent, me, title, history }) {
  const rows = [];
  const spoken = timeline.messages.length > 0;
  if (timeline.complete) rows.push({ kind: "begin", key: "begin", version: `${spoken} ${title}`, spoken, title });
  else rows.push({ kind: "older", key: "older", version: history });
  let before = null; // the message above, if the next may stand in its group
  let day = 0;
  for (const message of timeline.messages) {
    if (message.seq === timeline.gapBefore) rows.push({ kind: "gap", key: "gap", version: 0 });
    if (message.day !== day) {
      day = message.day;
      rows.push({ kind: "day", key: `d${day}`, version: dayName(message.ms), ms: message.ms });
      before = null;
    }
    if (timeline.line !== null && message.seq === timeline.line + 1) {
      rows.push({ kind: "new", key: "new", version: 0 });
      before = null;
    }
    const head = before === null || before.from.id !== message.from.id || message.ms - before.ms > GROUP_MS;
    const key = message.nonce ? `n${message.nonce}` : `m${message.seq}`; // the row it was on its way, if it was one
    rows.push({ kind: "message", key, version: `${head}`, fixed: true, head, message });
    before = message;
  }
  for (const row of own(timeline, unsent, me)) {
    row.head = before === null || before.from.id !== me.id || row.ms - before.ms > GROUP_MS;
    row.version = `${row.head} ${row.state}`;
    before = { from: me, ms: row.ms };
    rows.push(row);
  }
  rows.push({ kind: "end", key: "end", version: 0 });
  return rows;
}

/** One's own messages below the others: committed and not heard yet, then unsent ones. */
function* own(timeline, unsent, me) {
  const all = [...timeline.acknowledged].sort((a, b) => a[0] - b[0]);
  for (const [, { nonce, text, ms }] of all) {
    yield { kind: "own", key: `n${nonce}`, fixed: true, state: "acknowledged", text, ms, nonce, me };
  }
  for (const { nonce, text, at, state, refusal } of unsent) {
    const shown = state === "refused" ? "refused" : "pending";
    yield { kind: "own", key: `n${nonce}`, fixed: true, state: shown, text, ms: Date.parse(at), nonce, refusal, me };
  }
}
