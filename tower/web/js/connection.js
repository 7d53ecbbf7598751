/** What is said of the connection to the tower, and of how old the data are. Pure. */

const CALM_MS = 3_000; // a tower that is replaced is back by then; until then nothing is worth a word
const STALE_MS = 6_000; // three beats missed: what is shown may not be so any more

/** Whether the data are too old to be believed. */
export const isStale = (ageMs) => ageMs !== null && ageMs >= STALE_MS;

/**
 * @param {import("./feed.js").State} state
 * @param {number | null} ageMs of the last data; null when there are none yet
 * @param {number} now the clock of `state.retryAt`
 * @returns {{tone: "good" | "warn" | "bad", text: string, counting: string, now: boolean, age: string}} `counting`
 *   changes each second and is not for the ears; `now`: offer to try again at once
 */
export function connectionWords(state, ageMs, now) {
  const said = { tone: "good", text: "Live", counting: "", now: false, age: "" };
  if (ageMs !== null && ageMs < CALM_MS) return said;
  if (isStale(ageMs)) said.age = `the last data are ${Math.floor(ageMs / 1_000)} s old`;
  if (state.name === "live" && !said.age) return said;
  said.tone = isStale(ageMs) ? "bad" : "warn";
  if (state.name === "live") said.text = "Connected, nothing comes";
  else if (state.name === "refused") said.text = "Not let in";
  else if (state.name === "connecting") said.text = ageMs === null ? "Connecting…" : "Reconnecting…";
  else {
    said.text = ageMs === null ? "No answer, trying again" : "Reconnecting";
    said.counting = `in ${Math.ceil(Math.max(0, state.retryAt - now) / 1_000)} s`;
    said.now = true;
  }
  return said;
}
