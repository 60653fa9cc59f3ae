// What a person can do, and what follows from it: requests go out, the state changes at once where that is safe, and
// the gateway confirms. One App per page.
import { batch, effect, signal } from "@preact/signals";
import { ApiError, Rest } from "../api/rest";
import type { Channel, Emoji, Id, Login, Message } from "../api/types";
import { browserSurroundings, type ConnectionState, GatewayClient } from "../gateway/client";
import { dispatch, isWatching, markRead, mentionsMe } from "./dispatch";
import { withReaction, withUpdated } from "./history";
import { Loader } from "./loader";
import { Mailer } from "./mailer";
import { notify, notifyError } from "./notices";
import { DIRECT, go, route } from "./route";
import { isNewer } from "./snowflake";
import { State } from "./state";
import { load, save } from "./storage";

/** At most one "I am typing" per channel in this time, in milliseconds; the server shows it for ten seconds. */
const TYPING_EVERY_MS = 8_000;
/** Reading is acknowledged this long after the newest message came in sight, in milliseconds. */
const ACK_AFTER_MS = 400;
/** My own messages in one channel are acknowledged at most once in this time, in milliseconds. */
const OWN_ACK_PAUSE_MS = 2_000;
/** Above this many members the member column shows those the server offers first. */
const MEMBERS_ASKED_MAX = 20_000;

/** The page opens this long after READY even if an announced guild has not come, in milliseconds. */
const GUILDS_WITHIN_MS = 5_000;

export class App {
  readonly state = new State();
  readonly rest: Rest;
  readonly loader: Loader;
  readonly mailer: Mailer;
  /** Called for a message that mentions me while I look elsewhere. */
  onMention: ((channel: Channel, message: Message) => void) | null = null;
  private token: string | null = load<string | null>("token", null);
  readonly isLoggedIn = signal(this.token !== null);
  private gateway: GatewayClient | null = null;
  private readonly typedAtMs = new Map<Id, number>();
  private readonly askedMembers = new Set<Id>();
  /** Guilds that were just made or joined; the gateway has yet to tell about them. */
  private readonly joining = new Set<Id>();
  private ackTimer: number | null = null;
  /** Channels in which my own message was just acknowledged, and a newer one that waits for the pause to end. */
  private readonly ownAcks = new Map<Id, Id | null>();

  constructor() {
    this.rest = new Rest(`${location.origin}/api/v10`, () => this.token);
    this.loader = new Loader(this.state, this.rest);
    this.mailer = new Mailer(this.state, this.rest, (message) => this.acknowledgeOwn(message));
    effect(() => this.acknowledgeWhenSeen());
  }

  start(): void {
    this.rest.instance().then(
      (facts) => (this.state.instance.value = facts),
      () => undefined, // The page works without these facts; a dead server shows in the connection banner.
    );
    const active = (): void => {
      this.state.isWindowActive.value = document.visibilityState === "visible" && document.hasFocus();
    };
    for (const name of ["focus", "blur"]) addEventListener(name, active);
    document.addEventListener("visibilitychange", active);
    addEventListener("online", () => this.gateway?.retryNow());
    active();
    if (this.token) this.connect(this.token);
  }

  // --- account ---

  /** Makes an account, and joins by `invite` if there is one. The name is kept as it was typed, for others to see. */
  async register(name: string, password: string, invite: string | null): Promise<void> {
    const username = accountName(name);
    await this.enter(await this.rest.register(username, password, name === username ? null : name), invite);
  }

  async login(name: string, password: string, invite: string | null): Promise<void> {
    await this.enter(await this.rest.login(accountName(name), password), invite);
  }

  private async enter(login: Login, invite: string | null): Promise<void> {
    this.token = login.token;
    save("token", login.token);
    // Joined before the gateway opens, the guild is there at once. A dead invite must not undo a good registration.
    if (invite) await this.acceptInvite(invite).catch(notifyError);
    if (invite && route.value.page === "invite") go({ page: "home" }, { replace: true });
    batch(() => {
      this.state.me.value = login.user;
      this.state.users.set(login.user.id, login.user);
      this.isLoggedIn.value = true;
    });
    this.connect(login.token);
  }

  async logout(): Promise<void> {
    await this.rest.logout().catch(() => undefined); // The token is forgotten here in any case.
    this.leave();
  }

  private leave(): void {
    this.gateway?.stop();
    this.gateway = null;
    this.token = null;
    this.isLoggedIn.value = false;
    save("token", null);
    this.state.clear();
    this.askedMembers.clear();
    go({ page: "home" }, { replace: true });
  }

  // --- gateway ---

  private connect(token: string): void {
    this.gateway?.stop();
    const url = `${location.origin.replace(/^http/, "ws")}/gateway?v=10&encoding=json`;
    this.gateway = new GatewayClient(
      url,
      token,
      {
        onDispatch: (type, data) => this.received(type, data),
        onState: (state, retryInMs) => this.connectionChanged(state, retryInMs),
        onFatal: (code) => this.refused(code),
      },
      browserSurroundings,
    );
    this.gateway.start();
  }

  setPresence(status: "online" | "idle"): void {
    const me = this.state.me.value;
    if (!me || this.state.presences.peek(me.id) === status) return;
    this.state.presences.set(me.id, status);
    this.gateway?.updatePresence(status);
  }

  retryConnection(): void {
    this.gateway?.retryNow();
  }

  private connectionChanged(next: ConnectionState, retryInMs: number | null): void {
    const before = this.state.connection.value;
    const nowMs = Date.now();
    this.state.connection.value = {
      state: next,
      retryAtMs: retryInMs === null ? null : nowMs + retryInMs,
      offlineSinceMs: next === "open" ? null : (before.offlineSinceMs ?? nowMs),
    };
  }

  private received(type: string, data: unknown): void {
    dispatch(this.state, type, data, Date.now());
    if (type === "MESSAGE_CREATE") this.alert(data as Message);
    if (type !== "READY") return;
    setTimeout(() => {
      // A guild that was announced and does not come must not keep the others away.
      if (this.state.me.value) this.state.isReady.value = true;
    }, GUILDS_WITHIN_MS);
    // A new session: what happened in between was not told, so what was loaded may have holes.
    this.askedMembers.clear();
    this.state.forgetHistories();
    const open = this.state.openChannel.value;
    if (open) this.refresh(open);
  }

  /** The channel on screen after a break: at the present the newest page joins; who reads further up is not moved. */
  private refresh(channel: Id): void {
    const history = this.state.history(channel);
    if (!history.value.isLoaded || this.state.isAtPresent.value) void this.loader.load(channel, "latest");
    else history.value = { ...history.value, hasNewer: true };
  }

  private alert(message: Message): void {
    const channel = this.state.channels.peek(message.channel_id);
    if (channel && mentionsMe(this.state, channel, message) && !isWatching(this.state, channel.id)) this.onMention?.(channel, message);
  }

  private refused(code: number): void {
    if (code === 4004) {
      notify("Your session has ended. Log in again.");
      this.leave();
    } else {
      notify(`The server refuses this page (close code ${code}). Reload it to get the current version.`, "error");
    }
  }

  // --- places ---

  openChannel(channel: Channel): void {
    if (this.state.openChannel.value === channel.id) return;
    batch(() => {
      this.state.openChannel.value = channel.id;
      this.state.isAtPresent.value = true;
      if (this.state.isUnread(channel)) this.state.newLines.set(channel.id, this.state.readUpTo(channel));
      else this.state.newLines.delete(channel.id);
    });
    if (channel.guild_id) save(`last.${channel.guild_id}`, channel.id);
    save("last.guild", channel.guild_id ?? DIRECT);
    if (!this.state.history(channel.id).value.isLoaded) void this.loader.load(channel.id, "latest");
  }

  closeChannel(): void {
    this.state.openChannel.value = null;
  }

  /** The channel of a guild to show first: the last one visited, else the first. */
  preferredChannel(guild: Id): Id | null {
    const channels = this.state.channelsOf(guild);
    const last = load<Id | null>(`last.${guild}`, null);
    return channels.find((one) => one.id === last)?.id ?? channels[0]?.id ?? null;
  }

  /** The guild to show first: the last one visited, else the first. */
  preferredGuild(): Id | null {
    const guilds = this.state.sortedGuilds.value;
    const last = load<Id | null>("last.guild", null);
    if (last === DIRECT && this.state.directs.value.length > 0) return DIRECT;
    return guilds.find((guild) => guild.id === last)?.id ?? guilds[0]?.id ?? null;
  }

  async createGuild(name: string): Promise<void> {
    const guild = await this.rest.createGuild(name);
    this.joining.add(guild.id);
    go({ page: "channels", guild: guild.id, channel: null });
  }

  /** True while a guild that this page made or joined is still on its way from the gateway. */
  isJoining(guild: Id): boolean {
    return this.joining.has(guild);
  }

  async createChannel(guild: Id, name: string, topic: string | null): Promise<void> {
    const channel = await this.rest.createChannel(guild, name, topic);
    dispatch(this.state, "CHANNEL_CREATE", { ...channel, guild_id: guild }, Date.now());
    go({ page: "channels", guild, channel: channel.id });
  }

  async acceptInvite(code: string): Promise<void> {
    const invite = await this.rest.acceptInvite(code);
    if (!invite.guild) throw new ApiError("The invite leads nowhere. Ask for a new one.", 404);
    this.joining.add(invite.guild.id);
    go({ page: "channels", guild: invite.guild.id, channel: null }, { replace: true });
  }

  async openDirect(user: Id): Promise<void> {
    try {
      const channel = await this.rest.openDirect(user);
      dispatch(this.state, "CHANNEL_CREATE", channel, Date.now());
      go({ page: "channels", guild: DIRECT, channel: channel.id });
    } catch (error) {
      notifyError(error);
    }
  }

  askMembers(guild: Id): void {
    const facts = this.state.guilds.peek(guild);
    if (!facts || this.askedMembers.has(guild) || this.state.members(guild).size >= facts.memberCount) return;
    this.askedMembers.add(guild);
    this.gateway?.requestMembers(guild, "", facts.memberCount > MEMBERS_ASKED_MAX ? 100 : 0);
  }

  // --- messages ---

  send(channel: Id, content: string, replyTo: Id | null): void {
    // What is written next is told anew: this message ends the typing that others see.
    this.typedAtMs.delete(channel);
    this.mailer.send(channel, content, replyTo);
  }

  async edit(message: Message, content: string): Promise<void> {
    const changed = await this.rest.editMessage(message.channel_id, message.id, content);
    dispatch(this.state, "MESSAGE_UPDATE", changed, Date.now());
  }

  async delete(message: Message): Promise<void> {
    await this.rest.deleteMessage(message.channel_id, message.id);
    dispatch(this.state, "MESSAGE_DELETE", { id: message.id, channel_id: message.channel_id }, Date.now());
  }

  async toggleReaction(message: Message, emoji: Emoji, isOn: boolean): Promise<void> {
    // The path form: the characters themselves, or name:id for one of a guild's own.
    const name = emoji.id ? `${emoji.name}:${emoji.id}` : emoji.name;
    const apply = (delta: 1 | -1): void => {
      const history = this.state.history(message.channel_id);
      history.value = withUpdated(history.peek(), message.id, (known) => withReaction(known, emoji, delta, true));
    };
    apply(isOn ? 1 : -1);
    try {
      if (isOn) await this.rest.addReaction(message.channel_id, message.id, name);
      else await this.rest.removeReaction(message.channel_id, message.id, name);
    } catch (error) {
      apply(isOn ? -1 : 1);
      notifyError(error);
    }
  }

  typed(channel: Id): void {
    const nowMs = Date.now();
    if (nowMs - (this.typedAtMs.get(channel) ?? 0) < TYPING_EVERY_MS) return;
    this.typedAtMs.set(channel, nowMs);
    this.rest.typing(channel).catch(() => undefined); // Nobody misses a typing line that did not show.
  }

  // --- reading ---

  private acknowledgeWhenSeen(): void {
    const { state } = this;
    // Listened to here, and read again when the timer fires.
    const id = state.openChannel.value;
    const channel = id ? state.channels.get(id) : undefined;
    if (!channel || !state.isAtPresent.value || !state.isWindowActive.value || !state.isUnread(channel)) return;
    if (!state.history(channel.id).value.isLoaded) return;
    if (this.ackTimer !== null) window.clearTimeout(this.ackTimer);
    this.ackTimer = window.setTimeout(() => {
      if (isWatching(state, channel.id)) this.acknowledge(channel.id);
    }, ACK_AFTER_MS);
  }

  /** Marks everything in a channel as read, here and on my other devices. */
  acknowledge(channelId: Id): void {
    const last = this.state.channels.peek(channelId)?.last_message_id;
    if (!last || !isNewer(last, this.state.reads.peek(channelId)?.last_message_id)) return;
    markRead(this.state, channelId, last);
    this.rest.ack(channelId, last).catch(() => undefined); // The next acknowledgement covers this one.
  }

  /** Who writes has read: told to the server, for the next session and other devices, but not for each of many. */
  private acknowledgeOwn({ channel_id, id }: Message): void {
    const isPausing = this.ownAcks.has(channel_id);
    this.ownAcks.set(channel_id, isPausing ? id : null);
    if (isPausing) return;
    const tell = (message: Id): void => void this.rest.ack(channel_id, message).catch(() => undefined);
    tell(id);
    setTimeout(() => {
      const last = this.ownAcks.get(channel_id);
      this.ownAcks.delete(channel_id);
      if (last) tell(last);
    }, OWN_ACK_PAUSE_MS);
  }

  /** Where the person is: the route's guild, if it is one. */
  currentGuild(): Id | null {
    const here = route.value;
    return here.page === "channels" && here.guild !== DIRECT ? here.guild : null;
  }
}

/** The unique name behind what people type: the server knows lower case and no spaces. */
export function accountName(typed: string): string {
  return typed.trim().toLowerCase().replace(/\s+/g, "-");
}
