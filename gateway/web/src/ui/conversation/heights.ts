// The arithmetic of the virtualised list: heights of rows, where each row begins, and which rows are in sight.
// Heights are pixels; a row that was never drawn counts with an estimate. Cost: one pass over the window per change,
// and the window is bounded (store/history.ts).

export class Heights {
  private readonly measured = new Map<string, number>();
  private widthPx = 0;

  /** Remembers a drawn row's height. True if it differs from what was assumed. */
  set(key: string, px: number): boolean {
    const known = this.measured.get(key);
    if (known !== undefined && Math.abs(known - px) < 0.5) return false;
    this.measured.set(key, px);
    return true;
  }

  /** Text wraps anew at another width: everything measured is void. */
  setWidth(px: number): boolean {
    if (this.widthPx === px) return false;
    this.widthPx = px;
    this.measured.clear();
    return true;
  }

  get(key: string, estimatePx: number): number {
    return this.measured.get(key) ?? estimatePx;
  }
}

/** Where each row begins; the last entry is where the list ends. */
export function offsetsOf<R extends { key: string }>(rows: readonly R[], heights: Heights, estimate: (row: R) => number): Float64Array {
  const offsets = new Float64Array(rows.length + 1);
  for (let index = 0; index < rows.length; index++) {
    const row = rows[index]!;
    offsets[index + 1] = offsets[index]! + heights.get(row.key, estimate(row));
  }
  return offsets;
}

/** The last index whose offset is <= `position`, within the rows. */
export function indexAt(offsets: Float64Array, position: number): number {
  let low = 0;
  let high = Math.max(0, offsets.length - 2);
  while (low < high) {
    const middle = (low + high + 1) >>> 1;
    if (offsets[middle]! <= position) low = middle;
    else high = middle - 1;
  }
  return low;
}

export interface Range {
  readonly start: number;
  /** One past the last row. */
  readonly end: number;
}

/** The rows that touch [top, bottom], and `overscan` pixels more on each side. */
export function rangeIn(offsets: Float64Array, top: number, bottom: number, overscan: number): Range {
  const count = offsets.length - 1;
  if (count <= 0) return { start: 0, end: 0 };
  return { start: indexAt(offsets, top - overscan), end: Math.min(count, indexAt(offsets, bottom + overscan) + 1) };
}
