//! The HTTP end of a gateway connection: version, encoding, host, upgrade.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, header};

use super::{CloseCode, Sessions, connection};
use crate::ws::handshake;

/// Answers an upgrade request and serves the socket in a task of its own.
pub fn upgrade(sessions: &Arc<Sessions>, mut request: Request) -> Response {
    let resume_url = resume_url(request.headers());
    let refusal = refusal(request.uri().query().unwrap_or_default());
    let (response, promise) = match handshake::accept(&mut request) {
        Ok(accepted) => accepted,
        Err(status) => {
            let headers = [(header::UPGRADE, "websocket")];
            return (status, headers, "this address speaks WebSocket only\n").into_response();
        }
    };
    let sessions = Arc::clone(sessions);
    let connections = sessions.connections.clone();
    connections.spawn(async move {
        let upgraded = match promise.await {
            Ok(upgraded) => upgraded,
            Err(error) => {
                tracing::debug!(%error, "client went away during the upgrade");
                return;
            }
        };
        if let Some(socket) = handshake::into_socket(upgraded) {
            connection::serve(sessions, socket, resume_url, refusal).await;
        } else {
            tracing::error!("gateway connection does not come from a plain TCP listener");
        }
    });
    response.map(|()| Body::empty())
}

/// Why a connection with this query cannot be served.
pub(super) fn refusal(query: &str) -> Option<CloseCode> {
    for (key, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
        match (key, value) {
            ("v", "9" | "10") | ("encoding", "json") => {}
            ("v", _) => return Some(CloseCode::InvalidVersion),
            ("encoding", _) => return Some(CloseCode::Decode),
            _ => {}
        }
    }
    None
}

/// Where a client is told to come back to: the address that it used to get here.
fn resume_url(headers: &HeaderMap) -> Box<str> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let host = text(header::HOST).unwrap_or("localhost");
    let forwarded = headers
        .get("x-forwarded-proto")
        .is_some_and(|proto| proto == "https");
    let scheme = if forwarded { "wss" } else { "ws" };
    format!("{scheme}://{host}").into_boxed_str()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_and_encodings_that_do_not_exist_are_refused() {
        assert_eq!(refusal("v=10&encoding=json&compress=zlib-stream"), None);
        assert_eq!(refusal(""), None);
        assert_eq!(refusal("v=9"), None);
        assert_eq!(refusal("v=6"), Some(CloseCode::InvalidVersion));
        assert_eq!(refusal("v=10&encoding=etf"), Some(CloseCode::Decode));
    }
}
