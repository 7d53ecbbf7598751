/** Where in the client we are: #/r/lobby. */

export const HOME = "lobby";

/** The room in an address's hash; null if it names none. */
export function roomOf(hash) {
  const found = /^#\/r\/([a-z0-9._-]{1,64})$/.exec(hash);
  return found ? found[1] : null;
}

/** The hash of a room's address. */
export const hashOf = (room) => `#/r/${room}`;
