//! The assembled server: what every part shares, how it starts, serves and stops.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use chatdb::{Db, HealthCheck, MetricsServer};
use http::header;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::auth::Auth;
use crate::config::Config;
use crate::directory::Directory;
use crate::error::{Error, ErrorKind, Result};
use crate::id::Generator;
use crate::metrics::GatewayMetrics;
use crate::rest::rate_limit::RateLimiter;
use crate::session::Sessions;
use crate::store::schema;
use crate::{clock, fanout, rest, session, web, worker};

/// Everything that requests and sessions share.
#[derive(Debug)]
pub struct App {
    pub(crate) db: Db,
    pub(crate) config: Config,
    pub(crate) ids: Arc<Generator>,
    holder: worker::Holder,
    pub(crate) auth: Arc<Auth>,
    pub(crate) directory: Arc<Directory>,
    pub(crate) limiter: RateLimiter,
    pub(crate) sessions: Arc<Sessions>,
    pub(crate) fanout: Arc<fanout::Hub>,
    pub(crate) metrics: GatewayMetrics,
    pub(crate) stop: CancellationToken,
}

impl App {
    /// Makes the schema where it is missing and assembles the parts. Nothing listens yet.
    pub async fn start(db: Db, config: Config) -> Result<Arc<Self>> {
        schema::create(&db).await?;
        let auth = Arc::new(Auth::open(db.clone(), &config).await?);
        let directory = Arc::new(Directory::new(db.clone()));
        let stop = CancellationToken::new();
        let holder = worker::Holder::new();
        let window = worker::acquire(&db, &holder, config.worker, clock::now_ms()).await?;
        let ids = Arc::new(Generator::leased(window));
        let keeping = worker::run(db.clone(), holder.clone(), Arc::clone(&ids), stop.clone());
        tokio::spawn(keeping);
        let metrics = GatewayMetrics::new();
        let parts = (Arc::clone(&directory), Arc::clone(&auth), metrics.clone());
        let (fanout, sessions) = fanout::start(&db, parts, &stop).await?;
        Ok(Arc::new(Self {
            ids,
            holder,
            limiter: RateLimiter::new(config.limits.clone()),
            auth,
            directory,
            sessions,
            fanout,
            metrics,
            stop,
            config,
            db,
        }))
    }

    /// Serves `listener` until [`App::stop`]; answers when the last request is answered and
    /// the clients of the gateway are told to go elsewhere.
    pub async fn serve(self: Arc<Self>, listener: TcpListener) -> Result<()> {
        let stop = self.stop.clone();
        let router = self
            .router()
            .into_make_service_with_connect_info::<SocketAddr>();
        let served = axum::serve(listener, router)
            .with_graceful_shutdown(async move { stop.cancelled().await })
            .await;
        self.sessions.drained().await;
        self.release().await;
        served.map_err(|error| Error::new(ErrorKind::Io, "the listener failed").because(error))
    }

    /// The API under its prefixes; on every other path sockets get the gateway, browsers the client.
    fn router(self: &Arc<Self>) -> Router {
        let app = Arc::clone(self);
        let other = move |request: Request| {
            let answer = if request.headers().contains_key(header::UPGRADE) {
                session::upgrade(&app.sessions, request)
            } else {
                web::serve(request.uri())
            };
            async move { answer }
        };
        rest::router(self).fallback(other)
    }

    /// Serves `/metrics` and `/healthz` on `listen` until the answer is dropped.
    pub async fn serve_metrics(self: &Arc<Self>, listen: SocketAddr) -> Result<MetricsServer> {
        let mut registry = Registry::default();
        self.register_metrics(&mut registry);
        let (db, stop) = (self.db.clone(), self.stop.clone());
        let health: HealthCheck = Arc::new(move || {
            let (db, stop) = (db.clone(), stop.clone());
            Box::pin(async move {
                if stop.is_cancelled() {
                    let message = "the server is going down";
                    return Err(chatdb::Error::new(chatdb::ErrorKind::Closed, message));
                }
                db.check_health().await
            })
        });
        Ok(MetricsServer::start(listen, registry, health).await?)
    }

    /// Gives the worker number back, so that the next start need not wait for it to run out. No ids
    /// are made from here on.
    pub async fn release(&self) {
        if let Err(error) = worker::release(&self.db, &self.holder, &self.ids).await {
            tracing::warn!(%error, "the worker number is not given back, it runs out by itself");
        }
    }

    /// Begins to stop: no new connections, running requests are answered.
    pub fn stop(&self) {
        self.stop.cancel();
    }
}
