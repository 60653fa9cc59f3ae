import { describe, expect, test } from "vitest";
import { buildRows, type Row } from "../../src/store/rows";
import type { Pending } from "../../src/store/outbox";
import { message, NOON_MS, user } from "./fake";

const shape = (rows: Row[]): string[] => rows.map((row) => (row.kind === "message" || row.kind === "pending" ? (row.isGrouped ? "grouped" : "headed") : row.kind));

function pending(minute: number): Pending {
  return { nonce: String(minute), channelId: "20", authorId: "1", content: "x", replyTo: null, createdAtMs: NOON_MS + minute * 60_000, state: "sending", error: null };
}

describe("grouping", () => {
  test("joins one author's messages that are less than seven minutes apart", () => {
    expect(shape(buildRows([message(0), message(6), message(12), message(19)], [], null))).toEqual(["day", "headed", "grouped", "grouped", "headed"]);
  });

  test("ends with another author, a reply, a join, and a new day", () => {
    const rows = buildRows(
      [message(0), message(1, { author: user("2") }), message(2, { author: user("2"), type: 19 }), message(3, { author: user("2"), type: 7 }), message(4, { author: user("2") }), message(60 * 24)],
      [],
      null,
    );
    expect(shape(rows)).toEqual(["day", "headed", "headed", "headed", "headed", "headed", "day", "headed"]);
  });

  test("goes on into messages that are still on their way", () => {
    expect(shape(buildRows([message(0)], [pending(1), pending(9)], null))).toEqual(["day", "headed", "grouped", "headed"]);
  });
});

describe("the line of new messages", () => {
  test("stands before the first newer message and begins a group", () => {
    expect(shape(buildRows([message(0), message(1), message(2)], [], message(0).id))).toEqual(["day", "headed", "new", "headed", "grouped"]);
  });

  test("is absent when nothing is newer", () => {
    expect(shape(buildRows([message(0)], [], message(0).id))).toEqual(["day", "headed"]);
  });
});

test("keys are unique and stay when older messages come", () => {
  const late = buildRows([message(10), message(20)], [], null).map((row) => row.key);
  const all = buildRows([message(0), message(10), message(20)], [pending(30)], null).map((row) => row.key);
  expect(new Set(all).size).toBe(all.length);
  expect(all).toEqual(expect.arrayContaining(late));
});
