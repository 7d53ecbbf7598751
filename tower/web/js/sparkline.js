/** A small line of the last minutes, as the points of an SVG. Pure. */

export const WIDTH = 100; // the SVG's own units; the page stretches it
export const HEIGHT = 24;
const SPAN = 300; // seconds that the line tells of
const HOLE = 7; // seconds without a beat, three missed ones, break the line
const TOP = 2; // units above the highest point, so that its stroke is not cut off

/**
 * The line's and its area's paths. Drawn from zero: a line that begins at its lowest point makes a mountain of noise.
 *
 * @param {[number, number][]} points moment (Unix seconds) and value, ascending
 * @param {number} now Unix seconds; the right edge
 * @returns {{line: string, area: string}}
 */
export function paths(points, now) {
  const shown = points.filter(([at]) => at >= now - SPAN && at <= now + HOLE);
  const most = Math.max(1, ...shown.map(([, value]) => value));
  const x = (at) => round(WIDTH * Math.min(1, 1 - (now - at) / SPAN));
  const y = (value) => round(HEIGHT - (Math.max(0, value) / most) * (HEIGHT - TOP));
  const pieces = [];
  for (const [i, [at, value]] of shown.entries()) {
    if (i === 0 || at - shown[i - 1][0] > HOLE) pieces.push([]);
    pieces.at(-1).push([x(at), y(value)]);
  }
  const drawn = pieces.filter((piece) => piece.length > 1);
  const line = drawn.map((piece) => `M${piece.map(([px, py]) => `${px} ${py}`).join("L")}`);
  const area = drawn.map((piece, i) => `${line[i]}L${piece.at(-1)[0]} ${HEIGHT}L${piece[0][0]} ${HEIGHT}Z`);
  return { line: line.join(""), area: area.join("") };
}

const round = (number) => Math.round(number * 10) / 10;
