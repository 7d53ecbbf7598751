/** Temporary refusals: how long to hold sends back, and when a message stops being tried and is given to its writer. */

export const MAX_ATTEMPTS = 8; // with the waits below about a minute and a half: longer, and the writer must know
const FIRST_MS = 500;
const CAP_MS = 30_000;

/**
 * Milliseconds to wait after the `attempt`th (from 1) temporary refusal of one message.
 * @param {number} attempt
 * @param {number} retryMs what the server asked for, 0 if nothing: never undercut
 * @param {() => number} random
 */
export function holdMs(attempt, retryMs, random) {
  const bound = Math.min(CAP_MS, FIRST_MS * 2 ** Math.min(attempt - 1, 16));
  return retryMs + random() * bound;
}
