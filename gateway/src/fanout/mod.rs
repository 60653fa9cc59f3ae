//! Fan-out: what the database changed reaches every session that may hear of it.
//!
//! Reading order: `pump` (from the subscription to listeners), `hub` (who listens to what), `guild`
//! (one guild: classes, presences, delivery), `visibility` (who sees which channel), `members`
//! (answers to op 8). A node has one subscription, whatever the number of its sessions.
//!
//! Cost of an event: one encoding and one push of a pointer per listener.

pub(crate) mod fuzz;
mod guild;
mod hub;
mod members;
mod pump;
mod visibility;

use std::sync::Arc;

use chatdb::{Db, Result};
use tokio_util::sync::CancellationToken;

use crate::auth::Auth;
use crate::directory::Directory;
use crate::metrics::GatewayMetrics;
use crate::session::Sessions;
pub(crate) use hub::Hub;
use hub::HubPlatform;

/// Starts the fan-out of this node and the sessions that listen to it; both end with `stop`.
pub(crate) async fn start(
    db: &Db,
    parts: (Arc<Directory>, Arc<Auth>, GatewayMetrics),
    stop: &CancellationToken,
) -> Result<(Arc<Hub>, Arc<Sessions>)> {
    let subscription = pump::subscribe(db).await?;
    let counters = Arc::clone(&parts.2.sessions);
    let (hub, presences) = Hub::new(db.clone(), parts, subscription.interest());
    tokio::spawn(pump::run(Arc::clone(&hub), subscription, stop.clone()));
    tokio::spawn(pump::tell_presences(
        Arc::clone(&hub),
        presences,
        stop.clone(),
    ));
    let platform = Arc::new(HubPlatform(Arc::clone(&hub)));
    let sessions = Sessions::start(platform, counters, stop.clone());
    Ok((hub, sessions))
}
