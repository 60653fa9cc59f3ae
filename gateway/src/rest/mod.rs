//! REST: the public bot API v10, and what our own client needs beside it.
//!
//! All routes are in the one table of this file, under `/api/v10`, `/api/v9`, `/api` and `/v1`.
//! A request passes [`front`]: who is it, may it go on, and the rate-limit headers of the answer;
//! then its handler, which asks [`access`] for the guild or channel and writes through `store`.
//! `docs/formats/rest-api.md` is the contract.

mod access;
mod accounts;
mod admin;
mod bans;
mod channels;
mod direct;
mod error;
mod extract;
mod front;
pub(crate) mod fuzz;
mod guilds;
mod info;
mod invites;
mod members;
mod mentions;
mod messages;
mod overwrites;
mod pages;
mod pins;
pub(crate) mod rate_limit;
mod reactions;
mod read_states;
mod roles;
mod users;

use std::sync::Arc;

use axum::Router;
use axum::routing::{delete, get, patch, post, put};
use http::StatusCode;

use crate::app::App;
use error::ApiError;
pub(crate) use error::ApiResult;

pub(crate) use admin::create_bot;
pub(crate) use invites::fresh_code;

/// The state of every handler.
pub(crate) type Shared = Arc<App>;

/// Prefixes under which all routes are served.
const PREFIXES: [&str; 4] = ["/api/v10", "/api/v9", "/api", "/v1"];

/// All routes of the API under all prefixes.
pub(crate) fn router(app: &Shared) -> Router {
    let api = table()
        .fallback(unknown_route)
        .method_not_allowed_fallback(wrong_method);
    let api = api.layer(axum::middleware::from_fn_with_state(
        Arc::clone(app),
        front::front,
    ));
    let mut router = Router::new();
    for prefix in PREFIXES {
        router = router.nest(prefix, api.clone());
    }
    router.with_state(Arc::clone(app))
}

fn table() -> Router<Shared> {
    Router::new()
        .merge(account_routes())
        .merge(guild_routes())
        .merge(member_routes())
        .merge(channel_routes())
        .merge(message_routes())
        .route("/admin/bots", post(admin::bots))
        .route("/admin/import", post(admin::import))
}

fn account_routes() -> Router<Shared> {
    Router::new()
        .route("/instance", get(info::instance))
        .route("/gateway", get(info::gateway))
        .route("/gateway/bot", get(info::gateway_bot))
        .route("/auth/register", post(accounts::register))
        .route("/auth/login", post(accounts::login))
        .route("/auth/logout", post(accounts::logout))
        .route("/users/@me", get(users::me).patch(users::change_me))
        .route("/users/@me/guilds", get(users::my_guilds))
        .route("/users/@me/guilds/{guild}", delete(members::leave))
        .route("/users/@me/guilds/{guild}/member", get(members::me))
        .route("/users/@me/channels", get(direct::list).post(direct::open))
        .route("/users/{user}", get(users::get))
        .route("/applications/@me", get(users::application))
        .route("/oauth2/applications/@me", get(users::application))
}

fn guild_routes() -> Router<Shared> {
    Router::new()
        .route("/guilds", post(guilds::create))
        .route(
            "/guilds/{guild}",
            get(guilds::get)
                .patch(guilds::change)
                .delete(guilds::delete),
        )
        .route(
            "/guilds/{guild}/channels",
            get(channels::list)
                .post(channels::create)
                .patch(channels::reorder),
        )
        .route(
            "/guilds/{guild}/roles",
            get(roles::list).post(roles::create).patch(roles::reorder),
        )
        .route(
            "/guilds/{guild}/roles/{role}",
            get(roles::get).patch(roles::change).delete(roles::delete),
        )
        .route("/guilds/{guild}/bans", get(bans::list))
        .route(
            "/guilds/{guild}/bans/{user}",
            get(bans::get).put(bans::put).delete(bans::delete),
        )
        .route("/guilds/{guild}/invites", get(invites::of_guild))
        .route("/guilds/{guild}/emojis", get(guilds::emojis))
        .route(
            "/invites/{code}",
            get(invites::get)
                .post(invites::accept)
                .delete(invites::delete),
        )
}

fn member_routes() -> Router<Shared> {
    Router::new()
        .route("/guilds/{guild}/members", get(members::list))
        .route("/guilds/{guild}/members/search", get(members::search))
        .route("/guilds/{guild}/members/@me", patch(members::change_me))
        .route(
            "/guilds/{guild}/members/@me/nick",
            patch(members::change_me),
        )
        .route(
            "/guilds/{guild}/members/{user}",
            get(members::get)
                .patch(members::change)
                .delete(members::kick),
        )
        .route(
            "/guilds/{guild}/members/{user}/roles/{role}",
            put(members::give_role).delete(members::take_role),
        )
}

fn channel_routes() -> Router<Shared> {
    Router::new()
        .route(
            "/channels/{channel}",
            get(channels::get)
                .patch(channels::change)
                .delete(channels::delete),
        )
        .route("/channels/{channel}/typing", post(channels::start_typing))
        .route(
            "/channels/{channel}/permissions/{target}",
            put(overwrites::put).delete(overwrites::delete),
        )
        .route(
            "/channels/{channel}/invites",
            get(invites::of_channel).post(invites::create),
        )
        .route("/channels/{channel}/pins", get(pins::list_old))
        .route(
            "/channels/{channel}/pins/{message}",
            put(pins::add).delete(pins::remove),
        )
        .route("/channels/{channel}/messages/pins", get(pins::list))
        .route(
            "/channels/{channel}/messages/pins/{message}",
            put(pins::add).delete(pins::remove),
        )
}

fn message_routes() -> Router<Shared> {
    Router::new()
        .route(
            "/channels/{channel}/messages",
            get(pages::page).post(messages::create),
        )
        .route(
            "/channels/{channel}/messages/bulk-delete",
            post(messages::delete_many),
        )
        .route(
            "/channels/{channel}/messages/{message}",
            get(messages::get)
                .patch(messages::edit)
                .delete(messages::delete),
        )
        .route(
            "/channels/{channel}/messages/{message}/ack",
            post(read_states::acknowledge),
        )
        .route(
            "/channels/{channel}/messages/{message}/reactions",
            delete(reactions::clear),
        )
        .route(
            "/channels/{channel}/messages/{message}/reactions/{emoji}",
            get(reactions::list).delete(reactions::clear_emoji),
        )
        .route(
            "/channels/{channel}/messages/{message}/reactions/{emoji}/@me",
            put(reactions::add).delete(reactions::remove_mine),
        )
        .route(
            "/channels/{channel}/messages/{message}/reactions/{emoji}/{user}",
            delete(reactions::remove),
        )
}

async fn unknown_route() -> ApiError {
    let message =
        "404: Not Found (attachments, webhooks, commands, threads and search are not here yet)";
    ApiError::new(StatusCode::NOT_FOUND, 0, message)
}

async fn wrong_method() -> ApiError {
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, 0, "405: Method Not Allowed")
}
