// What the gateway says, written into the state. One handler per event; unknown events are ignored, as the protocol asks.
import { batch } from "@preact/signals";
import type {
  Channel,
  Emoji,
  GuildCreate,
  Id,
  Member,
  Message,
  Presence,
  Ready,
  Role,
  User,
} from "../api/types";
import { ChannelType } from "../api/types";
import { withCreated, withDeleted, withReaction, withUpdated } from "./history";
import { removed } from "./outbox";
import { isNewer } from "./snowflake";
import { TYPING_TTL_MS, type Guild, type State } from "./state";

interface InMessage {
  channel_id: Id;
  message_id: Id;
}
interface ReactionEvent extends InMessage {
  user_id: Id;
  emoji: Emoji;
}
interface TypingEvent {
  channel_id: Id;
  user_id: Id;
  member?: Member;
  guild_id?: Id;
}
type InGuild = { guild_id: Id };

type Handler = (state: State, data: never, nowMs: number) => void;

const HANDLERS: Record<string, Handler> = {
  READY: ready,
  GUILD_CREATE: guildCreate,
  GUILD_UPDATE: guildUpdate,
  GUILD_DELETE: guildDelete,
  GUILD_ROLE_CREATE: roleSet,
  GUILD_ROLE_UPDATE: roleSet,
  GUILD_ROLE_DELETE: roleDelete,
  GUILD_MEMBER_ADD: memberAdd,
  GUILD_MEMBER_UPDATE: memberSet,
  GUILD_MEMBER_REMOVE: memberRemove,
  GUILD_MEMBERS_CHUNK: membersChunk,
  CHANNEL_CREATE: channelSet,
  CHANNEL_UPDATE: channelSet,
  CHANNEL_DELETE: channelDelete,
  PRESENCE_UPDATE: presenceUpdate,
  USER_UPDATE: userUpdate,
  TYPING_START: typingStart,
  MESSAGE_CREATE: messageCreate,
  MESSAGE_UPDATE: messageUpdate,
  MESSAGE_DELETE: messageDelete,
  MESSAGE_DELETE_BULK: messageDeleteBulk,
  MESSAGE_REACTION_ADD: (state, event: ReactionEvent) => react(state, event, 1),
  MESSAGE_REACTION_REMOVE: (state, event: ReactionEvent) => react(state, event, -1),
  MESSAGE_REACTION_REMOVE_ALL: reactionsClear,
  MESSAGE_REACTION_REMOVE_EMOJI: reactionsClear,
  MESSAGE_ACK: messageAck,
};

export function dispatch(state: State, type: string, data: unknown, nowMs: number): void {
  const handler = HANDLERS[type];
  if (handler) batch(() => handler(state, data as never, nowMs));
}

function ready(state: State, event: Ready): void {
  state.me.value = event.user;
  state.users.set(event.user.id, event.user);
  const known = new Set(event.guilds.map((guild) => guild.id));
  for (const guild of state.guilds.values()) if (!known.has(guild.id)) forgetGuild(state, guild.id);
  for (const channel of state.directs.value) state.channels.delete(channel.id);
  state.awaitedGuilds.clear();
  for (const id of known) state.awaitedGuilds.add(id);
  state.typing.clear();
  state.presences.clear();
  state.presences.set(event.user.id, "online");
  state.reads.setAll((event.read_state ?? []).map((read) => [read.id, read]));
  for (const channel of event.private_channels ?? []) channelSet(state, channel);
  // A later session replaces what is shown bit by bit; the page does not close in between.
  if (!state.isReady.peek()) state.isReady.value = known.size === 0;
}

function guildCreate(state: State, event: GuildCreate): void {
  settleAwaited(state, event.id);
  if (event.unavailable === true) return;
  const members = state.members(event.id);
  state.guilds.set(event.id, {
    id: event.id,
    name: event.name,
    ownerId: event.owner_id,
    memberCount: event.member_count ?? event.members.length,
    joinedAt: event.joined_at ?? null,
    roles: new Map(event.roles.map((role) => [role.id, role])),
  });
  const present = new Set(event.channels.map((channel) => channel.id));
  for (const channel of state.channels.values()) {
    if (channel.guild_id === event.id && !present.has(channel.id)) state.channels.delete(channel.id);
  }
  state.channels.setAll(event.channels.map((channel) => [channel.id, { ...channel, guild_id: event.id }]));
  members.setAll(event.members.map((member) => [member.user.id, member]));
  state.users.setAll(event.members.map((member) => [member.user.id, member.user]));
  state.presences.setAll(event.presences.map((presence) => [presence.user.id, presence.status]));
}

function settleAwaited(state: State, id: Id): void {
  state.awaitedGuilds.delete(id);
  if (state.awaitedGuilds.size === 0 && state.me.value) state.isReady.value = true;
}

function changeGuild(state: State, id: Id, change: (guild: Guild) => Guild): void {
  const guild = state.guilds.peek(id);
  if (guild) state.guilds.set(id, change(guild));
}

function guildUpdate(state: State, event: GuildCreate): void {
  changeGuild(state, event.id, (guild) => ({
    ...guild,
    name: event.name,
    ownerId: event.owner_id,
    roles: event.roles ? new Map(event.roles.map((role) => [role.id, role])) : guild.roles,
  }));
}

function guildDelete(state: State, event: { id: Id; unavailable?: boolean }): void {
  settleAwaited(state, event.id);
  if (event.unavailable !== true) forgetGuild(state, event.id);
}

function forgetGuild(state: State, id: Id): void {
  state.guilds.delete(id);
  state.members(id).clear();
  for (const channel of state.channels.values()) if (channel.guild_id === id) state.channels.delete(channel.id);
}

function roleSet(state: State, event: InGuild & { role: Role }): void {
  changeGuild(state, event.guild_id, (guild) => ({ ...guild, roles: new Map(guild.roles).set(event.role.id, event.role) }));
}

function roleDelete(state: State, event: InGuild & { role_id: Id }): void {
  changeGuild(state, event.guild_id, (guild) => {
    const roles = new Map(guild.roles);
    roles.delete(event.role_id);
    return { ...guild, roles };
  });
}

function memberAdd(state: State, event: Member & InGuild): void {
  if (!state.members(event.guild_id).peek(event.user.id)) {
    changeGuild(state, event.guild_id, (guild) => ({ ...guild, memberCount: guild.memberCount + 1 }));
  }
  memberSet(state, event);
}

function memberSet(state: State, event: Member & InGuild): void {
  state.members(event.guild_id).set(event.user.id, event);
  state.users.set(event.user.id, event.user);
}

function memberRemove(state: State, event: InGuild & { user: User }): void {
  state.members(event.guild_id).delete(event.user.id);
  changeGuild(state, event.guild_id, (guild) => ({ ...guild, memberCount: Math.max(0, guild.memberCount - 1) }));
}

function membersChunk(state: State, event: InGuild & { members: Member[]; presences?: Presence[] }): void {
  state.members(event.guild_id).setAll(event.members.map((member) => [member.user.id, member]));
  state.users.setAll(event.members.map((member) => [member.user.id, member.user]));
  if (event.presences) state.presences.setAll(event.presences.map((one) => [one.user.id, one.status]));
}

function channelSet(state: State, event: Channel): void {
  const known = state.channels.peek(event.id);
  // An update may be older than the message that came just before it; the newest message id never goes back.
  const last = isNewer(known?.last_message_id, event.last_message_id) ? known?.last_message_id : event.last_message_id;
  state.channels.set(event.id, { ...known, ...event, last_message_id: last ?? null });
  if (event.recipients) state.users.setAll(event.recipients.map((user) => [user.id, user]));
}

function channelDelete(state: State, event: Channel): void {
  state.channels.delete(event.id);
}

function presenceUpdate(state: State, event: Presence): void {
  state.presences.set(event.user.id, event.status);
}

function userUpdate(state: State, event: User): void {
  state.users.set(event.id, event);
  if (state.me.value?.id === event.id) state.me.value = event;
}

function typingStart(state: State, event: TypingEvent, nowMs: number): void {
  if (event.member) state.users.set(event.member.user.id, event.member.user);
  const typing = new Map(state.typing.peek(event.channel_id));
  state.typing.set(event.channel_id, typing.set(event.user_id, nowMs + TYPING_TTL_MS));
}

function stopTyping(state: State, channel: Id, user: Id): void {
  const typing = state.typing.peek(channel);
  if (!typing?.has(user)) return;
  const rest = new Map(typing);
  rest.delete(user);
  state.typing.set(channel, rest);
}

/** Whether the person is looking at the newest messages of this channel right now. */
export function isWatching(state: State, channel: Id): boolean {
  return state.openChannel.peek() === channel && state.isAtPresent.peek() && state.isWindowActive.peek();
}

function messageCreate(state: State, message: Message): void {
  const isMine = message.author.id === state.me.peek()?.id;
  if (!isMine && !message.guild_id) meetDirect(state, message);
  const channel = state.channels.peek(message.channel_id);
  stopTyping(state, message.channel_id, message.author.id);
  if (!state.users.peek(message.author.id)) state.users.set(message.author.id, message.author);
  if (isMine && message.nonce) state.outbox.value = removed(state.outbox.peek(), String(message.nonce));
  const history = state.history(message.channel_id);
  history.value = withCreated(history.peek(), message);
  if (!channel) return;
  // Repeated by a RESUME, or already told by the answer to the POST.
  if (!isNewer(message.id, channel.last_message_id)) return;
  if (isMine) markRead(state, channel.id, message.id);
  else if (!isWatching(state, channel.id)) countUnread(state, channel, message);
  state.channels.set(channel.id, { ...channel, last_message_id: message.id });
}

/** The first message of a conversation that somebody else began may come before its channel. */
function meetDirect(state: State, message: Message): void {
  if (state.channels.peek(message.channel_id)) return;
  channelSet(state, { id: message.channel_id, type: ChannelType.Direct, recipients: [message.author] });
}

function countUnread(state: State, channel: Channel, message: Message): void {
  if (state.openChannel.peek() === channel.id && !state.newLines.peek(channel.id)) {
    state.newLines.set(channel.id, state.readUpTo(channel));
  }
  if (!mentionsMe(state, channel, message)) return;
  const read = state.reads.peek(channel.id);
  const count = (read?.mention_count ?? 0) + 1;
  state.reads.set(channel.id, { id: channel.id, last_message_id: read?.last_message_id ?? null, mention_count: count });
}

export function mentionsMe(state: State, channel: Channel, message: Message): boolean {
  const me = state.me.peek()?.id;
  if (!me || message.author.id === me) return false;
  if (channel.type === ChannelType.Direct || message.mention_everyone === true) return true;
  return (message.mentions ?? []).some((user) => user.id === me);
}

export function markRead(state: State, channel: Id, message: Id): void {
  const read = state.reads.peek(channel);
  if (read && !isNewer(message, read.last_message_id) && !read.mention_count) return;
  state.reads.set(channel, { id: channel, last_message_id: message, mention_count: 0 });
}

function messageUpdate(state: State, event: Message): void {
  const history = state.history(event.channel_id);
  // An update may be partial, and does not know which reactions are mine.
  history.value = withUpdated(history.peek(), event.id, (known) => ({ ...known, ...event, reactions: known.reactions ?? [] }));
}

function messageDelete(state: State, event: { id: Id; channel_id: Id }): void {
  messageDeleteBulk(state, { ids: [event.id], channel_id: event.channel_id });
}

function messageDeleteBulk(state: State, event: { ids: Id[]; channel_id: Id }): void {
  const history = state.history(event.channel_id);
  history.value = withDeleted(history.peek(), event.ids);
}

function react(state: State, event: ReactionEvent, delta: 1 | -1): void {
  const isMine = event.user_id === state.me.peek()?.id;
  const history = state.history(event.channel_id);
  history.value = withUpdated(history.peek(), event.message_id, (known) => withReaction(known, event.emoji, delta, isMine));
}

function reactionsClear(state: State, event: InMessage & { emoji?: Emoji }): void {
  const history = state.history(event.channel_id);
  history.value = withUpdated(history.peek(), event.message_id, (known) => ({
    ...known,
    reactions: event.emoji ? (known.reactions ?? []).filter((one) => one.emoji.name !== event.emoji?.name) : [],
  }));
}

function messageAck(state: State, event: InMessage): void {
  const read = state.reads.peek(event.channel_id);
  if (read && isNewer(read.last_message_id, event.message_id)) return;
  state.reads.set(event.channel_id, { id: event.channel_id, last_message_id: event.message_id, mention_count: 0 });
}
