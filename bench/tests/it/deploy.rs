//! The files of `deploy/` parse, name options and metrics that exist, and fit the pages about them.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;
use yaml_rust2::{Yaml, YamlLoader};

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .join(name)
}

fn read(name: &str) -> String {
    std::fs::read_to_string(path(name)).expect(name)
}

fn yaml(name: &str) -> Yaml {
    let mut documents = YamlLoader::load_from_str(&read(name)).expect(name);
    assert_eq!(documents.len(), 1, "{name}");
    documents.remove(0)
}

fn strings(list: &Yaml) -> Vec<String> {
    let list = list.as_vec().into_iter().flatten();
    list.filter_map(|item| item.as_str().map(str::to_owned))
        .collect()
}

/// A program that is looked for, and left out where it is not installed.
#[expect(clippy::print_stdout, reason = "what was left out is said")]
fn has(program: &str) -> bool {
    let is_there = Command::new("sh")
        .args(["-c", &format!("command -v {program}")])
        .output()
        .is_ok_and(|output| output.status.success());
    if !is_there {
        println!("{program} is not installed: its check is left out");
    }
    is_there
}

fn passes(command: &mut Command) {
    let output = command.output().expect("it starts");
    let said = [output.stdout, output.stderr].concat();
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&said)
    );
}

/// The long options that `chatdb serve` has.
fn chatdb_options() -> BTreeSet<String> {
    let help = Command::new(env!("CARGO_BIN_EXE_chaos-node"))
        .args(["serve", "--help"])
        .output()
        .expect("it starts");
    let help = String::from_utf8_lossy(&help.stdout).into_owned();
    help.split_whitespace()
        .filter_map(|word| word.strip_prefix("--"))
        .map(|word| {
            word.trim_end_matches(|it: char| !it.is_ascii_alphanumeric())
                .to_owned()
        })
        .collect()
}

#[test]
fn compose_runs_three_nodes_two_gateways_and_nginx_with_options_that_exist() {
    let compose = yaml("deploy/compose.yaml");
    let services = compose["services"].as_hash().expect("services");
    let names: Vec<&str> = services.keys().filter_map(Yaml::as_str).collect();
    assert_eq!(
        names,
        ["db1", "db2", "db3", "flux1", "flux2", "nginx", "prometheus"]
    );
    let options = chatdb_options();
    assert!(options.contains("data"), "{options:?}");
    for node in ["db1", "db2", "db3"] {
        let command = strings(&compose["services"][node]["command"]);
        assert_eq!(command[..2], ["chatdb", "serve"]);
        for argument in &command[2..] {
            let name = argument
                .trim_start_matches("--")
                .split('=')
                .next()
                .unwrap_or_default();
            assert!(
                options.contains(name),
                "{node}: {argument} is no option of chatdb serve"
            );
        }
        let address = format!("--advertise={node}:7400");
        assert!(
            command.contains(&address),
            "{node} gives the address of another"
        );
    }
    let volumes = compose["volumes"].as_hash().expect("volumes");
    assert_eq!(volumes.len(), 3);
    for file in [
        "deploy/Dockerfile",
        "deploy/nginx/nginx.conf",
        "deploy/prometheus/alerts.yml",
    ] {
        assert!(path(file).exists(), "{file}");
    }
}

/// The options of `flux serve`: a test of the server holds this file to all of them.
fn flux_options() -> BTreeSet<String> {
    read("deploy/flux.toml")
        .lines()
        .filter_map(|line| line.trim_start_matches("# ").split_once(" = "))
        .map(|(name, _)| name.to_owned())
        .collect()
}

#[test]
fn gateways_are_given_options_that_exist_and_every_node() {
    let options = flux_options();
    assert!(options.len() > 10, "{options:?}");
    let compose = yaml("deploy/compose.yaml");
    for gateway in ["flux1", "flux2"] {
        let command = strings(&compose["services"][gateway]["command"]);
        assert_eq!(command[..2], ["flux", "serve"]);
        for argument in &command[2..] {
            let name = argument.trim_start_matches("--").split('=').next();
            let name = name.unwrap_or_default();
            assert!(
                options.contains(name),
                "{gateway}: {argument} is no option of flux serve"
            );
        }
        for node in ["db1", "db2", "db3"] {
            let url = format!("http://{node}:7400");
            assert!(
                command.iter().any(|it| it.contains(&url)),
                "{gateway} does not know {node}"
            );
        }
    }
    for line in read("deploy/systemd/flux-gateway.toml").lines() {
        if let Some((name, _)) = line.split_once(" = ") {
            assert!(options.contains(name), "{name} is no option of flux serve");
        }
    }
}

#[test]
fn the_script_of_three_nodes_is_a_script_with_options_that_exist() {
    passes(
        Command::new("bash")
            .arg("-n")
            .arg(path("deploy/cluster.sh")),
    );
    let script = read("deploy/cluster.sh");
    let options = chatdb_options();
    let serve = script
        .split("arguments=(serve")
        .nth(1)
        .and_then(|it| it.split("mkdir").next());
    let used: Vec<&str> = serve
        .unwrap_or_default()
        .split_whitespace()
        .filter_map(|word| word.trim_start_matches(['(', '+', '=']).strip_prefix("--"))
        .collect();
    assert!(used.len() >= 5, "{used:?}");
    for option in used {
        assert!(
            options.contains(option),
            "--{option} is no option of chatdb serve"
        );
    }
    let missing = Command::new(path("deploy/cluster.sh"))
        .env("CHATDB_BIN", "/nowhere")
        .output();
    let missing = missing.expect("it starts");
    assert!(String::from_utf8_lossy(&missing.stderr).contains("/nowhere is not there"));
}

#[test]
fn the_image_runs_as_nobody_special_and_has_both_programs() {
    let file = read("deploy/Dockerfile");
    let known = [
        "FROM", "WORKDIR", "COPY", "RUN", "USER", "VOLUME", "EXPOSE", "CMD",
    ];
    for line in file
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
    {
        let word = line.split(' ').next().unwrap_or_default();
        assert!(known.contains(&word), "{line}");
    }
    let last = file.rsplit("FROM ").next().expect("a stage");
    assert!(last.contains("USER 10001"));
    assert!(last.contains("release/flux") && last.contains("release/chatdb"));
    let toolchain = read("rust-toolchain.toml");
    let version = file
        .split("FROM rust:")
        .nth(1)
        .and_then(|rest| rest.split('-').next());
    assert!(
        toolchain.contains(version.expect("a version")),
        "the image builds with another Rust"
    );
}

#[test]
fn the_settings_of_a_node_are_read() {
    for node in ["deploy/systemd/node1.toml", "deploy/chatdb.toml"] {
        passes(
            Command::new(env!("CARGO_BIN_EXE_chaos-node"))
                .args(["serve", "--print-config", "--config"])
                .arg(path(node)),
        );
    }
}

#[test]
fn systemd_accepts_the_units() {
    if !has("systemd-analyze") {
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    for name in ["chatdb@.service", "flux.service"] {
        let unit = read(&format!("deploy/systemd/{name}"));
        // The programs are not installed where tests run.
        let program = env!("CARGO_BIN_EXE_chaos-node");
        let unit = unit
            .replace("/usr/local/bin/chatdb", program)
            .replace("/usr/local/bin/flux", program);
        assert!(unit.contains(program), "{name}");
        let copy = dir.path().join(name.replace('@', "@one"));
        std::fs::write(&copy, unit).expect("it is written");
        passes(
            Command::new("systemd-analyze")
                .arg("verify")
                .arg("--man=no")
                .arg(&copy),
        );
    }
}

#[test]
fn nginx_accepts_its_settings() {
    if !has("nginx") {
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let below = |name: &str| dir.path().join(name).display().to_string();
    let kinds = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
    let lines = kinds.map(|kind| format!("    {kind}_temp_path {};", below(kind)));
    let places = format!("http {{\n{}\n", lines.join("\n"));
    let settings = read("deploy/nginx/nginx.conf")
        .replace("flux1:8080", "127.0.0.1:8081")
        .replace("flux2:8080", "127.0.0.1:8082")
        .replace("/tmp/nginx.pid", &below("pid"))
        .replacen("http {\n", &places, 1);
    std::fs::write(dir.path().join("nginx.conf"), settings).expect("it is written");
    passes(Command::new("nginx").args(["-t", "-c", &below("nginx.conf")]));
}

/// The names of metrics in an expression or a page.
fn metrics_in(text: &str) -> BTreeSet<String> {
    text.split(|it: char| !it.is_ascii_alphanumeric() && it != '_')
        .filter(|word| {
            ["chatdb_", "flux_", "raft_", "lsm_"]
                .iter()
                .any(|first| word.starts_with(first))
        })
        .map(str::to_owned)
        .collect()
}

#[test]
fn every_alert_is_explained_and_names_metrics_that_exist() {
    let rules = yaml("deploy/prometheus/alerts.yml");
    let page = read("docs/operations/alerts.md");
    // A test of the server writes this page from what it shows.
    let existing = metrics_in(&read("docs/operations/metrics.md"));
    let is_there = |name: &String| {
        let parts = ["_bucket", "_sum", "_count"];
        let base = parts.iter().find_map(|part| name.strip_suffix(part));
        existing.contains(name) || base.is_some_and(|base| existing.contains(base))
    };
    let mut alerts = BTreeSet::new();
    for group in rules["groups"].as_vec().expect("groups") {
        for rule in group["rules"].as_vec().expect("rules") {
            let name = rule["alert"].as_str().expect("a name");
            let expression = rule["expr"].as_str().expect("an expression");
            for metric in metrics_in(expression) {
                assert!(is_there(&metric), "{name}: there is no metric {metric}");
            }
            let severity = rule["labels"]["severity"].as_str().expect("a severity");
            let explained = format!("| `{name}` ({severity}) |");
            assert!(
                page.contains(&explained),
                "{name} is not explained as {severity}"
            );
            assert!(rule["annotations"]["summary"].as_str().is_some(), "{name}");
            assert!(alerts.insert(name.to_owned()), "{name} is there twice");
        }
    }
    for metric in metrics_in(&page) {
        assert!(
            is_there(&metric),
            "the page names {metric}, which is no metric"
        );
    }
    let explained = page.lines().filter(|line| line.starts_with("| `")).count();
    assert_eq!(
        explained,
        alerts.len(),
        "the page explains what is no alert"
    );
}

#[test]
fn prometheus_accepts_its_settings() {
    let scrape = yaml("deploy/prometheus/prometheus.yml");
    let targets: Vec<String> = scrape["scrape_configs"]
        .as_vec()
        .expect("jobs")
        .iter()
        .flat_map(|job| strings(&job["static_configs"][0]["targets"]))
        .collect();
    assert_eq!(
        targets,
        [
            "db1:7600",
            "db2:7600",
            "db3:7600",
            "flux1:8081",
            "flux2:8081"
        ]
    );
    if has("promtool") {
        let settings = path("deploy/prometheus/prometheus.yml");
        passes(
            Command::new("promtool")
                .args(["check", "config"])
                .arg(settings),
        );
    }
}

#[test]
fn links_between_the_pages_of_operations_lead_somewhere() {
    for page in ["alerts.md", "runbooks.md", "capacity.md", "deploy.md"] {
        let text = read(&format!("docs/operations/{page}"));
        for link in text
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split(')').next())
        {
            let (file, place) = link.split_once('#').unwrap_or((link, ""));
            if file.starts_with("http") {
                continue;
            }
            let target = if file.is_empty() { page } else { file };
            let target = format!("docs/operations/{target}");
            assert!(path(&target).exists(), "{page}: {link}");
            if !place.is_empty() {
                let titles = read(&target);
                let slugs: Vec<String> = titles
                    .lines()
                    .filter_map(|line| line.strip_prefix('#'))
                    .map(|title| {
                        title
                            .trim_start_matches('#')
                            .trim()
                            .to_lowercase()
                            .replace(' ', "-")
                    })
                    .collect();
                assert!(slugs.iter().any(|slug| slug == place), "{page}: {link}");
            }
        }
    }
}
