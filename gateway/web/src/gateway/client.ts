// The gateway protocol of the page: one WebSocket, its handshake, heartbeat, RESUME and reconnect.
//
// Dispatches arrive in order through `onDispatch`; `s` counts them, and RESUME asks for everything after the last one.
// A connection that breaks is opened again after a random delay below a growing bound ("full jitter"), so that a
// restarted server is not met by everybody in the same instant. A heartbeat without its answer means a dead socket:
// it is closed from here, and resumed. The session is given up only when the server says so (op 9 with `false`,
// close codes 4007 and 4009, a clean close) and the connection only when trying again cannot help (4004, 4010-4014).
//
// Sockets, timers and chance enter through `Surroundings`, so the tests drive the protocol without waiting.

export const enum Op {
  Dispatch = 0,
  Heartbeat = 1,
  Identify = 2,
  PresenceUpdate = 3,
  Resume = 6,
  Reconnect = 7,
  RequestMembers = 8,
  InvalidSession = 9,
  Hello = 10,
  HeartbeatAck = 11,
}

export interface Frame {
  op: number;
  d?: unknown;
  s?: number | null;
  t?: string | null;
}

/** Every intent that exists: people see what they may see, and the server filters by permission. */
export const INTENTS_ALL = 53_608_447;

/** Bounds of the reconnect delay in milliseconds: the n-th try waits a random time below min(first * 2^n, max). */
export const RECONNECT_FIRST_MS = 1_000;
export const RECONNECT_MAX_MS = 30_000;
/** A connection that has not said READY or RESUMED by then is given up, in milliseconds. */
export const HANDSHAKE_TIMEOUT_MS = 20_000;

/** Close codes after which the session cannot be resumed but a new one may be started. */
const SESSION_LOST = new Set([1000, 1001, 4007, 4009]);
/** Close codes after which trying again gives the same answer. */
const FATAL = new Set([4004, 4010, 4011, 4012, 4013, 4014]);
/** Our own close code for "I will resume"; 1000 and 1001 would end the session on the server. */
const CLOSE_TO_RESUME = 4900;

export type ConnectionState = "connecting" | "resuming" | "open" | "waiting" | "closed";

export interface Socket {
  send(data: string): void;
  close(code?: number): void;
  onmessage: ((event: { data: unknown }) => void) | null;
  onclose: ((event: { code: number }) => void) | null;
}

export interface Surroundings {
  open(url: string): Socket;
  random(): number;
  setTimer(run: () => void, ms: number): number;
  clearTimer(id: number): void;
}

export interface GatewayEvents {
  onDispatch(type: string, data: unknown): void;
  /** `retryAtMs` is the delay until the next try in state "waiting". */
  onState(state: ConnectionState, retryInMs: number | null): void;
  /** The token is no longer valid (4004) or the server refuses this client for good. */
  onFatal(code: number): void;
}

/** The real surroundings in a browser. */
export const browserSurroundings: Surroundings = {
  // The DOM's handler types name their whole event; the client reads `data` and `code` alone.
  open: (url) => new WebSocket(url) as unknown as Socket,
  random: Math.random,
  setTimer: (run, ms) => window.setTimeout(run, ms),
  clearTimer: (id) => window.clearTimeout(id),
};

export class GatewayClient {
  private socket: Socket | null = null;
  private session: { id: string; sequence: number } | null = null;
  private tries = 0;
  private acknowledged = true;
  private heartbeatTimer: number | null = null;
  private retryTimer: number | null = null;
  private handshakeTimer: number | null = null;
  private stopped = true;
  private state: ConnectionState = "closed";

  constructor(
    private readonly url: string,
    private readonly token: string,
    private readonly events: GatewayEvents,
    private readonly around: Surroundings = browserSurroundings,
  ) {}

  /** Opens the connection and keeps it open until `stop`. */
  start(): void {
    if (!this.stopped) return;
    this.stopped = false;
    this.connect();
  }

  /** Closes for good; the server may forget the session. */
  stop(): void {
    this.stopped = true;
    this.session = null;
    this.drop(1000);
    this.enter("closed");
  }

  /** Cuts a pending wait short: the network is back, or the person asked. */
  retryNow(): void {
    if (this.stopped || this.state !== "waiting") return;
    this.connect();
  }

  /** Asks for members of a guild; the answer comes as GUILD_MEMBERS_CHUNK. An empty query with limit 0 means all. */
  requestMembers(guildId: string, query: string, limit: number): void {
    this.send({ op: Op.RequestMembers, d: { guild_id: guildId, query, limit, presences: true } });
  }

  updatePresence(status: string): void {
    this.send({ op: Op.PresenceUpdate, d: { status, since: null, activities: [], afk: status === "idle" } });
  }

  private connect(): void {
    this.clearTimers();
    this.enter(this.session ? "resuming" : "connecting");
    let socket: Socket;
    try {
      socket = this.around.open(this.url);
    } catch {
      this.scheduleRetry();
      return;
    }
    this.socket = socket;
    this.acknowledged = true;
    this.handshakeTimer = this.around.setTimer(() => this.dropAndRetry(), HANDSHAKE_TIMEOUT_MS);
    // A socket that was replaced may still deliver; only the current one is heard.
    socket.onmessage = (event) => {
      if (this.socket === socket) this.receive(event.data);
    };
    socket.onclose = (event) => {
      if (this.socket === socket) this.closed(event.code);
    };
  }

  private receive(data: unknown): void {
    let frame: Frame;
    try {
      frame = JSON.parse(String(data)) as Frame;
    } catch {
      this.dropAndRetry();
      return;
    }
    switch (frame.op) {
      case Op.Hello:
        this.hello((frame.d as { heartbeat_interval: number }).heartbeat_interval);
        break;
      case Op.Heartbeat:
        this.sendHeartbeat();
        break;
      case Op.HeartbeatAck:
        this.acknowledged = true;
        break;
      case Op.Reconnect:
        this.dropAndRetry();
        break;
      case Op.InvalidSession:
        if (frame.d !== true) this.session = null;
        this.dropAndRetry();
        break;
      case Op.Dispatch:
        this.dispatch(frame);
        break;
    }
  }

  private hello(intervalMs: number): void {
    // The first heartbeat comes at a random point of the interval: clients that connected together spread out.
    this.heartbeatTimer = this.around.setTimer(() => this.beat(intervalMs), intervalMs * this.around.random());
    if (this.session) {
      const { id, sequence } = this.session;
      this.send({ op: Op.Resume, d: { token: this.token, session_id: id, seq: sequence } });
      return;
    }
    this.send({
      op: Op.Identify,
      d: {
        token: this.token,
        intents: INTENTS_ALL,
        properties: { os: "web", browser: "flux-web", device: "flux-web" },
        presence: { status: "online", since: null, activities: [], afk: false },
      },
    });
  }

  private dispatch(frame: Frame): void {
    const type = frame.t ?? "";
    if (type === "READY") {
      this.session = { id: (frame.d as { session_id: string }).session_id, sequence: frame.s ?? 0 };
    } else if (this.session && typeof frame.s === "number") {
      // After a RESUME the server may repeat what crossed with our count; a repeated dispatch is not applied twice.
      if (frame.s <= this.session.sequence) return;
      this.session.sequence = frame.s;
    }
    if (type === "READY" || type === "RESUMED") {
      this.tries = 0;
      this.clearTimer("handshakeTimer");
      this.enter("open");
    }
    this.events.onDispatch(type, frame.d);
  }

  private beat(intervalMs: number): void {
    if (!this.acknowledged) {
      this.dropAndRetry();
      return;
    }
    this.acknowledged = false;
    this.sendHeartbeat();
    this.heartbeatTimer = this.around.setTimer(() => this.beat(intervalMs), intervalMs);
  }

  private sendHeartbeat(): void {
    this.send({ op: Op.Heartbeat, d: this.session?.sequence ?? null });
  }

  private send(frame: Frame): void {
    try {
      this.socket?.send(JSON.stringify(frame));
    } catch {
      // The socket is closing; its close event decides what happens next.
    }
  }

  private closed(code: number): void {
    this.socket = null;
    this.clearTimers();
    if (this.stopped) return;
    if (FATAL.has(code)) {
      this.stopped = true;
      this.session = null;
      this.enter("closed");
      this.events.onFatal(code);
      return;
    }
    if (SESSION_LOST.has(code)) this.session = null;
    this.scheduleRetry();
  }

  private dropAndRetry(): void {
    this.drop(CLOSE_TO_RESUME);
    if (!this.stopped) this.scheduleRetry();
  }

  private drop(code: number): void {
    this.clearTimers();
    const socket = this.socket;
    this.socket = null;
    try {
      socket?.close(code);
    } catch {
      // Already closed.
    }
  }

  private scheduleRetry(): void {
    const bound = Math.min(RECONNECT_FIRST_MS * 2 ** this.tries, RECONNECT_MAX_MS);
    const delay = Math.round(bound * this.around.random());
    this.tries++;
    this.clearTimer("retryTimer");
    this.retryTimer = this.around.setTimer(() => this.connect(), delay);
    this.enter("waiting", delay);
  }

  private enter(state: ConnectionState, retryInMs: number | null = null): void {
    this.state = state;
    this.events.onState(state, retryInMs);
  }

  private clearTimers(): void {
    this.clearTimer("heartbeatTimer");
    this.clearTimer("retryTimer");
    this.clearTimer("handshakeTimer");
  }

  private clearTimer(name: "heartbeatTimer" | "retryTimer" | "handshakeTimer"): void {
    const id = this[name];
    if (id !== null) this.around.clearTimer(id);
    this[name] = null;
  }
}
