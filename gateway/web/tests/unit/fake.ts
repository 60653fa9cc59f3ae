// Messages and people for the tests, and numbers from a seed.
import type { GuildCreate, Message, User } from "../../src/api/types";
import { idAtTime } from "../../src/store/snowflake";

export const NOON_MS = Date.parse("2026-03-01T12:00:00Z");

export function user(id: string, username = `user-${id}`): User {
  return { id, username };
}

/** A message of author `by`, `minute` minutes after noon; its id is minted from that time. */
export function message(minute: number, more: Partial<Message> = {}): Message {
  const timeMs = NOON_MS + minute * 60_000;
  return {
    id: idAtTime(timeMs),
    type: 0,
    channel_id: "20",
    author: user("1"),
    content: `at minute ${minute}`,
    timestamp: new Date(timeMs).toISOString(),
    ...more,
  };
}

export function guild(more: Partial<GuildCreate> = {}): GuildCreate {
  return {
    id: "10",
    name: "Guild",
    owner_id: "1",
    unavailable: false,
    joined_at: new Date(NOON_MS).toISOString(),
    roles: [{ id: "10", name: "@everyone", color: 0, hoist: false, position: 0, permissions: String((1n << 10n) | (1n << 11n)) }],
    channels: [{ id: "20", type: 0, name: "general", position: 0, last_message_id: null }],
    members: [{ user: user("1"), roles: [], joined_at: "" }, { user: user("2"), roles: [], joined_at: "" }],
    presences: [{ user: { id: "2" }, status: "online" }],
    ...more,
  };
}

/** The same numbers for the same seed, in [0, 1). */
export function seeded(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}
