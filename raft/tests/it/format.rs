//! The bytes of payloads and memberships: golden, bounded, never a panic.

use std::collections::BTreeSet;

use bytes::Bytes;
use raft::{
    ENTRY_COMMANDS_MAX, ErrorKind, LeaderId, LogId, Membership, Payload, ReplicaId,
    StoredMembership,
};

const PAGE: &str = include_str!("../../../docs/formats/raft-entries.md");

/// The bytes of the example called `name` on the format page.
fn example(name: &str) -> Vec<u8> {
    let marker = format!("<!-- example {name} -->");
    let block = PAGE
        .split(&marker)
        .nth(1)
        .expect("the page has the example");
    let lines = block
        .split("```")
        .nth(1)
        .expect("a fenced block follows")
        .lines()
        .skip(1);
    let columns = lines.map(|line| line.split("  ").next().unwrap_or_default());
    let digits = columns.flat_map(str::split_whitespace);
    digits
        .map(|byte| u8::from_str_radix(byte, 16).expect("a hexadecimal byte"))
        .collect()
}

fn replicas(ids: &[u64]) -> BTreeSet<ReplicaId> {
    ids.iter().copied().map(ReplicaId).collect()
}

fn batch() -> Payload {
    let commands = vec![
        Bytes::from_static(b"hi"),
        Bytes::new(),
        Bytes::from_static(b"!"),
    ];
    Payload::Batch {
        proposed_us: 0x0006_1F2A_3B4C_5D6E,
        commands,
    }
}

fn joint() -> Membership {
    let voters = vec![replicas(&[1]), replicas(&[1, 2, 3])];
    Membership {
        voters,
        learners: replicas(&[9]),
    }
}

#[test]
fn the_examples_of_the_format_page_are_what_the_code_writes_and_reads() {
    for (name, payload) in [
        ("blank", Payload::Blank),
        ("batch", batch()),
        (
            "membership",
            Payload::Membership(Membership::single(ReplicaId(1))),
        ),
        ("joint", Payload::Membership(joint())),
    ] {
        let bytes = payload.encode().expect("it encodes");
        assert_eq!(bytes, example(name), "example {name}");
        assert_eq!(Payload::decode(bytes).expect("it decodes"), payload);
    }
    let id = LogId {
        leader: LeaderId { term: 3, node: 1 },
        index: 42,
    };
    let stored = StoredMembership {
        id: Some(id),
        membership: Membership::single(ReplicaId(1)),
    };
    let bytes = stored.encode().expect("it encodes");
    assert_eq!(bytes, example("stored"));
    assert_eq!(StoredMembership::decode(bytes).expect("it decodes"), stored);
}

#[test]
fn every_cut_and_every_flipped_bit_is_an_error_or_another_value_and_never_a_panic() {
    for payload in [Payload::Blank, batch(), Payload::Membership(joint())] {
        let bytes = payload.encode().expect("it encodes");
        for len in 0..bytes.len() {
            let error = Payload::decode(bytes.slice(..len)).expect_err("it is cut");
            assert_eq!(error.kind(), ErrorKind::Corrupt);
        }
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.to_vec();
            damaged[bit / 8] ^= 1 << (bit % 8);
            if let Ok(read) = Payload::decode(damaged.clone().into()) {
                assert_eq!(read.encode().expect("it encodes"), damaged, "bit {bit}");
            }
        }
        let mut longer = bytes.to_vec();
        longer.push(0);
        Payload::decode(longer.into()).expect_err("it has bytes after its end");
    }
}

#[test]
fn limits_hold_in_both_directions() {
    let none = Payload::Batch {
        proposed_us: 1,
        commands: Vec::new(),
    };
    none.encode().expect_err("a batch has a command");
    let many = vec![Bytes::new(); ENTRY_COMMANDS_MAX + 1];
    Payload::Batch {
        proposed_us: 1,
        commands: many,
    }
    .encode()
    .expect_err("too many commands");
    let full = vec![Bytes::new(); ENTRY_COMMANDS_MAX];
    Payload::Batch {
        proposed_us: 1,
        commands: full,
    }
    .encode()
    .expect("a full entry");
    // A count that the bytes cannot hold is refused before anything is allocated for it.
    let mut lie = vec![1, 1];
    lie.extend_from_slice(&7u64.to_le_bytes());
    lie.extend_from_slice(&1024u32.to_le_bytes());
    Payload::decode(lie.into()).expect_err("the commands are missing");
    let three = Membership {
        voters: vec![replicas(&[1]); 3],
        learners: replicas(&[]),
    };
    Payload::Membership(three)
        .encode()
        .expect_err("at most two sets");
}

#[test]
fn a_membership_with_disorder_is_refused() {
    let good = Payload::Membership(joint()).encode().expect("it encodes");
    let swap = |a: usize, b: usize| {
        let mut bytes = good.to_vec();
        bytes.swap(a, b);
        Payload::decode(bytes.into())
    };
    // The first bytes of replicas 2 and 3 of the second set; then a learner that is a voter.
    let second = 2 + 2 + 2 + 8 + 2;
    swap(second + 8, second + 16).expect_err("not ascending");
    let mut bytes = good.to_vec();
    let learner = bytes.len() - 8;
    bytes[learner] = 3;
    Payload::decode(bytes.into()).expect_err("a learner that votes");
}
