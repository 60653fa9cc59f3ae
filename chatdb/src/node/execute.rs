//! From a statement to its result: parse, plan, route, propose or read.

use crate::cql::{Parsed, parse};
use crate::db::statement::Statement;
use crate::error::{Error, ErrorKind, Result};
use crate::group0::SystemCommand;
use crate::node::Node;
use crate::node::open::blocking;
use crate::node::route::Worker;
use crate::node::tablets::TabletPlace;
use crate::plan::{Placement, Plan, Request, WritePlan, plan, plan_batch};
use crate::result::{Position, ResultSet};
use crate::schema::{Catalog, DdlCommand};
use crate::telemetry::StatementKind;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// A longer text is parsed every time, so that the cache holds statements and not data.
const PARSED_TEXT_BYTES_MAX: usize = 4096;
/// How long another node may take for a write or for the read of a few partitions.
pub(super) const FORWARD_LIMIT: Duration = Duration::from_secs(3);
/// How long a node may be behind the schema that another one planned with.
const SCHEMA_LIMIT: Duration = Duration::from_secs(2);

impl Node {
    /// Runs one statement, or several writes as one.
    pub(crate) async fn execute(&self, statements: Vec<Statement>) -> Result<ResultSet> {
        let begun = Instant::now();
        let mut kind = StatementKind::Other;
        let outcome = self.run(&statements, &mut kind).await;
        let took = begun.elapsed();
        self.metrics.statement(kind, took, outcome.as_ref().err());
        let mut result = outcome?;
        result.stats.elapsed_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        // A forwarded statement was answered by the node that led.
        let own = u64::from(self.id.0);
        result.stats.node.get_or_insert(own);
        Ok(result)
    }

    async fn run(&self, statements: &[Statement], kind: &mut StatementKind) -> Result<ResultSet> {
        self.check_open()?;
        match statements {
            [] => Err(Error::invalid("a batch needs at least one statement")),
            [statement] => self.execute_one(statement, kind).await,
            several => {
                *kind = StatementKind::Write;
                let planned = self.planned(|catalog| self.plan_several(catalog, several));
                self.write(planned.await?, several).await
            }
        }
    }

    /// Plans with the catalog that this node knows, and with the newest one before it says that
    /// something is not there: it may have been made through another node a moment ago.
    async fn planned<T>(&self, plan: impl Fn(&Catalog) -> Result<T>) -> Result<T> {
        let known = self.system.catalog();
        let error = match plan(&known) {
            Err(error) if self.options.cluster.is_some() => error,
            outcome => return outcome,
        };
        if !matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Invalid) {
            return Err(error);
        }
        if let Err(cause) = self.decider.hear().await {
            let message = format!("{error}, as far as node {} has heard", self.id.0);
            return Err(Error::new(ErrorKind::Unavailable, message).with_source(cause));
        }
        let newest = self.system.catalog();
        if Arc::ptr_eq(&known, &newest) {
            return Err(error);
        }
        plan(&newest)
    }

    /// Whether the text parses.
    pub(crate) fn check(&self, text: &str) -> Result<()> {
        self.parse(text).map(|_| ())
    }

    async fn execute_one(
        &self,
        statement: &Statement,
        kind: &mut StatementKind,
    ) -> Result<ResultSet> {
        let parsed = self.parse(&statement.text)?;
        let planned =
            self.planned(|catalog| plan(&Request::of(catalog, statement), &parsed.statement));
        let plan = planned.await?;
        *kind = match &plan {
            Plan::Ddl(_) => StatementKind::Schema,
            Plan::Write(_) => StatementKind::Write,
            Plan::Read(_) => StatementKind::Read,
            Plan::Use(_) | Plan::Answer(_) => StatementKind::Other,
        };
        match plan {
            Plan::Ddl(command) => self.change_schema(command).await,
            Plan::Write(write) => self.write(write, std::slice::from_ref(statement)).await,
            Plan::Read(read) => self.read(statement, read).await,
            Plan::Use(_) => Ok(ResultSet::empty()),
            Plan::Answer(answer) => Ok(answer),
        }
    }

    fn plan_several(&self, catalog: &Catalog, statements: &[Statement]) -> Result<WritePlan> {
        let parsed = statements
            .iter()
            .map(|statement| self.parse(&statement.text))
            .collect::<Result<Vec<_>>>()?;
        let requests: Vec<_> = statements
            .iter()
            .zip(&parsed)
            .map(|(statement, parsed)| (Request::of(catalog, statement), &parsed.statement))
            .collect();
        plan_batch(&requests)
    }

    fn parse(&self, text: &str) -> Result<Arc<Parsed>> {
        if let Some(parsed) = self.parsed.get(text) {
            return Ok(parsed);
        }
        let parsed = Arc::new(parse(text)?);
        if text.len() <= PARSED_TEXT_BYTES_MAX {
            self.parsed.insert(Arc::from(text), Arc::clone(&parsed));
        }
        Ok(parsed)
    }

    /// Which bound values choose the tablet of a statement.
    pub(crate) fn placement(&self, text: &str, keyspace: &str) -> Option<Placement> {
        let parsed = self.parse(text).ok()?;
        let keyspace = Some(keyspace).filter(|it| !it.is_empty());
        Placement::of(&self.system.catalog(), keyspace, &parsed.statement)
    }

    /// Every tablet of this node knows the change when this returns.
    async fn change_schema(&self, command: DdlCommand) -> Result<ResultSet> {
        self.decider.decide(SystemCommand::Ddl(command)).await?;
        Ok(ResultSet::empty())
    }

    /// Runs statements of another node, on this node's replica of the tablet or not at all.
    ///
    /// `system_index` is what that node has heard of group 0: the tables that it found are known here
    /// then too.
    pub(crate) async fn execute_forwarded(
        &self,
        group: u64,
        system_index: u64,
        statements: Vec<Statement>,
    ) -> Result<ResultSet> {
        let mut result = self.run_forwarded(group, system_index, statements).await?;
        result.stats.node = Some(u64::from(self.id.0));
        Ok(result)
    }

    async fn run_forwarded(
        &self,
        group: u64,
        system_index: u64,
        statements: Vec<Statement>,
    ) -> Result<ResultSet> {
        self.check_open()?;
        if self.system.applied_index() < system_index {
            let heard = self.group0.wait_applied(system_index, SCHEMA_LIMIT);
            heard.await?;
        }
        let catalog = self.system.catalog();
        let write = match statements.as_slice() {
            [statement] => {
                let parsed = self.parse(&statement.text)?;
                match plan(&Request::of(&catalog, statement), &parsed.statement)? {
                    Plan::Write(write) => write,
                    Plan::Read(read) => {
                        return self.read_forwarded(group, statement, read).await;
                    }
                    Plan::Ddl(_) | Plan::Use(_) | Plan::Answer(_) => {
                        return Err(Error::invalid("only reads and writes are forwarded"));
                    }
                }
            }
            several => self.plan_several(&catalog, several)?,
        };
        if self.target(&write)? != Some(group) {
            let message = format!("the write does not belong to tablet {group}");
            return Err(Error::new(ErrorKind::NotLeader, message));
        }
        let place = self.tablets.get(group);
        let place = place.ok_or_else(|| self.has_no(group))?;
        if !place.leads() {
            return Err(self.does_not_lead(&place));
        }
        self.write_here(&write, &place).await
    }

    /// The tablet that all of the write belongs to; none when there is nothing to write.
    fn target(&self, write: &WritePlan) -> Result<Option<u64>> {
        let mut target = None;
        for token in write.tokens() {
            let group = self.group_of(token)?;
            if target.is_some_and(|target| target != group) {
                return Err(Error::invalid(
                    "the batch writes to several tablets; a batch is atomic in one tablet only",
                )
                .with_help("try", "one placement key per batch, or single statements"));
            }
            target = Some(group);
        }
        Ok(target)
    }

    async fn write(&self, mut write: WritePlan, statements: &[Statement]) -> Result<ResultSet> {
        if self.target(&write)?.is_none() {
            return Ok(ResultSet::empty());
        }
        // It may have to be sent to another node twice.
        let is_named = write.command().request_id.is_some() || self.options.cluster.is_none();
        let open = (!is_named).then(|| self.requests.open());
        if let Some(open) = &open {
            write.name_request(open.id(), open.settled_below());
        }
        let (write, open) = (&write, open.as_ref());
        let here = |place: Arc<TabletPlace>| async move { self.write_here(write, &place).await };
        let there = |node, group| async move {
            let mut statements = statements.to_vec();
            if let (Some(open), Some(last)) = (open, statements.last_mut()) {
                last.request_id = Some(open.id());
                last.settled_below = Some(open.settled_below());
            }
            let forwarded = self
                .streams
                .peers
                .forward(node, group, statements, FORWARD_LIMIT);
            forwarded.await
        };
        let may_repeat = true;
        let find = || {
            let target = self.target(write)?;
            target.ok_or_else(|| Error::bug("a write lost its tablet"))
        };
        self.at_tablet((find, Worker::Leader), may_repeat, here, there)
            .await
    }

    async fn write_here(&self, write: &WritePlan, place: &TabletPlace) -> Result<ResultSet> {
        let writes = write.growing();
        if !writes.is_empty() {
            let tablet = Arc::clone(&place.tablet);
            blocking(move || tablet.check_room(&writes)).await?;
        }
        let command = write.encode()?;
        let held_back = Instant::now();
        self.pressure.admit(command.len()).await?;
        self.metrics.delayed(held_back.elapsed());
        let proposed = place.group.propose(command).await?;
        let mut result = write.result(&proposed.response)?;
        result.position = Some(Position {
            group: place.tablet.group_id(),
            index: proposed.index,
            op: proposed.op,
        });
        Ok(result)
    }
}
