//! Applying entries: order, retries, conditions inside one entry, and what subscribers see.

use crate::command_codec::database;
use crate::store_support::{Database, table};
use bytes::Bytes;
use chatdb::command::Response;
use chatdb::plan::Plan;
use chatdb::tablet::ReadCursor;
use chatdb::{ErrorKind, Value};

fn command(database: &Database, text: &str) -> Bytes {
    match database.plan(text, &[]).unwrap() {
        Plan::Write(write) => write.encode().unwrap(),
        other => panic!("{text} is {other:?}"),
    }
}

fn outcomes(responses: &[Bytes]) -> Vec<bool> {
    responses
        .iter()
        .map(|bytes| match Response::decode(bytes).unwrap() {
            Response::Done | Response::Applied => true,
            Response::NotApplied(_) | Response::Failed { .. } | Response::Moved => false,
        })
        .collect()
}

const ROW: &str = "channel_id = 1 AND bucket = 2 AND message_id = 3";

fn insert(content: &str) -> String {
    format!(
        "INSERT INTO messages (channel_id, bucket, message_id, content) VALUES (1, 2, 3, '{content}')"
    )
}

#[test]
fn conditions_see_earlier_commands_of_their_entry() {
    let mut database = database();
    let texts = [
        format!("{} IF NOT EXISTS", insert("first")),
        format!("{} IF NOT EXISTS", insert("second")),
        format!("UPDATE messages SET content = 'third' WHERE {ROW} IF content = 'first'"),
        format!("DELETE FROM messages WHERE {ROW}"),
        format!("UPDATE messages SET content = 'ghost' WHERE {ROW}"),
    ];
    let commands: Vec<Bytes> = texts.iter().map(|text| command(&database, text)).collect();
    let responses = database.entry(&commands).unwrap();
    assert_eq!(outcomes(&responses), [true, false, true, true, false]);
    assert!(database.ok("SELECT * FROM messages").is_empty());
}

#[test]
fn an_edit_that_races_a_delete_leaves_nothing_in_either_order() {
    for edit_first in [true, false] {
        let mut database = database();
        database.ok(&insert("text"));
        let edit = command(
            &database,
            &format!("UPDATE messages SET content = 'x' WHERE {ROW}"),
        );
        let delete = command(&database, &format!("DELETE FROM messages WHERE {ROW}"));
        let commands = if edit_first {
            [edit, delete]
        } else {
            [delete, edit]
        };
        let responses = database.entry(&commands).unwrap();
        assert_eq!(
            outcomes(&responses),
            if edit_first {
                [true, true]
            } else {
                [true, false]
            }
        );
        assert!(database.ok("SELECT * FROM messages").is_empty());
        database.flush();
        assert!(database.ok("SELECT * FROM messages").is_empty());
    }
}

#[test]
fn a_request_takes_effect_once_also_after_a_restart() {
    let mut database = database();
    database.request_id = Some(42);
    database.topics = vec!["guild:1".to_owned()];
    let add = command(&database, &insert("first"));
    database.entry(&[add.clone(), add.clone()]).unwrap();
    assert!(database.last[0].published.is_some());
    assert!(
        database.last[1].published.is_none(),
        "a retry publishes nothing"
    );
    assert_eq!(database.store.is_silent(1, 0), Some(false));
    assert_eq!(database.store.is_silent(1, 1), Some(true));
    database.request_id = None;
    database.ok(&format!(
        "UPDATE messages SET content = 'edited' WHERE {ROW}"
    ));
    database.restart();
    database.entry(&[add]).unwrap();
    let result = database.ok("SELECT content FROM messages");
    assert_eq!(result.rows[0].text("content").unwrap(), "edited");
    assert_eq!(
        database.store.is_silent(1, 1),
        Some(true),
        "silence survives a restart"
    );
    // Forgotten after ten minutes of the log's clock.
    database.now_us += 11 * 60 * 1_000_000;
    database.request_id = Some(42);
    database.ok(&insert("again"));
    let result = database.ok("SELECT content FROM messages");
    assert_eq!(result.rows[0].text("content").unwrap(), "again");
}

#[test]
fn a_numbered_request_takes_effect_once_after_a_restart_and_never_after_it_was_settled() {
    let mut database = database();
    let mut numbered = |number: u128, settled_below: u64, content: &str| {
        database.request_id = Some(7 << 64 | number);
        database.settled_below = Some(settled_below);
        command(&database, &insert(content))
    };
    let first = numbered(1, 1, "first");
    let late = numbered(2, 1, "late");
    let third = numbered(3, 3, "third");
    database.entry(std::slice::from_ref(&first)).unwrap();
    database.restart();
    let again = database.entry(&[first, third]).unwrap();
    assert_eq!(
        outcomes(&again),
        [true, true],
        "a retry has the answer of the first"
    );
    database.restart();
    let refused = database.entry(&[late]).unwrap();
    assert!(
        matches!(
            Response::decode(&refused[0]).unwrap(),
            Response::Failed {
                kind: ErrorKind::Unknown,
                ..
            }
        ),
        "a number that was given up is refused"
    );
    let result = database.ok("SELECT content FROM messages");
    assert_eq!(result.rows[0].text("content").unwrap(), "third");
}

#[test]
fn a_clock_that_jumps_back_does_not_reorder_writes() {
    let mut database = database();
    database.ok(&insert("first"));
    database.now_us -= 3_600_000_000;
    database.ok(&insert("second"));
    let before = database.last[0].timestamp_us;
    database.ok(&insert("third"));
    assert!(database.last[0].timestamp_us > before);
    let result = database.ok("SELECT content FROM messages");
    assert_eq!(result.rows[0].text("content").unwrap(), "third");
}

#[test]
fn unset_writes_nothing_and_null_leaves_no_ghost() {
    let mut database = database();
    database.ok(&insert("kept"));
    let update = "UPDATE messages SET content = ?, author_id = ? WHERE channel_id = 1 AND bucket = 2 \
                  AND message_id = 3";
    database
        .run(update, &[Value::Unset, Value::from(9_i64)])
        .unwrap();
    let result = database.ok("SELECT content, author_id FROM messages");
    assert_eq!(
        table(&result),
        "content | author_id\n'kept' | 9\n(1 rows)\n"
    );
    database.ok(&format!("DELETE FROM messages WHERE {ROW}"));
    // Deleting a cell of a row that is gone must not make the row.
    database.ok(&format!("DELETE content FROM messages WHERE {ROW}"));
    database.run(update, &[Value::Null, Value::Null]).unwrap();
    assert!(database.ok("SELECT * FROM messages").is_empty());
}

#[test]
fn subscribers_see_names_and_values_of_what_took_effect() {
    let mut database = database();
    database.topics = vec!["guild:1".to_owned()];
    database.ok(
        "INSERT INTO messages (channel_id, bucket, message_id, content, tags, topic) \
         VALUES (1, 2, 3, 'hi', {'a', 'b'}, 'static')",
    );
    let mut shown = vec![changes(&database)];
    for text in [
        "UPDATE messages SET content = null, tags += {'c'}, tags -= {'a'}, marks['m'] = 5 WHERE ",
        "DELETE marks FROM messages WHERE ",
        "DELETE FROM messages WHERE ",
    ] {
        database.ok(&format!("{text}{ROW}"));
        shown.push(changes(&database));
    }
    database.ok("DELETE FROM messages WHERE channel_id = 1 AND bucket = 2 AND message_id < 9");
    shown.push(changes(&database));
    database.ok("DELETE FROM messages WHERE channel_id = 1 AND bucket = 2");
    shown.push(changes(&database));
    let row = "channel_id=1 bucket=2 message_id=3";
    let expected = [
        format!("Insert {row}: content='hi' tags={{'a', 'b'}} topic='static'"),
        format!("Update {row}: content=null tags={{'c': true, 'a': null}} marks={{'m': 5}}"),
        format!("Update {row}: marks=null"),
        format!("DeleteRow {row}:"),
        "DeleteRange channel_id=1 bucket=2:".to_owned(),
        "DeletePartition channel_id=1 bucket=2:".to_owned(),
    ];
    // Columns come in the order in which they are written, whole collections first.
    let sorted = |text: &str| {
        let mut words: Vec<&str> = text.split(' ').collect();
        words.sort_unstable();
        words.join(" ")
    };
    for (shown, expected) in shown.iter().zip(&expected) {
        assert_eq!(sorted(shown), sorted(expected));
    }
}

fn changes(database: &Database) -> String {
    let command = database.last[0].published.as_ref().unwrap();
    assert_eq!(command.topics, ["guild:1"]);
    let join = |pairs: &[(String, Value)]| {
        let pairs: Vec<String> = pairs
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        pairs.join(" ")
    };
    let changes = command.changes(&database.catalog).unwrap();
    let lines: Vec<String> = changes
        .iter()
        .map(|change| {
            let text = format!(
                "{:?} {}: {}",
                change.kind,
                join(&change.key),
                join(&change.columns)
            );
            text.trim_end().to_owned()
        })
        .collect();
    lines.join("; ")
}

#[test]
fn a_write_to_a_truncated_table_fails_and_does_nothing() {
    let mut database = database();
    let old = command(&database, &insert("late"));
    database.ok("TRUNCATE messages");
    let responses = database.entry(&[old]).unwrap();
    assert_eq!(outcomes(&responses), [false]);
    assert!(database.ok("SELECT * FROM messages").is_empty());
}

#[test]
fn a_page_state_of_another_statement_or_with_a_flipped_bit_is_refused() {
    let mut database = database();
    for id in 0..5 {
        database.ok(&format!(
            "INSERT INTO messages (channel_id, bucket, message_id) VALUES (1, 2, {id})"
        ));
    }
    database.page_rows = Some(2);
    let read = "SELECT message_id FROM messages WHERE channel_id = 1 AND bucket = 2";
    let state = database.ok(read).page_state.unwrap();
    database.page_state = Some(state.clone());
    assert_eq!(database.ok(read).len(), 2);
    let other =
        database.show("SELECT message_id FROM messages WHERE channel_id = 1 AND bucket = 3");
    assert!(other.contains("belongs to another statement"), "{other}");
    for at in 0..state.len() {
        let mut damaged = state.to_vec();
        damaged[at] ^= 4;
        database.page_state = Some(damaged.into());
        let answer = database.show(read);
        assert!(
            answer.starts_with("error: the page state"),
            "byte {at}: {answer}"
        );
    }
}

/// Reads in several tablets give what one tablet gives, for every page size.
#[test]
fn pages_of_any_size_over_any_tablets_are_the_whole() {
    let mut database = database();
    for channel in 0..30 {
        for id in 0..channel % 7 {
            database.ok(&format!(
                "INSERT INTO messages (channel_id, bucket, message_id, content) \
                 VALUES ({channel}, {}, {id}, 'x')",
                id % 2
            ));
        }
        if channel == 15 {
            database.flush();
        }
    }
    let text = "SELECT channel_id, bucket, message_id FROM messages";
    let whole = table(&database.ok(text));
    for rows in [1, 2, 3, 7, 50, 500] {
        let mut lines = Vec::new();
        let mut state = None;
        loop {
            database.page_rows = Some(rows);
            database.page_state = state;
            let Plan::Read(plan) = database.plan(text, &[]).unwrap() else {
                panic!()
            };
            let mut cursor = ReadCursor::new(&plan).unwrap();
            while let Some(token) = cursor.token() {
                // Four tablets of equal size over one engine.
                let last = token | (u64::MAX >> 2);
                cursor
                    .step(database.store.engine(), last, database.now_us / 1000)
                    .unwrap();
            }
            let result = cursor.finish();
            assert!(result.len() <= usize::try_from(rows).unwrap());
            lines.extend(result.rows.iter().map(|row| row.values().to_vec()));
            state = result.page_state;
            if state.is_none() {
                break;
            }
        }
        let shown: Vec<String> = lines
            .iter()
            .map(|values| {
                values
                    .iter()
                    .map(ToString::to_string)
                    .collect::<Vec<_>>()
                    .join(" | ")
            })
            .collect();
        let expected: Vec<&str> = whole
            .lines()
            .skip(1)
            .filter(|line| !line.starts_with('('))
            .collect();
        assert_eq!(shown, expected, "{rows} rows a page");
    }
}

#[test]
fn statements_bound_together_take_effect_together() {
    let mut database = database();
    let update = format!("UPDATE messages SET author_id = 5 WHERE {ROW}");
    // The update alone would find no row; in the batch the insert before it makes one.
    let result = database.batch(&[&insert("both"), &update]).unwrap();
    assert!(result.was_applied());
    let shown = table(&database.ok("SELECT content, author_id FROM messages"));
    assert_eq!(shown, "content | author_id\n'both' | 5\n(1 rows)\n");
    let missing = "UPDATE messages SET author_id = 5 WHERE channel_id = 1 AND bucket = 2 AND \
                   message_id = 4";
    let result = database.batch(&[&insert("neither"), missing]).unwrap();
    assert_eq!(result.applied, Some(false));
    let shown = table(&database.ok("SELECT content FROM messages"));
    assert_eq!(shown, "content\n'both'\n(1 rows)\n");
    database.batch(&["SELECT * FROM messages"]).unwrap_err();
}

/// A scan page may end among the dead rows of the partition behind the last row that it returned;
/// what is skipped of a full partition must not be skipped of that one.
#[test]
fn dead_rows_between_partitions_hide_nothing_from_a_limited_scan() {
    let mut database = database();
    for channel in 0..12 {
        for id in 0..30 {
            database.ok(&format!(
                "INSERT INTO messages (channel_id, bucket, message_id) VALUES ({channel}, 0, {id})"
            ));
        }
        for id in 1..30 {
            database.ok(&format!(
                "DELETE FROM messages WHERE channel_id = {channel} AND bucket = 0 AND message_id = {id}"
            ));
        }
    }
    for limit in 1..4 {
        let text = format!("SELECT channel_id FROM messages PER PARTITION LIMIT {limit}");
        assert_eq!(database.ok(&text).len(), 12, "limit {limit}");
    }
    assert_eq!(
        database
            .ok("SELECT DISTINCT channel_id, bucket FROM messages")
            .len(),
        12
    );
}
