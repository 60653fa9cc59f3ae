//! What anybody may know: where the gateway is and what this instance is.

use axum::Json;
use axum::extract::State;
use http::{HeaderMap, header};
use serde_json::{Value, json};

use super::Shared;
use super::error::ApiResult;
use super::extract::Caller;

/// The gateway's address as seen from the client.
fn url(headers: &HeaderMap) -> String {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let host = text(header::HOST.as_str()).unwrap_or("127.0.0.1");
    let secure = text("x-forwarded-proto").is_some_and(|scheme| scheme == "https");
    format!("{}://{host}", if secure { "wss" } else { "ws" })
}

/// `GET /gateway`
pub(crate) async fn gateway(headers: HeaderMap) -> Json<Value> {
    Json(json!({"url": url(&headers)}))
}

/// `GET /gateway/bot`
pub(crate) async fn gateway_bot(_: Caller, headers: HeaderMap) -> Json<Value> {
    Json(json!({
        "url": url(&headers),
        "shards": 1,
        "session_start_limit": {
            "total": 1000,
            "remaining": 1000,
            // Never 0: a library takes that for "ask again in five seconds".
            "reset_after": 86_400_000,
            "max_concurrency": 16,
        },
    }))
}

/// `GET /instance`: facts for the first page, before anybody has logged in.
pub(crate) async fn instance(State(app): State<Shared>) -> ApiResult<Json<Value>> {
    let first_visit = app.auth.administrator().await?.is_none();
    Ok(Json(json!({
        "name": app.config.instance_name,
        "version": env!("CARGO_PKG_VERSION"),
        "registration_open": app.config.registration_open,
        "first_visit": first_visit,
        "message_characters_max": super::messages::CONTENT_CHARACTERS_MAX,
    })))
}
