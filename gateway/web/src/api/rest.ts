// The REST half of the public API. One class, one method per route the page uses.
// It waits out a 429 as the server asks, and turns every other failure into an ApiError that can be shown to a person.
import type { Channel, GuildCreate, Id, Instance, Invite, Login, Member, Message, User } from "./types";

/** How long one request may take, in milliseconds, before it counts as unanswered. */
const REQUEST_TIMEOUT_MS = 15_000;
/** How often a rate-limited request is sent again before the person hears about it. */
const RATE_LIMIT_RETRIES = 3;

/** How long a new invite works, in seconds: a week. */
export const INVITE_AGE_S = 7 * 86_400;

/** A failed request. `status` 0 means that no answer came: the request may or may not have taken effect. */
export class ApiError extends Error {
  constructor(
    message: string,
    readonly status: number,
    readonly code: number = 0,
    readonly requestId: string | null = null,
  ) {
    super(message);
    this.name = "ApiError";
  }

  /** True when sending the same request again may succeed. */
  get isTransient(): boolean {
    return this.status === 0 || this.status === 429 || this.status >= 500;
  }
}

interface ErrorBody {
  code?: number;
  message?: string;
  retry_after?: number;
  errors?: unknown;
}

/** The first human sentence inside the nested `errors` object of a form error. */
export function firstFormError(errors: unknown): string | null {
  if (typeof errors !== "object" || errors === null) return null;
  for (const [key, value] of Object.entries(errors)) {
    if (key === "_errors" && Array.isArray(value)) {
      const first: unknown = value[0];
      if (typeof first === "object" && first !== null && "message" in first) return String(first.message);
    }
    const nested = firstFormError(value);
    if (nested) return nested;
  }
  return null;
}

export interface PageQuery {
  limit?: number;
  before?: Id;
  after?: Id;
  around?: Id;
}

export class Rest {
  constructor(
    private readonly base: string,
    private readonly token: () => string | null,
    private readonly fetchFn: typeof fetch = (input, init) => fetch(input, init),
    private readonly sleep: (ms: number) => Promise<void> = (ms) => new Promise((done) => setTimeout(done, ms)),
  ) {}

  instance(): Promise<Instance> {
    return this.send("GET", "/instance");
  }
  register(username: string, password: string, displayName: string | null): Promise<Login> {
    return this.send("POST", "/auth/register", { username, password, ...(displayName ? { global_name: displayName } : {}) });
  }
  login(username: string, password: string): Promise<Login> {
    return this.send("POST", "/auth/login", { username, password });
  }
  logout(): Promise<void> {
    return this.send("POST", "/auth/logout", {});
  }
  createGuild(name: string): Promise<GuildCreate> {
    return this.send("POST", "/guilds", { name });
  }
  createChannel(guild: Id, name: string, topic: string | null): Promise<Channel> {
    return this.send("POST", `/guilds/${guild}/channels`, { name, type: 0, ...(topic ? { topic } : {}) });
  }
  createInvite(channel: Id): Promise<Invite> {
    return this.send("POST", `/channels/${channel}/invites`, { max_age: INVITE_AGE_S });
  }
  invite(code: string): Promise<Invite> {
    return this.send("GET", `/invites/${encodeURIComponent(code)}?with_counts=true`);
  }
  acceptInvite(code: string): Promise<Invite> {
    return this.send("POST", `/invites/${encodeURIComponent(code)}`, {});
  }
  openDirect(recipient: Id): Promise<Channel> {
    return this.send("POST", "/users/@me/channels", { recipient_id: recipient });
  }
  messages(channel: Id, query: PageQuery): Promise<Message[]> {
    const params = new URLSearchParams();
    for (const [key, value] of Object.entries(query)) if (value !== undefined) params.set(key, String(value));
    return this.send("GET", `/channels/${channel}/messages?${params}`);
  }
  sendMessage(channel: Id, body: { content: string; nonce: string; replyTo: Id | null }): Promise<Message> {
    return this.send("POST", `/channels/${channel}/messages`, {
      content: body.content,
      nonce: body.nonce,
      enforce_nonce: true,
      ...(body.replyTo ? { message_reference: { message_id: body.replyTo } } : {}),
    });
  }
  editMessage(channel: Id, message: Id, content: string): Promise<Message> {
    return this.send("PATCH", `/channels/${channel}/messages/${message}`, { content });
  }
  deleteMessage(channel: Id, message: Id): Promise<void> {
    return this.send("DELETE", `/channels/${channel}/messages/${message}`);
  }
  addReaction(channel: Id, message: Id, emoji: string): Promise<void> {
    return this.send("PUT", `/channels/${channel}/messages/${message}/reactions/${encodeURIComponent(emoji)}/@me`);
  }
  removeReaction(channel: Id, message: Id, emoji: string): Promise<void> {
    return this.send("DELETE", `/channels/${channel}/messages/${message}/reactions/${encodeURIComponent(emoji)}/@me`);
  }
  reactors(channel: Id, message: Id, emoji: string): Promise<User[]> {
    return this.send("GET", `/channels/${channel}/messages/${message}/reactions/${encodeURIComponent(emoji)}?limit=20`);
  }
  typing(channel: Id): Promise<void> {
    return this.send("POST", `/channels/${channel}/typing`);
  }
  ack(channel: Id, message: Id): Promise<void> {
    return this.send("POST", `/channels/${channel}/messages/${message}/ack`, {});
  }
  members(guild: Id, after: Id): Promise<Member[]> {
    return this.send("GET", `/guilds/${guild}/members?limit=1000&after=${after}`);
  }

  private async send<T>(method: string, path: string, body?: unknown): Promise<T> {
    for (let attempt = 0; ; attempt++) {
      const response = await this.attempt(method, path, body);
      if (response.ok) return (response.status === 204 ? undefined : await response.json()) as T;
      const failure = (await response.json().catch(() => ({}))) as ErrorBody;
      if (response.status === 429 && attempt < RATE_LIMIT_RETRIES) {
        const seconds = failure.retry_after ?? Number(response.headers.get("retry-after") ?? 1);
        await this.sleep(Math.min(Math.max(seconds, 0.05), 30) * 1000);
        continue;
      }
      const message = firstFormError(failure.errors) ?? failure.message ?? `The server answered ${response.status}.`;
      throw new ApiError(message, response.status, failure.code ?? 0, response.headers.get("x-request-id"));
    }
  }

  private async attempt(method: string, path: string, body: unknown): Promise<Response> {
    const headers: Record<string, string> = {};
    const token = this.token();
    if (token) headers["authorization"] = token;
    if (body !== undefined) headers["content-type"] = "application/json";
    try {
      return await this.fetchFn(this.base + path, {
        method,
        headers,
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
        signal: AbortSignal.timeout(REQUEST_TIMEOUT_MS),
      });
    } catch (error) {
      const isLate = error instanceof DOMException && error.name === "TimeoutError";
      throw new ApiError(isLate ? "The server takes too long to answer." : "The server could not be reached. Check the connection and try again.", 0);
    }
  }
}
