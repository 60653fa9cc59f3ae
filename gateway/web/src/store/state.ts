// Everything the page knows, as signals and tables. It only holds and derives; `dispatch.ts` writes what the gateway
// says and `app.ts` what the person does.
import { computed, signal, type Signal } from "@preact/signals";
import type { Channel, Id, Instance, Member, ReadState, Role, Status, User } from "../api/types";
import { ChannelType } from "../api/types";
import type { ConnectionState } from "../gateway/client";
import { EMPTY_HISTORY, type History } from "./history";
import { restore, type Outbox } from "./outbox";
import { allows, channelPermissions, guildPermissions, Permission } from "./permissions";
import { compareIds, idAtTime, isNewer } from "./snowflake";
import { Table } from "./table";

export interface Guild {
  readonly id: Id;
  readonly name: string;
  readonly ownerId: Id;
  readonly memberCount: number;
  readonly joinedAt: string | null;
  readonly roles: ReadonlyMap<Id, Role>;
}

export interface Connection {
  readonly state: ConnectionState;
  /** When the next try starts, in milliseconds since 1970, while waiting. */
  readonly retryAtMs: number | null;
  /** Since when nothing arrives, in milliseconds since 1970. */
  readonly offlineSinceMs: number | null;
}

export interface Section {
  readonly category: Channel | null;
  readonly channels: readonly Channel[];
}

function isText(channel: Channel): boolean {
  return channel.type === ChannelType.GuildText || channel.type === ChannelType.Announcement;
}

function byPosition(a: Channel, b: Channel): number {
  return (a.position ?? 0) - (b.position ?? 0) || compareIds(a.id, b.id);
}

/** One person's typing ends this long after its last event, in milliseconds. */
export const TYPING_TTL_MS = 10_000;

export class State {
  readonly instance = signal<Instance>({});
  readonly me = signal<User | null>(null);
  readonly connection = signal<Connection>({ state: "closed", retryAtMs: null, offlineSinceMs: null });
  /** True once READY and every GUILD_CREATE it announced have arrived. */
  readonly isReady = signal(false);
  readonly awaitedGuilds = new Set<Id>();

  readonly guilds = new Table<Id, Guild>();
  readonly channels = new Table<Id, Channel>();
  readonly users = new Table<Id, User>();
  readonly presences = new Table<Id, Status>();
  readonly reads = new Table<Id, ReadState>();
  readonly typing = new Table<Id, ReadonlyMap<Id, number>>();
  readonly outbox = signal<Outbox>(restore());

  /** Where the line "new messages" stands in a channel: after this message. */
  readonly newLines = new Table<Id, Id>();
  /** The channel on screen, and whether its newest message is in sight. */
  readonly openChannel = signal<Id | null>(null);
  readonly isAtPresent = signal(true);
  readonly isWindowActive = signal(true);

  private readonly memberTables = new Map<Id, Table<Id, Member>>();
  private readonly histories = new Map<Id, Signal<History>>();

  readonly sortedGuilds = computed(() => this.guilds.values().sort((a, b) => compareIds(a.id, b.id)));
  readonly directs = computed(() =>
    this.channels
      .values()
      .filter((channel) => channel.type === ChannelType.Direct)
      .sort((a, b) => compareIds(b.last_message_id ?? b.id, a.last_message_id ?? a.id)),
  );
  readonly mentionTotal = computed(() => this.reads.values().reduce((sum, read) => sum + (read.mention_count ?? 0), 0));
  readonly hasUnread = computed(() => this.channels.values().some((channel) => this.isUnread(channel)));

  members(guild: Id): Table<Id, Member> {
    let table = this.memberTables.get(guild);
    if (!table) this.memberTables.set(guild, (table = new Table()));
    return table;
  }

  history(channel: Id): Signal<History> {
    let history = this.histories.get(channel);
    if (!history) this.histories.set(channel, (history = signal(EMPTY_HISTORY)));
    return history;
  }

  /** Forgets every loaded history but the one on screen. */
  forgetHistories(): void {
    for (const [id, history] of this.histories) if (id !== this.openChannel.value) history.value = EMPTY_HISTORY;
  }

  /** The channels with messages of a guild that I may see: those of no category first, then category by category. */
  channelsOf(guild: Id): Channel[] {
    return this.sectionsOf(guild).flatMap((section) => section.channels);
  }

  /** The same, under the headings they stand under; the first has none. Categories without a channel are left out. */
  sectionsOf(guild: Id): Section[] {
    const all = this.channels.values().filter((one) => one.guild_id === guild).sort(byPosition);
    const texts = all.filter((one) => isText(one) && this.may(one, Permission.ViewChannel));
    const categories = all.filter((one) => one.type === ChannelType.Category);
    const known = new Set(categories.map((one) => one.id));
    const sections: Section[] = [{ category: null, channels: texts.filter((one) => !known.has(one.parent_id ?? "")) }];
    for (const category of categories) {
      const channels = texts.filter((one) => one.parent_id === category.id);
      if (channels.length > 0) sections.push({ category, channels });
    }
    return sections;
  }

  myMember(guild: Id): Member | undefined {
    return this.members(guild).get(this.me.value?.id ?? "");
  }

  may(channel: Channel, permission: bigint): boolean {
    if (!channel.guild_id) return permission !== Permission.ManageMessages;
    const guild = this.guilds.get(channel.guild_id);
    return guild !== undefined && allows(channelPermissions(guild, channel, this.myMember(guild.id)), permission);
  }

  mayInGuild(id: Id, permission: bigint): boolean {
    const guild = this.guilds.get(id);
    return guild !== undefined && allows(guildPermissions(guild, this.myMember(id)), permission);
  }

  isUnread(channel: Channel): boolean {
    if (!channel.last_message_id) return false;
    return isNewer(channel.last_message_id, this.readUpTo(channel));
  }

  /** The newest message that counts as read; before the first acknowledgement, everything older than my joining. */
  readUpTo(channel: Channel): Id {
    const read = this.reads.get(channel.id)?.last_message_id;
    if (read) return read;
    const joined = channel.guild_id ? this.guilds.get(channel.guild_id)?.joinedAt : null;
    return joined ? idAtTime(Date.parse(joined)) : "0";
  }

  guildIsUnread(guild: Id): boolean {
    return this.channelsOf(guild).some((channel) => this.isUnread(channel));
  }

  guildMentions(guild: Id): number {
    return this.channelsOf(guild).reduce((sum, channel) => sum + (this.reads.get(channel.id)?.mention_count ?? 0), 0);
  }

  /** How a person is called in a guild, or in general. */
  nameOf(user: User, guild: Id | undefined): string {
    const nick = guild ? this.members(guild).get(user.id)?.nick : null;
    return nick ?? user.global_name ?? user.username;
  }

  channelName(channel: Channel): string {
    if (channel.type !== ChannelType.Direct) return channel.name ?? "unnamed";
    const others = (channel.recipients ?? []).filter((user) => user.id !== this.me.value?.id);
    return others.map((user) => user.global_name ?? user.username).join(", ") || "Just you";
  }

  /** Who is typing in a channel now, without me. Call with the time that is shown. */
  typingNames(channel: Channel, nowMs: number): string[] {
    const names: string[] = [];
    for (const [id, until] of this.typing.get(channel.id) ?? []) {
      const user = this.users.get(id);
      if (until > nowMs && id !== this.me.value?.id) names.push(user ? this.nameOf(user, channel.guild_id) : "Someone");
    }
    return names;
  }

  /** Back to the state before anybody logged in. */
  clear(): void {
    this.me.value = null;
    this.isReady.value = false;
    this.awaitedGuilds.clear();
    for (const table of [this.guilds, this.channels, this.users, this.presences, this.reads, this.typing, this.newLines]) table.clear();
    this.memberTables.clear();
    this.histories.clear();
    this.openChannel.value = null;
    this.outbox.value = [];
  }
}
