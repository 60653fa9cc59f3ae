//! A planned write: the command, where it goes, and how its response becomes a result.

use crate::command::{
    CurrentRow, Guard, Response, TOPICS_MAX, WRITES_MAX, Write, WriteCommand, WriteOperation,
};
use crate::error::{Error, ErrorKind, Result};
use crate::result::{ColumnSpec, ResultSet};
use crate::schema::{Column, Table};
use crate::tablet::{cells_of, cells_value};
use crate::types::ScalarType;
use crate::value::Value;
use bytes::Bytes;
use lsm::{CellRef, ColumnId, Timestamp};
use std::sync::Arc;

/// A write to propose.
#[derive(Clone, Debug)]
pub struct WritePlan {
    pub(super) command: WriteCommand,
    /// Whether the result says `[applied]`.
    conditional: bool,
    /// The table and the columns to show when the condition of a single statement does not hold;
    /// `None` = all columns.
    shown: Option<(Arc<Table>, Option<Vec<ColumnId>>)>,
}

impl WritePlan {
    pub(super) fn new(
        table: Arc<Table>,
        write: Write,
        conditional: bool,
        shown: Option<Vec<ColumnId>>,
    ) -> Self {
        let command = WriteCommand {
            writes: vec![write],
            ..WriteCommand::default()
        };
        Self {
            command,
            conditional,
            shown: Some((table, shown)),
        }
    }

    /// Several writes as one command; their topics are joined, the last note and request id count.
    ///
    /// A retry of additions to counters needs a request id, a retry of writes does not: they do not
    /// mix, so that nobody has to think about which it was.
    pub fn merge(plans: Vec<Self>) -> Result<Self> {
        let adds = |plan: &Self| plan.command.writes.iter().any(Write::adds);
        if plans.iter().any(adds) && !plans.iter().all(adds) {
            let what = "a batch adds to counters or writes rows, not both";
            return Err(Error::invalid(what).with_help("try", "two batches"));
        }
        let mut merged = Self {
            command: WriteCommand::default(),
            conditional: false,
            shown: None,
        };
        for plan in plans {
            merged.conditional |= plan.conditional;
            let WriteCommand {
                request_id,
                settled_below,
                topics,
                note,
                writes,
                // No statement splits a tablet.
                split: _,
            } = plan.command;
            for topic in topics {
                merged.command.add_topic(topic);
            }
            if !note.is_empty() {
                merged.command.note = note;
            }
            if request_id.is_some() {
                merged.command.request_id = request_id;
                merged.command.settled_below = settled_below;
            }
            for mut write in writes {
                if merged.inserts_row_of(&write) {
                    write.guard = Guard::None;
                }
                merged.command.writes.push(write);
            }
        }
        if merged.command.writes.len() > WRITES_MAX {
            return Err(Error::invalid(format!(
                "a batch has at most {WRITES_MAX} statements"
            )));
        }
        Ok(merged)
    }

    /// Whether an earlier statement of the batch inserts the row that this write asks to exist.
    fn inserts_row_of(&self, write: &Write) -> bool {
        let Guard::Exists(Some(row)) = &write.guard else {
            return false;
        };
        self.command.writes.iter().any(|earlier| {
            earlier.table == write.table
                && earlier.partition == write.partition
                && earlier.operations.iter().any(|operation| {
                    matches!(operation, WriteOperation::Upsert { clustering, is_insert: true, .. }
                        if clustering == row)
                })
        })
    }

    /// The writes that can make a row grow so much that it has to be looked at first.
    pub(crate) fn growing(&self) -> Vec<Write> {
        let grows = |operation: &WriteOperation| {
            let growth = operation.growth();
            growth.is_some_and(|(_, growth)| growth.needs_check())
        };
        let writes = self.command.writes.iter();
        writes
            .filter(|write| write.operations.iter().any(grows))
            .cloned()
            .collect()
    }

    /// Names the write, so that it takes effect once however often it is sent.
    pub(crate) fn name_request(&mut self, id: u128, settled_below: u64) {
        self.command.request_id = Some(id);
        self.command.settled_below = Some(settled_below);
    }

    /// The command.
    pub fn command(&self) -> &WriteCommand {
        &self.command
    }

    /// The tokens written, each once. They must belong to one tablet.
    pub fn tokens(&self) -> Vec<u64> {
        let mut tokens: Vec<u64> = self
            .command
            .writes
            .iter()
            .map(|write| write.partition.token)
            .collect();
        tokens.sort_unstable();
        tokens.dedup();
        tokens
    }

    /// The bytes to propose; `Invalid` when the write is too large.
    pub fn encode(&self) -> Result<Bytes> {
        self.command.encode()
    }

    /// The result of the write whose apply answered `response`.
    pub fn result(&self, response: &Bytes) -> Result<ResultSet> {
        match Response::decode(response)? {
            Response::Done => Ok(ResultSet::empty()),
            Response::Applied => Ok(applied(true, Vec::new())),
            Response::NotApplied(current) => Ok(applied(false, self.current(&current)?)),
            Response::Failed { kind, message } => Err(Error::new(kind, message)),
            Response::Moved => Err(Error::new(
                ErrorKind::NotLeader,
                "the tablet was split; another one holds the token now",
            )),
        }
    }

    /// Columns and values of the row that made the condition fail.
    fn current(&self, current: &CurrentRow) -> Result<Vec<(ColumnSpec, Value)>> {
        let Some((table, shown)) = &self.shown else {
            return Ok(Vec::new());
        };
        if !current.exists {
            return Ok(Vec::new());
        }
        let cells: Vec<CellRef<'_>> = current
            .cells
            .iter()
            .map(|(column, path, value)| CellRef {
                column: *column,
                path,
                timestamp: Timestamp::ZERO,
                value,
                expires_at_ms: None,
            })
            .collect();
        let is_shown = |column: &&Column| shown.as_ref().is_none_or(|ids| ids.contains(&column.id));
        table
            .cell_columns()
            .iter()
            .filter(is_shown)
            .map(|column| {
                let value = cells_value(cells_of(&cells, column.id), column.data_type)?;
                Ok((
                    ColumnSpec::new(column.name.clone(), column.data_type),
                    value,
                ))
            })
            .collect()
    }
}

/// The result of a conditional write: one row that begins with `[applied]`.
fn applied(applied: bool, current: Vec<(ColumnSpec, Value)>) -> ResultSet {
    let first = (
        ColumnSpec::new("[applied]", ScalarType::Boolean),
        Value::Boolean(applied),
    );
    let (columns, values): (Vec<ColumnSpec>, Vec<Value>) =
        std::iter::once(first).chain(current).unzip();
    let mut result = ResultSet::new(columns.into(), vec![values]);
    result.applied = Some(applied);
    result
}

impl WriteCommand {
    /// Adds a topic unless it is there; more than the limit is refused when the command is encoded.
    pub(super) fn add_topic(&mut self, topic: String) {
        if self.topics.len() <= TOPICS_MAX && !self.topics.contains(&topic) {
            self.topics.push(topic);
        }
    }
}
