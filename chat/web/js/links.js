/**
 * Finds the web addresses in a text. Only http and https become links: what else a scheme might do (javascript:, data:)
 * is never asked.
 */

const CANDIDATE = /\bhttps?:\/\/[^\s<>"'`\u0000-\u0020\u007f-\u00a0\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]+/giu;
const TRAILING = /[.,:;!?\u2026\u3001\u3002*_~'"\u2019\u201d\u00bb]$/u;
const PAIRS = { ")": "(", "]": "[", "}": "{" };

/**
 * Cut a text into plain pieces and links; joined, they are the text again.
 * @param {string} text
 * @returns {{text: string, href?: string}[]}
 */
export function linkify(text) {
  const pieces = [];
  let end = 0;
  for (const found of text.matchAll(CANDIDATE)) {
    const address = trimmed(found[0]);
    const href = safe(address);
    if (href === null) continue;
    if (found.index > end) pieces.push({ text: text.slice(end, found.index) });
    pieces.push({ text: address, href });
    end = found.index + address.length;
  }
  if (end < text.length) pieces.push({ text: text.slice(end) });
  return pieces;
}

/** Without the punctuation that belongs to the sentence; a closing bracket stays if the address opened it. */
function trimmed(address) {
  for (;;) {
    const last = address.at(-1);
    const opening = PAIRS[last];
    if (opening ? count(address, last) > count(address, opening) : TRAILING.test(address)) address = address.slice(0, -1);
    else return address;
  }
}

const count = (text, char) => text.split(char).length - 1;

function safe(address) {
  let url;
  try {
    url = new URL(address);
  } catch {
    return null;
  }
  if (url.protocol !== "http:" && url.protocol !== "https:") return null;
  // https://bank.example@evil.example goes to evil.example: who writes such things in a chat means no good.
  return url.hostname === "" || url.username !== "" || url.password !== "" ? null : url.href;
}
