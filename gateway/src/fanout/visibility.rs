//! Which channels of a guild a listener sees, computed once per class of listeners.
//!
//! Two members with the same roles see the same channels, unless a channel names one of them. So the
//! listeners of a guild fall into few classes; an event asks each class once, however many
//! sessions are in it. Classes are recomputed when roles, channels or a member's roles change, never
//! per event.

use crate::directory::GuildState;
use crate::id::Id;
use crate::model::permission::{OVERWRITE_MEMBER, Permissions};
use crate::store::members::MemberRow;

/// What decides about visibility: same key, same channels.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Key {
    owner: bool,
    roles: Vec<Id>,
    /// The account, if any channel of the guild names it.
    named: Option<Id>,
}

/// One class of listeners.
#[derive(Debug)]
struct Class {
    key: Key,
    /// Ids of the channels that it sees, sorted.
    visible: Vec<Id>,
}

/// The classes of one guild.
#[derive(Debug, Default)]
pub(super) struct Classes {
    classes: Vec<Class>,
}

/// Index of a class. Valid until [`Classes::clear`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ClassId(usize);

impl Classes {
    /// The class of a member.
    pub(super) fn class_of(&mut self, state: &GuildState, member: &MemberRow) -> ClassId {
        let key = key(state, member);
        let found = self.classes.iter().position(|class| class.key == key);
        ClassId(found.unwrap_or_else(|| {
            let visible = visible(state, member);
            self.classes.push(Class { key, visible });
            self.classes.len() - 1
        }))
    }

    /// The channels that a class sees, sorted.
    pub(super) fn visible(&self, class: ClassId) -> &[Id] {
        self.classes
            .get(class.0)
            .map_or(&[], |class| &class.visible)
    }

    /// Whether each class sees the channel; everything sees what is in no channel.
    pub(super) fn views(&self, channel: Option<Id>) -> Views {
        let sees = |class: &Class| {
            channel.is_none_or(|channel| class.visible.binary_search(&channel).is_ok())
        };
        Views(self.classes.iter().map(sees).collect())
    }

    /// Forgets all classes: the guild changed.
    pub(super) fn clear(&mut self) {
        self.classes.clear();
    }
}

/// The answer of every class about one channel.
pub(super) struct Views(Vec<bool>);

impl Views {
    /// Whether the class sees the channel.
    pub(super) fn has(&self, class: ClassId) -> bool {
        self.0.get(class.0).copied().unwrap_or(false)
    }
}

fn key(state: &GuildState, member: &MemberRow) -> Key {
    let user = member.user_id;
    let named = state
        .channels
        .iter()
        .flat_map(|channel| &channel.overwrites);
    let named = named
        .clone()
        .any(|one| one.kind == OVERWRITE_MEMBER && one.id == user);
    let mut roles = member.roles.clone();
    roles.sort_unstable();
    Key {
        owner: state.guild.owner_id == user,
        roles,
        named: named.then_some(user),
    }
}

fn visible(state: &GuildState, member: &MemberRow) -> Vec<Id> {
    let sees = |channel: &&crate::store::channels::ChannelRow| {
        // A timeout never takes VIEW_CHANNEL, so the time of the question does not matter.
        state
            .rights_in(member, channel, i64::MAX)
            .contains(Permissions::VIEW_CHANNEL)
    };
    let mut ids: Vec<Id> = state
        .channels
        .iter()
        .filter(sees)
        .map(|row| row.channel_id)
        .collect();
    ids.sort_unstable();
    ids
}
