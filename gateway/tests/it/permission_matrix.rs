//! The permission algorithm, rule by rule.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use gateway::id::Id;
use gateway::model::permission::{OVERWRITE_MEMBER, OVERWRITE_ROLE, Overwrite, Permissions};
use gateway::permission::{Rank, Subject, in_channel, in_guild};

type P = Permissions;

fn id(number: u64) -> Id {
    Id::new(number).unwrap()
}

const GUILD: u64 = 1;
const ROLE_A: u64 = 2;
const ROLE_B: u64 = 3;
const USER: u64 = 9;

/// Rights in a channel of a member with roles A and B, where everybody may `base`.
fn rights(base: P, role_a: P, overwrites: &[(u64, u8, P, P)]) -> P {
    let roles = [id(ROLE_A), id(ROLE_B)];
    let subject = Subject {
        user: id(USER),
        roles: &roles,
        owner: false,
        timed_out: false,
    };
    evaluate(subject, base, role_a, overwrites)
}

fn evaluate(subject: Subject<'_>, base: P, role_a: P, overwrites: &[(u64, u8, P, P)]) -> P {
    let granted = in_guild(subject, id(GUILD), |role| match role.get() {
        GUILD => Some(base),
        ROLE_A => Some(role_a),
        _ => None,
    });
    let list: Vec<Overwrite> = overwrites
        .iter()
        .map(|&(target, kind, allow, deny)| Overwrite {
            id: id(target),
            kind,
            allow,
            deny,
        })
        .collect();
    in_channel(subject, id(GUILD), granted, &list)
}

const TALK: P = Permissions(P::VIEW_CHANNEL.0 | P::SEND_MESSAGES.0);

#[test]
fn roles_add_up() {
    assert_eq!(rights(P::VIEW_CHANNEL, P::SEND_MESSAGES, &[]), TALK);
}

#[test]
fn the_owner_and_administrators_have_everything_whatever_a_channel_denies() {
    let deny_all = [
        (GUILD, OVERWRITE_ROLE, P::NONE, P::ALL),
        (USER, OVERWRITE_MEMBER, P::NONE, P::ALL),
    ];
    assert_eq!(rights(P::NONE, P::ADMINISTRATOR, &deny_all), P::ALL);
    let owner = Subject {
        user: id(USER),
        roles: &[],
        owner: true,
        timed_out: true,
    };
    assert_eq!(evaluate(owner, P::NONE, P::NONE, &deny_all), P::ALL);
}

#[test]
fn a_channel_that_is_not_seen_grants_nothing() {
    let hidden = [(GUILD, OVERWRITE_ROLE, P::NONE, P::VIEW_CHANNEL)];
    assert_eq!(rights(TALK | P::MANAGE_MESSAGES, P::NONE, &hidden), P::NONE);
}

#[test]
fn overwrites_apply_everybody_then_roles_together_then_the_member() {
    let send = P::SEND_MESSAGES;
    let everybody_denies = (GUILD, OVERWRITE_ROLE, P::NONE, send);
    let a_denies = (ROLE_A, OVERWRITE_ROLE, P::NONE, send);
    let b_allows = (ROLE_B, OVERWRITE_ROLE, send, P::NONE);
    let member_denies = (USER, OVERWRITE_MEMBER, P::NONE, send);
    let member_allows = (USER, OVERWRITE_MEMBER, send, P::NONE);
    let of_others = (77, OVERWRITE_ROLE, P::NONE, P::ALL);
    let cases = [
        (vec![everybody_denies], false),
        (vec![everybody_denies, b_allows], true),
        (vec![a_denies], false),
        // Between roles a grant wins, in whatever order they are listed.
        (vec![a_denies, b_allows], true),
        (vec![b_allows, a_denies], true),
        (vec![b_allows, member_denies], false),
        (vec![everybody_denies, a_denies, member_allows], true),
        (vec![of_others], true),
    ];
    for (overwrites, may) in cases {
        let found = rights(TALK, P::NONE, &overwrites);
        assert_eq!(found.contains(send), may, "{overwrites:?}");
    }
}

#[test]
fn what_needs_sending_goes_with_sending() {
    let all = TALK | P::MENTION_EVERYONE | P::ATTACH_FILES | P::EMBED_LINKS | P::ADD_REACTIONS;
    let mute = [(GUILD, OVERWRITE_ROLE, P::NONE, P::SEND_MESSAGES)];
    assert_eq!(
        rights(all, P::NONE, &mute),
        P::VIEW_CHANNEL | P::ADD_REACTIONS
    );
}

#[test]
fn voice_rights_go_with_connecting() {
    let all = P::VIEW_CHANNEL | P::CONNECT | P::SPEAK | P::STREAM;
    let closed = [(GUILD, OVERWRITE_ROLE, P::NONE, P::CONNECT)];
    assert_eq!(rights(all, P::NONE, &closed), P::VIEW_CHANNEL);
}

#[test]
fn a_member_in_timeout_only_reads() {
    let subject = Subject {
        user: id(USER),
        roles: &[],
        owner: false,
        timed_out: true,
    };
    let base = P::DEFAULT | P::MANAGE_MESSAGES;
    let expected = P::VIEW_CHANNEL | P::READ_MESSAGE_HISTORY;
    assert_eq!(evaluate(subject, base, P::NONE, &[]), expected);
}

#[test]
fn higher_position_ranks_higher_and_of_two_at_one_position_the_older() {
    assert!(Rank::of(2, id(5)) > Rank::of(1, id(4)));
    assert!(Rank::of(1, id(4)) > Rank::of(1, id(5)));
}

#[test]
fn bits_travel_as_decimal_text_and_are_read_from_numbers_too() {
    let bits: P = serde_json::from_str("\"137411140505153\"").unwrap();
    assert_eq!(serde_json::to_string(&bits).unwrap(), "\"137411140505153\"");
    assert_eq!(serde_json::from_str::<P>("8").unwrap(), P::ADMINISTRATOR);
    let refused = serde_json::from_str::<P>("\"-1\"").unwrap_err();
    assert!(refused.to_string().contains("decimal"));
}
