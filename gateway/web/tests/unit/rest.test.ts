import { describe, expect, test } from "vitest";
import { ApiError, firstFormError, Rest } from "../../src/api/rest";
import { compareIds, idAtTime, mintNonce, timeOfId } from "../../src/store/snowflake";
import { channelPermissions, guildPermissions, Permission } from "../../src/store/permissions";
import { parseRoute, pathOf } from "../../src/store/route";

type Answer = [status: number, body: unknown, headers?: Record<string, string>];

function rest(answers: Answer[]) {
  const slept: number[] = [];
  const asked: { url: string; init: RequestInit }[] = [];
  const fetchFn = (url: string | URL | Request, init?: RequestInit): Promise<Response> => {
    asked.push({ url: String(url), init: init ?? {} });
    const [status, body, headers] = answers.shift() ?? [500, {}];
    return Promise.resolve(new Response(status === 204 ? null : JSON.stringify(body), { status, headers: headers ?? {} }));
  };
  const made = new Rest("http://test/api/v10", () => "token", fetchFn, (ms) => (slept.push(ms), Promise.resolve()));
  return { rest: made, asked, slept };
}

describe("requests", () => {
  test("carry the bare token, and the nonce that makes a repeated send one message", async () => {
    const { rest: api, asked } = rest([[200, {}]]);
    await api.sendMessage("20", { content: "hi", nonce: "7", replyTo: "5" });
    expect(asked[0]?.url).toBe("http://test/api/v10/channels/20/messages");
    expect(new Headers(asked[0]?.init.headers).get("authorization")).toBe("token");
    expect(JSON.parse(String(asked[0]?.init.body))).toEqual({ content: "hi", nonce: "7", enforce_nonce: true, message_reference: { message_id: "5" } });
  });

  test("an emoji travels percent-encoded", async () => {
    const { rest: api, asked } = rest([[204, null]]);
    await api.addReaction("20", "30", "👍");
    expect(asked[0]?.url).toContain("/reactions/%F0%9F%91%8D/@me");
  });

  test("a 429 is waited out as the server asks, a few times", async () => {
    const { rest: api, slept } = rest([[429, { retry_after: 0.5 }], [429, {}, { "retry-after": "2" }], [200, []]]);
    await api.messages("20", { limit: 50, before: "9" });
    expect(slept).toEqual([500, 2_000]);
    const tired = rest(Array.from({ length: 9 }, (): Answer => [429, { retry_after: 1, message: "Slow down." }]));
    await expect(tired.rest.messages("20", {})).rejects.toMatchObject({ status: 429, isTransient: true });
  });

  test("a refusal says what is wrong with the form, and names the request", async () => {
    const { rest: api } = rest([[400, { code: 50035, message: "Invalid Form Body", errors: { username: { _errors: [{ code: "X", message: "Too short." }] } } }, { "x-request-id": "r1" }]]);
    await expect(api.register("a", "b", null)).rejects.toMatchObject({ message: "Too short.", code: 50035, requestId: "r1", isTransient: false });
  });

  test("no answer at all is a failure that may be tried again", async () => {
    const api = new Rest("http://test", () => null, () => Promise.reject(new TypeError("refused")));
    const failure = await api.instance().catch((error: unknown) => error);
    expect(failure).toBeInstanceOf(ApiError);
    expect((failure as ApiError).isTransient).toBe(true);
  });

  test("nested form errors are found at any depth, and nothing in nothing", () => {
    expect(firstFormError({ embeds: { 0: { title: { _errors: [{ message: "Long." }] } } } })).toBe("Long.");
    expect(firstFormError(undefined)).toBeNull();
    expect(firstFormError({ a: "b" })).toBeNull();
  });
});

describe("ids", () => {
  test("are ordered as numbers though they are text", () => {
    expect(compareIds("9", "10")).toBeLessThan(0);
    expect(compareIds("1176543210987654321", "1176543210987654322")).toBeLessThan(0);
    expect(compareIds("5", "5")).toBe(0);
  });

  test("carry their time, and a nonce fits in 25 characters", () => {
    const now = Date.parse("2026-03-01T12:00:00Z");
    expect(timeOfId(idAtTime(now))).toBe(now);
    const nonce = mintNonce(now, () => 0.999999);
    expect(nonce.length).toBeLessThanOrEqual(25);
    expect(timeOfId(nonce)).toBe(now);
  });
});

describe("permissions", () => {
  const role = (id: string, bits: bigint) => [id, { id, name: id, color: 0, hoist: false, position: 0, permissions: String(bits) }] as const;
  const guild = { id: "10", ownerId: "1", roles: new Map([role("10", Permission.ViewChannel), role("11", Permission.Administrator), role("12", 0n)]) };
  const member = (id: string, roles: string[] = []) => ({ user: { id, username: id }, roles, joined_at: "" });
  const channel = (overwrites: object[]) => ({ id: "20", type: 0, permission_overwrites: overwrites as never });

  test("the owner and administrators may everything, strangers nothing", () => {
    const closed = channel([{ id: "10", type: 0, allow: "0", deny: String(Permission.ViewChannel) }]);
    for (const one of [member("1"), member("2", ["11"])]) expect(channelPermissions(guild, closed, one) & Permission.ManageMessages).not.toBe(0n);
    expect(guildPermissions(guild, undefined)).toBe(0n);
  });

  test("overwrites apply in the order everyone, roles, member", () => {
    const bit = Permission.ViewChannel;
    const layers = [{ id: "10", type: 0, allow: "0", deny: String(bit) }, { id: "12", type: 0, allow: String(bit), deny: "0" }, { id: "3", type: 1, allow: "0", deny: String(bit) }];
    expect(channelPermissions(guild, channel(layers), member("2")) & bit).toBe(0n);
    expect(channelPermissions(guild, channel(layers), member("2", ["12"])) & bit).toBe(bit);
    expect(channelPermissions(guild, channel(layers), member("3", ["12"])) & bit).toBe(0n);
  });
});

test.each(["/", "/invite/aB%2F1", "/channels/10", "/channels/10/20", "/channels/@me/20"])("the address %s means one place and back", (path) => {
  expect(pathOf(parseRoute(path))).toBe(path);
});
