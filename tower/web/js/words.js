/** Numbers, times and lists as the dashboard says them. Pure. */

const whole = new Intl.NumberFormat("en-GB", { maximumFractionDigits: 0 });
const tenths = new Intl.NumberFormat("en-GB", { maximumFractionDigits: 1 });
const time = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const minute = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" });
const dated = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" });

export const NOTHING = "–"; // where there is no figure

/** 1,204 */
export const count = (number) => whole.format(number);

/** 0.4 or 1,204: of something a second; small ones are not said to be none. */
export const rate = (number) => (number > 0 && number < 10 ? tenths.format(number) : whole.format(number));

/** 1 server, 4 servers */
export const counted = (number, noun, nouns = `${noun}s`) => `${count(number)} ${number === 1 ? noun : nouns}`;

/** 0.8 ms, 84 ms, 1.2 s */
export function millis(ms) {
  if (ms >= 1_000) return `${tenths.format(ms / 1_000)} s`;
  return `${ms < 10 ? tenths.format(ms) : whole.format(ms)} ms`;
}

/** 14 s, 3 min, 2 h, 4 days: of a span of seconds, rounded down as an age is. */
export function span(seconds) {
  const s = Math.max(0, Math.floor(seconds));
  if (s < 100) return `${s} s`;
  if (s < 100 * 60) return `${Math.floor(s / 60)} min`;
  if (s < 48 * 3_600) return `${Math.floor(s / 3_600)} h`;
  return `${Math.floor(s / 86_400)} days`;
}

/** 4.9 s, 12 s, 3 min: how long something took. */
export const took = (seconds) => (seconds < 10 ? `${tenths.format(Math.max(0, seconds))} s` : span(seconds));

/** 14:02:11, by the reader's clock. */
export const clock = (unix) => time.format(unix * 1_000);

/** 14:02 today, else 23 Nov, 14:02. */
export function moment(unix, now) {
  const same = new Date(unix * 1_000).toDateString() === new Date(now * 1_000).toDateString();
  return (same ? minute : dated).format(unix * 1_000);
}

/** s1, s2 and s3; of many only the first few and how many more. */
export function listed(names, most = 4) {
  const shown = names.length > most ? [...names.slice(0, most - 1), `${names.length - most + 1} more`] : names;
  if (shown.length < 2) return shown.join("");
  return `${shown.slice(0, -1).join(", ")} and ${shown.at(-1)}`;
}

/** It begins large, unless with what is, or looks like, a server's name: that is called what it is called. */
export function large(text, ids) {
  const named = ids.some((id) => text.startsWith(id)) || !/^[a-z]+[ ,:]/.test(text);
  return named ? text : `${text.charAt(0).toUpperCase()}${text.slice(1)}`;
}

/** The same, with an end. */
export const sentence = (text, ids) => `${large(text, ids)}${/[.!?…]$/.test(text) ? "" : "."}`;
