//! The way of every request: who asks, may it go on, and the headers of the answer.

use std::net::SocketAddr;
use std::time::Instant;

use axum::extract::{ConnectInfo, MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, header};

use super::error::{ApiError, ApiResult};
use super::extract::Caller;
use super::rate_limit::{self, Key};
use super::{PREFIXES, Shared};
use crate::clock;
use crate::id::Id;

/// Identifies, counts, serves. A request that is refused counts too.
pub(crate) async fn front(State(app): State<Shared>, request: Request, next: Next) -> Response {
    let (begun, method) = (Instant::now(), request.method().clone());
    let response = serve(&app, request, next).await;
    let took = begun.elapsed();
    app.metrics.answered(&method, response.status(), took);
    response
}

async fn serve(app: &Shared, mut request: Request, next: Next) -> Response {
    let identified = identify(app, request.headers()).await;
    let caller = identified.as_ref().ok().copied().flatten();
    let route = request.extensions().get::<MatchedPath>();
    let route = bare(route.map_or("", MatchedPath::as_str)).to_owned();
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
    let key = Key {
        bucket: rate_limit::bucket(request.method(), &route),
        major: major(bare(request.uri().path())),
        subject: match (caller, peer) {
            (Some(caller), _) => caller.id.get(),
            (None, Some(ConnectInfo(peer))) => address(peer),
            (None, None) => 0,
        },
    };
    let verdict = app
        .limiter
        .count(request.method(), &route, key, clock::now_ms());
    let mut response = match identified {
        _ if !verdict.is_allowed() => {
            app.metrics.rate_limited.inc();
            verdict.refusal()
        }
        Err(error) => error.into_response(),
        Ok(None) => next.run(request).await,
        Ok(Some(caller)) => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
    };
    verdict.write(response.headers_mut());
    response
}

/// The account behind the token; no token is nobody, a token that is not valid is refused.
async fn identify(app: &Shared, headers: &HeaderMap) -> ApiResult<Option<Caller>> {
    let Some(token) = headers.get(header::AUTHORIZATION) else {
        return Ok(None);
    };
    let text = token.to_str().map_err(|_| ApiError::unauthorized())?;
    let checked = app.auth.check(text).await?;
    let (id, token) = checked.ok_or_else(ApiError::unauthorized)?;
    let user = app
        .directory
        .user(id)
        .await?
        .ok_or_else(ApiError::unauthorized)?;
    Ok(Some(Caller {
        id,
        bot: user.bot,
        token,
    }))
}

/// A path or template without the prefix of its version.
pub(super) fn bare(path: &str) -> &str {
    let strip = |prefix: &&str| {
        let rest = path.strip_prefix(*prefix)?;
        rest.starts_with('/').then_some(rest)
    };
    PREFIXES.iter().find_map(strip).unwrap_or(path)
}

/// The first id of a path.
pub(super) fn major(path: &str) -> u64 {
    path.split('/')
        .find_map(|part| part.parse::<Id>().ok())
        .map_or(0, Id::get)
}

/// A number for an address, so that strangers are counted one by one.
fn address(peer: &SocketAddr) -> u64 {
    let text = peer.ip().to_string();
    rate_limit::bucket(&http::Method::GET, &text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_versions_of_a_route_share_a_bucket() {
        for prefix in PREFIXES {
            assert_eq!(
                bare(&format!("{prefix}/channels/5/messages")),
                "/channels/5/messages"
            );
        }
        assert_eq!(major("/channels/5/messages/7"), 5);
        assert_eq!(major("/users/@me"), 0);
    }
}
