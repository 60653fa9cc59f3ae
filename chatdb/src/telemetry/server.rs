//! `/metrics` and `/healthz` over HTTP, and for a person a page at `/`, on a listener of their own.
//!
//! # Who may read
//!
//! There is no password. The pages hold numbers, and the one at `/` the addresses and zones of nodes; no
//! keyspace, table, topic or key. But how busy a community is, is nobody's business, so nothing listens unless it is asked to, and the documented address is loopback. A page
//! in the browser of somebody on this machine must not read it either: on a loopback address, requests
//! that name another host than an address or `localhost` are refused (a name that an attacker points
//! at 127.0.0.1), and no answer allows other origins. Only `GET` and `HEAD` are answered, to whoever
//! asks; who listens beyond loopback puts a firewall or a proxy in front.

use crate::error::{Error, ErrorKind, Result};
use axum::Router;
use axum::extract::{Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use futures::future::BoxFuture;
use prometheus_client::registry::Registry;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// What Prometheus asks for first.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Tells whether the process can do its work, and if not, why.
pub type HealthCheck = Arc<dyn Fn() -> BoxFuture<'static, Result<()>> + Send + Sync>;

/// Writes the page at `/`.
pub(crate) type StatusPage = Arc<dyn Fn() -> BoxFuture<'static, String> + Send + Sync>;

/// A running server of `/metrics` and `/healthz`. Dropping it stops it without waiting.
#[derive(Debug)]
pub struct MetricsServer {
    address: SocketAddr,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

/// What both pages are made of.
#[derive(Clone)]
struct Pages {
    registry: Arc<Registry>,
    health: HealthCheck,
    status: Option<StatusPage>,
    is_loopback: bool,
}

impl MetricsServer {
    /// Serves the numbers of `registry` and the verdict of `health` on `listen` (port 0 chooses one).
    pub async fn start(
        listen: SocketAddr,
        registry: Registry,
        health: HealthCheck,
    ) -> Result<Self> {
        Self::start_with(listen, registry, health, None).await
    }

    /// The same with a page at `/`.
    pub(crate) async fn start_with(
        listen: SocketAddr,
        registry: Registry,
        health: HealthCheck,
        status: Option<StatusPage>,
    ) -> Result<Self> {
        let cannot = |cause: std::io::Error| {
            let message = format!("cannot listen on {listen} for metrics: {cause}");
            Error::new(ErrorKind::Io, message)
        };
        let listener = TcpListener::bind(listen).await.map_err(cannot)?;
        let address = listener.local_addr().map_err(cannot)?;
        if !address.ip().is_loopback() {
            tracing::warn!(%address, "whoever reaches this address can read the metrics");
        }
        let pages = Pages {
            registry: Arc::new(registry),
            health,
            status,
            is_loopback: address.ip().is_loopback(),
        };
        let router = Router::new()
            .route("/", get(person))
            .route("/metrics", get(metrics))
            .route("/healthz", get(healthz))
            .layer(middleware::from_fn_with_state(pages.clone(), guard))
            .with_state(pages);
        let stop = CancellationToken::new();
        let stopped = stop.clone().cancelled_owned();
        let task = tokio::spawn(async move {
            let served = axum::serve(listener, router).with_graceful_shutdown(stopped);
            if let Err(error) = served.await {
                tracing::error!(%error, "metrics are no longer served");
            }
        });
        Ok(Self {
            address,
            stop,
            task,
        })
    }

    /// Where it listens; the port that was chosen when 0 was asked for.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for MetricsServer {
    fn drop(&mut self) {
        self.stop.cancel();
        self.task.abort();
    }
}

/// Refuses who comes by a name that could be anybody's.
async fn guard(State(pages): State<Pages>, request: Request, next: Next) -> Response {
    if pages.is_loopback && !names_this_machine(request.headers()) {
        let message = "this page is for this machine: ask for it by address or as localhost\n";
        return (StatusCode::FORBIDDEN, message).into_response();
    }
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    response
}

/// Whether the request came by an address or as `localhost`.
fn names_this_machine(headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(header::HOST) else {
        return true;
    };
    let authority = host
        .to_str()
        .ok()
        .and_then(|host| host.parse::<Authority>().ok());
    authority.is_some_and(|authority| {
        let name = authority.host();
        let address = name.trim_start_matches('[').trim_end_matches(']');
        address.parse::<IpAddr>().is_ok() || name.eq_ignore_ascii_case("localhost")
    })
}

/// All numbers.
async fn metrics(State(pages): State<Pages>) -> Response {
    // Gathering looks at every file of every tablet.
    let registry = Arc::clone(&pages.registry);
    let encoded = tokio::task::spawn_blocking(move || encode(&registry)).await;
    if let Ok(Ok(text)) = encoded {
        return ([(header::CONTENT_TYPE, OPEN_METRICS)], text).into_response();
    }
    let message = "the numbers could not be written down\n";
    (StatusCode::INTERNAL_SERVER_ERROR, message).into_response()
}

fn encode(registry: &Registry) -> std::result::Result<String, std::fmt::Error> {
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, registry)?;
    Ok(text)
}

/// The page for a person.
async fn person(State(pages): State<Pages>) -> Response {
    let Some(page) = &pages.status else {
        let message = "here are /metrics and /healthz\n";
        return (StatusCode::NOT_FOUND, message).into_response();
    };
    // Nothing but the page itself: no script, nothing from elsewhere, in nobody's frame.
    let policy =
        "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'";
    let headers = [(header::CONTENT_SECURITY_POLICY, policy)];
    (headers, Html(page().await)).into_response()
}

/// `ok`, or what is wrong.
async fn healthz(State(pages): State<Pages>) -> Response {
    match (pages.health)().await {
        Ok(()) => "ok\n".into_response(),
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n")).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_could_be_anybodys_does_not_name_this_machine() {
        let names = |host: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, HeaderValue::from_static(host));
            names_this_machine(&headers)
        };
        for host in [
            "127.0.0.1:7401",
            "127.0.0.1",
            "localhost:7401",
            "LocalHost",
            "[::1]:7401",
            "[::1]",
        ] {
            assert!(names(host), "{host}");
        }
        for host in [
            "evil.example:7401",
            "evil.example",
            "localhost.evil.example",
            "",
        ] {
            assert!(!names(host), "{host}");
        }
        assert!(names_this_machine(&HeaderMap::new()));
    }
}
