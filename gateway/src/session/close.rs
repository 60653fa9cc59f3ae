//! Codes with which the gateway closes a socket.

/// Why the server closes. The number goes into the close frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum CloseCode {
    /// The peer closed or went away; answered with the normal code.
    Normal = 1000,
    /// A frame broke the WebSocket protocol.
    Protocol = 1002,
    /// Something failed here; resume.
    Unknown = 4000,
    /// An opcode that does not exist.
    UnknownOpcode = 4001,
    /// A payload that is too long or not what its opcode asks for.
    Decode = 4002,
    /// A command before identify.
    NotAuthenticated = 4003,
    /// The token is not valid. Do not retry.
    AuthenticationFailed = 4004,
    /// A second identify.
    AlreadyAuthenticated = 4005,
    /// A resume from a sequence number that was never sent.
    InvalidSequence = 4007,
    /// More than 120 commands in 60 seconds.
    RateLimited = 4008,
    /// No heartbeat in time.
    SessionTimedOut = 4009,
    /// Shard id and count do not fit. Do not retry.
    InvalidShard = 4010,
    /// Too many guilds for one session. Do not retry.
    ShardingRequired = 4011,
    /// A version other than 9 and 10. Do not retry.
    InvalidVersion = 4012,
    /// Bits that are no intent. Do not retry.
    InvalidIntents = 4013,
    /// An intent that the bot may not have. Do not retry.
    DisallowedIntents = 4014,
}

impl CloseCode {
    /// The number on the wire.
    pub const fn code(self) -> u16 {
        self as u16
    }

    /// Text for whoever reads the close frame.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Normal => "bye",
            Self::Protocol => "websocket protocol error",
            Self::Unknown => "internal error, reconnect and resume",
            Self::UnknownOpcode => "unknown opcode",
            Self::Decode => "payload is too long or cannot be decoded",
            Self::NotAuthenticated => "identify first",
            Self::AuthenticationFailed => "token is not valid",
            Self::AlreadyAuthenticated => "already identified",
            Self::InvalidSequence => "sequence was never sent, identify again",
            Self::RateLimited => "more than 120 commands in 60 s",
            Self::SessionTimedOut => "no heartbeat in time",
            Self::InvalidShard => "shard is not [id, count] with id < count",
            Self::ShardingRequired => "too many guilds for one session, use shards",
            Self::InvalidVersion => "use v=10 or v=9",
            Self::InvalidIntents => "intents have unknown bits",
            Self::DisallowedIntents => "an intent is not allowed for this bot",
        }
    }

    /// Whether the session ends with the socket.
    pub const fn ends_session(self) -> bool {
        matches!(
            self,
            Self::Normal
                | Self::AuthenticationFailed
                | Self::InvalidShard
                | Self::ShardingRequired
                | Self::InvalidVersion
                | Self::InvalidIntents
                | Self::DisallowedIntents
        )
    }
}
