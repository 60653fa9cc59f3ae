//! Roles of guilds. The role of everybody has the id of its guild.

use chatdb::{Db, Result, Statement};

use super::fields::{Fields, nullable};
use super::{Announcement, rows};
use crate::id::Id;
use crate::model::permission::Permissions;

pub(crate) const TABLES: &[&str] = &["CREATE TABLE IF NOT EXISTS flux.roles (
        guild_id bigint, role_id bigint, name text, color int, hoist boolean, position int,
        permissions bigint, managed boolean, mentionable boolean, unicode_emoji text,
        PRIMARY KEY ((guild_id), role_id))"];

/// One role.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RoleRow {
    pub(crate) guild_id: Id,
    pub(crate) role_id: Id,
    pub(crate) name: String,
    /// `0xRRGGBB`, 0 is none.
    pub(crate) color: u32,
    pub(crate) hoist: bool,
    pub(crate) position: i32,
    pub(crate) permissions: Permissions,
    pub(crate) managed: bool,
    pub(crate) mentionable: bool,
    pub(crate) unicode_emoji: Option<String>,
}

impl RoleRow {
    pub(crate) fn read(fields: &impl Fields) -> Result<Self> {
        Ok(Self {
            guild_id: fields.id("guild_id")?,
            role_id: fields.id("role_id")?,
            name: fields.text("name")?,
            color: fields.number("color")?,
            hoist: fields.flag("hoist")?,
            position: fields.number("position")?,
            permissions: Permissions::from_bigint(fields.opt_bigint("permissions")?.unwrap_or(0)),
            managed: fields.flag("managed")?,
            mentionable: fields.flag("mentionable")?,
            unicode_emoji: fields.opt_text("unicode_emoji")?,
        })
    }
}

/// Writes a role, new or changed.
pub(crate) async fn put(db: &Db, row: &RoleRow, heard: &Announcement) -> Result<()> {
    let text = "INSERT INTO flux.roles (guild_id, role_id, name, color, hoist, position,
        permissions, managed, mentionable, unicode_emoji) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
    let values = vec![
        row.guild_id.into(),
        row.role_id.into(),
        row.name.as_str().into(),
        row.color.cast_signed().into(),
        row.hoist.into(),
        row.position.into(),
        row.permissions.bigint().into(),
        row.managed.into(),
        row.mentionable.into(),
        nullable(row.unicode_emoji.as_deref()),
    ];
    db.execute(heard.on(Statement::new(text).bind(values)))
        .await?;
    Ok(())
}

pub(crate) async fn delete(db: &Db, guild: Id, role: Id, heard: &Announcement) -> Result<()> {
    let text = "DELETE FROM flux.roles WHERE guild_id = ? AND role_id = ?";
    let values = vec![guild.into(), role.into()];
    db.execute(heard.on(Statement::new(text).bind(values)))
        .await?;
    Ok(())
}

/// All roles of a guild, by id: the role of everybody comes first.
pub(crate) async fn list(db: &Db, guild: Id) -> Result<Vec<RoleRow>> {
    let text = "SELECT * FROM flux.roles WHERE guild_id = ?";
    let statement = Statement::new(text)
        .bind(vec![guild.into()])
        .page_size(5000);
    rows(&db.execute(statement).await?, RoleRow::read)
}
