import { describe, expect, test } from "vitest";
import { Heights, indexAt, offsetsOf, rangeIn } from "../../src/ui/conversation/heights";
import { PRESENT, Scroller, SKELETON_PX } from "../../src/ui/conversation/scroller";
import { seeded } from "./fake";

interface TestRow {
  readonly key: string;
}

const VIEWPORT_PX = 600;
const ESTIMATE_PX = 50;

/** A page that lays rows out as a browser would: padding, drawn rows in their true heights, padding. */
class FakePage {
  rows: TestRow[] = [];
  hasOlder = true;
  hasNewer = false;
  heightPx = VIEWPORT_PX;
  readonly trueHeights = new Map<string, number>();
  readonly viewport = { clientWidth: 800, clientHeight: VIEWPORT_PX, scrollTop: 0, scrollHeight: 0 };
  private children: { dataset: { key: string }; offsetTop: number; offsetHeight: number; getBoundingClientRect: () => { height: number } }[] = [];
  readonly scroller = new Scroller<TestRow>(
    () => ESTIMATE_PX,
    () => this.viewport as unknown as HTMLElement,
    () => ({ children: this.children }) as unknown as HTMLElement,
    (key) => !key.startsWith("day:"),
  );

  /** Draws until the rows in sight are drawn; returns how often that took. */
  draw(): number {
    for (let count = 1; count <= 8; count++) {
      this.scroller.prepare(this);
      this.lay();
      if (!this.scroller.settle()) return count;
    }
    throw new Error("the list never settles");
  }

  private lay(): void {
    const { range, offsets } = this.scroller;
    let top = (this.hasOlder ? SKELETON_PX : 0) + offsets[range.start]!;
    this.children = this.rows.slice(range.start, range.end).map((row) => {
      const height = this.trueHeights.get(row.key) ?? ESTIMATE_PX;
      const child = { dataset: { key: row.key }, offsetTop: top, offsetHeight: height, getBoundingClientRect: () => ({ height }) };
      top += height;
      return child;
    });
    this.viewport.clientHeight = this.heightPx;
    this.viewport.scrollHeight = Math.max(this.heightPx, top + offsets.at(-1)! - offsets[range.end]! + (this.hasNewer ? SKELETON_PX : 0));
    this.viewport.scrollTop = Math.max(0, Math.min(this.viewport.scrollTop, this.viewport.scrollHeight - this.heightPx));
  }

  scrollTo(top: number): void {
    this.viewport.scrollTop = Math.max(0, Math.min(top, this.viewport.scrollHeight - this.heightPx));
    if (this.scroller.scrolled()) this.draw();
  }

  /** How far below the top edge a drawn row is. */
  placeOf(key: string): number | undefined {
    const child = this.children.find((one) => one.dataset.key === key);
    return child && child.offsetTop - this.viewport.scrollTop;
  }

  get isAtEnd(): boolean {
    return Math.abs(this.viewport.scrollHeight - this.heightPx - this.viewport.scrollTop) < 1;
  }

  get firstInSight(): string {
    const child = this.children.find((one) => one.offsetTop + one.offsetHeight > this.viewport.scrollTop);
    return child!.dataset.key;
  }
}

function page(count: number, seed: number): FakePage {
  const made = new FakePage();
  const random = seeded(seed);
  made.rows = Array.from({ length: count }, (_, index) => ({ key: String(1_000 + index) }));
  for (const row of made.rows) made.trueHeights.set(row.key, 20 + Math.floor(random() * 200));
  made.draw();
  return made;
}

describe("arithmetic", () => {
  test("offsets are sums of measured heights, or of estimates", () => {
    const heights = new Heights();
    expect(heights.set("b", 70)).toBe(true);
    expect(heights.set("b", 70.2)).toBe(false);
    expect([...offsetsOf([{ key: "a" }, { key: "b" }, { key: "c" }], heights, () => 50)]).toEqual([0, 50, 120, 170]);
  });

  test("another width voids what was measured", () => {
    const heights = new Heights();
    heights.setWidth(800);
    heights.set("a", 70);
    expect(heights.setWidth(800)).toBe(false);
    expect(heights.setWidth(400)).toBe(true);
    expect(heights.get("a", 50)).toBe(50);
  });

  test("the rows in sight are those that touch the window", () => {
    const offsets = Float64Array.from([0, 10, 20, 30, 40]);
    expect(indexAt(offsets, 19)).toBe(1);
    expect(rangeIn(offsets, 12, 25, 0)).toEqual({ start: 1, end: 3 });
    expect(rangeIn(offsets, -50, -10, 0)).toEqual({ start: 0, end: 1 });
    expect(rangeIn(Float64Array.from([0]), 0, 100, 100)).toEqual({ start: 0, end: 0 });
  });
});

describe("at the present", () => {
  test("the list opens at its end and draws a screenful, not everything", () => {
    const made = page(400, 1);
    expect(made.isAtEnd).toBe(true);
    expect(made.scroller.range.end).toBe(400);
    expect(made.scroller.range.end - made.scroller.range.start).toBeLessThan(60);
  });

  test("new rows, growing rows and a smaller window keep the end in sight", () => {
    const made = page(100, 2);
    made.rows = [...made.rows, { key: "9000" }];
    made.draw();
    expect(made.isAtEnd).toBe(true);
    made.trueHeights.set("9000", 400);
    made.draw();
    expect(made.isAtEnd).toBe(true);
    made.heightPx = 300;
    made.draw();
    expect(made.isAtEnd).toBe(true);
  });

  test("a scroll upwards that was not heard yet is not undone by a new row", () => {
    const made = page(100, 3);
    made.viewport.scrollTop -= 300;
    const reading = made.viewport.scrollTop;
    made.rows = [...made.rows, { key: "9000" }];
    made.draw();
    expect(Math.abs(made.viewport.scrollTop - reading)).toBeLessThan(1);
  });
});

describe("scrolled up", () => {
  test("what is read stays where it is while history loads above, rows below grow, and new rows come", () => {
    for (let seed = 1; seed <= 25; seed++) {
      const random = seeded(seed);
      const made = page(200, seed);
      made.scrollTo(Math.floor(made.viewport.scrollHeight * (0.2 + 0.6 * random())));
      const key = made.firstInSight;
      const place = made.placeOf(key)!;
      const older = Array.from({ length: 50 }, (_, index) => ({ key: `${seed}-${index}` }));
      for (const row of older) made.trueHeights.set(row.key, 20 + Math.floor(random() * 200));
      made.rows = [...older, ...made.rows];
      made.draw();
      expect(Math.abs(made.placeOf(key)! - place), `seed ${seed}, older`).toBeLessThan(1);
      made.rows = [...made.rows, { key: "9000" }];
      made.draw();
      expect(Math.abs(made.placeOf(key)! - place), `seed ${seed}, newer`).toBeLessThan(1);
      for (const row of made.rows) if (random() < 0.2 && row.key !== key) made.trueHeights.set(row.key, 20 + Math.floor(random() * 400));
      made.draw();
      expect(Math.abs(made.placeOf(key)! - place), `seed ${seed}, grown`).toBeLessThan(1);
    }
  });

  test("into the placeholder, the page that arrives takes the placeholder's place", () => {
    const made = page(60, 4);
    made.scrollTo(0);
    expect(made.scroller.wantsOlder).toBe(true);
    made.rows = [...Array.from({ length: 50 }, (_, index) => ({ key: `older-${index}` })), ...made.rows];
    made.draw();
    expect(made.viewport.scrollTop).toBeGreaterThan(SKELETON_PX);
    expect(made.firstInSight.startsWith("older-")).toBe(true);
  });

  test("a day line that moves to the beginning of its day does not take the reader along", () => {
    const made = page(60, 7);
    made.rows = [{ key: "day:1" }, ...made.rows];
    made.draw();
    made.scrollTo(SKELETON_PX - 100);
    const place = made.placeOf("1000")!;
    const [day, ...rest] = made.rows;
    made.rows = [day!, ...Array.from({ length: 50 }, (_, index) => ({ key: String(500 + index) })), ...rest];
    made.draw();
    expect(Math.abs(made.placeOf("1000")! - place)).toBeLessThan(1);
  });

  test("a jump puts its row a third from the top, wherever it was", () => {
    const made = page(300, 5);
    made.scroller.aimAt("1007");
    made.draw();
    expect(Math.abs(made.placeOf("1007")! - VIEWPORT_PX / 3)).toBeLessThan(1);
    made.scroller.anchor = PRESENT;
    made.draw();
    expect(made.isAtEnd).toBe(true);
  });

  test("a window in the past is never at the present", () => {
    const made = page(100, 6);
    made.hasNewer = true;
    made.draw();
    made.scrollTo(Number.MAX_SAFE_INTEGER);
    expect(made.scroller.isAtPresent).toBe(false);
    expect(made.scroller.wantsNewer).toBe(true);
  });
});
