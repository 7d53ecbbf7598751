/**
 * How long to wait before the next try: full jitter over a bound that doubles.
 *
 * The bound is capped first and jittered then. The other way round (jitter, then cap) makes every client that has
 * waited long enough come back at the very same moment, which is the storm that backoff is there to prevent.
 * Full jitter, a delay drawn from the whole of [0, bound), spreads a crowd best for the same total work:
 * https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
 */

export const BASE_MS = 500; // the first bound: a server that was only restarted is back by then
export const CAP_MS = 30_000; // the last bound: longer, and people reach for the reload button
const TOLD_MS = 1_000; // Retry-After is in seconds

export class Backoff {
  #attempt = 0;
  #random;

  /** @param {() => number} random uniform in [0, 1) */
  constructor(random = Math.random) {
    this.#random = random;
  }

  /** Tries since the last `reset`. */
  get attempt() {
    return this.#attempt;
  }

  /** Milliseconds to wait before the next try. */
  next() {
    const bound = Math.min(CAP_MS, BASE_MS * 2 ** Math.min(this.#attempt, 16)); // 2 ** 16 is far over the cap
    this.#attempt += 1;
    return this.#random() * bound;
  }

  /** A moment inside a window that the server named. Counts as a try. */
  within(windowMs) {
    this.#attempt += 1;
    return this.#random() * windowMs;
  }

  /** At least what a server asked for. It counts whole seconds, so a part of one more spreads those told the same. */
  after(waitMs) {
    return waitMs > 0 ? Math.max(this.next(), waitMs + this.#random() * TOLD_MS) : this.next();
  }

  /** Start from the first bound again: only after the connection has proved itself. */
  reset() {
    this.#attempt = 0;
  }
}
