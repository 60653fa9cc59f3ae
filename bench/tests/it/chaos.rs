//! A short run of `bench chaos` over real processes finds nothing, and does what it says.

use std::process::{Command, Output};

fn chaos(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_bench"))
        .args(["chaos", "--chatdb", env!("CARGO_BIN_EXE_chaos-node")])
        .args(["--seed", "7", "--rate", "300"])
        .args(arguments)
        .output()
        .expect("bench starts")
}

/// The number in the row of the report that begins with these words.
fn figure(report: &str, row: &str) -> u64 {
    let line = report
        .lines()
        .find_map(|line| line.strip_prefix("| ")?.strip_prefix(row));
    assert!(line.is_some(), "no {row} in {report}");
    let digits: String = line
        .unwrap_or_default()
        .chars()
        .skip_while(|it| !it.is_ascii_digit())
        .take_while(char::is_ascii_digit)
        .collect();
    digits.parse().expect("a number")
}

#[test]
fn half_a_minute_of_faults_on_one_node_loses_nothing() {
    let out = tempfile::tempdir().expect("a directory");
    let path = out.path().display().to_string();
    let faults = "kill,restart,kill-all,pause,slow,reset,isolate";
    let output = chaos(&[
        "--nodes",
        "1",
        "--seconds",
        "35",
        "--faults",
        faults,
        "--out",
        &path,
    ]);
    let report = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{report}\n{errors}");
    assert!(report.contains("nothing lost, doubled, reordered or resurrected"));
    assert!(figure(&report, "acknowledged writes") > 500, "{report}");
    assert!(figure(&report, "reads that were checked") > 50, "{report}");
    assert!(figure(&report, "registers, calls") > 0, "{report}");
    assert!(report.contains("kill"), "{report}");
    let drawing = std::fs::read_to_string(out.path().join("chaos.svg")).expect("it is drawn");
    assert!(drawing.starts_with("<svg"));
}

#[test]
fn a_program_that_is_not_there_is_named() {
    let output = Command::new(env!("CARGO_BIN_EXE_bench"))
        .args(["chaos", "--chatdb", "/nowhere/chatdb"])
        .output()
        .expect("bench starts");
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("/nowhere/chatdb"));
}
