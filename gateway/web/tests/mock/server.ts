// A small stand-in for the server, speaking the same protocol from memory: it lets the page be tested in states that a
// healthy server does not offer (cut sockets, refused sends, slow pages). It proves nothing about the real server;
// tests/e2e does that.
import { readFile } from "node:fs/promises";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { extname, join } from "node:path";
import { type WebSocket, WebSocketServer } from "ws";
import type { Channel, GuildCreate, Id, Member, Message, ReadState, User } from "../../src/api/types";

const EPOCH_MS = 1_420_070_400_000n;
const PERMISSIONS = "137411140505153";
const TYPES: Record<string, string> = { ".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml" };

interface Session {
  id: string;
  user: User;
  socket: WebSocket | null;
  sequence: number;
  sent: string[];
}

interface Reply {
  status: number;
  body?: unknown;
}

export class MockServer {
  readonly users = new Map<string, User & { password: string }>();
  readonly guilds = new Map<Id, GuildCreate>();
  readonly messages = new Map<Id, Message[]>();
  /** Requests whose "METHOD path" matches get this status instead of an answer. */
  refuse: { pattern: RegExp; status: number } | null = null;
  /** Every REST answer waits this long, in milliseconds. */
  delayMs = 0;
  firstVisit = false;
  private readonly sessions = new Map<string, Session>();
  private readonly invites = new Map<string, { guild: Id; channel: Id; inviter: User }>();
  private readonly directs = new Map<Id, Channel>();
  private readonly reads = new Map<Id, Map<Id, ReadState>>();
  private readonly reacted = new Map<string, Set<Id>>();
  private readonly nonces = new Map<string, Message>();
  private counter = 0;
  private readonly http: Server;
  private readonly gateway = new WebSocketServer({ noServer: true });
  private isOpen = true;

  constructor(private readonly dist: string) {
    this.http = createServer((request, response) => void this.handle(request, response));
    this.http.on("upgrade", (request, socket, head) => {
      if (!this.isOpen) return void socket.destroy();
      this.gateway.handleUpgrade(request, socket, head, (ws) => this.connected(ws));
    });
  }

  async listen(port = 0): Promise<string> {
    await new Promise<void>((done) => this.http.listen(port, "127.0.0.1", done));
    const address = this.http.address();
    return `http://127.0.0.1:${typeof address === "object" && address ? address.port : port}`;
  }

  async close(): Promise<void> {
    for (const client of this.gateway.clients) client.terminate();
    this.http.closeAllConnections();
    await new Promise((done) => this.http.close(done));
  }

  /** Cuts every gateway socket; while closed, new ones are refused. */
  setGateway(isOpen: boolean): void {
    this.isOpen = isOpen;
    if (!isOpen) for (const client of this.gateway.clients) client.terminate();
  }

  id(timeMs = Date.now()): Id {
    return String(((BigInt(Math.floor(timeMs)) - EPOCH_MS) << 22n) | BigInt(this.counter++ & 0x3fffff));
  }

  addUser(username: string, password = "correct horse", displayName: string | null = null): User {
    const user = { id: this.id(Date.now() - 90 * 86_400_000), username, discriminator: "0", global_name: displayName, avatar: null, password };
    this.users.set(user.id, user);
    return publicUser(user);
  }

  addGuild(owner: User, name: string): GuildCreate {
    const id = this.id();
    const guild: GuildCreate = {
      id,
      name,
      owner_id: owner.id,
      unavailable: false,
      joined_at: new Date().toISOString(),
      roles: [{ id, name: "@everyone", color: 0, hoist: false, position: 0, permissions: PERMISSIONS }],
      channels: [],
      members: [],
      presences: [],
    };
    this.guilds.set(id, guild);
    this.addMember(guild, owner);
    this.addChannel(guild, "general", null);
    return guild;
  }

  addChannel(guild: GuildCreate, name: string, topic: string | null): Channel {
    const channel: Channel = { id: this.id(), type: 0, guild_id: guild.id, name, topic, position: guild.channels.length, last_message_id: null, permission_overwrites: [] };
    guild.channels.push(channel);
    return channel;
  }

  addMember(guild: GuildCreate, user: User, status: "online" | "idle" | "dnd" | null = null): Member {
    const member: Member = { user, nick: null, roles: [], joined_at: new Date(Date.now() - 80 * 86_400_000).toISOString() };
    guild.members.push(member);
    if (status) guild.presences.push({ user: { id: user.id }, status });
    return member;
  }

  addMessage(channel: Channel, author: User, content: string, timeMs = Date.now(), more: Partial<Message> = {}): Message {
    const message: Message = {
      id: this.id(timeMs),
      type: 0,
      channel_id: channel.id,
      author,
      content,
      timestamp: new Date(timeMs).toISOString(),
      edited_timestamp: null,
      mention_everyone: content.includes("@everyone"),
      mentions: [...content.matchAll(/<@(\d+)>/g)].flatMap(([, id]) => this.users.get(id!) ?? []).map(publicUser),
      attachments: [],
      embeds: [],
      reactions: [],
      ...(channel.guild_id ? { guild_id: channel.guild_id } : {}),
      ...more,
    };
    const list = this.messages.get(channel.id) ?? [];
    list.push(message);
    this.messages.set(channel.id, list);
    channel.last_message_id = message.id;
    return message;
  }

  /** A message from somebody, told to everybody. */
  say(channel: Channel, author: User, content: string): Message {
    const message = this.addMessage(channel, author, content);
    this.tellChannel(channel, "MESSAGE_CREATE", message);
    return message;
  }

  type(channel: Channel, user: User): void {
    this.tellChannel(channel, "TYPING_START", { channel_id: channel.id, guild_id: channel.guild_id, user_id: user.id, timestamp: Math.floor(Date.now() / 1000), member: { user, roles: [], joined_at: "" } });
  }

  markRead(user: User, channel: Channel, message: Id): void {
    this.readsOf(user).set(channel.id, { id: channel.id, last_message_id: message, mention_count: 0 });
  }

  // --- gateway ---

  private connected(socket: WebSocket): void {
    let session: Session | null = null;
    socket.send(JSON.stringify({ op: 10, d: { heartbeat_interval: 41_250 }, s: null, t: null }));
    socket.on("close", () => {
      if (session?.socket === socket) session.socket = null;
    });
    socket.on("message", (data) => {
      const frame = JSON.parse(String(data)) as { op: number; d: Record<string, unknown> };
      if (frame.op === 1) socket.send(JSON.stringify({ op: 11 }));
      else if (frame.op === 2) session = this.identify(socket, String(frame.d["token"]));
      else if (frame.op === 6) session = this.resume(socket, String(frame.d["session_id"]), Number(frame.d["seq"]));
      else if (frame.op === 8 && session) this.chunk(session, String(frame.d["guild_id"]));
    });
  }

  private identify(socket: WebSocket, token: string): Session | null {
    const user = this.users.get(token);
    if (!user) {
      socket.close(4004);
      return null;
    }
    const session: Session = { id: this.id(), user: publicUser(user), socket, sequence: 0, sent: [] };
    this.sessions.set(session.id, session);
    const mine = this.guildsOf(user.id);
    this.dispatch(session, "READY", {
      v: 10,
      user: publicUser(user),
      session_id: session.id,
      guilds: mine.map((guild) => ({ id: guild.id, unavailable: true })),
      private_channels: [...this.directs.values()].filter((one) => one.recipients?.some((who) => who.id === user.id)),
      read_state: [...this.readsOf(user).values()],
    });
    for (const guild of mine) {
      setPresence(guild, user.id, "online");
      const joinedAt = guild.members.find((member) => member.user.id === user.id)?.joined_at;
      this.dispatch(session, "GUILD_CREATE", { ...guild, joined_at: joinedAt, member_count: guild.members.length });
      this.tellGuild(guild.id, "PRESENCE_UPDATE", { user: { id: user.id }, guild_id: guild.id, status: "online" });
    }
    return session;
  }

  private resume(socket: WebSocket, id: string, sequence: number): Session | null {
    const session = this.sessions.get(id);
    if (!session) {
      socket.send(JSON.stringify({ op: 9, d: false }));
      return null;
    }
    session.socket = socket;
    for (const frame of session.sent.slice(sequence)) socket.send(frame);
    this.dispatch(session, "RESUMED", {});
    return session;
  }

  private chunk(session: Session, guildId: Id): void {
    const guild = this.guilds.get(guildId);
    if (guild) this.dispatch(session, "GUILD_MEMBERS_CHUNK", { guild_id: guildId, members: guild.members, presences: guild.presences, chunk_index: 0, chunk_count: 1 });
  }

  private dispatch(session: Session, type: string, data: unknown): void {
    session.sequence++;
    const frame = JSON.stringify({ op: 0, t: type, s: session.sequence, d: data });
    session.sent.push(frame);
    session.socket?.send(frame);
  }

  private tell(users: ReadonlySet<Id>, type: string, data: unknown): void {
    for (const session of this.sessions.values()) if (users.has(session.user.id)) this.dispatch(session, type, data);
  }

  private tellGuild(guild: Id, type: string, data: unknown): void {
    this.tell(new Set(this.guilds.get(guild)?.members.map((member) => member.user.id)), type, data);
  }

  private tellChannel(channel: Channel, type: string, data: unknown): void {
    if (channel.guild_id) this.tellGuild(channel.guild_id, type, data);
    else this.tell(new Set(channel.recipients?.map((user) => user.id)), type, data);
  }

  // --- REST ---

  private async handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url ?? "/", "http://mock");
    if (!url.pathname.startsWith("/api/v10/")) return this.serveFile(url.pathname, response);
    let text = "";
    for await (const part of request) text += String(part);
    if (this.delayMs > 0) await new Promise((done) => setTimeout(done, this.delayMs));
    const path = url.pathname.slice("/api/v10".length);
    const body = text === "" ? {} : (JSON.parse(text) as Record<string, unknown>);
    const reply = this.refused(`${request.method} ${path}`) ?? this.route(request.method ?? "GET", path, url.searchParams, body, request.headers.authorization ?? "");
    response.writeHead(reply.status, { "content-type": "application/json", "x-request-id": `mock-${++this.counter}` });
    response.end(reply.body === undefined ? "" : JSON.stringify(reply.body));
  }

  private refused(what: string): Reply | null {
    if (!this.refuse?.pattern.test(what)) return null;
    return { status: this.refuse.status, body: { code: 0, message: "The server is too busy for this." } };
  }

  private async serveFile(path: string, response: ServerResponse): Promise<void> {
    const name = extname(path) === "" ? "/index.html" : path;
    try {
      const bytes = await readFile(join(this.dist, name));
      response.writeHead(200, { "content-type": TYPES[extname(name)] ?? "application/octet-stream" });
      response.end(bytes);
    } catch {
      response.writeHead(404).end();
    }
  }

  private route(method: string, path: string, query: URLSearchParams, body: Record<string, unknown>, token: string): Reply {
    const part = path.split("/").filter(Boolean).map(decodeURIComponent);
    const [head, first, second, third, fourth, fifth] = part;
    if (head === "instance") return ok({ name: "Flux", version: "0.1.0", registration_open: true, first_visit: this.firstVisit });
    if (head === "auth" && first !== "logout") return this.enter(first === "register", String(body["username"]), String(body["password"]), (body["global_name"] as string) ?? null);
    if (head === "invites" && method === "GET") return this.showInvite(first ?? "");
    const me = this.users.get(token);
    if (!me) return problem(401, 40001, "Unauthorized");
    if (head === "auth") return { status: 204 };
    if (head === "guilds" && !first) return this.newGuild(me, String(body["name"]));
    if (head === "guilds" && second === "channels") return this.newChannel(first!, String(body["name"]), (body["topic"] as string) ?? null);
    if (head === "invites") return this.join(me, first ?? "");
    if (head === "users") return this.direct(me, String(body["recipient_id"]));
    const channel = this.channel(first ?? "");
    if (head !== "channels" || !channel) return problem(404, 10003, "Unknown Channel");
    if (second === "invites") return this.newInvite(me, channel);
    if (second === "typing") return this.typing(channel, me);
    if (second !== "messages") return problem(404, 0, "404: Not Found");
    if (!third) return method === "GET" ? this.page(channel, query) : this.post(channel, me, body);
    const message = this.messages.get(channel.id)?.find((one) => one.id === third);
    if (!message) return problem(404, 10008, "Unknown Message");
    if (fourth === "ack") return this.ack(channel, me, third);
    if (fourth === "reactions") return this.react(method, channel, message, me, fifth ?? "");
    return method === "DELETE" ? this.remove(channel, message) : this.rewrite(channel, message, String(body["content"]));
  }

  private enter(isNew: boolean, username: string, password: string, displayName: string | null): Reply {
    const known = [...this.users.values()].find((user) => user.username === username);
    if (isNew && known) return problem(400, 50035, "Invalid Form Body", { username: { _errors: [{ code: "TAKEN", message: "This name is taken. Choose another." }] } });
    if (isNew && password.length < 8) return problem(400, 50035, "Invalid Form Body", { password: { _errors: [{ code: "SHORT", message: "The password needs at least 8 characters." }] } });
    if (!isNew && known?.password !== password) return problem(401, 50035, "Name or password is wrong.");
    const user = known ? publicUser(known) : this.addUser(username, password, displayName);
    return ok({ token: user.id, user });
  }

  private newGuild(me: User, name: string): Reply {
    const guild = this.addGuild(publicUser(me), name);
    setPresence(guild, me.id, "online");
    this.tellGuild(guild.id, "GUILD_CREATE", { ...guild, unavailable: undefined, member_count: 1 });
    return ok(guild);
  }

  private newChannel(guildId: Id, name: string, topic: string | null): Reply {
    const channel = this.addChannel(this.guilds.get(guildId)!, name, topic);
    this.tellGuild(guildId, "CHANNEL_CREATE", channel);
    return ok(channel);
  }

  private newInvite(me: User, channel: Channel): Reply {
    const code = Math.random().toString(36).slice(2, 10);
    this.invites.set(code, { guild: channel.guild_id!, channel: channel.id, inviter: publicUser(me) });
    return this.showInvite(code);
  }

  private showInvite(code: string): Reply {
    const invite = this.invites.get(code);
    const guild = invite && this.guilds.get(invite.guild);
    if (!invite || !guild) return problem(404, 10006, "Unknown Invite");
    const channel = guild.channels.find((one) => one.id === invite.channel);
    return ok({ code, guild: { id: guild.id, name: guild.name }, channel: { id: invite.channel, name: channel?.name }, inviter: invite.inviter, approximate_member_count: guild.members.length });
  }

  private join(me: User, code: string): Reply {
    const guild = this.guilds.get(this.invites.get(code)?.guild ?? "");
    if (!guild) return problem(404, 10006, "Unknown Invite");
    if (!guild.members.some((member) => member.user.id === me.id)) {
      const member = this.addMember(guild, publicUser(me), "online");
      member.joined_at = new Date().toISOString();
      const others = new Set(guild.members.map((one) => one.user.id).filter((id) => id !== me.id));
      this.tell(others, "GUILD_MEMBER_ADD", { ...member, guild_id: guild.id });
      this.tell(others, "PRESENCE_UPDATE", { user: { id: me.id }, guild_id: guild.id, status: "online" });
      this.tell(new Set([me.id]), "GUILD_CREATE", { ...guild, unavailable: undefined, joined_at: member.joined_at, member_count: guild.members.length });
    }
    return this.showInvite(code);
  }

  private direct(me: User, recipient: Id): Reply {
    const other = this.users.get(recipient);
    if (!other) return problem(404, 10013, "Unknown User");
    const pair = [me.id, recipient];
    let channel = [...this.directs.values()].find((one) => pair.every((id) => one.recipients?.some((user) => user.id === id)));
    if (!channel) {
      channel = { id: this.id(), type: 1, recipients: [publicUser(me), publicUser(other)], last_message_id: null };
      this.directs.set(channel.id, channel);
      this.tellChannel(channel, "CHANNEL_CREATE", channel);
    }
    return ok(channel);
  }

  private page(channel: Channel, query: URLSearchParams): Reply {
    const all = this.messages.get(channel.id) ?? [];
    const limit = Number(query.get("limit") ?? 50);
    const [before, after, around] = [query.get("before"), query.get("after"), query.get("around")];
    let page = all.slice(-limit);
    if (before) page = all.filter((one) => BigInt(one.id) < BigInt(before)).slice(-limit);
    else if (after) page = all.filter((one) => BigInt(one.id) > BigInt(after)).slice(0, limit);
    else if (around) {
      const at = all.findIndex((one) => one.id === around);
      page = all.slice(Math.max(0, at - limit / 2), at + limit / 2);
    }
    return ok([...page].reverse());
  }

  private post(channel: Channel, me: User, body: Record<string, unknown>): Reply {
    const nonce = String(body["nonce"] ?? this.id());
    const known = this.nonces.get(me.id + nonce);
    if (known) return ok(known);
    const answered = (body["message_reference"] as { message_id?: Id } | undefined)?.message_id;
    const original = this.messages.get(channel.id)?.find((one) => one.id === answered);
    const more = original ? { type: 19, message_reference: { message_id: original.id, channel_id: channel.id }, referenced_message: original } : {};
    const message = this.addMessage(channel, publicUser(me), String(body["content"]), Date.now(), { nonce, ...more });
    this.nonces.set(me.id + nonce, message);
    this.markRead(me, channel, message.id);
    this.tellChannel(channel, "MESSAGE_CREATE", message);
    return ok(message);
  }

  private typing(channel: Channel, me: User): Reply {
    this.type(channel, publicUser(me));
    return { status: 204 };
  }

  private ack(channel: Channel, me: User, message: Id): Reply {
    this.markRead(me, channel, message);
    this.tell(new Set([me.id]), "MESSAGE_ACK", { channel_id: channel.id, message_id: message });
    return ok({});
  }

  private react(method: string, channel: Channel, message: Message, me: User, name: string): Reply {
    const who = this.reacted.get(message.id + name) ?? new Set();
    if (method === "GET") return ok([...who].map((id) => publicUser(this.users.get(id)!)));
    if (method === "PUT") who.add(me.id);
    else who.delete(me.id);
    this.reacted.set(message.id + name, who);
    const rest = (message.reactions ?? []).filter((one) => one.emoji.name !== name);
    message.reactions = who.size > 0 ? [...rest, { emoji: { id: null, name }, count: who.size, me: false }] : rest;
    const type = method === "PUT" ? "MESSAGE_REACTION_ADD" : "MESSAGE_REACTION_REMOVE";
    this.tellChannel(channel, type, { user_id: me.id, channel_id: channel.id, message_id: message.id, guild_id: channel.guild_id, emoji: { id: null, name } });
    return { status: 204 };
  }

  private remove(channel: Channel, message: Message): Reply {
    this.messages.set(channel.id, (this.messages.get(channel.id) ?? []).filter((one) => one !== message));
    this.tellChannel(channel, "MESSAGE_DELETE", { id: message.id, channel_id: channel.id, guild_id: channel.guild_id });
    return { status: 204 };
  }

  private rewrite(channel: Channel, message: Message, content: string): Reply {
    message.content = content;
    message.edited_timestamp = new Date().toISOString();
    this.tellChannel(channel, "MESSAGE_UPDATE", message);
    return ok(message);
  }

  private channel(id: Id): Channel | undefined {
    for (const guild of this.guilds.values()) {
      const found = guild.channels.find((channel) => channel.id === id);
      if (found) return found;
    }
    return this.directs.get(id);
  }

  private guildsOf(user: Id): GuildCreate[] {
    return [...this.guilds.values()].filter((guild) => guild.members.some((member) => member.user.id === user));
  }

  private readsOf(user: User): Map<Id, ReadState> {
    let reads = this.reads.get(user.id);
    if (!reads) this.reads.set(user.id, (reads = new Map()));
    return reads;
  }
}

function setPresence(guild: GuildCreate, user: Id, status: "online"): void {
  guild.presences = [...guild.presences.filter((one) => one.user.id !== user), { user: { id: user }, status }];
}

function publicUser(user: User): User {
  const { id, username, global_name, bot } = user;
  return { id, username, global_name: global_name ?? null, ...(bot ? { bot } : {}) };
}

function ok(body: unknown): Reply {
  return { status: 200, body };
}

function problem(status: number, code: number, message: string, errors?: unknown): Reply {
  return { status, body: { code, message, ...(errors ? { errors } : {}) } };
}
