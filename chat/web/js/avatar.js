/** A person's first letter on a colour that is always theirs. */

import { h } from "./dom.js";

const HUES = 8; // classes in css/people.css

const letters = new Intl.Segmenter(undefined, { granularity: "grapheme" });

/** @param {{id: string, name: string}} user */
export function avatar(user) {
  return h("span", { class: `avatar hue-${hue(user.id)}`, "aria-hidden": "true" }, initial(user.name));
}

/** The first letter as readers see it: an emoji family or a letter with its marks is one. */
export function initial(name) {
  const [first] = letters.segment(name.trim());
  return first ? first.segment.toUpperCase() : "?";
}

/** FNV-1a: any spread will do, but it must be the same on every page. */
export function hue(id) {
  let hash = 0x811c9dc5;
  for (const char of id) hash = Math.imul(hash ^ char.codePointAt(0), 0x01000193);
  return (hash >>> 0) % HUES;
}
