//! Permission bits and channel overwrites.
//!
//! Bits travel as decimal strings, because they outgrow the integers of JavaScript.

use std::fmt;
use std::ops::{BitAnd, BitOr, BitOrAssign, Not};

use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize, Serializer};

use crate::id::Id;

/// A set of permission bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Permissions(pub u64);

impl Permissions {
    /// No right at all.
    pub const NONE: Self = Self(0);
    /// Bit 0.
    pub const CREATE_INSTANT_INVITE: Self = Self(1 << 0);
    /// Bit 1.
    pub const KICK_MEMBERS: Self = Self(1 << 1);
    /// Bit 2.
    pub const BAN_MEMBERS: Self = Self(1 << 2);
    /// Bit 3.
    pub const ADMINISTRATOR: Self = Self(1 << 3);
    /// Bit 4.
    pub const MANAGE_CHANNELS: Self = Self(1 << 4);
    /// Bit 5.
    pub const MANAGE_GUILD: Self = Self(1 << 5);
    /// Bit 6.
    pub const ADD_REACTIONS: Self = Self(1 << 6);
    /// Bit 7.
    pub const VIEW_AUDIT_LOG: Self = Self(1 << 7);
    /// Bit 8.
    pub const PRIORITY_SPEAKER: Self = Self(1 << 8);
    /// Bit 9.
    pub const STREAM: Self = Self(1 << 9);
    /// Bit 10.
    pub const VIEW_CHANNEL: Self = Self(1 << 10);
    /// Bit 11.
    pub const SEND_MESSAGES: Self = Self(1 << 11);
    /// Bit 12.
    pub const SEND_TTS_MESSAGES: Self = Self(1 << 12);
    /// Bit 13.
    pub const MANAGE_MESSAGES: Self = Self(1 << 13);
    /// Bit 14.
    pub const EMBED_LINKS: Self = Self(1 << 14);
    /// Bit 15.
    pub const ATTACH_FILES: Self = Self(1 << 15);
    /// Bit 16.
    pub const READ_MESSAGE_HISTORY: Self = Self(1 << 16);
    /// Bit 17.
    pub const MENTION_EVERYONE: Self = Self(1 << 17);
    /// Bit 18.
    pub const USE_EXTERNAL_EMOJIS: Self = Self(1 << 18);
    /// Bit 19.
    pub const VIEW_GUILD_INSIGHTS: Self = Self(1 << 19);
    /// Bit 20.
    pub const CONNECT: Self = Self(1 << 20);
    /// Bit 21.
    pub const SPEAK: Self = Self(1 << 21);
    /// Bit 22.
    pub const MUTE_MEMBERS: Self = Self(1 << 22);
    /// Bit 23.
    pub const DEAFEN_MEMBERS: Self = Self(1 << 23);
    /// Bit 24.
    pub const MOVE_MEMBERS: Self = Self(1 << 24);
    /// Bit 25.
    pub const USE_VAD: Self = Self(1 << 25);
    /// Bit 26.
    pub const CHANGE_NICKNAME: Self = Self(1 << 26);
    /// Bit 27.
    pub const MANAGE_NICKNAMES: Self = Self(1 << 27);
    /// Bit 28.
    pub const MANAGE_ROLES: Self = Self(1 << 28);
    /// Bit 29.
    pub const MANAGE_WEBHOOKS: Self = Self(1 << 29);
    /// Bit 30.
    pub const MANAGE_GUILD_EXPRESSIONS: Self = Self(1 << 30);
    /// Bit 31.
    pub const USE_APPLICATION_COMMANDS: Self = Self(1 << 31);
    /// Bit 32.
    pub const REQUEST_TO_SPEAK: Self = Self(1 << 32);
    /// Bit 33.
    pub const MANAGE_EVENTS: Self = Self(1 << 33);
    /// Bit 34.
    pub const MANAGE_THREADS: Self = Self(1 << 34);
    /// Bit 35.
    pub const CREATE_PUBLIC_THREADS: Self = Self(1 << 35);
    /// Bit 36.
    pub const CREATE_PRIVATE_THREADS: Self = Self(1 << 36);
    /// Bit 37.
    pub const USE_EXTERNAL_STICKERS: Self = Self(1 << 37);
    /// Bit 38.
    pub const SEND_MESSAGES_IN_THREADS: Self = Self(1 << 38);
    /// Bit 39.
    pub const USE_EMBEDDED_ACTIVITIES: Self = Self(1 << 39);
    /// Bit 40.
    pub const MODERATE_MEMBERS: Self = Self(1 << 40);
    /// Bit 42.
    pub const USE_SOUNDBOARD: Self = Self(1 << 42);
    /// Bit 43.
    pub const CREATE_GUILD_EXPRESSIONS: Self = Self(1 << 43);
    /// Bit 44.
    pub const CREATE_EVENTS: Self = Self(1 << 44);
    /// Bit 45.
    pub const USE_EXTERNAL_SOUNDS: Self = Self(1 << 45);
    /// Bit 46.
    pub const SEND_VOICE_MESSAGES: Self = Self(1 << 46);
    /// Bit 48.
    pub const SET_VOICE_CHANNEL_STATUS: Self = Self(1 << 48);
    /// Bit 49.
    pub const SEND_POLLS: Self = Self(1 << 49);
    /// Bit 50.
    pub const USE_EXTERNAL_APPS: Self = Self(1 << 50);
    /// Bit 51.
    pub const PIN_MESSAGES: Self = Self(1 << 51);
    /// Bit 52.
    pub const BYPASS_SLOWMODE: Self = Self(1 << 52);
    /// Every bit that has a meaning: 0 to 52 without 47.
    pub const ALL: Self = Self(((1 << 53) - 1) & !(1 << 47));
    /// What the role of everybody may do in a new guild.
    pub const DEFAULT: Self = Self(
        Self::CREATE_INSTANT_INVITE.0
            | Self::ADD_REACTIONS.0
            | Self::STREAM.0
            | Self::VIEW_CHANNEL.0
            | Self::SEND_MESSAGES.0
            | Self::EMBED_LINKS.0
            | Self::ATTACH_FILES.0
            | Self::READ_MESSAGE_HISTORY.0
            | Self::MENTION_EVERYONE.0
            | Self::USE_EXTERNAL_EMOJIS.0
            | Self::CONNECT.0
            | Self::SPEAK.0
            | Self::USE_VAD.0
            | Self::CHANGE_NICKNAME.0
            | Self::USE_APPLICATION_COMMANDS.0
            | Self::CREATE_PUBLIC_THREADS.0
            | Self::CREATE_PRIVATE_THREADS.0
            | Self::SEND_MESSAGES_IN_THREADS.0
            | Self::SEND_POLLS.0,
    );

    /// True when every bit of `needed` is present.
    pub fn contains(self, needed: Self) -> bool {
        self.0 & needed.0 == needed.0
    }

    /// The value for a `bigint` column.
    pub fn bigint(self) -> i64 {
        self.0.cast_signed()
    }

    /// Takes the bits back from a `bigint` column.
    pub fn from_bigint(number: i64) -> Self {
        Self(number.cast_unsigned())
    }
}

impl BitOr for Permissions {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOrAssign for Permissions {
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

impl BitAnd for Permissions {
    type Output = Self;
    fn bitand(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

impl Not for Permissions {
    type Output = Self;
    fn not(self) -> Self {
        Self(!self.0)
    }
}

impl Serialize for Permissions {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Permissions {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(BitsVisitor)
    }
}

struct BitsVisitor;

impl Visitor<'_> for BitsVisitor {
    type Value = Permissions;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("permission bits as decimal string or integer")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Permissions, E> {
        let bits = text.parse().map(Permissions);
        bits.map_err(|_| E::custom("permission bits are not a decimal number"))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Permissions, E> {
        Ok(Permissions(number))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Permissions, E> {
        let bits = u64::try_from(number).map(Permissions);
        bits.map_err(|_| E::custom("permission bits are negative"))
    }
}

/// Overwrite of a role.
pub const OVERWRITE_ROLE: u8 = 0;
/// Overwrite of a member.
pub const OVERWRITE_MEMBER: u8 = 1;

/// Rights that one channel grants or takes, beside the roles of the guild.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Overwrite {
    /// Role or user that it concerns.
    pub id: Id,
    /// [`OVERWRITE_ROLE`] or [`OVERWRITE_MEMBER`].
    #[serde(rename = "type", deserialize_with = "kind")]
    pub kind: u8,
    /// Granted.
    #[serde(default)]
    pub allow: Permissions,
    /// Taken; where both are set, the grant wins.
    #[serde(default)]
    pub deny: Permissions,
}

/// Accepts the numbers and the words that old clients send.
fn kind<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u8, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Kind {
        Number(u8),
        Word(String),
    }
    match Kind::deserialize(deserializer)? {
        Kind::Number(number @ (OVERWRITE_ROLE | OVERWRITE_MEMBER)) => Ok(number),
        Kind::Word(word) if word == "role" || word == "0" => Ok(OVERWRITE_ROLE),
        Kind::Word(word) if word == "member" || word == "1" => Ok(OVERWRITE_MEMBER),
        Kind::Number(_) | Kind::Word(_) => Err(de::Error::custom("type must be 0 or 1")),
    }
}
