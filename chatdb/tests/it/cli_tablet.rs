//! `chatdb tablet` on a stopped directory.

use crate::harness::{chatdb, run, text};
use chatdb::{Db, EmbeddedOptions, Statement};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A stopped database whose rows are in files.
async fn stopped() -> TempDir {
    let dir = TempDir::new().unwrap();
    let mut options = EmbeddedOptions::new(dir.path());
    options.tablets = 2;
    options.tablet_memtable_bytes = 4096;
    let db = Db::open(options).await.unwrap();
    for text in [
        "CREATE KEYSPACE app",
        "CREATE TABLE app.t (k int, id bigint, content text, PRIMARY KEY (k, id))",
    ] {
        db.execute(Statement::new(text)).await.unwrap();
    }
    let text = "many words so that memtables are full soon ".repeat(4);
    loop {
        for id in 0..50 {
            let insert = format!(
                "INSERT INTO app.t (k, id, content) VALUES ({}, {id}, 'message {text}')",
                id % 7
            );
            db.execute(Statement::new(insert)).await.unwrap();
        }
        let status = db.status().await.unwrap();
        if status.tablets.iter().all(|tablet| tablet.sstable_count > 0) {
            break;
        }
    }
    db.close().await.unwrap();
    dir
}

fn tablet(dir: &Path, arguments: &[&str]) -> (i32, String, String) {
    let output = chatdb()
        .arg("tablet")
        .args(arguments)
        .arg("--data")
        .arg(dir)
        .output()
        .unwrap();
    let status = output.status.code().unwrap_or(-1);
    (status, text(&output.stdout), text(&output.stderr))
}

fn tables(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for tablet in std::fs::read_dir(dir.join("tablets")).unwrap() {
        for file in std::fs::read_dir(tablet.unwrap().path()).unwrap() {
            let path = file.unwrap().path();
            found.extend(Some(path).filter(|path| path.extension().is_some_and(|it| it == "sst")));
        }
    }
    found.sort();
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn verify_reads_everything_and_names_file_and_offset_of_damage() {
    let dir = stopped().await;
    let files = tables(dir.path());
    assert!(files.len() >= 2, "{files:?}");
    let (status, said, errors) = tablet(dir.path(), &["verify"]);
    assert_eq!((status, errors.as_str()), (0, ""), "{said}");
    assert!(said.starts_with("sound"), "{said}");
    assert!(
        said.contains(&format!("{} sound file", files.len())),
        "{said}"
    );
    let mut bytes = std::fs::read(&files[0]).unwrap();
    bytes[30] ^= 1;
    std::fs::write(&files[0], bytes).unwrap();
    let (status, said, errors) = tablet(dir.path(), &["verify"]);
    assert_eq!(status, 1, "{said}");
    assert!(said.starts_with("1 damaged"), "{said}");
    let place = format!("{} is damaged at byte 0: expected", files[0].display());
    assert!(errors.contains(&place), "{errors}");
    let (status, said, _) = tablet(dir.path(), &["verify", "--json"]);
    let object: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!(
        (status, object["damaged"][0]["offset"].as_u64()),
        (1, Some(0))
    );
    assert_eq!(object["files"].as_u64(), Some(files.len() as u64 - 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn merging_changes_no_digest_and_dump_shows_what_is_stored() {
    let dir = stopped().await;
    let (status, before, errors) = tablet(dir.path(), &["digest", "--json"]);
    assert_eq!((status, errors.as_str()), (0, ""));
    let rows: u64 = before
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .map(|line| line["rows"].as_u64().unwrap())
        .sum();
    assert!(rows > 20, "{before}");
    let (status, said, errors) = tablet(dir.path(), &["compact"]);
    assert_eq!((status, errors.as_str()), (0, ""), "{said}");
    assert!(said.starts_with("2 tablets"), "{said}");
    assert_eq!(tablet(dir.path(), &["digest", "--json"]).1, before);
    let (status, said, _) = tablet(dir.path(), &["estimate"]);
    assert_eq!(status, 0);
    assert!(said.contains("app.t") && said.contains("advice"), "{said}");
    let (_, list, _) = tablet(dir.path(), &["dump", "--json"]);
    let file: serde_json::Value = serde_json::from_str(list.lines().next().unwrap()).unwrap();
    let number = file["file"]
        .as_str()
        .unwrap()
        .trim_end_matches(".sst")
        .to_owned();
    let group = file["tablet"].to_string();
    let (status, entries, _) = tablet(
        dir.path(),
        &["dump", "--json", "--tablet", &group, "--file", &number],
    );
    assert_eq!(status, 0);
    let dumped = entries
        .lines()
        .filter(|line| line.contains("\"entry\":\"row\""))
        .count();
    assert_eq!(dumped as u64, file["rows"].as_u64().unwrap());
    // "message 1" in hexadecimal is in the text form as well.
    let (_, shown, _) = tablet(dir.path(), &["dump", "--tablet", &group, "--file", &number]);
    assert!(
        shown.contains("partition") && shown.contains("6d65737361676520"),
        "{shown}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_database_or_open_elsewhere_is_refused_in_one_line() {
    let empty = TempDir::new().unwrap();
    let (status, _, errors) = tablet(empty.path(), &["verify"]);
    assert_eq!(status, 1);
    assert!(errors.contains("holds no database"), "{errors}");
    assert_eq!(
        std::fs::read_dir(empty.path()).unwrap().count(),
        0,
        "nothing is made"
    );
    let dir = stopped().await;
    let db = Db::open(EmbeddedOptions::new(dir.path())).await.unwrap();
    let (status, _, errors) = tablet(dir.path(), &["compact"]);
    assert_eq!(status, 1);
    assert!(
        errors.contains("a server has") && errors.contains("stop it first"),
        "{errors}"
    );
    db.close().await.unwrap();
    let path = dir.path().to_str().unwrap();
    let output = run(&["tablet", "verify", "--data", path, "--tablet", "99"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("no such tablet"));
}
