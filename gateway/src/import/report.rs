//! What an import did, and what it left out and why.

use std::collections::BTreeMap;
use std::fmt;

use indicatif::HumanCount;

/// Counts of one run.
#[derive(Debug, Default)]
pub(crate) struct Report {
    /// Messages that this run stored.
    pub(crate) stored: u64,
    /// Messages that an earlier run had stored already.
    pub(crate) known: u64,
    /// Channels that the sources of this run belong to.
    pub(crate) channels: u64,
    /// Accounts that wrote.
    pub(crate) authors: u64,
    /// Input that is not a message, by what it is: nothing is lost with it.
    pub(crate) notices: BTreeMap<&'static str, u64>,
    /// Messages that could not be kept, by reason.
    pub(crate) skipped: BTreeMap<&'static str, u64>,
    /// Files that could not be read to their end, with the reason.
    pub(crate) failed: Vec<String>,
    /// How to get in: the code of an invite to the guild.
    pub(crate) invite: Option<String>,
}

impl Report {
    /// Counts a message that could not be kept.
    pub(crate) fn skip(&mut self, reason: &'static str) {
        *self.skipped.entry(reason).or_default() += 1;
    }

    /// Counts input that is no message.
    pub(crate) fn notice(&mut self, what: &'static str) {
        *self.notices.entry(what).or_default() += 1;
    }

    /// True if nothing that should be there was left out.
    pub(crate) fn is_complete(&self) -> bool {
        self.skipped.is_empty() && self.failed.is_empty()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            formatter,
            "{} messages are there: {} new, {} known from an earlier run",
            HumanCount(self.stored + self.known),
            HumanCount(self.stored),
            HumanCount(self.known),
        )?;
        writeln!(
            formatter,
            "{} channels, {} authors",
            HumanCount(self.channels),
            HumanCount(self.authors)
        )?;
        for (what, count) in &self.notices {
            writeln!(formatter, "not a message: {} {what}", HumanCount(*count))?;
        }
        for (reason, count) in &self.skipped {
            writeln!(formatter, "skipped: {} {reason}", HumanCount(*count))?;
        }
        for failure in &self.failed {
            writeln!(formatter, "failed: {failure}")?;
        }
        if let Some(invite) = &self.invite {
            writeln!(
                formatter,
                "join with the invite {invite}: open /invite/{invite} on the page"
            )?;
        }
        Ok(())
    }
}
