//! The clients' ways into the cluster: one remote `Db` for each node, connected when it is first needed.

use chatdb::{Db, Error, ErrorKind, Result, ResultSet, Statement};
use parking_lot::Mutex;
use std::time::Duration;

/// How long one try may take before its outcome counts as unknown. Shorter than the longest pause of a node.
const TRY_TIMEOUT: Duration = Duration::from_secs(6);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// One endpoint for each node.
#[derive(Debug)]
pub(crate) struct Doors {
    endpoints: Vec<String>,
    open: Vec<Mutex<Option<Db>>>,
}

impl Doors {
    pub(crate) fn new(endpoints: Vec<String>) -> Self {
        let open = endpoints.iter().map(|_| Mutex::new(None)).collect();
        Self { endpoints, open }
    }

    pub(crate) fn count(&self) -> usize {
        self.endpoints.len()
    }

    /// The database behind the node's endpoint; any number names a node.
    pub(crate) async fn db(&self, node: usize) -> Result<Db> {
        let node = node % self.endpoints.len();
        if let Some(db) = self.open[node].lock().clone() {
            return Ok(db);
        }
        let connecting = Db::connect(&self.endpoints[node]);
        let db = tokio::time::timeout(CONNECT_TIMEOUT, connecting)
            .await
            .map_err(|_| Error::new(ErrorKind::Unavailable, "no connection in time"))??;
        *self.open[node].lock() = Some(db.clone());
        Ok(db)
    }

    /// One try of a statement through the node. Too long means unknown.
    pub(crate) async fn execute(&self, node: usize, statement: Statement) -> Result<ResultSet> {
        let db = self.db(node).await?;
        match tokio::time::timeout(TRY_TIMEOUT, db.execute(statement)).await {
            Ok(result) => result,
            Err(_) => Err(Error::new(ErrorKind::Unknown, "no answer in time")),
        }
    }

    /// Tries through all nodes until one takes it. For statements that may be repeated.
    pub(crate) async fn insist(
        &self,
        statement: &Statement,
        within: Duration,
    ) -> Result<ResultSet> {
        let begun = std::time::Instant::now();
        let mut node = 0;
        loop {
            match self.execute(node, statement.clone()).await {
                Ok(result) => return Ok(result),
                Err(error) if begun.elapsed() > within || is_final(&error) => return Err(error),
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
            node += 1;
        }
    }
}

/// Whether the database itself says that the statement is wrong, so that no fault explains it.
pub(crate) fn is_final(error: &Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::Invalid | ErrorKind::NotFound | ErrorKind::Denied | ErrorKind::Bug
    )
}

/// Whether the error says that nothing was done.
pub(crate) fn did_nothing(error: &Error) -> bool {
    error.is_retryable()
}
