// Keeps what is being read where it is. The list is anchored either to the present (the bottom) or to one row at a
// distance from the top edge; after every change of the rows or of their heights the scroll position is set so that the
// anchor has not moved. The browser's own anchoring is switched off in the stylesheet: it does not know about padding
// that stands for rows that are not drawn.
//
// Invariant: between two scroll events of the person, the anchor's distance from the edge is constant.
import { Heights, indexAt, offsetsOf, type Range, rangeIn } from "./heights";

export type Anchor = { readonly at: "present" } | { readonly at: "row"; readonly key: string; readonly distancePx: number };

export const PRESENT: Anchor = { at: "present" };

/** Height of the placeholder above or below the window, in pixels; the stylesheet agrees (--skeleton-height). */
export const SKELETON_PX = 480;
/** More rows are drawn than are in sight, by this many pixels on each side. */
const OVERSCAN_PX = 600;
/** The next page is asked for when the edge of the window is this close, in pixels. */
const LOAD_AHEAD_PX = 900;
/** The bottom counts as reached within this distance, in pixels. */
const END_SLACK_PX = 8;

interface KeyedRow {
  readonly key: string;
}

export interface Frame<R> {
  readonly rows: readonly R[];
  readonly hasOlder: boolean;
  readonly hasNewer: boolean;
}

export class Scroller<R extends KeyedRow> {
  anchor: Anchor = PRESENT;
  range: Range = { start: 0, end: 0 };
  offsets: Float64Array = new Float64Array(1);
  private readonly heights = new Heights();
  private frame: Frame<R> = { rows: [], hasOlder: false, hasNewer: false };
  private lastTop = 0;
  private lastHeight = 0;

  constructor(
    private readonly estimate: (row: R) => number,
    private readonly viewport: () => HTMLElement | null,
    private readonly list: () => HTMLElement | null,
    /** Whether a row stays between the same neighbors. A day line does not: older messages of its day come after it. */
    private readonly isSteady: (key: string) => boolean = () => true,
  ) {}

  /** Takes the rows of the coming drawing, and chooses which to draw from where the anchor is. */
  prepare(frame: Frame<R>): void {
    this.frame = frame;
    this.offsets = offsetsOf(frame.rows, this.heights, this.estimate);
    this.range = this.rangeFor(this.expectedTop());
  }

  /** After drawing: measures, puts the anchor back. True if other rows are in sight now and must be drawn. */
  settle(): boolean {
    const viewport = this.viewport();
    if (!viewport) return false;
    this.noticeUnheardScroll(viewport);
    this.heights.setWidth(viewport.clientWidth);
    if (this.measure()) this.offsets = offsetsOf(this.frame.rows, this.heights, this.estimate);
    const top = this.anchoredTop(viewport);
    if (Math.abs(viewport.scrollTop - top) > 0.5) viewport.scrollTop = top;
    this.remember(viewport);
    return this.moved(viewport);
  }

  /** The person scrolled: a new anchor. True if other rows must be drawn. */
  scrolled(): boolean {
    const viewport = this.viewport();
    if (!viewport) return false;
    this.anchor = this.readAnchor(viewport);
    this.remember(viewport);
    return this.moved(viewport);
  }

  get isAtPresent(): boolean {
    return this.anchor.at === "present" && !this.frame.hasNewer;
  }

  /** Pixels between the bottom edge and the end of what is loaded. */
  get distanceFromEnd(): number {
    const viewport = this.viewport();
    return viewport ? viewport.scrollHeight - viewport.clientHeight - viewport.scrollTop : 0;
  }

  get wantsOlder(): boolean {
    const viewport = this.viewport();
    return this.frame.hasOlder && viewport !== null && viewport.scrollTop < SKELETON_PX + LOAD_AHEAD_PX;
  }

  get wantsNewer(): boolean {
    return this.frame.hasNewer && this.distanceFromEnd < SKELETON_PX + LOAD_AHEAD_PX;
  }

  /** Puts a row a third from the top at the next drawing. */
  aimAt(key: string): void {
    const height = this.viewport()?.clientHeight ?? 0;
    this.anchor = { at: "row", key, distancePx: Math.round(height / 3) };
  }

  private get basePx(): number {
    return this.frame.hasOlder ? SKELETON_PX : 0;
  }

  private indexOf(key: string): number {
    return this.frame.rows.findIndex((row) => row.key === key);
  }

  /** Where the top edge should be by the offsets alone, before anything is drawn. */
  private expectedTop(): number {
    const viewport = this.viewport();
    const height = viewport?.clientHeight ?? window.innerHeight;
    if (this.anchor.at === "present") return this.basePx + this.offsets.at(-1)! + (this.frame.hasNewer ? SKELETON_PX : 0) - height;
    const index = this.indexOf(this.anchor.key);
    if (index < 0) return viewport?.scrollTop ?? 0;
    return this.basePx + this.offsets[index]! - this.anchor.distancePx;
  }

  private anchoredTop(viewport: HTMLElement): number {
    const end = viewport.scrollHeight - viewport.clientHeight;
    if (this.anchor.at === "present") return end;
    const element = this.drawn().find((one) => one.dataset["key"] === (this.anchor as { key: string }).key);
    const top = element ? element.offsetTop - this.anchor.distancePx : this.expectedTop();
    return Math.max(0, Math.min(end, top));
  }

  private drawn(): HTMLElement[] {
    return [...(this.list()?.children ?? [])] as HTMLElement[];
  }

  private measure(): boolean {
    let changed = false;
    for (const element of this.drawn()) {
      const key = element.dataset["key"];
      if (key !== undefined && this.heights.set(key, element.getBoundingClientRect().height)) changed = true;
    }
    return changed;
  }

  private readAnchor(viewport: HTMLElement): Anchor {
    const top = viewport.scrollTop;
    if (!this.frame.hasNewer && viewport.scrollHeight - viewport.clientHeight - top < END_SLACK_PX) return PRESENT;
    const bottom = top + viewport.clientHeight;
    for (const one of this.drawn()) {
      const key = one.dataset["key"];
      const isInSight = one.offsetTop + one.offsetHeight > top && one.offsetTop < bottom;
      if (isInSight && key !== undefined && this.isSteady(key)) return { at: "row", key, distancePx: one.offsetTop - top };
    }
    // Scrolled past everything drawn, or into the placeholder: the nearest row by the offsets.
    const { rows } = this.frame;
    const start = indexAt(this.offsets, top - this.basePx);
    const after = rows.findIndex((row, index) => index >= start && this.isSteady(row.key));
    const nearest = after >= 0 ? after : rows.findLastIndex((row) => this.isSteady(row.key));
    const row = rows[nearest];
    return row ? { at: "row", key: row.key, distancePx: this.basePx + this.offsets[nearest]! - top } : PRESENT;
  }

  /** A scroll whose event has not come yet must not be undone by the anchor at the present. */
  private noticeUnheardScroll(viewport: HTMLElement): void {
    const wentUp = viewport.scrollTop < this.lastTop - 1 && viewport.scrollHeight >= this.lastHeight;
    if (this.anchor.at === "present" && wentUp) this.anchor = this.readAnchor(viewport);
  }

  private remember(viewport: HTMLElement): void {
    this.lastTop = viewport.scrollTop;
    this.lastHeight = viewport.scrollHeight;
  }

  private rangeFor(top: number): Range {
    const height = this.viewport()?.clientHeight ?? window.innerHeight;
    return rangeIn(this.offsets, top - this.basePx, top - this.basePx + height, OVERSCAN_PX);
  }

  private moved(viewport: HTMLElement): boolean {
    const next = this.rangeFor(viewport.scrollTop);
    // Small moves inside the overscan need no drawing; half of it may be used up first.
    const inside = rangeIn(
      this.offsets,
      viewport.scrollTop - this.basePx,
      viewport.scrollTop - this.basePx + viewport.clientHeight,
      OVERSCAN_PX / 2,
    );
    const covers = this.range.start <= inside.start && this.range.end >= inside.end;
    if (covers) return false;
    return next.start !== this.range.start || next.end !== this.range.end;
  }
}
