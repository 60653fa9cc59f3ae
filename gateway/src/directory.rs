//! What is asked on every request and changes rarely: guilds, members, accounts, kept in memory.
//!
//! A guild is one immutable [`GuildState`]; a change drops it and the next reader loads it again, so
//! that there is one way in which state comes to be. Writers of this process drop what they change
//! before they answer, and [`Directory::observe`] drops what others changed, fed by the stream.
//!
//! # Invariants
//!
//! * A state that was loaded before a drop is never kept after it: each drop raises a generation
//!   and a loader keeps its result only when the generation is what it was before the load.
//! * Caches are bounded; a miss costs one to three reads.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use chatdb::{ChangeEvent, Db, Result};
use quick_cache::sync::Cache;

use crate::id::Id;
use crate::model::permission::Permissions;
use crate::model::role::Role;
use crate::model::{channel, guild};
use crate::permission::{self, Rank, Subject};
use crate::store::channels::{self, ChannelRow};
use crate::store::direct::{self, DirectRow};
use crate::store::fields::Fields;
use crate::store::guilds::{self, GuildRow};
use crate::store::members::{self, MemberRow};
use crate::store::messages;
use crate::store::roles::{self, RoleRow};
use crate::store::users::{self, UserRow};

/// A guild with its roles and channels, as of one moment.
#[derive(Clone, Debug)]
pub(crate) struct GuildState {
    pub(crate) guild: GuildRow,
    /// By id.
    pub(crate) roles: Vec<RoleRow>,
    /// By id.
    pub(crate) channels: Vec<ChannelRow>,
}

impl GuildState {
    /// Id of the guild and of the role of everybody.
    pub(crate) fn id(&self) -> Id {
        self.guild.guild_id
    }

    pub(crate) fn role(&self, id: Id) -> Option<&RoleRow> {
        let place = self.roles.binary_search_by_key(&id, |role| role.role_id);
        self.roles.get(place.ok()?)
    }

    pub(crate) fn channel(&self, id: Id) -> Option<&ChannelRow> {
        let place = self
            .channels
            .binary_search_by_key(&id, |row| row.channel_id);
        self.channels.get(place.ok()?)
    }

    fn subject<'a>(&self, member: &'a MemberRow, now_ms: i64) -> Subject<'a> {
        Subject {
            user: member.user_id,
            roles: &member.roles,
            owner: member.user_id == self.guild.owner_id,
            timed_out: member.timeout_until_ms.is_some_and(|until| until > now_ms),
        }
    }

    /// Rights of a member in the guild.
    pub(crate) fn rights(&self, member: &MemberRow, now_ms: i64) -> Permissions {
        permission::in_guild(self.subject(member, now_ms), self.id(), |role| {
            self.role(role).map(|role| role.permissions)
        })
    }

    /// Rights of a member in one channel.
    pub(crate) fn rights_in(
        &self,
        member: &MemberRow,
        channel: &ChannelRow,
        now_ms: i64,
    ) -> Permissions {
        let base = self.rights(member, now_ms);
        let subject = self.subject(member, now_ms);
        permission::in_channel(subject, self.id(), base, &channel.overwrites)
    }

    /// The highest role of a member.
    pub(crate) fn rank(&self, member: &MemberRow) -> Rank {
        let ranks = member.roles.iter().filter_map(|role| self.role(*role));
        let highest = ranks
            .map(|role| Rank::of(role.position, role.role_id))
            .max();
        highest.unwrap_or(Rank::of(0, self.id()))
    }

    /// Roles on the wire, by position.
    pub(crate) fn wire_roles(&self) -> Vec<Role> {
        let mut sorted: Vec<&RoleRow> = self.roles.iter().collect();
        sorted.sort_by_key(|role| (role.position, role.role_id));
        sorted.into_iter().map(Role::from).collect()
    }

    /// The guild on the wire.
    pub(crate) fn wire(&self) -> guild::Guild {
        guild::Guild::new(&self.guild, self.wire_roles())
    }
}

/// Where messages go: a channel of a guild, or one between two accounts.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    /// In a guild.
    Guild(Arc<GuildState>, ChannelRow),
    /// Between two accounts.
    Direct(DirectRow),
}

impl Place {
    /// The guild, if it is in one.
    pub(crate) fn guild_id(&self) -> Option<Id> {
        match self {
            Self::Guild(state, _) => Some(state.id()),
            Self::Direct(_) => None,
        }
    }

    /// The number of the channel's type on the wire.
    pub(crate) fn kind(&self) -> u8 {
        match self {
            Self::Guild(_, row) => row.kind,
            Self::Direct(_) => channel::DIRECT,
        }
    }
}

const GUILDS_MAX: usize = 4096;
const MEMBERS_MAX: usize = 65_536;
const USERS_MAX: usize = 65_536;
const CHANNELS_MAX: usize = 65_536;

/// The caches over the database.
#[derive(Debug)]
pub(crate) struct Directory {
    db: Db,
    generation: AtomicU64,
    guilds: Cache<Id, Arc<GuildState>>,
    members: Cache<(Id, Id), Arc<MemberRow>>,
    users: Cache<Id, Arc<UserRow>>,
    channel_guilds: Cache<Id, Id>,
    /// Newest message of a channel; 0 when it has none.
    newest: Cache<Id, Id>,
}

impl Directory {
    pub(crate) fn new(db: Db) -> Self {
        Self {
            db,
            generation: AtomicU64::new(0),
            guilds: Cache::new(GUILDS_MAX),
            members: Cache::new(MEMBERS_MAX),
            users: Cache::new(USERS_MAX),
            channel_guilds: Cache::new(CHANNELS_MAX),
            newest: Cache::new(CHANNELS_MAX),
        }
    }

    fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// The guild; `None` when it does not exist.
    pub(crate) async fn guild(&self, id: Id) -> Result<Option<Arc<GuildState>>> {
        if let Some(state) = self.guilds.get(&id) {
            return Ok(Some(state));
        }
        let before = self.generation();
        let Some(guild) = guilds::get(&self.db, id).await? else {
            return Ok(None);
        };
        let roles = roles::list(&self.db, id).await?;
        let channels = channels::list(&self.db, id).await?;
        let state = Arc::new(GuildState {
            guild,
            roles,
            channels,
        });
        if self.generation() == before {
            self.guilds.insert(id, Arc::clone(&state));
            if self.generation() != before {
                self.guilds.remove(&id);
            }
        }
        Ok(Some(state))
    }

    /// The member; `None` when the account is not in the guild.
    pub(crate) async fn member(&self, guild: Id, user: Id) -> Result<Option<Arc<MemberRow>>> {
        if let Some(member) = self.members.get(&(guild, user)) {
            return Ok(Some(member));
        }
        let before = self.generation();
        let Some(row) = members::get(&self.db, guild, user).await? else {
            return Ok(None);
        };
        let member = Arc::new(row);
        if self.generation() == before {
            self.members.insert((guild, user), Arc::clone(&member));
            if self.generation() != before {
                self.members.remove(&(guild, user));
            }
        }
        Ok(Some(member))
    }

    /// The account; `None` when it does not exist.
    pub(crate) async fn user(&self, id: Id) -> Result<Option<Arc<UserRow>>> {
        if let Some(user) = self.users.get(&id) {
            return Ok(Some(user));
        }
        let before = self.generation();
        let Some(row) = users::get(&self.db, id).await? else {
            return Ok(None);
        };
        let user = Arc::new(row);
        if self.generation() == before {
            self.users.insert(id, Arc::clone(&user));
            if self.generation() != before {
                self.users.remove(&id);
            }
        }
        Ok(Some(user))
    }

    /// Where a channel is; `None` when it does not exist.
    pub(crate) async fn place(&self, channel: Id) -> Result<Option<Place>> {
        let guild = match self.channel_guilds.get(&channel) {
            Some(guild) => Some(guild),
            None => channels::guild_of(&self.db, channel).await?,
        };
        let Some(guild) = guild else {
            return Ok(direct::get(&self.db, channel).await?.map(Place::Direct));
        };
        self.channel_guilds.insert(channel, guild);
        let Some(state) = self.guild(guild).await? else {
            return Ok(None);
        };
        let row = state.channel(channel).cloned();
        Ok(row.map(|row| Place::Guild(state, row)))
    }

    /// Newest message of a channel, which may have been deleted since.
    pub(crate) async fn newest(&self, channel: Id) -> Result<Option<Id>> {
        if let Some(id) = self.newest.get(&channel) {
            return Ok((id != Id::default()).then_some(id));
        }
        let mut found = None;
        for bucket in messages::buckets(&self.db, channel).await? {
            let side = messages::Side::Before(Id::from_bigint(i64::MAX));
            let slice = messages::slice(&self.db, channel, bucket, side, 1).await?;
            if let Some(row) = slice.first() {
                found = Some(row.message_id);
                break;
            }
        }
        self.arrived(channel, found.unwrap_or_default());
        Ok(found)
    }

    /// Remembers that a message is in a channel.
    pub(crate) fn arrived(&self, channel: Id, message: Id) {
        let known = self.newest.get(&channel);
        if known.is_none_or(|known| known < message) {
            self.newest.insert(channel, message);
        }
    }

    fn changed(&self) {
        self.generation.fetch_add(1, Ordering::AcqRel);
    }

    /// Drops a guild's state: its settings, a role or a channel changed.
    pub(crate) fn forget_guild(&self, guild: Id) {
        self.changed();
        self.guilds.remove(&guild);
    }

    /// Drops a member.
    pub(crate) fn forget_member(&self, guild: Id, user: Id) {
        self.changed();
        self.members.remove(&(guild, user));
    }

    /// Drops an account.
    pub(crate) fn forget_user(&self, user: Id) {
        self.changed();
        self.users.remove(&user);
    }

    /// Drops or notes what a change of the stream makes stale, whoever wrote it.
    pub(crate) fn observe(&self, change: &ChangeEvent) -> Result<()> {
        match change.table.as_str() {
            "flux.guilds" | "flux.roles" | "flux.channels" => {
                self.forget_guild(change.id("guild_id")?);
            }
            "flux.members" => self.forget_member(change.id("guild_id")?, change.id("user_id")?),
            "flux.users" => self.forget_user(change.id("user_id")?),
            "flux.messages" if change.kind == chatdb::ChangeKind::Insert => {
                self.arrived(change.id("channel_id")?, change.id("message_id")?);
            }
            _ => {}
        }
        Ok(())
    }
}
