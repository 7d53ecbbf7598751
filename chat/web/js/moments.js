/** Moments as people say them, in the reader's language and time zone. */

const time = new Intl.DateTimeFormat(undefined, { hour: "numeric", minute: "2-digit" });
const full = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "medium" });
const weekday = new Intl.DateTimeFormat(undefined, { weekday: "long", day: "numeric", month: "long" });
const dated = new Intl.DateTimeFormat(undefined, { weekday: "long", day: "numeric", month: "long", year: "numeric" });

/** 10:04 */
export const clockTime = (ms) => time.format(ms);

/** 10:04, without what would say which half of the day: for the narrow place beside a message. */
export function shortTime(ms) {
  const parts = time.formatToParts(ms).filter(({ type }) => type === "hour" || type === "minute");
  return parts.map(({ value }) => value).join(":");
}

/** Monday, 23 November 2026 at 10:04:00 */
export const fullMoment = (ms) => full.format(ms);

/** The local day as a number that sorts and compares: 20261123. */
export function dayNumber(ms) {
  const date = new Date(ms);
  return date.getFullYear() * 10_000 + (date.getMonth() + 1) * 100 + date.getDate();
}

/** Today, Yesterday, Monday, 16 November, or with its year. */
export function dayName(ms, now = Date.now()) {
  const date = new Date(now);
  if (dayNumber(ms) === dayNumber(now)) return "Today";
  // By the calendar, not by 24 hours: days of 23 and of 25 hours exist.
  if (dayNumber(ms) === dayNumber(date.setDate(date.getDate() - 1))) return "Yesterday";
  return new Date(ms).getFullYear() === new Date(now).getFullYear() ? weekday.format(ms) : dated.format(ms);
}

/** 12 s, 3 min: a short wait. */
export function shortWait(ms) {
  const seconds = Math.ceil(ms / 1_000);
  return seconds < 90 ? `${seconds} s` : `${Math.ceil(seconds / 60)} min`;
}
