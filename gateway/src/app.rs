//! The assembled server: what every part shares, how it starts, serves and stops.

use std::sync::Arc;

use chatdb::Db;
use tokio_util::sync::CancellationToken;

use crate::auth::Auth;
use crate::config::Config;
use crate::directory::Directory;
use crate::error::Result;
use crate::fanout;
use crate::id::Generator;
use crate::session::Sessions;
use crate::store::schema;

/// Everything that requests and sessions share.
#[derive(Debug)]
pub struct App {
    pub(crate) db: Db,
    pub(crate) config: Config,
    pub(crate) ids: Generator,
    pub(crate) auth: Arc<Auth>,
    pub(crate) directory: Arc<Directory>,
    pub(crate) sessions: Arc<Sessions>,
    pub(crate) stop: CancellationToken,
}

impl App {
    /// Makes the schema where it is missing and assembles the parts. Nothing listens yet.
    pub async fn start(db: Db, config: Config) -> Result<Arc<Self>> {
        schema::create(&db).await?;
        let auth = Arc::new(Auth::open(db.clone(), &config).await?);
        let directory = Arc::new(Directory::new(db.clone()));
        let stop = CancellationToken::new();
        let sessions = fanout::start(&db, &directory, &auth, &stop).await?;
        Ok(Arc::new(Self {
            ids: Generator::new(config.worker),
            auth,
            directory,
            sessions,
            stop,
            config,
            db,
        }))
    }

    /// Begins to stop: no new connections, running requests are answered.
    pub fn stop(&self) {
        self.stop.cancel();
    }
}
