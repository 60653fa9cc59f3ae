import { beforeEach, describe, expect, test } from "vitest";
import { ApiError, type PageQuery, type Rest } from "../../src/api/rest";
import type { Message } from "../../src/api/types";
import { dispatch } from "../../src/store/dispatch";
import { EMPTY_HISTORY, withAround, withLatest } from "../../src/store/history";
import { Loader } from "../../src/store/loader";
import { Mailer } from "../../src/store/mailer";
import { State } from "../../src/store/state";
import { guild, message, user } from "./fake";

/** A request that the test answers. */
interface Waiting<T> {
  readonly asked: unknown;
  answer(value: T): Promise<void>;
  fail(error: Error): Promise<void>;
}

function desk<T>() {
  const waiting: Waiting<T>[] = [];
  const ask = (asked: unknown): Promise<T> =>
    new Promise<T>((resolve, reject) => {
      const settled = async (act: () => void): Promise<void> => {
        act();
        await new Promise((done) => setImmediate(done));
      };
      waiting.push({ asked, answer: (value) => settled(() => resolve(value)), fail: (error) => settled(() => reject(error)) });
    });
  return { waiting, ask };
}

let state: State;
beforeEach(() => {
  state = new State();
  dispatch(state, "READY", { v: 10, user: user("1"), session_id: "s", guilds: [] }, 0);
  dispatch(state, "GUILD_CREATE", guild(), 0);
});

describe("sending", () => {
  test("shows at once, goes out in order, and ends as the message of the server", async () => {
    state.history("20").value = withLatest(EMPTY_HISTORY, [], 50);
    const { waiting, ask } = desk<Message>();
    const mailer = new Mailer(state, { sendMessage: (_: string, body: unknown) => ask(body) } as unknown as Rest);
    mailer.send("20", "first", null);
    mailer.send("20", "second", null);
    expect(state.outbox.value.map((one) => one.state)).toEqual(["sending", "sending"]);
    await new Promise((done) => setImmediate(done));
    expect(waiting.length).toBe(1);
    await waiting[0]!.answer(message(1, { content: "first" }));
    expect(state.outbox.value.map((one) => one.content)).toEqual(["second"]);
    await waiting[1]!.answer(message(2, { content: "second" }));
    expect(state.outbox.value).toEqual([]);
    expect(state.history("20").value.messages.map((one) => one.content)).toEqual(["first", "second"]);
  });

  test("that fails keeps the text and the reason, and is retried under the same nonce", async () => {
    const { waiting, ask } = desk<Message>();
    const mailer = new Mailer(state, { sendMessage: (_: string, body: unknown) => ask(body) } as unknown as Rest);
    mailer.send("20", "hello", "5");
    await new Promise((done) => setImmediate(done));
    await waiting[0]!.fail(new ApiError("You may not write here.", 403));
    expect(state.outbox.value).toMatchObject([{ state: "failed", error: "You may not write here.", content: "hello", replyTo: "5" }]);
    mailer.retry(state.outbox.value[0]!);
    await new Promise((done) => setImmediate(done));
    const [first, second] = waiting.map((one) => (one.asked as { nonce: string }).nonce);
    expect(second).toBe(first);
    // What a server without its database says of itself is nothing to a person.
    await waiting[1]!.fail(new ApiError("503: unknown outcome", 503));
    expect(state.outbox.value).toMatchObject([{ state: "failed", error: "The server cannot save messages right now." }]);
    mailer.discard(state.outbox.value[0]!);
    expect(state.outbox.value).toEqual([]);
  });
});

describe("loading", () => {
  function loading() {
    const { waiting, ask } = desk<Message[]>();
    const loader = new Loader(state, { messages: (_: string, query: PageQuery) => ask(query) } as unknown as Rest);
    return { waiting, loader };
  }

  test("of the same page twice is one request", async () => {
    const { waiting, loader } = loading();
    const both = [loader.load("20", "latest"), loader.load("20", "latest")];
    expect(waiting.length).toBe(1);
    await waiting[0]!.answer([message(1)]);
    await Promise.all(both);
    expect(state.history("20").value).toMatchObject({ isLoaded: true, hasOlder: false });
  });

  test("asks before the oldest and after the newest message of the window", async () => {
    const { waiting, loader } = loading();
    state.history("20").value = withAround([message(2), message(1)]);
    void loader.load("20", "older");
    void loader.load("20", "newer");
    expect(waiting.map((one) => one.asked)).toEqual([
      { limit: 100, before: message(1).id },
      { limit: 100, after: message(2).id },
    ]);
  });

  test("a page for an edge that moved meanwhile is dropped", async () => {
    const { waiting, loader } = loading();
    state.history("20").value = withAround([message(100)]);
    void loader.load("20", "older");
    const jumped = withAround([message(50)]);
    state.history("20").value = jumped;
    await waiting[0]!.answer([message(99)]);
    expect(state.history("20").value).toBe(jumped);
  });

  test("a message that came while the page travelled is not lost: there is more to load", async () => {
    const { waiting, loader } = loading();
    void loader.load("20", "latest");
    dispatch(state, "MESSAGE_CREATE", message(9, { author: user("2") }), 0);
    await waiting[0]!.answer([message(8)]);
    expect(state.history("20").value.hasNewer).toBe(true);
  });

  test("that fails says why until it is tried again", async () => {
    const { waiting, loader } = loading();
    void loader.load("20", "latest");
    await waiting[0]!.fail(new Error("No answer."));
    expect(loader.errors.peek("20")).toBe("No answer.");
    void loader.load("20", "latest");
    expect(loader.errors.peek("20")).toBeUndefined();
  });
});
