//! Commands and the catalog as bytes: the round trip, its size, and what damage does.

use crate::store_support::Database;
use crate::support::{Random, rounds};
use bytes::Bytes;
use chatdb::ErrorKind;
use chatdb::command::{Response, WriteCommand};
use chatdb::plan::Plan;
use chatdb::schema::Catalog;
use chatdb::{Result, Value};

/// Tables with every kind of column.
pub(crate) fn database() -> Database {
    let mut database = Database::new();
    database.ok("CREATE KEYSPACE k");
    database.ok("USE k");
    database.ok(
        "CREATE TABLE messages (channel_id bigint, bucket int, message_id bigint, author_id bigint, \
         content text, tags set<text>, marks map<text, int>, log list<text>, topic text STATIC, \
         PRIMARY KEY ((channel_id, bucket), message_id)) \
         WITH CLUSTERING ORDER BY (message_id DESC) AND placement = (channel_id) AND upsert = false \
         AND bucket = {'column': 'bucket', 'days': 10, 'origin_ms': 1420070400000}",
    );
    database
}

const WRITES: &[&str] = &[
    "INSERT INTO messages (channel_id, bucket, message_id, author_id, content, tags, marks, log, \
     topic) VALUES (1, 2, 3, 4, 'hello', {'a'}, {'b': 1}, ['c'], 'd') USING TTL 5 AND TOPIC 'g:1'",
    "INSERT INTO messages (channel_id, bucket, message_id) VALUES (1, 2, 3) IF NOT EXISTS",
    "UPDATE messages SET content = null, tags -= {'a'}, log = ['x'] + log \
     WHERE channel_id = 1 AND bucket = -2 AND message_id = 3",
    "UPDATE messages SET content = 'y' WHERE channel_id = 1 AND bucket = 2 AND message_id = 3 \
     IF author_id IN (1, null) AND marks['b'] >= 1 AND topic != 'x'",
    "DELETE tags, marks['b'] FROM messages WHERE channel_id = 1 AND bucket = 2 AND message_id = 3",
    "DELETE FROM messages WHERE channel_id = 1 AND bucket = 2 AND message_id IN (3, 4)",
    "DELETE FROM messages WHERE channel_id = 1 AND bucket = 2 AND message_id > 5",
    "DELETE FROM messages WHERE channel_id = 1 AND bucket = 2",
];

fn encode(database: &Database, text: &str) -> Result<Bytes> {
    match database.plan(text, &[])? {
        Plan::Write(write) => write.encode(),
        other => panic!("{text} is {other:?}"),
    }
}

#[test]
fn commands_survive_their_bytes() {
    let mut database = database();
    database.request_id = Some(7);
    database.settled_below = Some(5);
    database.topics = vec!["guild:1".to_owned(), "user:2".to_owned()];
    for text in WRITES {
        let bytes = encode(&database, text).unwrap();
        let command = WriteCommand::decode(&bytes).unwrap();
        assert_eq!(command.encode().unwrap(), bytes, "{text}");
        assert_eq!(command.request_id, Some(7));
        assert_eq!(command.settled_below, Some(5));
        assert!(command.topics.contains(&"user:2".to_owned()));
    }
}

#[test]
fn a_message_costs_little_more_than_its_data() {
    let database = database();
    let bytes = encode(
        &database,
        "INSERT INTO messages (channel_id, bucket, message_id, author_id, content) \
         VALUES (81384788765712384, 12, 81384788765712385, 53908099506183680, 'hello, world')",
    )
    .unwrap();
    let data = 8 + 4 + 8 + 8 + "hello, world".len();
    assert!(
        bytes.len() <= data + 32,
        "{} bytes for {data} of data",
        bytes.len()
    );
}

#[test]
fn mangled_commands_decode_to_an_error_or_to_what_encodes_back() {
    let database = database();
    let seed = 0x5eed_0002;
    let mut random = Random::new(seed);
    let samples: Vec<Bytes> = WRITES
        .iter()
        .map(|text| encode(&database, text).unwrap())
        .collect();
    for round in 0..rounds() {
        let mut bytes = samples[random.below(samples.len())].to_vec();
        for _ in 0..=random.below(3) {
            random.mangle(&mut bytes);
        }
        let bytes = Bytes::from(bytes);
        match WriteCommand::decode(&bytes) {
            Ok(command) => {
                assert_eq!(
                    command.encode().unwrap(),
                    bytes,
                    "seed {seed} round {round}"
                );
            }
            Err(error) => assert_eq!(error.kind(), ErrorKind::Corrupt),
        }
        let _outcome = Response::decode(&bytes).is_ok();
    }
}

#[test]
fn a_flipped_bit_anywhere_in_the_catalog_is_found() {
    let bytes = database().catalog.encode();
    Catalog::decode(&bytes).unwrap();
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut damaged = bytes.to_vec();
            damaged[at] ^= 1 << bit;
            let error = Catalog::decode(&damaged).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt, "byte {at} bit {bit}");
        }
    }
    for len in 0..bytes.len() {
        assert!(Catalog::decode(&bytes[..len]).is_err(), "{len} bytes");
    }
}

#[test]
fn limits_are_refused_before_anything_is_proposed() {
    let mut database = database();
    database.topics = (0..100).map(|topic| format!("t:{topic}")).collect();
    let error = encode(&database, WRITES[0]).unwrap_err();
    assert_eq!(error.message(), "65 topics, more than the 64 allowed");
    database.topics = vec!["x".repeat(300)];
    encode(&database, WRITES[0]).unwrap_err();
    database.topics.clear();
    let long = Value::Text("x".repeat(5 * 1024 * 1024));
    let insert =
        "INSERT INTO messages (channel_id, bucket, message_id, content) VALUES (1, 2, 3, ?)";
    let error = database.plan(insert, &[long]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    // What the engine would refuse at apply would stop the tablet, so it never gets there.
    let element = Value::Set(vec![Value::Text("\0".repeat(60_000))]);
    let insert = "INSERT INTO messages (channel_id, bucket, message_id, tags) VALUES (1, 2, 3, ?)";
    let error = database.run(insert, &[element]).unwrap_err();
    assert_eq!(
        error.message(),
        "an element key has 120002 bytes, more than the 65536 allowed"
    );
    let elements = (0..70_000)
        .map(|element| Value::Text(element.to_string()))
        .collect();
    let error = database.run(insert, &[Value::Set(elements)]).unwrap_err();
    assert_eq!(
        error.message(),
        "70000 cells in a row, more than the 65536 allowed"
    );
}

#[test]
fn a_catalog_that_could_not_be_read_again_is_refused_when_it_is_made() {
    let mut database = database();
    let long = "x".repeat(9 * 1024);
    for option in [
        format!("compaction = {{'class': '{long}'}}"),
        format!("compaction = {{'{long}': 'x'}}"),
        format!("comment = '{long}'"),
    ] {
        let create = format!("CREATE TABLE o (a int PRIMARY KEY) WITH {option}");
        let error = database.run(&create, &[]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        let alter = format!("ALTER TABLE messages WITH {option}");
        let error = database.run(&alter, &[]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
    }
    let create = format!("CREATE KEYSPACE o WITH comment = '{long}'");
    database.run(&create, &[]).unwrap_err();
}

#[test]
fn a_catalog_with_one_table_twice_is_damaged() {
    let mut database = database();
    database.ok("CREATE TABLE other (a int PRIMARY KEY)");
    let bytes = database.catalog.encode();
    let body = bytes.split_at(bytes.len() - 8).0;
    for (found, same) in [("other", "messages"), ("messages", "other")] {
        let at = |name: &str| {
            body.windows(name.len())
                .position(|part| part == name.as_bytes())
        };
        let (Some(to), Some(from)) = (at(found), at(same)) else {
            panic!("both names are in the catalog");
        };
        // Before a name: the id, length and text of the keyspace, the length of the name.
        let mut damaged = body.to_vec();
        damaged[to - 4] = damaged[from - 4];
        damaged.extend(xxhash_rust::xxh3::xxh3_64(&damaged).to_le_bytes());
        let error = Catalog::decode(&damaged).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
    }
}

/// The bytes between the fences below `### Example`, without the words behind them.
fn example(page: &str) -> String {
    let block = page
        .split("### Example")
        .nth(1)
        .unwrap()
        .split("```")
        .nth(1)
        .unwrap();
    let is_hex = |word: &&str| word.len() == 2 && u8::from_str_radix(word, 16).is_ok();
    let lines = block.lines().map(|line| line.split("  ").next().unwrap());
    lines
        .flat_map(str::split_whitespace)
        .filter(is_hex)
        .collect()
}

#[test]
fn the_example_of_the_format_page_is_what_the_code_writes() {
    let mut database = database();
    database.topics = vec!["g:1".to_owned()];
    let text =
        "INSERT INTO messages (channel_id, bucket, message_id, content) VALUES (1, 2, 3, 'hi')";
    let bytes = encode(&database, text).unwrap();
    let shown = format!(
        "0x{}",
        example(include_str!("../../../docs/formats/commands.md"))
    );
    assert_eq!(shown, Value::Blob(bytes).to_string());
}
