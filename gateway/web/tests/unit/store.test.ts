import { beforeEach, describe, expect, test } from "vitest";
import type { Ready } from "../../src/api/types";
import { dispatch } from "../../src/store/dispatch";
import { withLatest, EMPTY_HISTORY } from "../../src/store/history";
import { State, TYPING_TTL_MS } from "../../src/store/state";
import { guild, message, NOON_MS, user } from "./fake";

let state: State;
const tell = (type: string, data: unknown, nowMs = NOON_MS): void => dispatch(state, type, data, nowMs);
const ready = (more: Partial<Ready> = {}): Ready => ({ v: 10, user: user("1"), session_id: "s", guilds: [{ id: "10" }], ...more });
const general = () => state.channels.peek("20")!;

beforeEach(() => {
  state = new State();
  tell("READY", ready());
  tell("GUILD_CREATE", guild());
  state.history("20").value = withLatest(EMPTY_HISTORY, [], 50);
});

describe("READY", () => {
  test("is complete when every announced guild has come, or is gone", () => {
    const fresh = new State();
    dispatch(fresh, "READY", ready({ guilds: [{ id: "10" }, { id: "11" }] }), 0);
    expect(fresh.isReady.value).toBe(false);
    dispatch(fresh, "GUILD_CREATE", guild(), 0);
    expect(fresh.isReady.value).toBe(false);
    dispatch(fresh, "GUILD_DELETE", { id: "11", unavailable: true }, 0);
    expect(fresh.isReady.value).toBe(true);
  });

  test("of a new session forgets guilds and channels that were left", () => {
    tell("READY", ready({ guilds: [] }));
    expect(state.guilds.size).toBe(0);
    expect(state.channels.size).toBe(0);
    expect(state.isReady.value).toBe(true);
  });
});

describe("unread", () => {
  test("starts at my joining: older messages are read, newer are not", () => {
    tell("MESSAGE_CREATE", message(-5, { author: user("2") }));
    expect(state.isUnread(general())).toBe(false);
    tell("MESSAGE_CREATE", message(5, { author: user("2") }));
    expect(state.isUnread(general())).toBe(true);
    expect(state.guildIsUnread("10")).toBe(true);
  });

  test("ends with my own message and with an acknowledgement from another device", () => {
    tell("MESSAGE_CREATE", message(5, { author: user("2") }));
    tell("MESSAGE_CREATE", message(6));
    expect(state.isUnread(general())).toBe(false);
    tell("MESSAGE_CREATE", message(7, { author: user("2") }));
    tell("MESSAGE_ACK", { channel_id: "20", message_id: message(7).id });
    expect(state.isUnread(general())).toBe(false);
    tell("MESSAGE_ACK", { channel_id: "20", message_id: message(5).id });
    expect(state.isUnread(general())).toBe(false);
  });

  test("mentions of me are counted once per message, and cleared by reading", () => {
    const mention = message(5, { author: user("2"), mentions: [user("1")] });
    tell("MESSAGE_CREATE", mention);
    tell("MESSAGE_CREATE", mention);
    tell("MESSAGE_CREATE", message(6, { author: user("2"), mentions: [user("2")] }));
    expect(state.mentionTotal.value).toBe(1);
    tell("MESSAGE_ACK", { channel_id: "20", message_id: message(6).id });
    expect(state.mentionTotal.value).toBe(0);
  });

  test("what arrives while I look elsewhere puts the line after what I had read", () => {
    state.openChannel.value = "20";
    tell("MESSAGE_CREATE", message(5, { author: user("2") }));
    expect(state.newLines.peek("20")).toBeUndefined();
    state.isAtPresent.value = false;
    tell("MESSAGE_ACK", { channel_id: "20", message_id: message(5).id });
    tell("MESSAGE_CREATE", message(6, { author: user("2") }));
    tell("MESSAGE_CREATE", message(7, { author: user("2") }));
    expect(state.newLines.peek("20")).toBe(message(5).id);
  });
});

describe("messages", () => {
  test("of mine that come back by the gateway leave the outbox by their nonce", () => {
    const pending = { nonce: "77", channelId: "20", authorId: "1", content: "x", replyTo: null, createdAtMs: 0, state: "sending", error: null } as const;
    state.outbox.value = [pending];
    tell("MESSAGE_CREATE", message(5, { author: user("2"), nonce: "77" }));
    expect(state.outbox.value.length).toBe(1);
    tell("MESSAGE_CREATE", message(6, { nonce: "77" }));
    expect(state.outbox.value).toEqual([]);
    expect(state.history("20").value.messages.length).toBe(2);
  });

  test("a partial update keeps what it does not name, and my reactions", () => {
    tell("MESSAGE_CREATE", message(5));
    tell("MESSAGE_REACTION_ADD", { channel_id: "20", message_id: message(5).id, user_id: "1", emoji: { id: null, name: "👍" } });
    tell("MESSAGE_UPDATE", { id: message(5).id, channel_id: "20", content: "new", reactions: [] });
    const [known] = state.history("20").value.messages;
    expect(known).toMatchObject({ content: "new", author: { id: "1" }, reactions: [{ count: 1, me: true }] });
  });

  test("are deleted one by one and in bulk", () => {
    for (const minute of [1, 2, 3]) tell("MESSAGE_CREATE", message(minute));
    tell("MESSAGE_DELETE", { id: message(1).id, channel_id: "20" });
    tell("MESSAGE_DELETE_BULK", { ids: [message(2).id, message(3).id], channel_id: "20" });
    expect(state.history("20").value.messages).toEqual([]);
  });
});

describe("direct messages", () => {
  test("from somebody new open a conversation that counts as a mention", () => {
    tell("MESSAGE_CREATE", message(5, { channel_id: "90", author: user("2", "grace") }));
    expect(state.directs.value.map((channel) => state.channelName(channel))).toEqual(["grace"]);
    expect(state.mentionTotal.value).toBe(1);
    expect(state.isUnread(state.channels.peek("90")!)).toBe(true);
  });
});

describe("typing", () => {
  test("ends after its time, and at once with a message", () => {
    tell("TYPING_START", { channel_id: "20", user_id: "2", guild_id: "10" });
    expect(state.typingNames(general(), NOON_MS)).toEqual(["user-2"]);
    expect(state.typingNames(general(), NOON_MS + TYPING_TTL_MS)).toEqual([]);
    tell("MESSAGE_CREATE", message(5, { author: user("2") }));
    expect(state.typingNames(general(), NOON_MS)).toEqual([]);
  });

  test("of mine on another device is not shown to me", () => {
    tell("TYPING_START", { channel_id: "20", user_id: "1", guild_id: "10" });
    expect(state.typingNames(general(), NOON_MS)).toEqual([]);
  });
});

describe("members and channels", () => {
  test("a member who joins counts once", () => {
    const member = { guild_id: "10", user: user("3"), roles: [], joined_at: "" };
    tell("GUILD_MEMBER_ADD", member);
    tell("GUILD_MEMBER_ADD", member);
    expect(state.guilds.peek("10")?.memberCount).toBe(3);
    tell("GUILD_MEMBER_REMOVE", { guild_id: "10", user: user("3") });
    expect(state.guilds.peek("10")?.memberCount).toBe(2);
  });

  test("an update of a channel never takes its newest message back", () => {
    tell("MESSAGE_CREATE", message(5, { author: user("2") }));
    tell("CHANNEL_UPDATE", { id: "20", guild_id: "10", type: 0, name: "renamed", last_message_id: null });
    expect(general()).toMatchObject({ name: "renamed", last_message_id: message(5).id });
  });

  test("a guild that comes again lacks the channels that were deleted meanwhile", () => {
    tell("CHANNEL_CREATE", { id: "21", guild_id: "10", type: 0, name: "other" });
    tell("GUILD_CREATE", guild());
    expect(state.channelsOf("10").map((channel) => channel.id)).toEqual(["20"]);
  });

  test("channels stand by position, those in categories after the others", () => {
    const channel = (id: string, type: number, position: number, parent_id: string | null = null) => ({ id, guild_id: "10", type, name: id, position, parent_id });
    const made = [channel("31", 4, 1), channel("32", 0, 9, "31"), channel("33", 0, 3), channel("34", 4, 0), channel("35", 2, 0), channel("36", 5, 4, "31"), channel("37", 0, 5, "99")];
    for (const one of made) tell("CHANNEL_CREATE", one);
    expect(state.sectionsOf("10").map((section) => [section.category?.id, ...section.channels.map((one) => one.id)])).toEqual([[undefined, "20", "33", "37"], ["31", "36", "32"]]);
  });

  test("unknown events change nothing and do not throw", () => {
    expect(() => tell("SOMETHING_NEW", null)).not.toThrow();
  });
});
