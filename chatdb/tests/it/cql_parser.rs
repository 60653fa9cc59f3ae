//! The parser: what it takes, what it says about what it does not take, and that nothing breaks it.

use chatdb::cql::{is_complete, parse, split};

/// Statements that cover every rule of the grammar.
pub(crate) const STATEMENTS: &[&str] = &[
    "CREATE KEYSPACE IF NOT EXISTS flux WITH comment = 'chat'",
    "ALTER KEYSPACE flux WITH comment = 'it''s chat'",
    "DROP KEYSPACE IF EXISTS flux",
    "CREATE TABLE flux.messages (channel_id bigint, bucket int, message_id bigint, content text, \
     tags set<text>, reactions map<text, int>, edits list<timestamp>, pinned boolean STATIC, \
     PRIMARY KEY ((channel_id, bucket), message_id)) WITH CLUSTERING ORDER BY (message_id DESC) \
     AND placement = (channel_id) AND bucket = {'column': 'bucket', 'days': 10, \
     'origin_ms': 1420070400000} AND default_time_to_live = 0 AND upsert = false",
    "CREATE TABLE IF NOT EXISTS t (id uuid PRIMARY KEY, x double)",
    "ALTER TABLE t ADD (a text, b int static)",
    "ALTER TABLE t ADD a text",
    "ALTER TABLE t DROP a, b",
    "ALTER TABLE t WITH upsert = true AND comment = ''",
    "DROP TABLE IF EXISTS k.t",
    "TRUNCATE TABLE t",
    "USE \"Mixed Case\"",
    "DESCRIBE KEYSPACES",
    "DESC KEYSPACE",
    "DESCRIBE KEYSPACE k",
    "DESCRIBE TABLES",
    "DESCRIBE TABLE k.t",
    "INSERT INTO t (a, b, c) VALUES (1, 'x', ?) IF NOT EXISTS USING TTL 60 AND TOPIC 'g:1'",
    "INSERT INTO t (a, b, c, d) VALUES (-9223372036854775808, 0xCAFE, NaN, -Infinity)",
    "INSERT INTO t (a, b, c, d, e) VALUES ({}, {1, 2}, {'k': :v, 'l': :v}, [1.5, 2e10], null)",
    "INSERT INTO t (a) VALUES (123e4567-e89b-12d3-a456-426614174000)",
    "INSERT INTO t (a) VALUES ($$it's$$)",
    "UPDATE t USING TTL ? SET a = 1, b += {'x'}, c = [1] + c, d = d - ?, e['k'] = 'v' \
     WHERE k = 1 AND c = 2 IF EXISTS",
    "UPDATE t SET a = NULL WHERE k = 1 IF a = 1 AND b != 2 AND c IN (1, 2) AND m['k'] >= 3",
    "DELETE FROM t WHERE k = 1",
    "DELETE a, m['x'] FROM t USING TOPIC 'a' AND TOPIC 'b' WHERE k = 1 AND c > 5 AND c <= 9",
    "DELETE FROM t WHERE k = 1 IF a = 1",
    "BEGIN UNLOGGED BATCH USING TOPIC 'x' INSERT INTO t (a) VALUES (1); UPDATE t SET b = 1 WHERE \
     a = 1; DELETE FROM t WHERE a = 2; APPLY BATCH",
    "SELECT * FROM t",
    "SELECT COUNT(*) FROM t",
    "SELECT count(1) AS n FROM flux.t LIMIT 10",
    "SELECT DISTINCT a, b FROM t",
    "SELECT a, TTL(b), WRITETIME(b) AS w, TOKEN(a, b) FROM t WHERE a = 1 AND b IN (1, 2, 3) \
     AND (c, d) > (1, 2) ORDER BY c DESC, d ASC PER PARTITION LIMIT 2 LIMIT :n",
    "SELECT a FROM t WHERE a IN ? AND token(a) >= -5 AND token(a) < ?",
    "SELECT a FROM t -- comment\n WHERE /* here */ a = 1 // end",
];

#[test]
fn every_rule_prints_back_to_the_same_statement() {
    for text in STATEMENTS {
        let first = parse(text).unwrap_or_else(|error| panic!("{text}: {}", error.report()));
        let printed = first.statement.to_string();
        let second = parse(&printed)
            .unwrap_or_else(|error| panic!("{text} printed {printed}: {}", error.report()));
        // NaN is not equal to itself; its text is.
        assert_eq!(
            format!("{:?}", first.statement),
            format!("{:?}", second.statement),
            "{printed}"
        );
        assert_eq!(first.markers.len(), second.markers.len());
    }
}

fn check_error(text: &str, expected: &str) {
    match parse(text) {
        Ok(parsed) => panic!("{text} parsed to {parsed:?}"),
        Err(error) => assert_eq!(error.message(), expected, "{text}"),
    }
}

#[test]
fn errors_say_where_and_what_was_expected() {
    check_error(
        "",
        "expected a statement, found the end of the text at line 1 column 1",
    );
    check_error(
        "SELEKT 1",
        "expected a statement, found `SELEKT` at line 1 column 1",
    );
    check_error(
        "SELECT * FORM t",
        "expected FROM, found `FORM` at line 1 column 10",
    );
    check_error(
        "SELECT a,\n       FROM t",
        "expected a column name, found `FROM` at line 2 column 8",
    );
    check_error(
        "SELECT 'a' FROM t",
        "expected a column name, found the text 'a' at line 1 column 8",
    );
    check_error(
        "INSERT INTO t (a, b) VALUES (1)",
        "2 columns but 1 values at line 1 column 32",
    );
    check_error(
        "SELECT * FROM t WHERE a = 'x",
        "text without its closing ' at line 1 column 27",
    );
    check_error("SELECT * FROM t WHERE a = 0xabc", {
        "blob that is not an even number of hexadecimal digits at line 1 column 27"
    });
    check_error("SELECT * FROM t; SELECT", {
        "expected the end of the statement, found `SELECT` at line 1 column 18"
    });
    check_error("INSERT INTO t (a) VALUES ([[1]])", {
        "collection inside a collection, which no column can hold at line 1 column 28"
    });
    check_error("SELECT * FROM t WHERE a = ? AND b = :x", {
        "`?` and `:name` markers in one statement; use one kind at line 1 column 39"
    });
    check_error("SELECT * FROM t WHERE a = 99999999999999999999", {
        "number outside the range of bigint at line 1 column 27"
    });
    check_error("UPDATE t USING TIMESTAMP 1 SET a = 1 WHERE b = 1", {
        "USING TIMESTAMP: the database orders writes itself, by the log at line 1 column 16"
    });
}

#[test]
fn filtering_is_refused_with_a_way_out() {
    let error = parse("SELECT * FROM t WHERE a = 1 ALLOW FILTERING").unwrap_err();
    assert!(error.message().contains("ALLOW FILTERING is not supported"));
    assert!(error.help().iter().any(|(label, _)| label == "try"));
}

#[test]
fn named_markers_share_a_number_and_marks_do_not() {
    let named = parse("SELECT * FROM t WHERE a = :x AND b = :y AND c = :x").unwrap();
    assert_eq!(named.markers, [Some("x".to_owned()), Some("y".to_owned())]);
    let marks = parse("SELECT * FROM t WHERE a = ? AND b = ?").unwrap();
    assert_eq!(marks.markers, [None, None]);
}

#[test]
fn scripts_split_at_semicolons_outside_batches_and_text() {
    let script =
        "USE a;; SELECT ';' FROM t ; BEGIN BATCH DELETE FROM t WHERE a = 1; APPLY BATCH; x";
    let parts = split(script).unwrap();
    let batch = "BEGIN BATCH DELETE FROM t WHERE a = 1; APPLY BATCH";
    assert_eq!(parts, ["USE a", "SELECT ';' FROM t", batch, "x"]);
    assert!(is_complete("SELECT 1;"));
    assert!(is_complete("SELECT 1; -- done"));
    assert!(!is_complete("SELECT 1"));
    assert!(!is_complete("SELECT ';"));
    assert!(!is_complete("BEGIN BATCH DELETE FROM t WHERE a = 1;"));
}

#[test]
fn mangled_statements_never_panic() {
    let seed = 0x5eed_0001_u64;
    let mut random = crate::support::Random::new(seed);
    for round in 0..crate::support::rounds() {
        let text = STATEMENTS[random.below(STATEMENTS.len())];
        let mut bytes = text.as_bytes().to_vec();
        for _ in 0..=random.below(4) {
            random.mangle(&mut bytes);
        }
        let text = String::from_utf8_lossy(&bytes);
        if let Ok(parsed) = parse(&text) {
            let printed = parsed.statement.to_string();
            let again = parse(&printed);
            assert!(
                again.is_ok(),
                "seed {seed} round {round}: {text} printed {printed}"
            );
            let again = again.unwrap().statement;
            assert_eq!(
                format!("{:?}", parsed.statement),
                format!("{again:?}"),
                "{printed}"
            );
        }
        let _ends = split(&text).map(|parts| parts.len());
    }
}
