//! The program as scripts and people use it: output, errors, exit status.

use crate::harness::{Serving, chatdb, run, text};
use std::io::Write;
use std::process::Stdio;
use tempfile::TempDir;

struct World {
    _dir: TempDir,
    serving: Serving,
}

impl World {
    fn start() -> Self {
        let dir = TempDir::new().unwrap();
        let serving = Serving::start(dir.path());
        let world = Self { _dir: dir, serving };
        let script = "CREATE KEYSPACE app; CREATE TABLE app.t (k int, id bigint, content text, \
            PRIMARY KEY (k, id)); INSERT INTO app.t (k, id, content) VALUES (1, 10, 'a;b'); \
            INSERT INTO app.t (k, id, content) VALUES (1, 11, null);";
        assert_eq!(world.query(&[script]), (0, String::new(), String::new()));
        world
    }

    fn query(&self, arguments: &[&str]) -> (i32, String, String) {
        let output = chatdb()
            .args(["query", "--at", &self.serving.address])
            .args(arguments)
            .output()
            .unwrap();
        (
            output.status.code().unwrap_or(-1),
            text(&output.stdout),
            text(&output.stderr),
        )
    }
}

#[test]
fn query_prints_tables_json_and_csv_and_tells_success_by_its_status() {
    let world = World::start();
    let select = "SELECT * FROM app.t WHERE k = 1";
    let json = "{\"k\":1,\"id\":10,\"content\":\"a;b\"}\n{\"k\":1,\"id\":11,\"content\":null}\n";
    assert_eq!(
        world.query(&[select, "--json"]),
        (0, json.to_owned(), String::new())
    );
    let csv = "k,id,content\r\n1,10,a;b\r\n1,11,\r\n";
    assert_eq!(
        world.query(&[select, "--csv"]),
        (0, csv.to_owned(), String::new())
    );
    let (status, table, errors) =
        world.query(&["-k", "app", "SELECT id, content FROM t WHERE k = 1"]);
    assert_eq!((status, errors.as_str()), (0, ""));
    let rule = format!("{}\u{253c}{}", "\u{2500}".repeat(4), "\u{2500}".repeat(9));
    assert_eq!(
        table,
        format!(" id \u{2502} content\n{rule}\n 10 \u{2502} a;b\n 11 \u{2502} null\n")
    );
    let (status, count, _) = world.query(&["SELECT COUNT(*) FROM app.t", "--json"]);
    assert_eq!((status, count.as_str()), (0, "{\"count\":2}\n"));
}

#[test]
fn errors_are_one_line_with_help_below_and_status_one() {
    let world = World::start();
    let (status, output, errors) = world.query(&["SELECT * FROM app.t WHERE id = 1"]);
    assert_eq!((status, output.as_str()), (1, ""));
    let mut lines = errors.lines();
    assert!(
        lines.next().unwrap_or_default().starts_with("error: "),
        "{errors}"
    );
    assert!(lines.all(|line| line.starts_with("       ")), "{errors}");
    let (status, _, errors) = world.query(&["SELECT * FROM app.missing"]);
    assert_eq!(status, 1);
    assert!(
        errors.starts_with("error: no table app.missing\n"),
        "{errors}"
    );
    let output = run(&["query", "--at", "127.0.0.1:1", "SELECT 1"]);
    assert_eq!(output.status.code(), Some(1));
    let errors = text(&output.stderr);
    assert!(
        errors.starts_with("error: no database answers at http://127.0.0.1:1"),
        "{errors}"
    );
}

#[test]
fn a_wrong_command_line_has_status_two() {
    for arguments in [
        &["query"][..],
        &["serve"],
        &["nothing"],
        &["query", "x", "--json", "--csv"],
    ] {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(text(&output.stderr).starts_with("error: "), "{arguments:?}");
    }
    let output = run(&["--help"]);
    assert_eq!(output.status.code(), Some(0));
    assert!(
        text(&output.stdout).lines().count() <= 24,
        "help fits a screen"
    );
}

#[test]
fn a_script_on_standard_input_runs_until_its_first_error() {
    let world = World::start();
    let mut shell = chatdb()
        .args(["shell", "--at", &world.serving.address])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let script = "USE app;\nINSERT INTO t (k, id) VALUES (2, 1);\nSELECT nothing FROM t;\n\
        INSERT INTO t (k, id) VALUES (2, 2);";
    shell
        .stdin
        .take()
        .unwrap()
        .write_all(script.as_bytes())
        .unwrap();
    let output = shell.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).starts_with("error: table app.t has no column nothing"));
    let (_, rows, _) = world.query(&["SELECT id FROM app.t WHERE k = 2", "--json"]);
    assert_eq!(rows, "{\"id\":1}\n");
}

#[test]
fn status_shows_the_node_and_its_tablets() {
    let world = World::start();
    let output = run(&["status", "--at", &world.serving.address]);
    let shown = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0));
    assert!(shown.contains("5 groups \u{b7} 1 table"), "{shown}");
    let output = run(&["status", "--json", "--at", &world.serving.address]);
    let status: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(status["tablets"].as_array().map(Vec::len), Some(4));
}

#[test]
fn termination_stops_cleanly_and_keeps_everything() {
    let dir = TempDir::new().unwrap();
    let serving = Serving::start(dir.path());
    let address = serving.address.clone();
    let script = "CREATE KEYSPACE app; CREATE TABLE app.t (k int PRIMARY KEY); \
        INSERT INTO app.t (k) VALUES (5)";
    let output = chatdb()
        .args(["query", "--at", &address, script])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let (status, printed) = serving.terminate();
    assert_eq!(
        (status, printed.as_str()),
        (Some(0), "chatdb has stopped\n")
    );
    let data = dir.path().to_str().unwrap();
    let output = run(&["query", "--data", data, "SELECT * FROM app.t", "--json"]);
    assert_eq!(text(&output.stdout), "{\"k\":5}\n");
}

#[test]
fn the_example_of_a_settings_file_has_every_option_and_is_what_holds_without_it() {
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/chatdb.toml");
    let with = run(&["serve", "--config", example, "--print-config"]);
    assert!(with.status.success(), "{}", text(&with.stderr));
    let without = run(&["serve", "--data", "./data", "--print-config"]);
    let values = |printed: &str| -> Vec<String> {
        let lines = printed.lines().filter_map(|line| line.split_once(" # "));
        lines.map(|(value, _)| value.to_owned()).collect()
    };
    let (with, without) = (text(&with.stdout), text(&without.stdout));
    assert_eq!(values(&with), values(&without));
    assert!(values(&with).len() >= 9, "{with}");
    let file = std::fs::read_to_string(example).unwrap();
    let unset = with
        .lines()
        .filter_map(|line| line.strip_suffix(" is not set"));
    for line in unset {
        assert!(
            file.contains(&format!("{line} = ")),
            "{line} is not in the example"
        );
    }
}

#[test]
fn a_wrong_settings_file_is_refused_with_its_line() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("chatdb.toml");
    std::fs::write(&path, "data = 'x'\ngprc = '127.0.0.1:0'\n").unwrap();
    let path = path.display().to_string();
    let refused = run(&["serve", "--config", &path]);
    assert_eq!(refused.status.code(), Some(2));
    let told = text(&refused.stderr);
    assert!(
        told.contains(&format!(
            "{path}:2: unknown key gprc; the keys are data, grpc"
        )),
        "{told}"
    );
}
