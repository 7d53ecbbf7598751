/** What a fleet's servers are, together: their totals, which versions run, how it is in one line. Pure. */

import { count, counted, listed } from "./words.js";

/**
 * The states a server can be in: what it is called, how it looks (`tone`), where it stands when sorted by state
 * (trouble first), and which verbs make sense.
 */
export const STATES = {
  down: { word: "Down", tone: "bad", rank: 0, verbs: [] },
  draining: { word: "Draining", tone: "busy", rank: 1, verbs: ["abort"] },
  cordoned: { word: "Cordoned", tone: "warn", rank: 2, verbs: ["uncordon", "drain"] },
  starting: { word: "Starting", tone: "busy", rank: 3, verbs: [] },
  ready: { word: "Ready", tone: "good", rank: 4, verbs: ["cordon", "drain"] },
  stopped: { word: "Stopped", tone: "quiet", rank: 5, verbs: [] },
};

/** A state's entry; one that a newer tower knows is shown as it is called. */
export const stateOf = (server) => STATES[server.state] ?? { word: server.state, tone: "quiet", rank: 6, verbs: [] };

const gone = ({ state }) => state === "down" || state === "stopped"; // what it said last is no longer so

/** @returns {{people: number, sends: number, deliveries: number, ready: number, servers: number}} */
export function totals(servers) {
  const sum = { people: 0, sends: 0, deliveries: 0, ready: 0, servers: 0 };
  for (const server of servers) {
    if (server.state !== "stopped") sum.servers += 1;
    if (server.state === "ready") sum.ready += 1;
    if (gone(server)) continue;
    sum.people += server.sessions;
    sum.sends += server.sends_per_second;
    sum.deliveries += server.deliveries_per_second;
  }
  return sum;
}

/** How many servers run each version, most first. @returns {[string, number][]} */
export function versions(servers) {
  const found = new Map();
  for (const server of servers) {
    if (!gone(server)) found.set(server.version, (found.get(server.version) ?? 0) + 1);
  }
  return [...found].sort(([a, n], [b, m]) => m - n || a.localeCompare(b, "en", { numeric: true }));
}

/** The one line for a fleet in which the tower finds nothing wrong. */
export function calm(servers) {
  const alive = servers.filter((server) => server.state !== "stopped");
  if (alive.length === 0) return servers.length === 0 ? "No server has been heard of yet" : "All servers have stopped";
  const others = alive.filter((server) => server.state !== "ready");
  if (others.length === 0) {
    if (alive.length === 1) return `${alive[0].id}, the only server, is well`;
    return alive.length === 2 ? "Both servers are well" : `All ${count(alive.length)} servers are well`;
  }
  const kinds = Object.entries(STATES).flatMap(([state, { word }]) => {
    const ids = others.filter((server) => server.state === state).map(({ id }) => id);
    return ids.length === 0 ? [] : [`${listed(ids)} ${ids.length === 1 ? "is" : "are"} ${word.toLowerCase()}`];
  });
  const ready = alive.length - others.length;
  return `Nothing is wrong: ${[`${counted(ready, "server")} ready`, ...kinds].join(", ")}`;
}

const BIN = 2; // seconds; servers beat that often, each at its own moment

/**
 * The fleet's history out of its servers': what was beaten within the same two seconds is added up. A server that
 * missed a bin counts with what it said before, or one late beat would be a dent in the line.
 *
 * @param {number} which 1 for connections, 2 for messages a second
 * @returns {[number, number][]} moment (Unix seconds) and sum, ascending
 */
export function together(servers, which) {
  let from = Infinity;
  let to = -Infinity;
  for (const { history } of servers) {
    if (history.length === 0) continue;
    from = Math.min(from, Math.floor(history[0][0] / BIN));
    to = Math.max(to, Math.floor(history.at(-1)[0] / BIN));
  }
  if (to < from) return [];
  from = Math.max(from, to - 200); // 400 s: one wrong clock makes no endless line
  const sums = new Float64Array(to - from + 1);
  for (const { history } of servers) {
    for (let i = 0; i < history.length; i += 1) {
      const start = Math.floor(history[i][0] / BIN);
      const next = i + 1 < history.length ? Math.floor(history[i + 1][0] / BIN) : start + 2;
      for (let bin = Math.max(start, from); bin < Math.min(next, start + 4, to + 1); bin += 1) {
        sums[bin - from] += history[i][which];
      }
    }
  }
  return Array.from(sums, (sum, i) => [(from + i) * BIN, sum]);
}
