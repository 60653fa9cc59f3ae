//! Names of dispatch events and the intents that let a session hear them.
//!
//! One table instead of string matching all over the gateway: the name on the wire, the intent of
//! the guild form and the intent of the direct-message form. An event without an intent reaches
//! every session that is otherwise allowed to see it.

use serde::{Deserialize, Serialize};

/// Event classes that a session asked for at identify (bits of the public bot API v10).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Intents(pub u32);

impl Intents {
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// Guilds, channels, roles, threads.
    pub const GUILDS: Self = Self(1);
    /// Members joining, leaving, changing.
    pub const GUILD_MEMBERS: Self = Self(1 << 1);
    /// Bans.
    pub const GUILD_MODERATION: Self = Self(1 << 2);
    /// Invites.
    pub const GUILD_INVITES: Self = Self(1 << 6);
    /// Presences of members.
    pub const GUILD_PRESENCES: Self = Self(1 << 8);
    /// Messages in guild channels.
    pub const GUILD_MESSAGES: Self = Self(1 << 9);
    /// Reactions in guild channels.
    pub const GUILD_MESSAGE_REACTIONS: Self = Self(1 << 10);
    /// Typing in guild channels.
    pub const GUILD_MESSAGE_TYPING: Self = Self(1 << 11);
    /// Direct messages.
    pub const DIRECT_MESSAGES: Self = Self(1 << 12);
    /// Reactions to direct messages.
    pub const DIRECT_MESSAGE_REACTIONS: Self = Self(1 << 13);
    /// Typing in direct messages.
    pub const DIRECT_MESSAGE_TYPING: Self = Self(1 << 14);
    /// Content of messages that do not concern the bot itself.
    pub const MESSAGE_CONTENT: Self = Self(1 << 15);
    /// Every bit that the API defines; any other bit is refused.
    pub const ALL: Self = Self(53_608_447);

    /// Whether the two share a bit, or `wanted` is empty.
    pub const fn allows(self, wanted: Self) -> bool {
        wanted.0 == 0 || self.0 & wanted.0 != 0
    }

    /// Whether every bit of `other` is set.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

macro_rules! events {
    ($($(#[$doc:meta])* $variant:ident $name:literal $guild:ident $direct:ident;)*) => {
        /// One kind of dispatch.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum EventKind {
            $($(#[$doc])* #[serde(rename = $name)] $variant,)*
        }

        impl EventKind {
            /// Name on the wire (the `t` of a dispatch).
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// Intent that a session needs, in a guild or outside of one.
            pub const fn intent(self, in_guild: bool) -> Intents {
                match self {
                    $(Self::$variant => if in_guild { Intents::$guild } else { Intents::$direct },)*
                }
            }
        }
    };
}

events! {
    /// First dispatch of a new session.
    Ready "READY" NONE NONE;
    /// Last dispatch of a replay.
    Resumed "RESUMED" NONE NONE;
    /// A guild became available, or the account joined it.
    GuildCreate "GUILD_CREATE" GUILDS GUILDS;
    /// The guild's own settings changed.
    GuildUpdate "GUILD_UPDATE" GUILDS GUILDS;
    /// The guild is gone, or the account left it.
    GuildDelete "GUILD_DELETE" GUILDS GUILDS;
    /// Somebody was banned.
    GuildBanAdd "GUILD_BAN_ADD" GUILD_MODERATION NONE;
    /// A ban was lifted.
    GuildBanRemove "GUILD_BAN_REMOVE" GUILD_MODERATION NONE;
    /// Somebody joined.
    GuildMemberAdd "GUILD_MEMBER_ADD" GUILD_MEMBERS NONE;
    /// A member's nick or roles changed.
    GuildMemberUpdate "GUILD_MEMBER_UPDATE" GUILD_MEMBERS NONE;
    /// Somebody left or was removed.
    GuildMemberRemove "GUILD_MEMBER_REMOVE" GUILD_MEMBERS NONE;
    /// Answer to a request for members.
    GuildMembersChunk "GUILD_MEMBERS_CHUNK" NONE NONE;
    /// A role was created.
    GuildRoleCreate "GUILD_ROLE_CREATE" GUILDS NONE;
    /// A role changed.
    GuildRoleUpdate "GUILD_ROLE_UPDATE" GUILDS NONE;
    /// A role was deleted.
    GuildRoleDelete "GUILD_ROLE_DELETE" GUILDS NONE;
    /// A channel was created or became visible.
    ChannelCreate "CHANNEL_CREATE" GUILDS NONE;
    /// A channel changed.
    ChannelUpdate "CHANNEL_UPDATE" GUILDS NONE;
    /// A channel was deleted or became invisible.
    ChannelDelete "CHANNEL_DELETE" GUILDS NONE;
    /// The newest pin of a channel changed.
    ChannelPinsUpdate "CHANNEL_PINS_UPDATE" GUILDS DIRECT_MESSAGES;
    /// An invite was created.
    InviteCreate "INVITE_CREATE" GUILD_INVITES NONE;
    /// An invite was deleted.
    InviteDelete "INVITE_DELETE" GUILD_INVITES NONE;
    /// A message was written.
    MessageCreate "MESSAGE_CREATE" GUILD_MESSAGES DIRECT_MESSAGES;
    /// A message was edited.
    MessageUpdate "MESSAGE_UPDATE" GUILD_MESSAGES DIRECT_MESSAGES;
    /// A message was deleted.
    MessageDelete "MESSAGE_DELETE" GUILD_MESSAGES DIRECT_MESSAGES;
    /// Several messages were deleted at once.
    MessageDeleteBulk "MESSAGE_DELETE_BULK" GUILD_MESSAGES NONE;
    /// A reaction was added.
    MessageReactionAdd "MESSAGE_REACTION_ADD" GUILD_MESSAGE_REACTIONS DIRECT_MESSAGE_REACTIONS;
    /// A reaction was removed.
    MessageReactionRemove "MESSAGE_REACTION_REMOVE" GUILD_MESSAGE_REACTIONS DIRECT_MESSAGE_REACTIONS;
    /// All reactions of a message were removed.
    MessageReactionRemoveAll "MESSAGE_REACTION_REMOVE_ALL" GUILD_MESSAGE_REACTIONS DIRECT_MESSAGE_REACTIONS;
    /// All reactions of one emoji were removed.
    MessageReactionRemoveEmoji "MESSAGE_REACTION_REMOVE_EMOJI" GUILD_MESSAGE_REACTIONS DIRECT_MESSAGE_REACTIONS;
    /// A presence changed.
    PresenceUpdate "PRESENCE_UPDATE" GUILD_PRESENCES NONE;
    /// Somebody types.
    TypingStart "TYPING_START" GUILD_MESSAGE_TYPING DIRECT_MESSAGE_TYPING;
    /// The account's own user changed.
    UserUpdate "USER_UPDATE" NONE NONE;
    /// A person's read state moved (people's sessions only).
    MessageAck "MESSAGE_ACK" NONE NONE;
    /// A command was sent too often.
    RateLimited "RATE_LIMITED" NONE NONE;
}
