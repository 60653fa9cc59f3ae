//! The `flux` program: it says when it is ready, stops when it is told to, and fails in one line.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::path::Path;
use std::process::Stdio;

use serde_json::json;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::rest_support::{Person, text};

fn flux(arguments: &[&str], data: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_flux"));
    command.args(arguments).arg("--data").arg(data);
    command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

/// Starts a server and answers it with its address, once it says that it is ready.
async fn serve(data: &Path) -> (Child, String) {
    let mut server = flux(
        &["serve", "--listen", "127.0.0.1:0", "--no-rate-limits"],
        data,
    )
    .spawn()
    .unwrap();
    let output = server.stdout.take().unwrap();
    let line = BufReader::new(output)
        .lines()
        .next_line()
        .await
        .unwrap()
        .unwrap();
    let address = line.strip_prefix("Flux is ready: ").unwrap().to_owned();
    (server, address)
}

async fn terminate(mut server: Child) {
    let id = server.id().unwrap().to_string();
    let killed = Command::new("kill")
        .args(["-TERM", &id])
        .status()
        .await
        .unwrap();
    assert!(killed.success());
    assert!(server.wait().await.unwrap().success());
}

#[tokio::test]
async fn a_server_serves_stops_and_finds_everything_again() {
    let directory = TempDir::new().unwrap();
    let (server, address) = serve(directory.path()).await;
    let mut person = Person {
        http: reqwest::Client::new(),
        base: address,
        token: String::new(),
        id: String::new(),
    };
    let body = json!({"username": "alice", "password": "correct horse"});
    person.token = text(&person.post("/auth/register", body).await.ok()["token"]);
    let guild = text(&person.post("/guilds", json!({"name": "Home"})).await.ok()["id"]);
    terminate(server).await;

    let arguments = ["bot", "create", "helper", "--guild", &guild];
    let made = flux(&arguments, directory.path()).output().await.unwrap();
    assert!(
        made.status.success(),
        "{}",
        String::from_utf8_lossy(&made.stderr)
    );
    let token = String::from_utf8(made.stdout).unwrap();

    let (server, address) = serve(directory.path()).await;
    person.base = address;
    assert_eq!(
        person.get("/users/@me/guilds").await.ok()[0]["name"],
        "Home"
    );
    let mut bot = person.clone();
    bot.token = format!("Bot {}", token.trim());
    assert_eq!(
        bot.get("/users/@me/guilds").await.ok()[0]["id"],
        guild.as_str()
    );

    let taken = flux(&["bot", "create", "other"], directory.path())
        .output()
        .await
        .unwrap();
    assert_eq!(taken.status.code(), Some(1));
    let told = String::from_utf8(taken.stderr).unwrap();
    assert!(
        told.starts_with("error: ") && told.lines().count() == 1,
        "{told}"
    );
    terminate(server).await;
}

#[tokio::test]
async fn who_registers_first_owns_what_was_imported_before() {
    let (directory, logs) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let log = logs.path().join("lobby.raw.txt");
    std::fs::write(log, "[10:00] <ann> hello\n").unwrap();
    let path = logs.path().to_str().unwrap().to_owned();
    let imported = flux(
        &["import", "irc", &path, "--guild", "Old days"],
        directory.path(),
    )
    .output()
    .await
    .unwrap();
    assert!(imported.status.success());
    let (server, address) = serve(directory.path()).await;
    let mut people = Vec::new();
    for name in ["ada", "grace"] {
        let mut person = Person {
            http: reqwest::Client::new(),
            base: address.clone(),
            token: String::new(),
            id: String::new(),
        };
        let body = json!({"username": name, "password": "correct horse"});
        person.token = text(&person.post("/auth/register", body).await.ok()["token"]);
        people.push(person.get("/users/@me/guilds").await.ok());
    }
    assert_eq!(people[0][0]["name"], "Old days");
    assert_eq!(people[0][0]["owner"], true);
    assert_eq!(
        people[1],
        json!([]),
        "the second is a guest who needs the invite"
    );
    terminate(server).await;
}

#[tokio::test]
async fn a_wrong_command_line_is_exit_status_2() {
    let wrong = Command::new(env!("CARGO_BIN_EXE_flux"))
        .arg("nonsense")
        .output()
        .await
        .unwrap();
    assert_eq!(wrong.status.code(), Some(2));
}

#[tokio::test]
async fn an_address_in_use_is_one_line_and_exit_status_1() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let directory = TempDir::new().unwrap();
    let failed = flux(&["serve", "--listen", &address], directory.path())
        .output()
        .await
        .unwrap();
    assert_eq!(failed.status.code(), Some(1));
    let told = String::from_utf8(failed.stderr).unwrap();
    assert!(told.starts_with("error: cannot listen on"), "{told}");
    assert_eq!(told.lines().count(), 1);
}

#[tokio::test]
async fn the_example_of_a_settings_file_has_every_option_and_is_what_holds_without_it() {
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/flux.toml");
    let print = |arguments: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_flux"));
        let output = command
            .arg("serve")
            .args(arguments)
            .arg("--print-config")
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap()
    };
    let values = |printed: &str| -> Vec<String> {
        let lines = printed.lines().filter_map(|line| line.split_once(" # "));
        lines.map(|(value, _)| value.to_owned()).collect()
    };
    let (with, without) = (print(&["--config", example]), print(&[]));
    assert_eq!(values(&with), values(&without));
    assert!(values(&with).len() >= 12, "{with}");
    let file = std::fs::read_to_string(example).unwrap();
    for line in with
        .lines()
        .filter_map(|line| line.strip_suffix(" is not set"))
    {
        assert!(
            file.contains(&format!("{line} = ")),
            "{line} is not in the example"
        );
    }
    let elsewhere = print(&["--config", example, "--db", "http://127.0.0.1:1"]);
    assert!(
        elsewhere.contains("db = \"http://127.0.0.1:1\" # command line"),
        "{elsewhere}"
    );
}
