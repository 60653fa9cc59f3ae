//! The page of metrics: complete, documented, true, and not for everybody.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail as tests do"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use chatdb::MetricsServer;
use http::{StatusCode, header};
use serde_json::json;

use crate::rest_support::Server;

/// Labels that a page may have. None of their values is chosen by a user.
const LABELS: [&str; 7] = ["tablet", "group", "kind", "method", "stage", "status", "le"];

/// A family of the page: what `# HELP` and `# TYPE` say, and its label names.
#[derive(Debug, Default)]
struct Family {
    kind: String,
    help: String,
    labels: BTreeSet<String>,
}

/// The families of a page and its samples by name with labels.
#[derive(Debug, Default)]
struct Page {
    families: BTreeMap<String, Family>,
    samples: BTreeMap<String, f64>,
}

impl Page {
    fn parse(text: &str) -> Self {
        let mut page = Self::default();
        let lines = text
            .strip_suffix("# EOF\n")
            .expect("a page has an end")
            .lines();
        for line in lines {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, help) = rest.split_once(' ').unwrap();
                help.clone_into(&mut page.families.entry(name.to_owned()).or_default().help);
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').unwrap();
                kind.clone_into(&mut page.families.entry(name.to_owned()).or_default().kind);
            } else {
                page.sample(line);
            }
        }
        page
    }

    fn sample(&mut self, line: &str) {
        let (name, value) = line.rsplit_once(' ').unwrap();
        let value: f64 = value.parse().unwrap();
        assert!(value >= 0.0, "{line}");
        let (bare, labels) = name.split_once('{').unwrap_or((name, ""));
        let family = family_of(bare, &self.families).unwrap_or_else(|| panic!("{line}: no family"));
        for label in labels.trim_end_matches('}').split(',') {
            if let Some((label, _)) = label.split_once('=') {
                assert!(LABELS.contains(&label), "{line}");
                let family = self.families.get_mut(&family).unwrap();
                family.labels.insert(label.to_owned());
            }
        }
        let before = self.samples.insert(name.to_owned(), value);
        assert_eq!(before, None, "{line} is there twice");
    }

    fn value(&self, name: &str) -> f64 {
        let value = self.samples.get(name);
        *value.unwrap_or_else(|| panic!("no {name} on the page"))
    }
}

/// The family that a sample of this name belongs to.
fn family_of(sample: &str, families: &BTreeMap<String, Family>) -> Option<String> {
    let endings = ["", "_total", "_bucket", "_sum", "_count"];
    let mut names = endings.iter().filter_map(|end| sample.strip_suffix(end));
    names
        .find(|name| families.contains_key(*name))
        .map(str::to_owned)
}

/// `docs/operations/metrics.md` for this page.
fn document(page: &Page) -> String {
    let mut text = String::from(
        "# Metrics\n\n\
         Written by `UPDATE=1 cargo test -p gateway --test it metrics` from the page that a server shows; a test fails when it is\n\
         stale. `flux serve --metrics-listen 127.0.0.1:8081` and `chatdb serve --metrics-listen 127.0.0.1:7401` serve the page on\n\
         `/metrics` (OpenMetrics text, which Prometheus reads) and on `/healthz` whether the process can do its work: 200, or 503\n\
         with the reason. That of chatdb has the status of the whole cluster for a person at `/`. Nothing listens unless it is\n\
         asked to. There is no password: keep the address on loopback or behind a firewall. No label holds a name, a topic or a\n\
         key. `deploy/grafana/flux.json` is a dashboard over these names.\n\n\
         Counters start at zero with the process. Names in `_seconds` are histograms: `_bucket`, `_sum` and `_count`. A tablet\n\
         is one engine; group 0 holds the schema and has none. A server over a remote database shows `flux_` only; the rest is\n\
         on the page of the database.\n",
    );
    let parts = [
        ("flux_", "The chat server"),
        ("chatdb_", "The database"),
        ("raft_", "Raft groups"),
        ("lsm_", "Engines, block cache and log"),
    ];
    for (prefix, title) in parts {
        write!(
            text,
            "\n## {title}\n\n| name | kind | labels | what |\n|---|---|---|---|\n"
        )
        .unwrap();
        let of_part = page
            .families
            .iter()
            .filter(|(name, _)| name.starts_with(prefix));
        for (name, family) in of_part {
            let ending = if family.kind == "counter" {
                "_total"
            } else {
                ""
            };
            let labels: Vec<&str> = family.labels.iter().map(String::as_str).collect();
            let shown: Vec<&str> = labels.into_iter().filter(|label| *label != "le").collect();
            let (kind, help) = (&family.kind, &family.help);
            writeln!(
                text,
                "| `{name}{ending}` | {kind} | {} | {help} |",
                shown.join(", ")
            )
            .unwrap();
        }
    }
    let known = |name: &str| parts.iter().any(|(prefix, _)| name.starts_with(prefix));
    let strange: Vec<_> = page.families.keys().filter(|name| !known(name)).collect();
    assert!(strange.is_empty(), "{strange:?}");
    text
}

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

async fn serve(server: &Server) -> (MetricsServer, String) {
    let listen = "127.0.0.1:0".parse().unwrap();
    let pages = server.app.serve_metrics(listen).await.unwrap();
    let base = format!("http://{}", pages.address());
    (pages, base)
}

async fn get(base: &str, path: &str) -> (StatusCode, String) {
    let answer = reqwest::get(format!("{base}{path}")).await.unwrap();
    (answer.status(), answer.text().await.unwrap())
}

async fn read_page(base: &str) -> Page {
    let (status, text) = get(base, "/metrics").await;
    assert_eq!(status, StatusCode::OK);
    Page::parse(&text)
}

#[tokio::test]
async fn the_page_is_complete_documented_and_true() {
    let server = Server::start().await;
    let (_pages, base) = serve(&server).await;
    let before = read_page(&base).await;
    let owner = server.owner().await;
    for number in 0..5 {
        let body = json!({"content": format!("message {number}")});
        owner.person.post(&owner.messages(), body).await.ok();
    }
    owner.person.get("/no/such/route").await;
    let page = read_page(&base).await;
    let grown = |name: &str| page.value(name) - before.value(name);

    // Register, guild, five messages; and what was asked for by name and by a wrong one.
    assert!((grown("flux_requests_total{method=\"POST\",status=\"2xx\"}") - 7.0).abs() < 0.1);
    assert!((grown("flux_request_seconds_count{method=\"POST\"}") - 7.0).abs() < 0.1);
    assert!((grown("flux_requests_total{method=\"GET\",status=\"4xx\"}") - 1.0).abs() < 0.1);
    assert!(grown("chatdb_statement_seconds_count{kind=\"write\"}") >= 7.0);
    assert!(grown("lsm_log_commits_total") >= 5.0);
    assert!(grown("lsm_log_payload_bytes_total") >= 100.0);
    assert!(page.value("chatdb_memtable_bytes") > 0.0);
    assert!((page.value("chatdb_subscribers") - 1.0).abs() < 0.1);
    for group in 0..=4 {
        assert!((page.value(&format!("raft_leads{{group=\"{group}\"}}")) - 1.0).abs() < 0.1);
    }

    let path = repository("docs/operations/metrics.md");
    let written = document(&page);
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &written).unwrap();
    }
    let stored = std::fs::read_to_string(&path).unwrap();
    assert_eq!(
        stored, written,
        "run UPDATE=1 cargo test -p gateway --test it metrics"
    );
    server.stop().await;
}

#[tokio::test]
async fn every_name_of_the_dashboard_is_on_the_page() {
    let server = Server::start().await;
    let (_pages, base) = serve(&server).await;
    let page = read_page(&base).await;
    let text = std::fs::read_to_string(repository("deploy/grafana/flux.json")).unwrap();
    let dashboard: serde_json::Value = serde_json::from_str(&text).unwrap();
    let mut names = 0;
    for panel in dashboard["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().into_iter().flatten() {
            let query = target["expr"].as_str().unwrap();
            let words =
                query.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
            let ours = ["flux_", "chatdb_", "raft_", "lsm_"];
            for word in words.filter(|word| ours.iter().any(|prefix| word.starts_with(prefix))) {
                names += 1;
                let family = family_of(word, &page.families);
                let family = family.unwrap_or_else(|| panic!("{word} of {query} is on no page"));
                let ends_right = match page.families[&family].kind.as_str() {
                    "counter" => word.ends_with("_total"),
                    "histogram" => word != family,
                    _ => word == family,
                };
                assert!(ends_right, "{word} of {query}");
            }
        }
    }
    assert!(names >= 30, "{names} names are a small dashboard");
    server.stop().await;
}

#[tokio::test]
async fn health_follows_the_server_and_the_page_is_for_this_machine() {
    let server = Server::start().await;
    let (_pages, base) = serve(&server).await;
    assert_eq!(
        get(&base, "/healthz").await,
        (StatusCode::OK, "ok\n".to_owned())
    );

    let client = reqwest::Client::new();
    let asked = |host: &'static str| {
        let request = client.get(format!("{base}/metrics"));
        request.header(header::HOST, host).send()
    };
    let refused = asked("evil.example:8081").await.unwrap();
    assert_eq!(refused.status(), StatusCode::FORBIDDEN);
    let answered = asked("localhost:8081").await.unwrap();
    assert_eq!(answered.status(), StatusCode::OK);
    let kind = answered.headers()[header::CONTENT_TYPE].to_str().unwrap();
    assert!(kind.starts_with("application/openmetrics-text"), "{kind}");
    assert!(
        !answered
            .headers()
            .contains_key("access-control-allow-origin")
    );
    let posted = client.post(format!("{base}/metrics")).send().await.unwrap();
    assert_eq!(posted.status(), StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(get(&base, "/").await.0, StatusCode::NOT_FOUND);

    server.stop().await;
    let (status, reason) = get(&base, "/healthz").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(reason, "the server is going down\n");
}
