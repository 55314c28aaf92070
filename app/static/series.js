// The history that charts are drawn from, in a fixed number of points: when it is full, every second
// point of its older half goes, so that old times stay visible at a coarser step and memory is bounded
// however long the page is open.

export const POINTS_MAX = 720;

export class Series {
  #names;
  #columns;

  /** `names[0]` is the abscissa, which must grow. */
  constructor(names, limit = POINTS_MAX) {
    this.#names = names;
    this.limit = limit;
    this.clear();
  }

  get length() {
    return this.#columns[0].length;
  }

  clear() {
    this.#columns = this.#names.map(() => []);
  }

  /** Add a point; one that does not lie after the last one replaces it or begins anew. */
  push(point) {
    const at = point[this.#names[0]];
    const last = this.#columns[0].at(-1);
    if (at < last) this.clear();
    if (at === last) for (const column of this.#columns) column.pop();
    this.#names.forEach((name, i) => this.#columns[i].push(point[name] ?? null));
    if (this.length > this.limit) this.#thin();
  }

  #thin() {
    const half = this.length >> 1;
    this.#columns = this.#columns.map((column) => column.filter((_, i) => i >= half || i % 2 === 0));
  }

  /** Columns for a chart: the names asked for, in that order. */
  columns(...names) {
    return names.map((name) => this.#columns[this.#names.indexOf(name)]);
  }

  /** Points as objects, for CSV and tables. */
  rows() {
    return this.#columns[0].map((_, row) =>
      Object.fromEntries(this.#names.map((name, i) => [name, this.#columns[i][row]])),
    );
  }
}
