//! Entry points for fuzzing, see [`crate::fuzzing`]: bodies and queries of requests.

use axum::extract::Query;
use http::Uri;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::accounts::check_name;
use super::extract::Form;
use super::mentions::{Allowed, Mentions};
use super::messages::{CONTENT_CHARACTERS_MAX, Draft};
use super::{bans, channels, front, guilds, members, pages, pins, reactions, roles, users};
use crate::id::Id;
use crate::model::permission::{Overwrite, Permissions};

/// A body, read by every reader of fields that the handlers use: as a message, as an account, as a
/// channel, role or member, and as a list of moves.
pub fn form(input: &[u8]) -> bool {
    let mut accepted = channels::read_list::<channels::Move>(input).is_ok();
    accepted |= channels::read_list::<roles::Move>(input).is_ok();
    let Ok(mut form) = Form::parse(input) else {
        return accepted;
    };
    let channel = Id::from_bigint(1);
    if let Ok(draft) = Draft::read(&mut form, channel) {
        let found = Mentions::find(&draft.content, &draft.allowed, draft.reply_to);
        assert!(draft.content.chars().count() <= CONTENT_CHARACTERS_MAX);
        // 100 that the text names and the author of what is answered.
        assert!(found.users.len() <= 101 && found.roles.len() <= 100);
        accepted = true;
    }
    let mut form = Form::parse(input).unwrap_or_default();
    let _rules = Allowed::read(&mut form);
    let _name = check_name(&mut form);
    let _password = form.required("password", 8..=256);
    let _topic = form.text("topic", 0..=1024);
    let _kind: Option<u8> = form.get("type");
    let _position: Option<i32> = form.get("position");
    let _nsfw: Option<bool> = form.get("nsfw");
    let _slow = form.number("rate_limit_per_user", 0..=21_600);
    let _parent: Option<Option<Id>> = form.change("parent_id");
    let _overwrites: Option<Vec<Overwrite>> = form.get("permission_overwrites");
    let _permissions: Option<Permissions> = form.get("permissions");
    let _roles: Option<Vec<Id>> = form.get("roles");
    let _colors: Option<Value> = form.get("colors");
    accepted | form.finish().is_ok()
}

/// The query of a request, as each handler with one reads it.
pub fn query(input: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(input) else {
        return false;
    };
    let Ok(uri) = format!("/api/v10/x?{text}").parse::<Uri>() else {
        return false;
    };
    // Every field is optional but for the search, so that all but damage is accepted.
    let accepted = [
        read::<pages::PageQuery>(&uri),
        read::<bans::PageQuery>(&uri),
        read::<members::PageQuery>(&uri),
        read::<members::SearchQuery>(&uri),
        read::<guilds::CountsQuery>(&uri),
        read::<users::GuildsQuery>(&uri),
        read::<reactions::PageQuery>(&uri),
        read::<pins::PageQuery>(&uri),
    ];
    accepted.contains(&true)
}

fn read<T: DeserializeOwned>(uri: &Uri) -> bool {
    Query::<T>::try_from_uri(uri).is_ok()
}

/// The path of a request, as rate limits read it.
pub(crate) fn address(text: &str) -> bool {
    let path = front::bare(text);
    assert!(text.ends_with(path));
    front::major(path) != 0
}
