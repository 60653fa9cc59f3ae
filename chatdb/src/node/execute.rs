//! From a statement to its result: parse, plan, route, propose or read.

use crate::cql::{Parsed, parse};
use crate::db::statement::Statement;
use crate::error::{Error, Result};
use crate::group0::SystemCommand;
use crate::node::Node;
use crate::node::open::blocking;
use crate::plan::{Plan, Request, WritePlan, plan, plan_batch};
use crate::result::{Position, ResultSet};
use crate::schema::{Catalog, DdlCommand};
use crate::telemetry::StatementKind;
use std::sync::Arc;
use std::time::Instant;

/// A longer text is parsed every time, so that the cache holds statements and not data.
const PARSED_TEXT_BYTES_MAX: usize = 4096;

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
        result.stats.node = Some(u64::from(self.id.0));
        Ok(result)
    }

    async fn run(&self, statements: &[Statement], kind: &mut StatementKind) -> Result<ResultSet> {
        self.check_open()?;
        let catalog = self.system.catalog();
        match statements {
            [] => Err(Error::invalid("a batch needs at least one statement")),
            [statement] => self.execute_one(&catalog, statement, kind).await,
            several => {
                *kind = StatementKind::Write;
                let write = self.plan_several(&catalog, several)?;
                self.write(write).await
            }
        }
    }

    /// Whether the text parses.
    pub(crate) fn check(&self, text: &str) -> Result<()> {
        self.parse(text).map(|_| ())
    }

    async fn execute_one(
        &self,
        catalog: &Arc<Catalog>,
        statement: &Statement,
        kind: &mut StatementKind,
    ) -> Result<ResultSet> {
        let parsed = self.parse(&statement.text)?;
        let plan = plan(&Request::of(catalog, statement), &parsed.statement)?;
        *kind = match &plan {
            Plan::Ddl(_) => StatementKind::Schema,
            Plan::Write(_) => StatementKind::Write,
            Plan::Read(_) => StatementKind::Read,
            Plan::Use(_) | Plan::Answer(_) => StatementKind::Other,
        };
        match plan {
            Plan::Ddl(command) => self.change_schema(command).await,
            Plan::Write(write) => self.write(write).await,
            Plan::Read(read) => self.read(read, statement.consistency).await,
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

    /// Every tablet of this node knows the change when this returns.
    async fn change_schema(&self, command: DdlCommand) -> Result<ResultSet> {
        self.decider.decide(SystemCommand::Ddl(command)).await?;
        Ok(ResultSet::empty())
    }

    async fn write(&self, write: WritePlan) -> Result<ResultSet> {
        let tokens = write.tokens();
        let Some(first) = tokens.first() else {
            return Ok(ResultSet::empty());
        };
        let topology = self.system.topology();
        let group = |token: u64| topology.tablet_of(token).map(|it| it.range.group);
        let place = self.tablet_of(*first)?;
        for token in &tokens {
            if group(*token) != group(*first) {
                return Err(Error::invalid(
                    "the batch writes to several tablets; a batch is atomic in one tablet only",
                )
                .with_help("try", "one placement key per batch, or single statements"));
            }
        }
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
