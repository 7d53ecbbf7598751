/**
 * The servers' last five minutes, as far as anybody knows them: a tower that was replaced begins with none, and what the
 * one before it told is still true. Pure.
 */

const SPAN = 300; // seconds that the small lines tell of

export class History {
  #kept = new Map();

  /** Give each server what is known of it, and forget those that are gone. */
  complete(servers, now) {
    const kept = new Map();
    for (const server of servers) {
      const from = server.history[0]?.[0] ?? Infinity;
      const before = (this.#kept.get(server.id) ?? []).filter(([at]) => at < from && at >= now - SPAN);
      kept.set(server.id, [...before, ...server.history]);
    }
    this.#kept = kept;
    return servers.map((server) => ({ ...server, history: kept.get(server.id) }));
  }
}
