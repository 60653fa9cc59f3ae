//! The outbox: replay, acknowledgment and the three levels of a slow consumer.

use std::sync::Arc;

use gateway::events::{Event, EventKind};
use gateway::session::outbox::{COALESCE_AT, Outbox, Push, RETAINED_MAX, SHED_AT};

fn message() -> Arc<Event> {
    Event::new(EventKind::MessageCreate, true, b"{}").share()
}

fn presence(subject: u64) -> Arc<Event> {
    Event::new(EventKind::PresenceUpdate, true, b"{}")
        .about(subject)
        .share()
}

fn filled(count: usize) -> Outbox {
    let mut outbox = Outbox::default();
    (0..count).for_each(|_| assert_eq!(outbox.push(&message()), Push::Queued));
    outbox
}

fn sequences(outbox: &Outbox) -> Vec<u64> {
    outbox
        .next_batch(usize::MAX)
        .into_iter()
        .map(|(sequence, _)| sequence)
        .collect()
}

#[test]
fn what_is_written_can_be_replayed_until_it_is_acknowledged() {
    let mut outbox = filled(5);
    outbox.advance(4);
    assert_eq!(sequences(&outbox), [5]);
    outbox.acknowledge(2);
    assert!(!outbox.rewind(1), "event 2 is acknowledged");
    assert!(outbox.rewind(2));
    assert_eq!(sequences(&outbox), [3, 4, 5]);
    assert!(outbox.is_future(3), "nothing is written again yet");
    outbox.advance(3);
    assert!(!outbox.is_future(5) && outbox.is_future(6));
    outbox.acknowledge(99);
    assert!(outbox.rewind(5));
    assert_eq!(sequences(&outbox), Vec::<u64>::new());
}

#[test]
fn large_first_events_are_forgotten_when_they_are_written() {
    let mut outbox = Outbox::default();
    let kinds = [
        EventKind::Ready,
        EventKind::GuildCreate,
        EventKind::MessageCreate,
    ];
    for kind in kinds {
        outbox.push(&Event::new(kind, true, b"{}").share());
    }
    outbox.advance(3);
    assert!(!outbox.rewind(1), "GUILD_CREATE is gone");
    assert!(outbox.rewind(2));
    assert_eq!(sequences(&outbox), [3]);
}

#[test]
fn a_backlog_keeps_only_the_newest_presence_of_each_account() {
    let mut outbox = filled(COALESCE_AT);
    assert_eq!(outbox.push(&presence(7)), Push::Queued);
    assert_eq!(outbox.push(&presence(7)), Push::Coalesced);
    assert_eq!(outbox.push(&presence(8)), Push::Queued);
    let typing = Event::new(EventKind::TypingStart, true, b"{}").share();
    assert_eq!(outbox.push(&typing), Push::Coalesced);
    assert_eq!(outbox.waiting(), COALESCE_AT + 2);
}

#[test]
fn a_large_backlog_drops_every_ephemeral_event_and_keeps_messages() {
    let mut outbox = filled(SHED_AT + 1);
    assert_eq!(outbox.push(&presence(9)), Push::Coalesced);
    assert_eq!(outbox.push(&message()), Push::Queued);
    assert_eq!(outbox.waiting(), SHED_AT + 2);
}

#[test]
fn a_backlog_beyond_the_limit_gives_the_session_up() {
    let mut outbox = filled(RETAINED_MAX);
    assert_eq!(outbox.push(&message()), Push::Overflow);
    assert!(outbox.has_overflowed() && !outbox.rewind(0));
    assert_eq!(outbox.push(&message()), Push::Overflow);
}

#[test]
fn replay_gives_way_before_what_still_waits() {
    let mut outbox = filled(RETAINED_MAX);
    outbox.advance(RETAINED_MAX - 1);
    assert_eq!(outbox.push(&message()), Push::Queued);
    assert_eq!(outbox.waiting(), 2);
    assert!(!outbox.rewind(0), "the oldest one made room");
}
