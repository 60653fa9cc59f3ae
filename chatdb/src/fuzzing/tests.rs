//! The seeds of the fuzz targets: what real encoders write, one file each.
//!
//! `UPDATE=1 cargo test -p chatdb --lib fuzzing` writes them again after a format changed.

use super::fixture::{TABLES, fixture, write};
use super::{TARGETS, apply, command, group0};
use crate::command::Response;
use crate::command::{Split, WriteCommand};
use crate::cql::parse;
use crate::db::statement::Statement;
use crate::group0::{
    NodePlace, NodeRecord, NodeState, SystemCommand, SystemState, Topology, encode_outcome,
};
use crate::node::cluster::Description;
use crate::result::{ColumnSpec, Position, ResultSet};
use crate::rpc::fuzz::samples;
use crate::schema::DdlCommand;
use crate::stream::cursor::{Cursor, Place};
use crate::stream::event::{ChangeEvent, ChangeKind, StreamItem};
use crate::tablet::{Owner, Store};
use crate::{DataType, Error, ScalarType, TabletStatus, Value, encoding};
use bytes::Bytes;
use lsm::ordered::Order;
use raft::{LeaderId, LogId, NodeId};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

const WRITES: [&str; 8] = [
    "INSERT INTO k.messages (channel_id, bucket, message_id, author_id, content, tags, marks, log, \
     topic) VALUES (1, 2, 3, 4, 'hello', {'a'}, {'b': 1}, ['c'], 'd') USING TTL 5 AND TOPIC 'g:1'",
    "INSERT INTO k.messages (channel_id, bucket, message_id) VALUES (1, 2, 3) IF NOT EXISTS",
    "UPDATE k.messages SET content = null, tags -= {'a'}, log = ['x'] + log \
     WHERE channel_id = 1 AND bucket = -2 AND message_id = 3",
    "UPDATE k.messages SET content = 'y' WHERE channel_id = 1 AND bucket = 2 AND message_id = 3 \
     IF author_id IN (1, null) AND marks['b'] >= 1 AND topic != 'x'",
    "DELETE tags, marks['b'] FROM k.messages WHERE channel_id = 1 AND bucket = 2 AND message_id = 3",
    "DELETE FROM k.messages WHERE channel_id = 1 AND bucket = 2 AND message_id > 5",
    "DELETE FROM k.messages WHERE channel_id = 1 AND bucket = 2",
    "INSERT INTO k.every (a, b, c, d, e, f, g, h, i, j, k) VALUES ('x', \
     5f0c5e5e-7d5c-4c6b-9a1e-1d2f3a4b5c6d, true, 0xff00, '2015-01-02T03:04:05Z', -1.5e3, 7, \
     {5f0c5e5e-7d5c-4c6b-9a1e-1d2f3a4b5c6d}, {'2015-01-02': NaN}, [0x01], {true, false})",
];

const OTHERS: [&str; 5] = [
    "SELECT content, author_id FROM k.messages WHERE channel_id = ? AND bucket IN (1, 2) \
     AND message_id < ? ORDER BY message_id ASC PER PARTITION LIMIT 3 LIMIT 50",
    "SELECT COUNT(*) FROM k.t WHERE token(a) > -5",
    "ALTER TABLE k.t ADD c map<text, double>",
    "CREATE KEYSPACE IF NOT EXISTS other",
    "DROP TABLE IF EXISTS k.t",
];

struct Seed {
    target: &'static str,
    name: String,
    bytes: Vec<u8>,
}

struct Seeds(Vec<Seed>);

impl Seeds {
    fn add(&mut self, target: &'static str, name: &dyn ToString, bytes: impl Into<Vec<u8>>) {
        self.0.push(Seed {
            target,
            name: name.to_string(),
            bytes: bytes.into(),
        });
    }
}

fn without_check(bytes: &Bytes, check: usize) -> &[u8] {
    bytes.split_at(bytes.len() - check).0
}

fn headed(kind: u8, bytes: &[u8]) -> Vec<u8> {
    [&[kind], bytes].concat()
}

fn seeds() -> Seeds {
    let mut seeds = Seeds(Vec::new());
    let texts = || WRITES.into_iter().chain(TABLES).chain(OTHERS);
    for (number, text) in texts().enumerate() {
        if parse(text).is_ok() {
            seeds.add("statement", &number, text);
        }
    }
    let catalog = &fixture().catalog;
    for (number, text) in WRITES.into_iter().enumerate() {
        let bytes = write(catalog, text);
        seeds.add("command", &format!("write-{number}"), bytes.clone());
        seeds.add("apply", &number, bytes);
    }
    for text in TABLES.into_iter().chain(OTHERS) {
        let statement = parse(text).unwrap().statement;
        if let Ok(ddl) = DdlCommand::new(&statement, None) {
            let name = format!("ddl-{}", seeds.0.len());
            seeds.add("command", &name, ddl.encode());
            let system = SystemCommand::Ddl(ddl).encode();
            seeds.add("group0", &name, headed(1, &system));
        }
    }
    let split = WriteCommand {
        split: Some(Split {
            at: 1 << 63,
            child: 5,
            generation: 12,
            nodes: BTreeSet::from([1, 2, 300]),
        }),
        ..WriteCommand::default()
    };
    seeds.add("command", &"split", split.encode().unwrap());
    value_seeds(&mut seeds);
    state_seeds(&mut seeds);
    group0_seeds(&mut seeds);
    for (number, bytes) in samples().into_iter().enumerate() {
        seeds.add("message", &number, bytes);
    }
    for (number, bytes) in crate::rpc::fuzz_peer::samples().into_iter().enumerate() {
        seeds.add("peer", &number, bytes);
    }
    seeds
}

fn value_seeds(seeds: &mut Seeds) {
    let values = [
        Value::BigInt(-5),
        Value::Int(77),
        Value::Text("text".into()),
        Value::Boolean(true),
        Value::Double(-0.5),
        Value::Uuid([9; 16]),
    ];
    for (number, value) in values.into_iter().enumerate() {
        let bytes = encoding::encode_scalar(&value).unwrap();
        seeds.add("value", &format!("cell-{number}"), headed(0, &bytes));
    }
    for choice in [0, 0b10_001_010, 0b01_111_101, 0xff] {
        let columns = [
            (choice & 7, 1),
            ((choice >> 3) & 7, 2),
            ((choice >> 5) & 7, 4),
        ];
        let mut key = Vec::new();
        for (scalar, bit) in columns {
            let order = match choice & bit {
                0 => Order::Ascending,
                _ => Order::Descending,
            };
            let value = sample_value(ScalarType::ALL[usize::from(scalar)]);
            encoding::encode_component(&mut key, &value, order).unwrap();
        }
        seeds.add("value", &format!("key-{choice}"), headed(choice, &key));
    }
}

fn sample_value(scalar: ScalarType) -> Value {
    match scalar {
        ScalarType::BigInt => Value::BigInt(-2),
        ScalarType::Int => Value::Int(3),
        ScalarType::Text => Value::Text("a\0b".into()),
        ScalarType::Blob => Value::Blob(Bytes::from_static(&[0, 255, 1])),
        ScalarType::Boolean => Value::Boolean(false),
        ScalarType::Timestamp => Value::Timestamp(1_700_000_000_000),
        ScalarType::Double => Value::Double(2.5),
        ScalarType::Uuid => Value::Uuid([3; 16]),
        ScalarType::Counter => Value::BigInt(7),
    }
}

fn state_seeds(seeds: &mut Seeds) {
    let catalog = &fixture().catalog;
    let body = catalog.encode();
    seeds.add("catalog", &"tables", without_check(&body, 8));
    let engine = Arc::clone(&fixture().engine);
    let state = Store::open(engine, &[]).unwrap().state();
    seeds.add("state", &"empty", without_check(&state, 8));
    // Version, clock, tokens, a cut, two remembered requests, one client with two answers, where silence
    // is known from, one silent command.
    let mut full = vec![3, 0x80, 0x02];
    full.extend([0; 8]);
    full.extend([0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]);
    full.extend([1, 5, 0x80, 0x01, 9, 2]);
    for id in [1_u8, 2] {
        full.extend([id; 16]);
        full.extend([5, 2, 0, 1]);
    }
    full.extend([1, 9, 9, 9, 9, 9, 9, 9, 9, 5, 3, 2, 0, 1, 0, 4, 2, 2, 0]);
    full.extend([3, 1, 7, 2]);
    seeds.add("state", &"full", full);
    let owner = Owner {
        applied: Some(LogId {
            leader: LeaderId { term: 2, node: 1 },
            index: 99,
        }),
        membership: Bytes::from_static(b"one"),
        store: state,
    };
    seeds.add("state", &"owner", owner.encode());
    let page_state = super::fixture::first_page();
    let tail = without_check(&page_state, 8).split_at(9).1;
    seeds.add("page_state", &"scan", tail);
    let place = |group| Place {
        group,
        index: 70_000,
        op: u32::MAX,
    };
    let cursor = Cursor {
        cluster: 0xfeed,
        places: (1..5).map(place).collect(),
    };
    seeds.add("cursor", &"four", without_check(&cursor.encode(), 4));
    let response = Response::decode(&Bytes::from_static(&[1, 0]));
    if let Ok(response) = response {
        seeds.add("command", &"response", response.encode());
    }
}

fn group0_seeds(seeds: &mut Seeds) {
    let state = SystemState {
        applied: Some(LogId {
            leader: LeaderId { term: 3, node: 1 },
            index: 12,
        }),
        membership: Bytes::from_static(b"members"),
        cluster_id: 0xabc,
        topology: Arc::new(sample_topology()),
        catalog: Arc::new(fixture().catalog.clone()),
    };
    let file = state.encode();
    let body = without_check(&file, 8).split_at(12).1;
    seeds.add("group0", &"state", headed(0, body));
    for (number, command) in sample_commands().iter().enumerate() {
        seeds.add(
            "group0",
            &format!("command-{number}"),
            headed(1, &command.encode()),
        );
    }
    let refused = Error::not_found("no keyspace x").with_help("keyspaces", "a, b");
    seeds.add(
        "group0",
        &"refused",
        headed(2, &encode_outcome(&Err(refused))),
    );
    seeds.add("group0", &"done", headed(2, &encode_outcome(&Ok(5))));
}

fn sample_place(number: u32) -> NodePlace {
    NodePlace {
        node_address: format!("10.0.0.{number}:7500"),
        rpc_address: format!("http://10.0.0.{number}:7400"),
        zone: "a".to_owned(),
        region: "eu".to_owned(),
    }
}

fn sample_node(number: u32) -> NodeRecord {
    NodeRecord {
        installation: u128::from(number),
        place: sample_place(number),
        state: NodeState::Up,
    }
}

/// Three nodes, and one of four tablets on its way to two of them.
fn sample_topology() -> Topology {
    let mut topology = Topology::new(sample_node(1), 4, 3);
    for number in [2, 3] {
        let place = sample_place(number);
        topology
            .add_node(u128::from(number), place)
            .expect("taken in");
    }
    let nodes = BTreeSet::from([NodeId(2), NodeId(3)]);
    topology.place(2, 0, &nodes, 9).expect("decided");
    topology
}

/// One command of every kind.
fn sample_commands() -> Vec<SystemCommand> {
    vec![
        SystemCommand::Bootstrap {
            cluster_id: 7,
            tablets: 4,
            replication: 3,
            node: sample_node(1),
        },
        SystemCommand::AddNode {
            installation: 8,
            place: sample_place(2),
        },
        SystemCommand::SetNodeState {
            node: NodeId(2),
            state: NodeState::Draining,
        },
        SystemCommand::Place {
            group: 1,
            version: 2,
            nodes: BTreeSet::from([NodeId(1), NodeId(2)]),
        },
        SystemCommand::Split {
            group: 1,
            version: 2,
            at: Some(1 << 63),
        },
        SystemCommand::Cut {
            group: 1,
            version: 2,
            at: 1 << 63,
            entry: 9,
        },
        SystemCommand::Settled {
            group: 1,
            version: 2,
        },
        SystemCommand::SetReplication(5),
    ]
}

/// A write command as a log has it.
pub(crate) fn written() -> Bytes {
    write(&fixture().catalog, WRITES[0])
}

/// A cluster of three as its first node knows it.
pub(crate) fn description() -> Description {
    let local = TabletStatus {
        group: 1,
        applied_index: 90,
        flushed_index: 70,
        sstable_bytes: 1 << 20,
        ..TabletStatus::default()
    };
    Description {
        cluster_id: 0xabc,
        node: NodeId(1),
        index: 12,
        leader: Some(NodeId(1)),
        voters: BTreeSet::from([1, 2, 3].map(NodeId)),
        topology: Arc::new(sample_topology()),
        tablets: BTreeMap::from([(1, (Some(NodeId(1)), local))]),
        uptime_ms: 90_000,
        log_bytes: 1 << 24,
        disk: Some((1 << 30, 1 << 33)),
    }
}

/// A statement, a result and an item with a value of every type.
pub(crate) fn wire_samples() -> (Statement, ResultSet, StreamItem) {
    let mut values: Vec<Value> = ScalarType::ALL.into_iter().map(sample_value).collect();
    values.push(Value::Null);
    values.push(Value::Unset);
    values.push(Value::Set(vec![Value::Text("a".into())]));
    values.push(Value::Map(vec![(Value::Int(1), Value::Boolean(true))]));
    values.push(Value::List(vec![Value::Double(f64::NAN)]));
    let statement = Statement::new(WRITES[0])
        .bind(values.clone())
        .topic("guild:1")
        .note(Bytes::from_static(b"{}"))
        .page_size(5)
        .page_state(Some(Bytes::from_static(b"page")))
        .request_id(7)
        .keyspace("k");
    let columns = vec![
        ColumnSpec::new("a".to_owned(), DataType::Scalar(ScalarType::Int)),
        ColumnSpec::new(
            "b".to_owned(),
            DataType::Map(ScalarType::Text, ScalarType::Uuid),
        ),
    ];
    let mut result = ResultSet::new(columns.into(), vec![values.clone()]);
    result.applied = Some(true);
    result.position = Some(Position {
        group: 1,
        index: 2,
        op: 3,
    });
    let cursor = Cursor {
        cluster: 1,
        places: Arc::from([]),
    };
    let names = |value| ("name".to_owned(), value);
    let item = StreamItem::Change(ChangeEvent {
        cursor,
        timestamp_us: 5,
        topics: Arc::from(["guild:1".to_owned()]),
        table: "k.messages".to_owned(),
        kind: ChangeKind::Insert,
        key: vec![("channel_id".to_owned(), Value::BigInt(1))],
        columns: values.into_iter().map(names).collect(),
        note: Bytes::from_static(b"note"),
    });
    (statement, result, item)
}

#[test]
fn every_seed_is_what_the_encoders_write_and_is_accepted() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    let is_update = std::env::var_os("UPDATE").is_some();
    let seeds = seeds().0;
    for Seed {
        target,
        name,
        bytes,
    } in &seeds
    {
        let (_, run) = TARGETS
            .into_iter()
            .find(|(known, _)| known == target)
            .unwrap();
        assert!(run(bytes), "the seed {target}/{name} is refused");
        let path = root.join(target).join(name);
        if is_update {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, bytes).unwrap();
        }
        assert_eq!(&std::fs::read(&path).unwrap(), bytes, "{}", path.display());
    }
    for (target, _) in TARGETS {
        assert!(
            seeds.iter().any(|seed| seed.target == target),
            "{target} has no seed"
        );
    }
}

#[test]
fn what_is_no_structure_is_refused() {
    for run in [command, apply, group0] {
        assert!(!run(b""));
        assert!(!run(b"\xff\xff\xff\xff"));
    }
}

/// The decoders run in `make test` too, for a while; `ROUNDS=n` makes it longer.
#[test]
fn mangled_seeds_are_read_or_refused() {
    let rounds = std::env::var("ROUNDS").map_or(100, |rounds| rounds.parse().unwrap());
    let mut state = 0x5eed_0007_u64;
    let mut below = |bound: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % u64::try_from(bound).unwrap()).unwrap()
    };
    for seed in seeds().0 {
        let found = TARGETS.into_iter().find(|(known, _)| *known == seed.target);
        let (_, run) = found.unwrap();
        for _ in 0..rounds {
            let mut bytes = seed.bytes.clone();
            for _ in 0..=below(3) {
                let at = below(bytes.len() + 1).min(bytes.len().saturating_sub(1));
                match below(4) {
                    _ if bytes.is_empty() => bytes.push(0),
                    0 => bytes[at] ^= 1 << below(8),
                    1 => bytes[at] = u8::try_from(below(256)).unwrap(),
                    2 => bytes.truncate(at),
                    _ => bytes.insert(at, u8::try_from(below(256)).unwrap()),
                }
            }
            run(&bytes);
        }
    }
}
