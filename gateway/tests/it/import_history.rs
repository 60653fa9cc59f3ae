//! Imports through the program itself, counted in the database afterwards.

#![expect(clippy::unwrap_used, reason = "a test stops where it fails")]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use chatdb::{Db, EmbeddedOptions, Statement};
use tempfile::TempDir;

const FLUX: &str = env!("CARGO_BIN_EXE_flux");

/// Three days of one channel and a log without a date; returns the number of messages.
fn write_logs(dir: &Path) -> usize {
    let mut count = 0;
    for day in ["2004-11-15", "2014-12-31", "2018-03-02"] {
        let mut text = String::from("=== ann has joined #ubuntu\n");
        for line in 0..1500 {
            let (hour, minute) = (line / 100, line % 60);
            writeln!(
                text,
                "[{hour:02}:{minute:02}] <nick{}> line {line} of {day}",
                line % 97
            )
            .unwrap();
            count += 1;
        }
        std::fs::write(dir.join(format!("{day}.raw.txt")), text).unwrap();
    }
    std::fs::write(
        dir.join("2004-11-15.annotation.txt"),
        "1 1 -\n1 3 -\n2 3 -\n",
    )
    .unwrap();
    std::fs::write(
        dir.join("offtopic.raw.txt"),
        "[10:00] <ann> hi\n[10:01]  * ann waves\n",
    )
    .unwrap();
    count + 2
}

fn import(data: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(FLUX);
    command
        .arg("import")
        .args(arguments)
        .arg("--data")
        .arg(data);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn irc(data: &Path, logs: &Path) -> Command {
    import(
        data,
        &["irc", logs.to_str().unwrap(), "--channel", "ubuntu"],
    )
}

fn text(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

async fn query(data: &Path, cql: &'static str) -> Vec<chatdb::Row> {
    let db = Db::open(EmbeddedOptions::new(data)).await.unwrap();
    let (mut rows, mut state) = (Vec::new(), None);
    loop {
        let page = db
            .execute(Statement::new(cql).page_state(state))
            .await
            .unwrap();
        rows.extend(page.rows);
        state = page.page_state;
        if state.is_none() {
            break;
        }
    }
    db.close().await.unwrap();
    rows
}

async fn messages(data: &Path) -> usize {
    query(data, "SELECT message_id, channel_id FROM flux.messages")
        .await
        .len()
}

/// Kills the import once it has written that many bytes, or lets it end.
fn kill_after(mut child: Child, bytes: u64) {
    let io = PathBuf::from(format!("/proc/{}/io", child.id()));
    loop {
        let written = std::fs::read_to_string(&io).ok().and_then(|io| {
            io.lines()
                .find_map(|line| line.strip_prefix("wchar: ")?.parse::<u64>().ok())
        });
        let ended = child.try_wait().unwrap().is_some();
        if ended || written.is_some_and(|written| written >= bytes) {
            break;
        }
        std::thread::yield_now();
    }
    drop(child.kill());
    child.wait().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_is_there_once_however_often_it_is_killed_and_run_again() {
    let (data, logs) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let count = write_logs(logs.path());
    for bytes in [200_000, 400_000, 600_000] {
        kill_after(irc(data.path(), logs.path()).spawn().unwrap(), bytes);
    }
    let whole = irc(data.path(), logs.path()).output().unwrap();
    assert!(whole.status.success(), "{}", text(&whole));
    assert!(
        text(&whole).contains("4,502 messages are there"),
        "{}",
        text(&whole)
    );
    assert_eq!(messages(data.path()).await, count);
    let again = irc(data.path(), logs.path()).output().unwrap();
    assert!(
        text(&again).contains("0 new, 4,502 known"),
        "{}",
        text(&again)
    );
    assert_eq!(messages(data.path()).await, count);
}

#[tokio::test(flavor = "multi_thread")]
async fn imported_history_keeps_its_times_its_order_and_its_replies() {
    let (data, logs) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    write_logs(logs.path());
    let whole = irc(data.path(), logs.path()).output().unwrap();
    assert!(whole.status.success(), "{}", text(&whole));
    let rows = query(
        data.path(),
        "SELECT message_id, sent_at, content, reply_to FROM flux.messages",
    )
    .await;
    let mut dated: Vec<_> = rows
        .iter()
        .filter(|row| row.text("content").unwrap().contains(" of "))
        .collect();
    dated.sort_by_key(|row| row.bigint("message_id").unwrap());
    let day = |row: &chatdb::Row| {
        row.text("content")
            .unwrap()
            .rsplit(' ')
            .next()
            .unwrap()
            .to_owned()
    };
    let days: Vec<String> = dated.iter().map(|row| day(row)).collect();
    assert!(
        days.is_sorted(),
        "ids sort as the days do, also before 2015"
    );
    let reply = dated
        .iter()
        .find(|row| row.text("content").unwrap() == "line 2 of 2004-11-15")
        .unwrap();
    let answered = dated
        .iter()
        .find(|row| row.text("content").unwrap() == "line 1 of 2004-11-15")
        .unwrap();
    assert_eq!(
        reply.bigint("reply_to").unwrap(),
        answered.bigint("message_id").unwrap()
    );
}

const EXPORT: &str = r#"{"guild":{"id":"700000000000000001","name":"G"},"channel":{"id":"700000000000000002","type":"GuildTextChat","name":"General Chat","topic":null},"messages":[
{"id":"700000000000000010","type":"Default","timestamp":"2020-04-15T10:00:00.000+00:00","timestampEdited":null,"isPinned":false,"content":"first","author":{"id":"5","name":"ann","isBot":false},"attachments":[],"reactions":[{"emoji":{"id":"","name":"👍"},"count":1,"users":[{"id":"6","name":"bob"}]}]},
{"id":"700000000000000011","type":"Reply","timestamp":"2020-04-15T10:00:01.000+00:00","content":"second","author":{"id":"6","name":"bob"},"reference":{"messageId":"700000000000000010"}},
{"id":"700000000000000012","type":"GuildMemberJoin","timestamp":"2020-04-15T10:00:02.000+00:00","content":"","author":{"id":"7","name":"eve"}}
]}"#;

#[tokio::test(flavor = "multi_thread")]
async fn an_export_keeps_its_ids_and_one_that_is_cut_says_where_and_loses_nothing_before() {
    let (data, files) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let path = files.path().join("general.json");
    let cut = EXPORT.find(",\n{\"id\":\"700000000000000011").unwrap() + 20;
    std::fs::write(&path, &EXPORT[..cut]).unwrap();
    let arguments = ["discord", path.to_str().unwrap()];
    let broken = import(data.path(), &arguments).output().unwrap();
    assert_eq!(broken.status.code(), Some(1), "{}", text(&broken));
    assert!(
        text(&broken).contains("general.json") && text(&broken).contains("line 3"),
        "{}",
        text(&broken)
    );
    assert_eq!(messages(data.path()).await, 1);

    std::fs::write(&path, EXPORT).unwrap();
    let whole = import(data.path(), &arguments).output().unwrap();
    assert!(whole.status.success(), "{}", text(&whole));
    assert!(text(&whole).contains("1 new, 1 known"), "{}", text(&whole));
    let rows = query(
        data.path(),
        "SELECT message_id, reply_to FROM flux.messages",
    )
    .await;
    let mut ids: Vec<i64> = rows
        .iter()
        .map(|row| row.bigint("message_id").unwrap())
        .collect();
    ids.sort_unstable();
    assert_eq!(ids, [700_000_000_000_000_010, 700_000_000_000_000_011]);
    assert_eq!(
        query(data.path(), "SELECT emoji FROM flux.reactions")
            .await
            .len(),
        1
    );
}

#[test]
fn nothing_to_import_is_one_line_and_exit_status_1() {
    let data = TempDir::new().unwrap();
    let output = import(data.path(), &["irc", "/nowhere/at/all"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let line = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        line.starts_with("error: ") && line.contains("/nowhere/at/all"),
        "{line}"
    );
    assert_eq!(line.trim().lines().count(), 1, "{line}");
}
