//! Roles of a guild.

use serde::Serialize;

use super::Null;
use super::permission::Permissions;
use crate::id::Id;
use crate::store::roles::RoleRow;

/// A role with its legacy and its present color form.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Role {
    pub(crate) id: Id,
    pub(crate) name: String,
    pub(crate) color: u32,
    pub(crate) colors: Colors,
    pub(crate) hoist: bool,
    pub(crate) icon: Null,
    pub(crate) unicode_emoji: Option<String>,
    pub(crate) position: i32,
    pub(crate) permissions: Permissions,
    pub(crate) managed: bool,
    pub(crate) mentionable: bool,
    pub(crate) flags: u32,
}

/// Colors of a role; this server knows the first.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Colors {
    #[serde(rename = "primary_color")]
    pub(crate) primary: u32,
    #[serde(rename = "secondary_color")]
    pub(crate) secondary: Null,
    #[serde(rename = "tertiary_color")]
    pub(crate) tertiary: Null,
}

impl From<&RoleRow> for Role {
    fn from(row: &RoleRow) -> Self {
        Self {
            id: row.role_id,
            name: row.name.clone(),
            color: row.color,
            colors: Colors {
                primary: row.color,
                secondary: (),
                tertiary: (),
            },
            hoist: row.hoist,
            icon: (),
            unicode_emoji: row.unicode_emoji.clone(),
            position: row.position,
            permissions: row.permissions,
            managed: row.managed,
            mentionable: row.mentionable,
            flags: 0,
        }
    }
}
