/** Which servers are shown, and in what order. Pure. */

import { stateOf } from "./fleet.js";

const names = new Intl.Collator("en", { numeric: true, sensitivity: "base" }); // s2 before s10

/** By which columns one can sort; `falling` is how a first press sorts, since who sorts by load looks for the most. */
export const COLUMNS = {
  id: { by: (a, b) => names.compare(a.id, b.id), falling: false },
  state: { by: (a, b) => stateOf(a).rank - stateOf(b).rank, falling: false },
  version: { by: (a, b) => names.compare(a.version, b.version), falling: false },
  sessions: { by: (a, b) => a.sessions - b.sessions, falling: true },
  sends: { by: (a, b) => a.sends_per_second - b.sends_per_second, falling: true },
  commit: { by: (a, b) => a.commit_p99_ms - b.commit_p99_ms, falling: true },
  handshakes: { by: (a, b) => a.handshakes_peak - b.handshakes_peak, falling: true },
  age: { by: (a, b) => a.age_s - b.age_s, falling: true },
};

/** @typedef {{column: keyof typeof COLUMNS, falling: boolean}} Sorting */

/** The sorting after a column's head was pressed: the column's own way first, then the other. @returns {Sorting} */
export function pressed(sorting, column) {
  return { column, falling: sorting.column === column ? !sorting.falling : COLUMNS[column].falling };
}

/** Servers in this order; what is equal stands by name, so that nothing jumps about. @param {Sorting} sorting */
export function sorted(servers, { column, falling }) {
  const { by } = COLUMNS[column];
  return [...servers].sort((a, b) => (falling ? by(b, a) : by(a, b)) || names.compare(a.id, b.id));
}

/** Whether each word of the filter is somewhere in what the server says of itself: "ready 0.2" is both. */
export function matches(server, filter) {
  const said = `${server.id} ${stateOf(server).word} ${server.version} ${server.url}`.toLowerCase();
  return filter.toLowerCase().split(/\s+/).every((word) => said.includes(word));
}
