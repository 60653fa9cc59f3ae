//! Who a message calls: accounts, roles, everybody.
//!
//! `<@id>`, `<@!id>`, `<@&id>`, `@everyone` and `@here` in the text, narrowed by
//! `allowed_mentions`. Pure text work: whether the account or role exists is asked afterwards.

use serde::Deserialize;
use serde_json::Value;

use super::extract::Form;
use crate::id::Id;

/// Most accounts and most roles that one message calls.
const MENTIONS_MAX: usize = 100;

/// What the writer lets the message do.
#[derive(Clone, Debug)]
pub(crate) struct Allowed {
    everyone: bool,
    /// `None`: all that the text names.
    users: Option<Vec<Id>>,
    roles: Option<Vec<Id>>,
    replied: bool,
}

impl Default for Allowed {
    fn default() -> Self {
        Self {
            everyone: true,
            users: None,
            roles: None,
            replied: true,
        }
    }
}

impl Allowed {
    /// Reads `allowed_mentions`; without it everything counts.
    pub(crate) fn read(form: &mut Form) -> Self {
        let Some(rules) = form.get::<Value>("allowed_mentions") else {
            return Self::default();
        };
        let ids = |key: &str| -> Vec<Id> {
            let list = rules.get(key).and_then(Value::as_array);
            let id = |value: &Value| Id::deserialize(value).ok();
            list.into_iter()
                .flatten()
                .filter_map(id)
                .take(MENTIONS_MAX)
                .collect()
        };
        let parse = rules.get("parse").and_then(Value::as_array);
        let parses = |kind: &str| {
            parse.is_some_and(|list| list.iter().any(|entry| entry.as_str() == Some(kind)))
        };
        let replied = rules.get("replied_user").and_then(Value::as_bool);
        Self {
            everyone: parses("everyone"),
            users: if parses("users") {
                None
            } else {
                Some(ids("users"))
            },
            roles: if parses("roles") {
                None
            } else {
                Some(ids("roles"))
            },
            replied: replied.unwrap_or(false),
        }
    }
}

/// What a message calls.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Mentions {
    pub(crate) users: Vec<Id>,
    pub(crate) roles: Vec<Id>,
    pub(crate) everyone: bool,
}

impl Mentions {
    /// Reads the text; `replied` is the author of what it answers.
    pub(crate) fn find(content: &str, allowed: &Allowed, replied: Option<Id>) -> Self {
        let mut found = Self::default();
        for part in content.split("<@").skip(1) {
            let Some((inner, _)) = part.split_once('>') else {
                continue;
            };
            let (list, limits, digits) = match inner.strip_prefix('&') {
                Some(digits) => (&mut found.roles, &allowed.roles, digits),
                None => (
                    &mut found.users,
                    &allowed.users,
                    inner.trim_start_matches('!'),
                ),
            };
            let Ok(id) = digits.parse::<Id>() else {
                continue;
            };
            let wanted = limits.as_ref().is_none_or(|limits| limits.contains(&id));
            if wanted && !list.contains(&id) && list.len() < MENTIONS_MAX {
                list.push(id);
            }
        }
        if let Some(author) = replied
            && allowed.replied
            && !found.users.contains(&author)
        {
            found.users.push(author);
        }
        let calls_all = content.contains("@everyone") || content.contains("@here");
        found.everyone = allowed.everyone && calls_all;
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(content: &str, rules: &str) -> (Vec<u64>, Vec<u64>, bool) {
        let mut form = Form::parse(rules.as_bytes()).unwrap();
        let found = Mentions::find(content, &Allowed::read(&mut form), Id::new(9));
        let plain = |ids: Vec<Id>| ids.into_iter().map(Id::get).collect();
        (plain(found.users), plain(found.roles), found.everyone)
    }

    #[test]
    fn a_message_calls_who_its_text_names_and_its_rules_allow() {
        let text = "hi <@1> <@!2> <@&3> <@1> <@x> <@ @everyone";
        assert_eq!(find(text, "{}"), (vec![1, 2, 9], vec![3], true));
        let none = r#"{"allowed_mentions": {"parse": []}}"#;
        assert_eq!(find(text, none), (vec![], vec![], false));
        let some =
            r#"{"allowed_mentions": {"users": ["2"], "parse": ["roles"], "replied_user": true}}"#;
        assert_eq!(find(text, some), (vec![2, 9], vec![3], false));
    }
}
