// The shapes that travel between the server and the page: the public bot API v10, reduced to the fields the page reads.
// Ids are decimal strings of 64-bit numbers; never turn them into a JavaScript number.

export type Id = string;

export interface User {
  id: Id;
  username: string;
  global_name?: string | null;
  bot?: boolean;
}

export interface Member {
  user: User;
  nick?: string | null;
  roles: Id[];
  joined_at: string;
}

export interface Role {
  id: Id;
  name: string;
  color: number;
  hoist: boolean;
  position: number;
  permissions: string;
}

export interface Overwrite {
  id: Id;
  type: 0 | 1;
  allow: string;
  deny: string;
}

export const enum ChannelType {
  GuildText = 0,
  Direct = 1,
  Category = 4,
  Announcement = 5,
}

export interface Channel {
  id: Id;
  type: number;
  guild_id?: Id;
  name?: string | null;
  topic?: string | null;
  position?: number;
  parent_id?: Id | null;
  last_message_id?: Id | null;
  permission_overwrites?: Overwrite[];
  recipients?: User[];
}

export type Status = "online" | "idle" | "dnd" | "offline" | "invisible";

export interface Presence {
  user: { id: Id };
  guild_id?: Id;
  status: Status;
}

/** What GUILD_CREATE carries. */
export interface GuildCreate {
  id: Id;
  name: string;
  owner_id: Id;
  unavailable?: boolean;
  member_count?: number;
  large?: boolean;
  joined_at?: string;
  roles: Role[];
  channels: Channel[];
  members: Member[];
  presences: Presence[];
}

export interface Emoji {
  id: Id | null;
  name: string;
}

export interface Reaction {
  emoji: Emoji;
  count: number;
  me: boolean;
}

export interface Attachment {
  id: Id;
  filename: string;
  size: number;
  url: string;
  content_type?: string;
  width?: number | null;
  height?: number | null;
}

export interface Embed {
  title?: string;
  description?: string;
  url?: string;
  color?: number;
  author?: { name: string; url?: string };
  fields?: { name: string; value: string; inline?: boolean }[];
  footer?: { text: string };
  image?: { url: string; width?: number; height?: number };
}

export const enum MessageType {
  Default = 0,
  MemberJoin = 7,
  Reply = 19,
}

export interface Message {
  id: Id;
  type: number;
  channel_id: Id;
  guild_id?: Id;
  author: User;
  content: string;
  timestamp: string;
  edited_timestamp?: string | null;
  mention_everyone?: boolean;
  mentions?: User[];
  attachments?: Attachment[];
  embeds?: Embed[];
  reactions?: Reaction[];
  nonce?: string | number | null;
  message_reference?: { message_id?: Id; channel_id?: Id } | null;
  referenced_message?: Message | null;
}

export interface ReadState {
  id: Id;
  last_message_id: Id | null;
  mention_count?: number;
}

export interface Ready {
  v: number;
  user: User;
  session_id: string;
  resume_gateway_url?: string;
  guilds: { id: Id; unavailable?: boolean }[];
  private_channels?: Channel[];
  read_state?: ReadState[];
}

export interface Invite {
  code: string;
  guild?: { id: Id; name: string };
  channel?: { id: Id; name: string };
  inviter?: User;
  approximate_member_count?: number;
  approximate_presence_count?: number;
}

export interface Login {
  token: string;
  user: User;
}

/** Public facts about this server. */
export interface Instance {
  name?: string;
  version?: string;
  registration_open?: boolean;
  first_visit?: boolean;
}
