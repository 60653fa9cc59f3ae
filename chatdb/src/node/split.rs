//! The leader's part of a split: cut, tell group 0, and bring the child to a leader.

use crate::command::{Split, WriteCommand};
use crate::error::{Error, ErrorKind, Result};
use crate::group0::{Splitting, SystemCommand, TabletRange, TabletRecord};
use crate::node::steward::Parts;
use crate::node::tablets::TabletPlace;

impl Parts {
    /// Has every replica of a tablet that this node leads cut it, and tells group 0 where.
    pub(super) async fn split(
        &self,
        place: &TabletPlace,
        record: &TabletRecord,
        splitting: Splitting,
    ) -> Result<()> {
        let done = place.tablet.last_cut();
        let done = done.filter(|cut| cut.child == splitting.child);
        if done.is_none() {
            let command = WriteCommand {
                split: Some(Split {
                    at: cut_at(place, record.range, splitting),
                    child: splitting.child,
                    generation: record.version,
                    nodes: record.nodes().map(|node| node.0).collect(),
                }),
                ..WriteCommand::default()
            };
            place.group.propose(command.encode()?).await?;
        }
        let cut = place.tablet.last_cut();
        let cut = cut.filter(|cut| cut.child == splitting.child);
        let cut = cut.ok_or_else(|| {
            let group = record.range.group;
            Error::bug(format!("tablet {group} was told to split and did not"))
        })?;
        let command = SystemCommand::Cut {
            group: record.range.group,
            version: record.version,
            at: cut.at,
            entry: cut.entry,
        };
        match self.decider.decide(command).await {
            // Told before.
            Err(error) if error.kind() == ErrorKind::Conflict => Ok(()),
            outcome => outcome.map(drop),
        }
    }

    /// Whether the replica is to run for election now: the tablet was split off and has had no entry yet,
    /// and this node leads what it was split off. Elsewhere it waits for that.
    pub(super) fn is_to_begin(&self, record: &TabletRecord, place: &TabletPlace) -> bool {
        let Some(born) = record.born else {
            return false;
        };
        let status = place.group.status();
        let is_new = status.leader.is_none()
            && status.last_index.is_none_or(|last| last <= born.index)
            && status.membership.is_voter(place.replica);
        let parent = self.opener.tablets.get(born.parent);
        is_new && parent.is_some_and(|parent| parent.leads())
    }
}

/// Where to cut: as asked, or in the middle of the bytes, or of the tokens when there are none.
fn cut_at(place: &TabletPlace, range: TabletRange, splitting: Splitting) -> u64 {
    let TabletRange { first, last, .. } = range;
    let spread = place.tablet.engine().token_at_half();
    let half = spread.filter(|spread| spread.all > 0).map(|it| it.token);
    let asked = splitting.at.or(half);
    let at = asked.filter(|at| first < *at && *at <= last);
    at.unwrap_or_else(|| first + (last - first) / 2 + 1)
}
