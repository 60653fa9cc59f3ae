//! Two of three nodes, processes of their own, are lost for good: the third goes on when it is told to.

use crate::cluster::eventually;
use crate::harness::{chatdb, run, text};
use crate::stopping::{Member, client, settled, three};
use chatdb::{Db, Statement, Value};
use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

/// Rows that were acknowledged and are on all three nodes.
const ROWS: i64 = 120;
const END_LIMIT: Duration = Duration::from_secs(30);

fn insert(id: i64) -> Statement {
    Statement::new("INSERT INTO app.notes (id, text) VALUES (?, 'x')").bind(vec![Value::from(id)])
}

async fn is_written(db: &Db, id: i64) -> bool {
    db.execute(insert(id)).await.is_ok()
}

async fn count(db: &Db) -> Option<Value> {
    let counted = db.execute("SELECT COUNT(*) FROM app.notes").await.ok()?;
    counted.rows[0].values().first().cloned()
}

fn status(address: &str) -> serde_json::Value {
    let told = run(&["cluster", "status", "--json", "--at", address]);
    serde_json::from_slice(&told.stdout).unwrap_or_default()
}

/// Whether every tablet has so many replicas, all equally far.
fn is_even(status: &serde_json::Value, replicas: usize) -> bool {
    let tablets = status["tablets"].as_array().cloned().unwrap_or_default();
    let even = |tablet: &serde_json::Value| {
        let of_tablet = tablet["replicas"].as_array().cloned().unwrap_or_default();
        let first = of_tablet.first().map(|it| it["applied_index"].clone());
        let equal = |it: &serde_json::Value| Some(&it["applied_index"]) == first.as_ref();
        let known = first.as_ref().is_some_and(serde_json::Value::is_u64);
        tablet["settled"] == true
            && of_tablet.len() == replicas
            && known
            && of_tablet.iter().all(equal)
    };
    !tablets.is_empty() && tablets.iter().all(even)
}

fn recover(data: &Path, lost: &str, more: &[&str]) -> Output {
    let data = data.to_str().expect("a name");
    let command = ["cluster", "recover", "--data", data, "--lost", lost];
    run(&[&command[..], more].concat())
}

/// A node that has to end by itself, soon and not in order; tells why.
async fn refused(member: &Member) -> String {
    let mut serving = chatdb();
    serving.args(["serve", "--data"]).arg(member.data.path());
    serving.args(&member.options).stdin(Stdio::null());
    let ending = tokio::task::spawn_blocking(move || serving.output());
    let ended = tokio::time::timeout(END_LIMIT, ending).await;
    let ended = ended.expect("it ends by itself").expect("it is joined");
    let ended = ended.expect("the program starts");
    assert!(!ended.status.success(), "{ended:?}");
    text(&ended.stderr)
}

fn kill(member: &mut Member) {
    if let Some(process) = member.process.take() {
        process.kill();
    }
}

/// Nothing is changed until it is asked for; wrong numbers are refused.
fn go_on(data: &Path) {
    for (lost, why) in [("3", "this is node n3"), ("1,9", "no node n9")] {
        let wrong = recover(data, lost, &["--yes"]);
        assert!(text(&wrong.stderr).contains(why), "{wrong:?}");
    }
    let fine = text(&recover(data, "2", &[]).stdout);
    assert_eq!(fine.matches("goes on by itself").count(), 5, "{fine}");
    let told = text(&recover(data, "1,2", &[]).stdout);
    assert_eq!(told.matches("goes on here, alone").count(), 5, "{told}");
    assert!(told.contains("nothing was changed"), "{told}");
    assert!(!data.join("lost").exists());
    let done = text(&recover(data, "1,2", &["--yes"]).stdout);
    assert!(done.contains("done: 5 groups go on here alone"), "{done}");
    // Once more does no harm.
    let again = text(&recover(data, "1,2", &["--yes"]).stdout);
    assert!(again.contains("done: 0 groups"), "{again}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_three_nodes_goes_on_without_the_others_and_refuses_them_when_they_come_back() {
    let mut members = three(3).await;
    settled(&members).await;
    let through = client(&members[2].address).await;
    for id in 0..ROWS {
        eventually("a row is written", async || is_written(&through, id).await).await;
    }
    eventually("all replicas have all rows, and vote", async || {
        let status = status(&members[2].address);
        let nodes = status["nodes"].as_array().cloned().unwrap_or_default();
        is_even(&status, 3) && nodes.iter().all(|node| node["votes"] == true)
    })
    .await;

    // The first one made the cluster; both others are gone without a word.
    kill(&mut members[0]);
    let data = members[2].data.path().to_owned();
    let running = recover(&data, "1,2", &["--yes"]);
    assert!(
        text(&running.stderr).contains("stop it first"),
        "{running:?}"
    );
    kill(&mut members[2]);
    let alive = recover(&data, "1,2", &["--yes"]);
    assert!(text(&alive.stderr).contains("n2 answers"), "{alive:?}");
    kill(&mut members[1]);
    go_on(&data);

    members[2].up();
    let through = client(&members[2].address).await;
    eventually("all rows are there", async || {
        count(&through).await == Some(Value::from(ROWS))
    })
    .await;
    eventually("writes go on", async || is_written(&through, ROWS).await).await;
    eventually("the lost nodes are gone", async || {
        let status = status(&members[2].address);
        let nodes = status["nodes"].as_array().cloned().unwrap_or_default();
        nodes.iter().filter(|node| node["state"] == "gone").count() == 2
    })
    .await;

    for old in &members[..2] {
        let why = refused(old).await;
        assert!(why.contains("was removed from the cluster"), "{why}");
        assert!(why.contains("an empty data directory"), "{why}");
    }

    let joined: Vec<Member> = (0..2)
        .map(|_| Member::start(Some(&members[2].address), 3))
        .collect();
    eventually("every tablet has three replicas again", async || {
        is_even(&status(&members[2].address), 3)
    })
    .await;
    // Any of them may be lost now, the one that went on alone included.
    kill(&mut members[2]);
    let through = client(&format!("{},{}", joined[0].address, joined[1].address)).await;
    eventually("all rows are on the new nodes", async || {
        count(&through).await == Some(Value::from(ROWS + 1))
    })
    .await;
    eventually("writes go on", async || {
        is_written(&through, ROWS + 1).await
    })
    .await;
}
