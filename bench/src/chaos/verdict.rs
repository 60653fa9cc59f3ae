//! The checks at the end: what was acknowledged against what every node shows and what every listener heard.
//!
//! All are linear in the number of writes. The stream is the witness for what nobody knows: it says which of the
//! unknown writes took effect and in which order, and what it says must give exactly the rows that are there.

use super::Shared;
use super::ledger::{Action, Expected, Known, Ledger, Outcome};
use super::load::listener::Heard;
use anyhow::Result;
use chatdb::{Consistency, Statement};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, Instant};

/// How long replicas may take until they are equal, and listeners until they have heard everything.
const SETTLE: Duration = Duration::from_mins(1);
/// Findings of one kind that are told.
const TOLD_MAX: usize = 5;

/// A row: writer, partition, row.
type Name = (u32, u32, u32);

/// What a node shows.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Shown {
    rows: BTreeSet<Name>,
    /// Writer and counter to value.
    sums: BTreeMap<(u32, u32), i64>,
    /// Rows whose text is not what was written.
    strange: Vec<Name>,
}

/// Reads everything through one node.
pub(crate) async fn scan(shared: &Shared, node: usize, consistency: Consistency) -> Result<Shown> {
    let mut shown = Shown::default();
    let rows = "SELECT writer, part, row, body FROM chaos.rows";
    for row in pages(shared, node, rows, consistency).await? {
        let name = (
            number(&row, "writer")?,
            number(&row, "part")?,
            number(&row, "row")?,
        );
        let body = shared.ledger.body(name.0 as usize, name.1, name.2);
        if row.opt_text("body")? != Some(body.as_str()) {
            shown.strange.push(name);
        }
        if !shown.rows.insert(name) {
            shared
                .findings
                .violation(format!("a scan shows row {name:?} twice"));
        }
    }
    let sums = "SELECT writer, counter, total FROM chaos.sums";
    for row in pages(shared, node, sums, consistency).await? {
        let name = (number(&row, "writer")?, number(&row, "counter")?);
        shown
            .sums
            .insert(name, row.opt_bigint("total")?.unwrap_or(0));
    }
    Ok(shown)
}

fn number(row: &chatdb::Row, column: &str) -> Result<u32> {
    Ok(u32::try_from(row.int(column)?)?)
}

async fn pages(
    shared: &Shared,
    node: usize,
    text: &'static str,
    consistency: Consistency,
) -> Result<Vec<chatdb::Row>> {
    let mut rows = Vec::new();
    let mut state = None;
    loop {
        let statement = Statement::new(text)
            .page_size(5000)
            .page_state(state)
            .consistency(consistency);
        let page = shared.doors.execute(node, statement).await?;
        rows.extend(page.rows);
        state = page.page_state;
        if state.is_none() {
            return Ok(rows);
        }
    }
}

/// Everything at the end. Findings go where the others are.
pub(crate) async fn check(shared: &Shared, listeners: &[&Vec<Heard>]) -> Result<()> {
    for wrong in check_places(&shared.ledger) {
        shared.findings.violation(wrong);
    }
    for (at, heard) in listeners.iter().enumerate() {
        for wrong in check_stream(&shared.ledger, heard) {
            shared.findings.violation(format!("listener {at}: {wrong}"));
        }
    }
    for (at, pair) in listeners.windows(2).enumerate() {
        if let Some(wrong) = differ(pair[0], pair[1]) {
            let next = at + 1;
            shared
                .findings
                .violation(format!("listeners {at} and {next}: {wrong}"));
        }
    }
    let replayed = listeners.first().map(|heard| replay(&shared.ledger, heard));
    for node in 0..shared.doors.count() {
        for consistency in [Consistency::Quorum, Consistency::Serial, Consistency::One] {
            check_node(shared, node, consistency, replayed.as_ref()).await;
        }
    }
    Ok(())
}

/// What one node shows at one consistency; a weak read gets time to catch up.
async fn check_node(
    shared: &Shared,
    node: usize,
    consistency: Consistency,
    replayed: Option<&Shown>,
) {
    let begun = Instant::now();
    loop {
        let wrongs = match scan(shared, node, consistency).await {
            Ok(shown) => check_shown(&shared.ledger, &shown, replayed),
            Err(error) => vec![format!("the scan failed: {error:#}")],
        };
        // Writes of unknown outcome may still arrive for a while, and a scan may meet a change of leaders.
        if wrongs.is_empty() || begun.elapsed() > SETTLE {
            for wrong in wrongs {
                let node = node + 1;
                let text = format!("at the end, {consistency:?} through node {node}: {wrong}");
                shared.findings.violation(text);
            }
            return;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// Rows and sums against what the writers know, and against what the stream gives.
pub(crate) fn check_shown(ledger: &Ledger, shown: &Shown, replayed: Option<&Shown>) -> Vec<String> {
    let mut wrongs = Wrongs::default();
    for name in &shown.strange {
        wrongs.add("strange", || {
            format!("row {name:?} holds a text that nobody wrote")
        });
    }
    let mut known_rows = 0;
    for writer in 0..ledger.writers() {
        let known = ledger.of(writer).lock();
        let writer = u32::try_from(writer).unwrap_or(u32::MAX);
        known_rows += check_rows(&known, writer, shown, &mut wrongs);
        for (counter, sum) in (0_u32..).zip(&known.counters) {
            let value = shown.sums.get(&(writer, counter)).copied().unwrap_or(0);
            if !sum.allows(value) {
                wrongs.add("sum", || {
                    format!("counter {writer}, {counter} is {value}, not of {sum:?}")
                });
            }
        }
    }
    if known_rows != shown.rows.len() {
        let count = shown.rows.len() - known_rows;
        wrongs.add("phantom", || format!("{count} rows that nobody wrote"));
    }
    if let Some(replayed) = replayed {
        for name in replayed.rows.symmetric_difference(&shown.rows) {
            let is_there = shown.rows.contains(name);
            let how = if is_there { "is there" } else { "is not there" };
            wrongs.add("replay", || {
                format!("row {name:?} {how}, against what the stream told")
            });
        }
        for (name, sum) in &replayed.sums {
            let value = shown.sums.get(name).copied().unwrap_or(0);
            if value != *sum {
                wrongs.add("replayed sum", || {
                    format!("counter {name:?} is {value}, the stream adds up to {sum}")
                });
            }
        }
    }
    wrongs.texts
}

/// Checks the rows of one writer; returns how many of those that are shown are its own.
fn check_rows(known: &Known, writer: u32, shown: &Shown, wrongs: &mut Wrongs) -> usize {
    let mut own = 0;
    for (part, rows) in (0_u32..).zip(&known.parts) {
        for (at, row) in (0_u32..).zip(rows) {
            let name = (writer, part, at);
            let is_there = shown.rows.contains(&name);
            own += usize::from(is_there);
            match row.expected() {
                Expected::Present if !is_there => {
                    wrongs.add("lost", || {
                        format!("row {name:?} is lost, which was acknowledged")
                    });
                }
                Expected::Absent if is_there => {
                    wrongs.add("back", || {
                        format!("row {name:?} is back, whose delete was acknowledged")
                    });
                }
                Expected::Present | Expected::Absent | Expected::Either => {}
            }
        }
    }
    own
}

/// The places of acknowledged writes: each is of one write, and the writes of one writer are in order.
pub(crate) fn check_places(ledger: &Ledger) -> Vec<String> {
    let mut wrongs = Wrongs::default();
    let mut taken = HashMap::new();
    for writer in 0..ledger.writers() {
        let known = ledger.of(writer).lock();
        let mut last = BTreeMap::new();
        for (number, write) in known.writes.iter().enumerate() {
            let Outcome::Done { place: Some(place) } = write.outcome else {
                continue;
            };
            if let Some(other) = taken.insert(place, (writer, number)) {
                wrongs.add("place", || {
                    format!("{place:?} is of write {number} of writer {writer} and of {other:?}")
                });
            }
            if let Some(before) = last.insert(place.group, place)
                && before >= place
            {
                wrongs.add("order", || {
                    format!("write {number} of writer {writer} at {place:?} comes before the last at {before:?}")
                });
            }
        }
    }
    wrongs.texts
}

/// One listener against what the writers know.
pub(crate) fn check_stream(ledger: &Ledger, heard: &[Heard]) -> Vec<String> {
    let mut wrongs = Wrongs::default();
    let mut last: BTreeMap<u64, (u64, u32)> = BTreeMap::new();
    let mut times: HashMap<(u32, u32), &Heard> = HashMap::new();
    for change in heard {
        let place = (change.index, change.op);
        if let Some(before) = last.insert(change.group, place)
            && before >= place
        {
            wrongs.add("order", || format!("{change:?} comes after {before:?}"));
        }
        if let Some(first) = times.insert((change.writer, change.number), change) {
            wrongs.add("twice", || {
                format!("{change:?} was heard before: {first:?}")
            });
        }
        if change.writer as usize >= ledger.writers() {
            wrongs.add("nobody", || format!("{change:?} is of no writer"));
        }
    }
    for writer in 0..ledger.writers() {
        let known = ledger.of(writer).lock();
        let writer = u32::try_from(writer).unwrap_or(u32::MAX);
        for (number, write) in (0_u32..).zip(&known.writes) {
            let change = times.remove(&(writer, number));
            let action = write.action;
            match (write.outcome, change) {
                (Outcome::Done { .. }, None) => wrongs.add("missing", || {
                    format!("write {number} of writer {writer}, {action:?}, was acknowledged and not heard")
                }),
                // The client repeats a request whose answer was lost: its effect may be at an earlier place.
                (Outcome::Done { place: Some(place) }, Some(change)) => {
                    let heard = (change.index, change.command());
                    let is_later = heard > (place.index, u32::from(place.op));
                    if change.group != place.group || is_later {
                        wrongs.add("elsewhere", || format!("{change:?} was acknowledged at {place:?}"));
                    }
                }
                (Outcome::Nothing, Some(change)) => {
                    wrongs.add("nothing", || format!("{change:?}, {action:?}, was told that it did nothing"));
                }
                _ => {}
            }
        }
    }
    for ((writer, number), change) in &times {
        wrongs.add("unsent", || {
            format!("{change:?}: writer {writer} never sent {number}")
        });
    }
    wrongs.texts
}

/// Where two listeners first heard differently.
pub(crate) fn differ(one: &[Heard], other: &[Heard]) -> Option<String> {
    let groups = |heard: &[Heard]| {
        let mut groups: BTreeMap<u64, Vec<Heard>> = BTreeMap::new();
        for change in heard {
            groups.entry(change.group).or_default().push(*change);
        }
        groups
    };
    let (one, other) = (groups(one), groups(other));
    let all: BTreeSet<u64> = one.keys().chain(other.keys()).copied().collect();
    all.into_iter().find_map(|group| {
        let (a, b) = (one.get(&group)?, other.get(&group)?);
        let at = a.iter().zip(b).position(|(a, b)| a != b);
        let at = at.or_else(|| (a.len() != b.len()).then(|| a.len().min(b.len())))?;
        Some(format!(
            "of group {group} the change number {at} is {:?} here and {:?} there",
            a.get(at),
            b.get(at)
        ))
    })
}

/// The rows and sums that the changes give, in the order in which they were heard.
pub(crate) fn replay(ledger: &Ledger, heard: &[Heard]) -> Shown {
    let mut shown = Shown::default();
    for change in heard {
        let writer = change.writer;
        if writer as usize >= ledger.writers() {
            continue;
        }
        let known = ledger.of(writer as usize).lock();
        let Some(write) = known.writes.get(change.number as usize) else {
            continue;
        };
        match write.action {
            Action::Insert { part, row }
            | Action::InsertNew { part, row }
            | Action::InsertAgain { part, row } => {
                shown.rows.insert((writer, part, row));
            }
            Action::Delete { part, row } => {
                shown.rows.remove(&(writer, part, row));
            }
            Action::DeleteRange { part, from, to } => {
                for row in from..to {
                    shown.rows.remove(&(writer, part, row));
                }
            }
            Action::Add { counter, amount } => {
                *shown.sums.entry((writer, counter)).or_default() += amount;
            }
        }
    }
    shown
}

/// Findings in words, a few of each kind.
#[derive(Default)]
struct Wrongs {
    texts: Vec<String>,
    counts: BTreeMap<&'static str, usize>,
}

impl Wrongs {
    fn add(&mut self, kind: &'static str, text: impl FnOnce() -> String) {
        let count = self.counts.entry(kind).or_default();
        *count += 1;
        if *count <= TOLD_MAX {
            self.texts.push(text());
        }
    }
}
