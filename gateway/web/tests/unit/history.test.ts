import { describe, expect, test } from "vitest";
import {
  EMPTY_HISTORY,
  type History,
  WINDOW_MAX,
  withAround,
  withCreated,
  withDeleted,
  withLatest,
  withNewer,
  withOlder,
  withReaction,
  withUpdated,
} from "../../src/store/history";
import { message } from "./fake";

const span = (from: number, to: number) => Array.from({ length: to - from }, (_, index) => message(from + index));
const minutes = (history: History): string[] => history.messages.map((one) => one.content.replace("at minute ", ""));
/** The server answers newest first. */
const page = (from: number, to: number) => span(from, to).reverse();

describe("pages", () => {
  test("arrive newest first and are kept oldest first", () => {
    const history = withLatest(EMPTY_HISTORY, page(0, 3), 50);
    expect(minutes(history)).toEqual(["0", "1", "2"]);
    expect(history).toMatchObject({ hasOlder: false, hasNewer: false, isLoaded: true });
  });

  test("a full page says that there is more", () => {
    expect(withLatest(EMPTY_HISTORY, page(0, 50), 50).hasOlder).toBe(true);
    expect(withOlder(withLatest(EMPTY_HISTORY, page(50, 100), 50), page(0, 50), 50).hasOlder).toBe(true);
    expect(withOlder(withLatest(EMPTY_HISTORY, page(50, 100), 50), page(40, 50), 50).hasOlder).toBe(false);
  });

  test("scrolling back drops the far end, which can be loaded again", () => {
    let history = withLatest(EMPTY_HISTORY, page(1_000, 1_050), 50);
    for (let from = 950; from >= 0; from -= 50) history = withOlder(history, page(from, from + 50), 50);
    expect(history.messages.length).toBe(WINDOW_MAX);
    expect(history.hasNewer).toBe(true);
    expect(minutes(history)[0]).toBe("0");
    history = withNewer(history, span(400, 450), 50);
    expect(history.messages.length).toBe(WINDOW_MAX);
    expect(minutes(history).at(-1)).toBe("449");
    expect(history.hasOlder).toBe(true);
  });

  test("the newest page joins a window that it overlaps, and what it lacks was deleted", () => {
    const before = withLatest(EMPTY_HISTORY, page(0, 20), 50);
    const after = withLatest(before, page(10, 30).filter((one) => one.content !== "at minute 15"), 50);
    expect(minutes(after)).toEqual([...Array(15).keys(), ...Array.from({ length: 14 }, (_, index) => 16 + index)].map(String));
  });

  test("the newest page replaces a window that it does not touch: the hole is unknown", () => {
    const before = withLatest(EMPTY_HISTORY, page(0, 50), 50);
    const after = withLatest(before, page(200, 250), 50);
    expect(minutes(after)[0]).toBe("200");
    expect(after.hasOlder).toBe(true);
  });
});

describe("live messages", () => {
  test("enter a window at the present, once", () => {
    const history = withLatest(EMPTY_HISTORY, page(0, 2), 50);
    const twice = withCreated(withCreated(history, message(5)), message(5));
    expect(minutes(twice)).toEqual(["0", "1", "5"]);
  });

  test("stay out of a window in the past and of one that is not loaded", () => {
    const past = withAround(page(0, 2));
    expect(withCreated(past, message(5))).toBe(past);
    expect(withCreated(EMPTY_HISTORY, message(5))).toBe(EMPTY_HISTORY);
  });

  test("are changed and deleted by id; unknown ids change nothing", () => {
    const history = withLatest(EMPTY_HISTORY, page(0, 3), 50);
    const edited = withUpdated(history, message(1).id, (one) => ({ ...one, content: "changed" }));
    expect(edited.messages[1]?.content).toBe("changed");
    expect(withUpdated(history, "9", (one) => one)).toBe(history);
    expect(minutes(withDeleted(history, [message(1).id]))).toEqual(["0", "2"]);
    expect(withDeleted(history, ["9"])).toBe(history);
  });
});

describe("reactions", () => {
  const thumb = { id: null, name: "👍" };

  test("count others in and out, and vanish at zero", () => {
    const one = withReaction(message(0), thumb, 1, false);
    expect(one.reactions).toEqual([{ emoji: thumb, count: 1, me: false }]);
    const two = withReaction(one, thumb, 1, true);
    expect(two.reactions).toEqual([{ emoji: thumb, count: 2, me: true }]);
    expect(withReaction(withReaction(two, thumb, -1, true), thumb, -1, false).reactions).toEqual([]);
  });

  test("of mine count once, though my press and the gateway both tell", () => {
    const mine = withReaction(message(0), thumb, 1, true);
    expect(withReaction(mine, thumb, 1, true)).toBe(mine);
    const none = message(0);
    expect(withReaction(none, thumb, -1, true)).toBe(none);
  });
});
