import { describe, expect, test } from "vitest";
import { type Frame, GatewayClient, HANDSHAKE_TIMEOUT_MS, RECONNECT_MAX_MS, type Socket } from "../../src/gateway/client";

class FakeSocket implements Socket {
  onmessage: ((event: { data: unknown }) => void) | null = null;
  onclose: ((event: { code: number }) => void) | null = null;
  readonly sent: Frame[] = [];
  closedWith: number | undefined;
  send(data: string): void {
    this.sent.push(JSON.parse(data) as Frame);
  }
  close(code?: number): void {
    this.closedWith = code ?? 1000;
  }
  say(frame: Frame): void {
    this.onmessage?.({ data: JSON.stringify(frame) });
  }
}

/** Sockets and timers under the test's hand; chance always says one half. */
function world() {
  const sockets: FakeSocket[] = [];
  const timers = new Map<number, { at: number; run: () => void }>();
  const seen: string[] = [];
  const states: string[] = [];
  const fatal: number[] = [];
  let now = 0;
  let next = 1;
  const client = new GatewayClient(
    "ws://test",
    "token",
    {
      onDispatch: (type) => seen.push(type),
      onState: (state) => states.push(state),
      onFatal: (code) => fatal.push(code),
    },
    {
      open: () => {
        const socket = new FakeSocket();
        sockets.push(socket);
        return socket;
      },
      random: () => 0.5,
      setTimer: (run, ms) => {
        timers.set(next, { at: now + ms, run });
        return next++;
      },
      clearTimer: (id) => void timers.delete(id),
    },
  );
  const pass = (ms: number): void => {
    const end = now + ms;
    for (;;) {
      const due = [...timers].filter(([, timer]) => timer.at <= end).sort((a, b) => a[1].at - b[1].at)[0];
      if (!due) break;
      timers.delete(due[0]);
      now = due[1].at;
      due[1].run();
    }
    now = end;
  };
  const socket = (): FakeSocket => sockets.at(-1)!;
  const open = (): void => {
    client.start();
    socket().say({ op: 10, d: { heartbeat_interval: 1_000 } });
    socket().say({ op: 0, t: "READY", s: 1, d: { session_id: "abc" } });
  };
  return { client, sockets, seen, states, fatal, pass, socket, open };
}

describe("the handshake", () => {
  test("identifies with the bare token and every intent after HELLO", () => {
    const { client, socket } = world();
    client.start();
    expect(socket().sent).toEqual([]);
    socket().say({ op: 10, d: { heartbeat_interval: 1_000 } });
    expect(socket().sent[0]).toMatchObject({ op: 2, d: { token: "token", intents: 53_608_447 } });
  });

  test("a connection that never gets to READY is given up and tried again", () => {
    const { client, sockets, pass } = world();
    client.start();
    pass(HANDSHAKE_TIMEOUT_MS + 1_000);
    expect(sockets.length).toBe(2);
    expect(sockets[0]?.closedWith).toBe(4900);
  });
});

describe("the heartbeat", () => {
  test("first comes at a random point of the interval, then every interval, with the last sequence", () => {
    const { open, socket, pass } = world();
    open();
    pass(499);
    expect(socket().sent.filter((frame) => frame.op === 1)).toEqual([]);
    pass(1);
    expect(socket().sent.at(-1)).toEqual({ op: 1, d: 1 });
    socket().say({ op: 11 });
    pass(1_000);
    expect(socket().sent.filter((frame) => frame.op === 1).length).toBe(2);
  });

  test("without an answer the socket is closed so that the session can be resumed", () => {
    const { open, sockets, pass } = world();
    open();
    pass(500 + 1_000);
    expect(sockets[0]?.closedWith).toBe(4900);
  });

  test("asked for by the server is sent at once", () => {
    const { open, socket } = world();
    open();
    socket().say({ op: 1 });
    expect(socket().sent.at(-1)).toEqual({ op: 1, d: 1 });
  });
});

describe("a broken connection", () => {
  test("is resumed from the last sequence, and repeated dispatches are heard once", () => {
    const { open, socket, pass, seen, states } = world();
    open();
    socket().say({ op: 0, t: "MESSAGE_CREATE", s: 2, d: {} });
    socket().onclose?.({ code: 1006 });
    expect(states.at(-1)).toBe("waiting");
    pass(500);
    expect(states.at(-1)).toBe("resuming");
    socket().say({ op: 10, d: { heartbeat_interval: 1_000 } });
    expect(socket().sent[0]).toEqual({ op: 6, d: { token: "token", session_id: "abc", seq: 2 } });
    socket().say({ op: 0, t: "MESSAGE_CREATE", s: 2, d: {} });
    socket().say({ op: 0, t: "MESSAGE_UPDATE", s: 3, d: {} });
    socket().say({ op: 0, t: "RESUMED", s: 4, d: {} });
    expect(seen).toEqual(["READY", "MESSAGE_CREATE", "MESSAGE_UPDATE", "RESUMED"]);
    expect(states.at(-1)).toBe("open");
  });

  test("waits longer each time, but never longer than the bound", () => {
    const { client, sockets, pass, socket } = world();
    client.start();
    for (const delay of [500, 1_000, 2_000, 4_000, 8_000, RECONNECT_MAX_MS / 2, RECONNECT_MAX_MS / 2]) {
      const before = sockets.length;
      socket().onclose?.({ code: 1006 });
      pass(delay - 1);
      expect(sockets.length).toBe(before);
      pass(1);
      expect(sockets.length).toBe(before + 1);
    }
  });

  test("is tried again at once when the network comes back", () => {
    const { client, open, sockets, socket } = world();
    open();
    socket().onclose?.({ code: 1006 });
    client.retryNow();
    expect(sockets.length).toBe(2);
    client.retryNow();
    expect(sockets.length).toBe(2);
  });

  test("that was replaced is not heard any more", () => {
    const { open, sockets, pass, seen } = world();
    open();
    sockets[0]?.say({ op: 7 });
    pass(500);
    sockets[0]?.say({ op: 0, t: "MESSAGE_CREATE", s: 2, d: {} });
    sockets[0]?.onclose?.({ code: 4004 });
    expect(seen).toEqual(["READY"]);
    expect(sockets.length).toBe(2);
  });
});

describe("what the server asks for", () => {
  test("op 7 reconnects and resumes", () => {
    const { open, socket, pass } = world();
    open();
    socket().say({ op: 7 });
    pass(500);
    socket().say({ op: 10, d: { heartbeat_interval: 1_000 } });
    expect(socket().sent[0]?.op).toBe(6);
  });

  test.each([
    [true, 6],
    [false, 2],
  ])("op 9 with %s leads to op %i", (isResumable, op) => {
    const { open, socket, pass } = world();
    open();
    socket().say({ op: 9, d: isResumable });
    pass(500);
    socket().say({ op: 10, d: { heartbeat_interval: 1_000 } });
    expect(socket().sent[0]?.op).toBe(op);
  });

  test.each([4007, 4009, 1000])("close code %i starts a new session", (code) => {
    const { open, socket, pass } = world();
    open();
    socket().onclose?.({ code });
    pass(500);
    socket().say({ op: 10, d: { heartbeat_interval: 1_000 } });
    expect(socket().sent[0]?.op).toBe(2);
  });

  test.each([4004, 4012, 4014])("close code %i is final", (code) => {
    const { open, socket, sockets, pass, fatal } = world();
    open();
    socket().onclose?.({ code });
    pass(120_000);
    expect(fatal).toEqual([code]);
    expect(sockets.length).toBe(1);
  });

  test("bytes that are not JSON end the connection, not the page", () => {
    const { open, socket, sockets } = world();
    open();
    socket().onmessage?.({ data: "{" });
    expect(sockets[0]?.closedWith).toBe(4900);
  });
});
