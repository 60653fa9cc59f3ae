//! Accounts: as others see them, and as the account sees itself.

use serde::Serialize;

use super::Null;
use crate::id::Id;
use crate::store::users::UserRow;

/// An account as everybody may see it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct User {
    pub(crate) id: Id,
    pub(crate) username: String,
    pub(crate) discriminator: &'static str,
    pub(crate) global_name: Option<String>,
    pub(crate) avatar: Option<String>,
    pub(crate) bot: bool,
    pub(crate) system: bool,
    pub(crate) banner: Null,
    pub(crate) accent_color: Null,
    pub(crate) public_flags: u32,
}

impl User {
    /// An author whose account is gone: history keeps its shape.
    pub(crate) fn deleted(id: Id) -> Self {
        Self::from(&UserRow {
            user_id: id,
            username: "deleted-user".to_owned(),
            ..UserRow::default()
        })
    }
}

impl From<&UserRow> for User {
    fn from(row: &UserRow) -> Self {
        Self {
            id: row.user_id,
            username: row.username.clone(),
            discriminator: "0",
            global_name: row.global_name.clone(),
            avatar: row.avatar.clone(),
            bot: row.bot,
            system: false,
            banner: (),
            accent_color: (),
            public_flags: 0,
        }
    }
}

/// An account as it sees itself: `GET /users/@me` and the `user` of READY.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct CurrentUser {
    #[serde(flatten)]
    pub(crate) user: User,
    pub(crate) mfa_enabled: bool,
    pub(crate) verified: bool,
    pub(crate) email: Null,
    pub(crate) locale: &'static str,
    pub(crate) flags: u32,
    pub(crate) premium_type: u8,
}

impl From<&UserRow> for CurrentUser {
    fn from(row: &UserRow) -> Self {
        Self {
            user: User::from(row),
            mfa_enabled: false,
            verified: true,
            email: (),
            locale: "en-US",
            flags: 0,
            premium_type: 0,
        }
    }
}

/// `GET /applications/@me`: a bot account and its application are one here and share an id.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Application {
    pub(crate) id: Id,
    pub(crate) name: String,
    pub(crate) icon: Option<String>,
    pub(crate) description: &'static str,
    pub(crate) bot_public: bool,
    pub(crate) bot_require_code_grant: bool,
    pub(crate) verify_key: &'static str,
    pub(crate) flags: u32,
    pub(crate) owner: User,
    pub(crate) bot: User,
    pub(crate) team: Null,
    pub(crate) summary: &'static str,
    pub(crate) terms_of_service_url: Null,
    pub(crate) privacy_policy_url: Null,
    pub(crate) interactions_endpoint_url: Null,
    pub(crate) approximate_guild_count: usize,
}
