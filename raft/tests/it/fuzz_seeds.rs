//! The seeds of the fuzz targets: what the encoders write, one file each.
//!
//! `UPDATE=1 cargo test -p raft fuzz_seeds` writes them again after a format changed.

use std::collections::BTreeSet;
use std::path::Path;

use bytes::Bytes;
use raft::{LeaderId, LogId, Membership, Payload, ReplicaId, StoredMembership};

fn replicas(ids: &[u64]) -> BTreeSet<ReplicaId> {
    ids.iter().copied().map(ReplicaId).collect()
}

fn seeds() -> Vec<(&'static str, Bytes)> {
    let joint = Membership {
        voters: vec![replicas(&[1]), replicas(&[1, 2, 3])],
        learners: replicas(&[9]),
    };
    let commands = vec![Bytes::from_static(b"hi"), Bytes::new(), vec![7; 300].into()];
    let payloads = [
        Payload::Blank,
        Payload::Batch {
            proposed_us: 1_700_000_000_000_000,
            commands,
        },
        Payload::Membership(Membership::single(ReplicaId(1))),
        Payload::Membership(joint.clone()),
    ];
    let mut seeds: Vec<_> = payloads
        .iter()
        .map(|payload| ("payload", payload.encode().expect("it encodes")))
        .collect();
    for membership in [Membership::single(ReplicaId(1)), joint] {
        let leader = LeaderId { term: 3, node: 1 };
        let id = Some(LogId { leader, index: 12 });
        let stored = StoredMembership { id, membership };
        seeds.push(("membership", stored.encode().expect("it encodes")));
    }
    seeds.extend(raft::fuzz_seeds().into_iter().map(|bytes| ("calls", bytes)));
    seeds
}

#[expect(clippy::disallowed_methods, reason = "seeds are files of the source")]
#[test]
fn every_seed_is_what_the_encoders_write_and_decodes() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    for (number, (target, bytes)) in seeds().into_iter().enumerate() {
        let decodes = match target {
            "payload" => Payload::decode(bytes.clone()).is_ok(),
            "calls" => {
                raft::fuzz_request(&bytes);
                raft::fuzz_response(&bytes);
                true
            }
            _ => StoredMembership::decode(bytes.clone()).is_ok(),
        };
        assert!(decodes, "{target}/{number}");
        let path = root.join(target).join(number.to_string());
        if std::env::var_os("UPDATE").is_some() {
            let dir = path.parent().expect("a path with a directory");
            std::fs::create_dir_all(dir).expect("the directory is made");
            std::fs::write(&path, &bytes).expect("the seed is written");
        }
        let found = std::fs::read(&path).expect("the seed is there");
        assert_eq!(found, bytes, "{}", path.display());
    }
}
