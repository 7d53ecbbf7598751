/**
 * What a close code tells the client to do. The families are the server's (its reference page lists the codes).
 */

/** @typedef {"at-once" | "spread" | "later" | "token" | "never"} Return */

export const AT_ONCE = "at-once"; // the server moved: follow `moving`
export const SPREAD = "spread"; // it vanished: come back inside the window that `welcome` named
export const LATER = "later"; // come back with backoff
export const TOKEN = "token"; // the token was refused: another one may work
export const NEVER = "never"; // the same again would end the same

const NEVER_CODES = {
  1000: "The server said goodbye.",
  1002: "The server could not follow the protocol this client speaks.",
  1003: "The server refused a frame that is not text.",
  1007: "The server refused text that is not UTF-8.",
  1008: "The server refused this client for what it did.",
  1009: "The server refused a frame that is too large.",
  4501: "This account is banned here.",
  4502: "A newer session of the same user took this one's place.",
};

/**
 * What to do after a close.
 * @param {number} code
 * @returns {Return}
 */
export function afterClose(code) {
  if (code in NEVER_CODES) return NEVER;
  if (code === 1012) return AT_ONCE;
  if (code === 4500) return TOKEN;
  if (code === 1013 || (code >= 4000 && code <= 4499)) return LATER;
  if (code >= 4500 && code <= 4999) return NEVER;
  return SPREAD; // 1001, 1005, 1006, 1011, 1014, 1015 and what a proxy makes up: the peer is gone, not angry
}

/** One sentence for people about a close after which the client stays away. */
export function explain(code, reason = "") {
  if (code === 4500) return reason === "token expired" ? "The token has expired." : "The token was refused.";
  return NEVER_CODES[code] ?? `The server closed the connection for good (${code}${reason ? `: ${reason}` : ""}).`;
}
