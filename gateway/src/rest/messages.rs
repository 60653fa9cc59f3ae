//! Messages: write, read one, edit, delete.
//!
//! Writing is the path that everything else exists for: rights from memory, an id, one durable
//! write that is also the event, and the answer rendered from what was written. With
//! `enforce_nonce` a retry finds the id that the first attempt claimed and completes or repeats its
//! answer, so that a message is written once however often it is sent.

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::Shared;
use super::access::ChannelAccess;
use super::error::{ApiError, ApiResult, FormErrors, Unknown};
use super::extract::{Caller, Form, Path};
use super::mentions::{Allowed, Mentions};
use crate::app::App;
use crate::clock;
use crate::directory::Place;
use crate::events::{EventKind, Note};
use crate::id::Id;
use crate::model::channel;
use crate::model::message::{self, Message};
use crate::model::permission::Permissions;
use crate::store::messages::{self, MessageRow};
use crate::store::read_states;

/// Longest message in characters.
pub(crate) const CONTENT_CHARACTERS_MAX: usize = 2000;
/// Most embeds of a message.
const EMBEDS_MAX: usize = 10;
/// Longest text of all embeds, encoded, in bytes.
const EMBEDS_BYTES_MAX: usize = 32 * 1024;
/// Longest nonce in characters.
const NONCE_CHARACTERS_MAX: usize = 25;
/// Oldest message that a bulk deletion takes: 14 days.
const BULK_AGE_MS_MAX: i64 = 14 * 86_400_000;
/// `SUPPRESS_EMBEDS` and `SUPPRESS_NOTIFICATIONS`: the flags that a writer may set.
const FLAGS_MASK: u32 = 1 << 2 | 1 << 12;

/// A message as it was sent.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) content: String,
    embeds: Option<String>,
    tts: bool,
    flags: u32,
    nonce: Option<Value>,
    enforce_nonce: bool,
    pub(super) allowed: Allowed,
    pub(super) reply_to: Option<Id>,
    must_exist: bool,
}

impl Draft {
    pub(super) fn read(form: &mut Form, channel: Id) -> ApiResult<Self> {
        let content = form
            .text("content", 0..=CONTENT_CHARACTERS_MAX)
            .unwrap_or_default();
        let embeds = embeds(form);
        let tts = form.get("tts").unwrap_or(false);
        let flags = form.get::<u32>("flags").unwrap_or(0) & FLAGS_MASK;
        let nonce = nonce(form);
        let enforce_nonce = form.get("enforce_nonce").unwrap_or(false);
        let allowed = Allowed::read(form);
        let reference: Option<Value> = form.get("message_reference");
        let (reply_to, must_exist) = reply(form, channel, reference.as_ref());
        let unsupported = ["attachments", "sticker_ids", "components", "poll"];
        let extra = unsupported.into_iter().any(|key| {
            let value: Option<Value> = form.get(key);
            value.is_some_and(|value| !matches!(&value, Value::Array(list) if list.is_empty()))
        });
        form.finish()?;
        if content.trim().is_empty() && embeds.is_none() {
            let message = if extra {
                "Cannot send an empty message: attachments, stickers, components and polls are not here yet"
            } else {
                "Cannot send an empty message"
            };
            return Err(ApiError::refused(50006, message));
        }
        Ok(Self {
            content,
            embeds,
            tts,
            flags,
            nonce,
            enforce_nonce,
            allowed,
            reply_to,
            must_exist,
        })
    }
}

/// Embeds as one JSON array, kept as they came.
fn embeds(form: &mut Form) -> Option<String> {
    let mut list: Vec<Value> = form.get("embeds").unwrap_or_default();
    if let Some(single) = form.get::<Value>("embed") {
        list.push(single);
    }
    if list.is_empty() {
        return None;
    }
    if list.len() > EMBEDS_MAX {
        form.fault(
            "embeds",
            "BASE_TYPE_MAX_LENGTH",
            "Must be 10 or fewer in length.",
        );
    }
    for embed in &mut list {
        match embed.as_object_mut() {
            // The one key that readers insist on and writers leave out.
            Some(fields) => drop(fields.insert("type".to_owned(), json!("rich"))),
            None => form.fault(
                "embeds",
                "DICT_TYPE_CONVERT",
                "Only objects can be used here",
            ),
        }
    }
    let text = Value::Array(list).to_string();
    if text.len() > EMBEDS_BYTES_MAX {
        let message = format!("Must be {EMBEDS_BYTES_MAX} bytes or fewer in all.");
        form.fault("embeds", "MAX_EMBED_SIZE_EXCEEDED", message);
    }
    Some(text)
}

/// A nonce is text or a number; it is given back as it came.
fn nonce(form: &mut Form) -> Option<Value> {
    let nonce: Value = form.get("nonce")?;
    match &nonce {
        Value::String(text) if text.chars().count() > NONCE_CHARACTERS_MAX => {
            form.fault(
                "nonce",
                "BASE_TYPE_MAX_LENGTH",
                "Must be 25 or fewer in length.",
            );
        }
        Value::String(_) | Value::Number(_) => {}
        _ => form.fault("nonce", "BASE_TYPE_INVALID", "Must be text or a number."),
    }
    Some(nonce)
}

/// What is answered, and whether it has to be there.
fn reply(form: &mut Form, channel: Id, reference: Option<&Value>) -> (Option<Id>, bool) {
    let Some(reference) = reference else {
        return (None, false);
    };
    let id = |key: &str| reference.get(key).and_then(|id| Id::deserialize(id).ok());
    if id("channel_id").is_some_and(|other| other != channel) {
        let message = "A reply is in the channel of what it answers.";
        form.fault("message_reference", "MESSAGE_REFERENCE_CHANNEL", message);
    }
    if reference.get("type").and_then(Value::as_u64).unwrap_or(0) != 0 {
        form.fault(
            "message_reference",
            "BASE_TYPE_CHOICES",
            "Forwarding is not here yet.",
        );
    }
    let message = id("message_id");
    if message.is_none() {
        form.fault(
            "message_reference",
            "BASE_TYPE_REQUIRED",
            "message_id is required",
        );
    }
    let must_exist = reference.get("fail_if_not_exists").and_then(Value::as_bool);
    (message, must_exist.unwrap_or(true))
}

/// `POST /channels/{channel}/messages`
pub(crate) async fn create(
    State(app): State<Shared>,
    caller: Caller,
    Path(channel): Path<Id>,
    mut form: Form,
) -> ApiResult<Json<Message>> {
    let access = app.channel_access(caller, channel).await?;
    access.need(Permissions::SEND_MESSAGES)?;
    if access.place.kind() == channel::CATEGORY {
        return Err(ApiError::refused(
            50008,
            "Cannot send messages in a non-text channel",
        ));
    }
    let mut draft = Draft::read(&mut form, channel)?;
    draft.tts &= access.may(Permissions::SEND_TTS_MESSAGES);
    let answered = match draft.reply_to {
        Some(id) => messages::get(&app.db, channel, id).await?,
        None => None,
    };
    if draft.reply_to.is_some() && answered.is_none() {
        if draft.must_exist {
            let message = "Unknown message";
            return Err(FormErrors::one(
                &["message_reference"],
                "REPLIES_UNKNOWN_MESSAGE",
                message,
            ));
        }
        draft.reply_to = None;
    }
    let (id, earlier) = app.message_id(caller, channel, &draft).await?;
    let row = match earlier {
        Some(row) => row,
        None => app.write(caller, &access, id, (&draft, answered)).await?,
    };
    let mut wire = app.render_one(caller.id, access.guild_id(), &row).await?;
    wire.nonce = raw(draft.nonce.as_ref());
    Ok(Json(wire))
}

fn raw(nonce: Option<&Value>) -> Option<Box<RawValue>> {
    serde_json::value::to_raw_value(nonce?).ok()
}

impl App {
    /// The id to write under, or the message that an earlier attempt wrote.
    async fn message_id(
        &self,
        caller: Caller,
        channel: Id,
        draft: &Draft,
    ) -> ApiResult<(Id, Option<MessageRow>)> {
        let fresh = self.ids.next_id()?;
        let Some(nonce) = draft.nonce.as_ref().filter(|_| draft.enforce_nonce) else {
            return Ok((fresh, None));
        };
        let text = nonce
            .as_str()
            .map_or_else(|| nonce.to_string(), ToOwned::to_owned);
        let id = messages::claim_nonce(&self.db, (channel, caller.id), &text, fresh).await?;
        if id == fresh {
            return Ok((id, None));
        }
        Ok((id, messages::get(&self.db, channel, id).await?))
    }

    async fn write(
        &self,
        caller: Caller,
        access: &ChannelAccess,
        id: Id,
        (draft, answered): (&Draft, Option<MessageRow>),
    ) -> ApiResult<MessageRow> {
        let replied = answered.map(|row| row.author_id);
        let mentions = self
            .mentioned(access, &draft.content, &draft.allowed, replied)
            .await?;
        let row = MessageRow {
            channel_id: access.id,
            message_id: id,
            author_id: caller.id,
            kind: if draft.reply_to.is_some() {
                message::REPLY
            } else {
                message::DEFAULT
            },
            content: draft.content.clone(),
            flags: draft.flags,
            tts: draft.tts,
            mention_everyone: mentions.everyone,
            mentions: mentions.users,
            mention_roles: mentions.roles,
            embeds: draft.embeds.clone(),
            reply_to: draft.reply_to,
            ..MessageRow::default()
        };
        let note = Note::new(EventKind::MessageCreate).nonce(draft.nonce.as_ref());
        let newest = self.directory.newest(access.id).await?;
        let new_bucket = newest.is_none_or(|newest| newest.bucket() != id.bucket());
        messages::insert(&self.db, &row, new_bucket, &access.announce(&note)).await?;
        self.directory.arrived(access.id, id);
        self.remember_mentions(caller, access, &row).await?;
        Ok(row)
    }

    /// One unread mention per account: those named, and the other one of a direct channel.
    async fn remember_mentions(
        &self,
        caller: Caller,
        access: &ChannelAccess,
        row: &MessageRow,
    ) -> ApiResult<()> {
        let mut users = row.mentions.clone();
        if let Place::Direct(direct) = &access.place {
            users.extend(direct.other(caller.id));
        }
        users.sort_unstable();
        users.dedup();
        for user in users.into_iter().filter(|user| *user != caller.id) {
            read_states::mention(&self.db, user, (access.id, row.message_id)).await?;
        }
        Ok(())
    }

    async fn mentioned(
        &self,
        access: &ChannelAccess,
        content: &str,
        allowed: &Allowed,
        replied: Option<Id>,
    ) -> ApiResult<Mentions> {
        let mut found = Mentions::find(content, allowed, replied);
        found.everyone &= access.may(Permissions::MENTION_EVERYONE);
        let mut users = Vec::with_capacity(found.users.len());
        for user in found.users {
            if self.directory.user(user).await?.is_some() {
                users.push(user);
            }
        }
        found.users = users;
        match &access.place {
            Place::Guild(state, _) => found.roles.retain(|role| state.role(*role).is_some()),
            Place::Direct(_) => found.roles.clear(),
        }
        Ok(found)
    }
}

/// `GET /channels/{channel}/messages/{message}`
pub(crate) async fn get(
    State(app): State<Shared>,
    caller: Caller,
    Path((channel, message)): Path<(Id, Id)>,
) -> ApiResult<Json<Message>> {
    let access = app.channel_access(caller, channel).await?;
    access.need(Permissions::READ_MESSAGE_HISTORY)?;
    let row = app.message(channel, message).await?;
    Ok(Json(
        app.render_one(caller.id, access.guild_id(), &row).await?,
    ))
}

/// `PATCH /channels/{channel}/messages/{message}`: content and embeds of one's own message. Who
/// manages messages may change the flags of others'.
pub(crate) async fn edit(
    State(app): State<Shared>,
    caller: Caller,
    Path((channel, message)): Path<(Id, Id)>,
    mut form: Form,
) -> ApiResult<Json<Message>> {
    let access = app.channel_access(caller, channel).await?;
    let mut row = app.message(channel, message).await?;
    if let Some(flags) = form.get::<u32>("flags") {
        row.flags = row.flags & !FLAGS_MASK | flags & FLAGS_MASK;
    }
    let changes_text = form.has("content") || form.has("embeds");
    if row.author_id != caller.id {
        if changes_text {
            let message = "Cannot edit a message authored by another user";
            return Err(ApiError::new(StatusCode::FORBIDDEN, 50005, message));
        }
        access.need(Permissions::MANAGE_MESSAGES)?;
    }
    if form.has("content") {
        row.content = form
            .text("content", 0..=CONTENT_CHARACTERS_MAX)
            .unwrap_or_default();
    }
    if form.has("embeds") || form.has("embed") {
        row.embeds = embeds(&mut form);
    }
    let allowed = Allowed::read(&mut form);
    form.finish()?;
    if row.content.trim().is_empty() && row.embeds.is_none() {
        return Err(ApiError::refused(50006, "Cannot send an empty message"));
    }
    if changes_text {
        let mentions = app.mentioned(&access, &row.content, &allowed, None).await?;
        row.mention_everyone = mentions.everyone;
        row.mentions = mentions.users;
        row.mention_roles = mentions.roles;
        row.edited_at_ms = Some(clock::now_ms());
    }
    let heard = access.announce(&Note::new(EventKind::MessageUpdate));
    if !messages::edit(&app.db, &row, &heard).await? {
        return Err(Unknown::Message.into());
    }
    Ok(Json(
        app.render_one(caller.id, access.guild_id(), &row).await?,
    ))
}

/// `DELETE /channels/{channel}/messages/{message}`
pub(crate) async fn delete(
    State(app): State<Shared>,
    caller: Caller,
    Path((channel, message)): Path<(Id, Id)>,
) -> ApiResult<StatusCode> {
    let access = app.channel_access(caller, channel).await?;
    let row = app.message(channel, message).await?;
    if row.author_id != caller.id {
        access.need(Permissions::MANAGE_MESSAGES)?;
    }
    let note = deletion(EventKind::MessageDelete, &access, &json!({"id": message}));
    if !messages::delete(&app.db, channel, message, &access.announce(&note)).await? {
        return Err(Unknown::Message.into());
    }
    Ok(StatusCode::NO_CONTENT)
}

fn deletion(kind: EventKind, access: &ChannelAccess, which: &Value) -> Note {
    let mut event = which.clone();
    if let Some(fields) = event.as_object_mut() {
        fields.insert("channel_id".to_owned(), json!(access.id));
        if let Some(guild) = access.guild_id() {
            fields.insert("guild_id".to_owned(), json!(guild));
        }
    }
    Note::with(kind, &event)
}

/// `POST /channels/{channel}/messages/bulk-delete {messages}`
pub(crate) async fn delete_many(
    State(app): State<Shared>,
    caller: Caller,
    Path(channel): Path<Id>,
    mut form: Form,
) -> ApiResult<StatusCode> {
    let access = app.channel_access(caller, channel).await?;
    access.need(Permissions::MANAGE_MESSAGES)?;
    let mut ids: Vec<Id> = form.get("messages").unwrap_or_default();
    ids.sort_unstable();
    ids.dedup();
    if !(2..=100).contains(&ids.len()) {
        form.fault(
            "messages",
            "BASE_TYPE_BAD_LENGTH",
            "Must be between 2 and 100 in length.",
        );
    }
    form.finish()?;
    let oldest_ms = clock::now_ms() - BULK_AGE_MS_MAX;
    if ids.iter().any(|id| id.unix_ms() < oldest_ms) {
        let message = "You can only bulk delete messages that are under 14 days old.";
        return Err(ApiError::refused(50034, message));
    }
    let note = deletion(EventKind::MessageDeleteBulk, &access, &json!({"ids": ids}));
    messages::delete_many(&app.db, channel, &ids, &access.announce(&note)).await?;
    Ok(StatusCode::NO_CONTENT)
}
