/**
 * Where rows of different heights lie: measured heights where there are some, estimates elsewhere. Pure.
 */
export class Layout {
  #offsets = new Float64Array(1); // offsets[i] is the top of row i, the last one the height of all

  /** @param {number[]} heights */
  constructor(heights) {
    const offsets = new Float64Array(heights.length + 1);
    for (let i = 0; i < heights.length; i += 1) offsets[i + 1] = offsets[i] + heights[i];
    this.#offsets = offsets;
  }

  get count() {
    return this.#offsets.length - 1;
  }

  get height() {
    return this.#offsets[this.count];
  }

  /** The top of row `i`; of the row behind the last, the whole height. */
  top(i) {
    return this.#offsets[i];
  }

  /** The row at height `y`, the first above all and the last below; -1 if there are none. */
  at(y) {
    let low = 0;
    let high = this.count - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (this.#offsets[middle] <= y) low = middle;
      else high = middle - 1;
    }
    return high < 0 ? -1 : low;
  }

  /** The rows that touch [from, to): first index and the one behind the last. */
  range(from, to) {
    if (this.count === 0) return [0, 0];
    const first = this.at(from);
    let end = this.at(to) + 1;
    if (this.#offsets[end - 1] >= to && end - 1 > first) end -= 1;
    return [first, end];
  }
}
