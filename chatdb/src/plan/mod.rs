//! Statements to plans: names resolved, values checked and encoded, nothing read or written yet.
//!
//! A write becomes a command of ids and bytes, a read becomes slices of clustering keys, so that
//! executing either needs no text. Planning is pure: the same catalog, statement and values give
//! the same plan.

mod bind;
mod condition;
mod counter;
mod describe;
mod placement;
mod read;
mod relation;
mod write;
mod write_plan;

pub(crate) use placement::{PLACEMENT_COLUMNS_MAX, Placement};
pub use read::ReadPlan;
pub(crate) use read::{Output, Shape, Slice, Source, token_to_bigint};
pub use write_plan::WritePlan;

use crate::cql::ast::Statement;
use crate::error::{Error, Result};
use crate::result::ResultSet;
use crate::schema::{Catalog, DdlCommand};
use crate::value::Value;

/// Rows of a page when the request does not say.
pub const PAGE_ROWS_DEFAULT: u32 = 1000;

/// What a statement is planned with.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Keyspaces and tables.
    pub catalog: &'a Catalog,
    /// The keyspace in use.
    pub keyspace: Option<&'a str>,
    /// Values of the bind markers, in order.
    pub values: &'a [Value],
    /// Topics besides those of `USING TOPIC`.
    pub topics: &'a [String],
    /// Bytes that travel with the changes.
    pub note: &'a [u8],
    /// The same in every retry of a write.
    pub request_id: Option<u128>,
    /// Numbers of the same client below this one are never sent again, see
    /// [`WriteCommand::settled_below`](crate::command::WriteCommand::settled_below).
    pub settled_below: Option<u64>,
    /// Most rows of a page; 0 or `None` = [`PAGE_ROWS_DEFAULT`].
    pub page_rows: Option<u32>,
    /// Where the page before ended.
    pub page_state: Option<&'a [u8]>,
}

impl<'a> Request<'a> {
    /// A request without a keyspace in use, values or options.
    pub fn new(catalog: &'a Catalog) -> Self {
        Self {
            catalog,
            keyspace: None,
            values: &[],
            topics: &[],
            note: &[],
            request_id: None,
            settled_below: None,
            page_rows: None,
            page_state: None,
        }
    }

    /// What `statement` brings with it.
    pub(crate) fn of(catalog: &'a Catalog, statement: &'a crate::Statement) -> Self {
        Self {
            catalog,
            keyspace: statement.keyspace.as_deref(),
            values: &statement.values,
            topics: &statement.topics,
            note: &statement.note,
            request_id: statement.request_id,
            settled_below: statement.settled_below,
            page_rows: statement.page_size,
            page_state: statement.page_state.as_deref(),
        }
    }
}

/// What to do for a statement.
#[derive(Clone, Debug)]
pub enum Plan {
    /// Replicate this in group 0. It was tried on the request's catalog already.
    Ddl(DdlCommand),
    /// Propose this to the tablet of its tokens.
    Write(WritePlan),
    /// Read this from the tablets of its tokens.
    Read(ReadPlan),
    /// Use this keyspace from now on; it exists.
    Use(String),
    /// The answer is known.
    Answer(ResultSet),
}

/// Plans one statement.
pub fn plan(request: &Request<'_>, statement: &Statement) -> Result<Plan> {
    match statement {
        Statement::CreateKeyspace(_)
        | Statement::AlterKeyspace { .. }
        | Statement::DropKeyspace { .. }
        | Statement::CreateTable(_)
        | Statement::AlterTable(_)
        | Statement::DropTable { .. }
        | Statement::Truncate(_) => {
            let command = DdlCommand::new(statement, request.keyspace)?;
            request.catalog.apply_ddl(&command)?;
            Ok(Plan::Ddl(command))
        }
        Statement::Use(name) => {
            request.catalog.keyspace(name)?;
            Ok(Plan::Use(name.clone()))
        }
        Statement::Describe(what) => describe::describe(request, what).map(Plan::Answer),
        Statement::Insert(_) | Statement::Update(_) | Statement::Delete(_) => {
            write::single(request, statement).map(Plan::Write)
        }
        Statement::Batch(batch) => write::batch(request, batch).map(Plan::Write),
        Statement::Select(select) => read::select(request, select).map(Plan::Read),
    }
}

/// Plans several writes as one atomic command.
pub fn plan_batch(requests: &[(Request<'_>, &Statement)]) -> Result<WritePlan> {
    let mut plans = Vec::with_capacity(requests.len());
    for (request, statement) in requests {
        match plan(request, statement)? {
            Plan::Write(write) => plans.push(write),
            _ => {
                return Err(Error::invalid(
                    "a batch takes INSERT, UPDATE and DELETE only",
                ));
            }
        }
    }
    WritePlan::merge(plans)
}
