//! The upgrade request of RFC 6455 and the socket that comes out of it.
//!
//! The request arrives over hyper like any other. After the answer the bare `TcpStream` is taken
//! back from hyper, so that an idle connection keeps none of its buffers.

use axum::http::{HeaderMap, HeaderName, Request, Response, StatusCode, header};
use base64::Engine;
use bytes::Bytes;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use hyper_util::server::conn::auto::upgrade;
use sha1::{Digest, Sha1};
use tokio::net::TcpStream;

/// Appended to the client's key before hashing (RFC 6455, section 1.3).
const KEY_SUFFIX: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Whether the request asks for a WebSocket.
pub fn is_upgrade(headers: &HeaderMap) -> bool {
    has_token(headers, &header::UPGRADE, "websocket")
}

/// The answer to an upgrade request and the promise of its socket, or a refusal.
pub fn accept<B>(request: &mut Request<B>) -> Result<(Response<()>, OnUpgrade), StatusCode> {
    let headers = request.headers();
    if !is_upgrade(headers) || !has_token(headers, &header::CONNECTION, "upgrade") {
        return Err(StatusCode::UPGRADE_REQUIRED);
    }
    if headers
        .get(header::SEC_WEBSOCKET_VERSION)
        .is_none_or(|version| version != "13")
    {
        return Err(StatusCode::UPGRADE_REQUIRED);
    }
    let key = headers
        .get(header::SEC_WEBSOCKET_KEY)
        .ok_or(StatusCode::BAD_REQUEST)?;
    let response = Response::builder()
        .status(StatusCode::SWITCHING_PROTOCOLS)
        .header(header::UPGRADE, "websocket")
        .header(header::CONNECTION, "Upgrade")
        .header(header::SEC_WEBSOCKET_ACCEPT, accept_key(key.as_bytes()))
        .body(())
        .map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
    let promise = request.extensions_mut().remove::<OnUpgrade>();
    Ok((response, promise.ok_or(StatusCode::UPGRADE_REQUIRED)?))
}

/// Takes the socket back from hyper, with the bytes that it had read ahead. `None` if the listener
/// is not plain TCP.
pub fn into_socket(upgraded: Upgraded) -> Option<(TcpStream, Bytes)> {
    let parts = upgrade::downcast::<TokioIo<TcpStream>>(upgraded).ok()?;
    Some((parts.io.into_inner(), parts.read_buf))
}

fn accept_key(key: &[u8]) -> String {
    let mut hash = Sha1::new();
    hash.update(key);
    hash.update(KEY_SUFFIX.as_bytes());
    base64::engine::general_purpose::STANDARD.encode(hash.finalize())
}

fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|value| value.trim().eq_ignore_ascii_case(token))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_of_the_rfc_gives_the_answer_of_the_rfc() {
        assert_eq!(
            accept_key(b"dGhlIHNhbXBsZSBub25jZQ=="),
            "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        );
    }
}
