//! A hundred groups without work: what they cost each node.

use super::Run;
use super::fixture::Fixture;
use super::processes::{cores, resident_mib};
use super::report::{Line, spread};
use anyhow::Result;
use std::time::Duration;

/// With group 0 there are a hundred groups.
const TABLETS: &str = "--tablets=99";
const REST: Duration = Duration::from_secs(3);

pub(super) async fn run(run: &mut Run) -> Result<()> {
    run.step("idle: a hundred groups");
    let fixture = Fixture::start(&run.options, 3, &[TABLETS]).await?;
    tokio::time::sleep(REST).await;
    let (mut shares, mut memory) = (Vec::new(), Vec::new());
    let over = Duration::from_secs(run.options.seconds() * 2);
    for process in fixture.processes() {
        shares.push(100.0 * cores(&[process], over).await);
        memory.push(resident_mib(process)?);
    }
    let most = |all: &[f64]| all.iter().copied().fold(0.0, f64::max);
    run.tell(Line {
        what: "100 groups idle: processor of each node".to_owned(),
        must: "<= 5 % of a core".to_owned(),
        measured: format!("{} %", spread(&shares, 1)),
        holds: Some(most(&shares) <= 5.0),
    });
    run.tell(Line {
        what: "100 groups idle: memory of each node (RSS)".to_owned(),
        must: "<= 40 MB".to_owned(),
        measured: format!("{} MiB", spread(&memory, 1)),
        holds: Some(most(&memory) * 1024.0 * 1024.0 <= 40e6),
    });
    run.figures(
        "100 groups idle",
        &[
            ("% of a core, each node", shares),
            ("MiB resident, each node", memory),
        ],
    );
    Ok(())
}
