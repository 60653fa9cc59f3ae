//! Who may do what: the documented permission algorithm, as pure functions.
//!
//! Rights of a guild are the union of the member's roles; a channel then takes and gives by its
//! overwrites, in a fixed order: everybody, roles together, the member. Nothing here reads the
//! database or the clock, so that REST, sessions and tests get the same answer from the same facts.
//!
//! # Invariants
//!
//! * The owner and whoever holds ADMINISTRATOR have every right in every channel.
//! * Without `VIEW_CHANNEL` there is no right in a channel.
//! * A member in timeout keeps `VIEW_CHANNEL` and `READ_MESSAGE_HISTORY` at most.

use crate::id::Id;
use crate::model::permission::{OVERWRITE_MEMBER, OVERWRITE_ROLE, Overwrite, Permissions};

/// The member whose rights are asked for.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// Account of the member.
    pub user: Id,
    /// Roles of the member, without the role of everybody.
    pub roles: &'a [Id],
    /// Owns the guild.
    pub owner: bool,
    /// In timeout now.
    pub timed_out: bool,
}

const TIMED_OUT: Permissions =
    Permissions(Permissions::VIEW_CHANNEL.0 | Permissions::READ_MESSAGE_HISTORY.0);
const NEEDS_SEND: Permissions = Permissions(
    Permissions::MENTION_EVERYONE.0
        | Permissions::SEND_TTS_MESSAGES.0
        | Permissions::ATTACH_FILES.0
        | Permissions::EMBED_LINKS.0,
);
const NEEDS_CONNECT: Permissions = Permissions(
    Permissions::SPEAK.0
        | Permissions::STREAM.0
        | Permissions::MUTE_MEMBERS.0
        | Permissions::DEAFEN_MEMBERS.0
        | Permissions::MOVE_MEMBERS.0
        | Permissions::USE_VAD.0
        | Permissions::PRIORITY_SPEAKER.0
        | Permissions::USE_SOUNDBOARD.0
        | Permissions::USE_EXTERNAL_SOUNDS.0,
);

/// Rights in the guild. `rights` answers what a role grants; the role of everybody has the id of
/// the guild. A role that is gone grants nothing.
pub fn in_guild(
    subject: Subject<'_>,
    guild: Id,
    rights: impl Fn(Id) -> Option<Permissions>,
) -> Permissions {
    if subject.owner {
        return Permissions::ALL;
    }
    let mut granted = rights(guild).unwrap_or_default();
    for role in subject.roles {
        granted |= rights(*role).unwrap_or_default();
    }
    if granted.contains(Permissions::ADMINISTRATOR) {
        return Permissions::ALL;
    }
    if subject.timed_out {
        granted = granted & TIMED_OUT;
    }
    granted
}

/// Rights in a channel of the guild, given those of [`in_guild`].
pub fn in_channel(
    subject: Subject<'_>,
    guild: Id,
    base: Permissions,
    overwrites: &[Overwrite],
) -> Permissions {
    if subject.owner || base.contains(Permissions::ADMINISTRATOR) {
        return Permissions::ALL;
    }
    let mut granted = base;
    let mut apply = |allow: Permissions, deny: Permissions| granted = (granted & !deny) | allow;
    let find = |kind, id| {
        let mut all = overwrites.iter();
        all.find(move |overwrite| overwrite.kind == kind && overwrite.id == id)
    };
    if let Some(everybody) = find(OVERWRITE_ROLE, guild) {
        apply(everybody.allow, everybody.deny);
    }
    let (mut allow, mut deny) = (Permissions::NONE, Permissions::NONE);
    for role in overwrites
        .iter()
        .filter(|overwrite| overwrite.kind == OVERWRITE_ROLE)
    {
        if role.id != guild && subject.roles.contains(&role.id) {
            allow |= role.allow;
            deny |= role.deny;
        }
    }
    apply(allow, deny);
    if let Some(member) = find(OVERWRITE_MEMBER, subject.user) {
        apply(member.allow, member.deny);
    }
    implied(granted, subject.timed_out)
}

/// Removes what cannot be used without something else.
fn implied(mut granted: Permissions, timed_out: bool) -> Permissions {
    if !granted.contains(Permissions::VIEW_CHANNEL) {
        return Permissions::NONE;
    }
    if timed_out {
        return granted & TIMED_OUT;
    }
    if !granted.contains(Permissions::SEND_MESSAGES) {
        granted = granted & !NEEDS_SEND;
    }
    if !granted.contains(Permissions::CONNECT) {
        granted = granted & !NEEDS_CONNECT;
    }
    granted
}

/// Place of a role in the order of a guild: higher acts on lower. Of two roles at one position the
/// one with the lower id is higher.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rank(i32, std::cmp::Reverse<Id>);

impl Rank {
    /// Rank of a role at `position`.
    pub fn of(position: i32, role: Id) -> Self {
        Self(position, std::cmp::Reverse(role))
    }
}
