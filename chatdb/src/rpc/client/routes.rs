//! Which endpoint leads the tablet of a statement.
//!
//! A node takes any statement and sends on what another one leads; a client that knows the leader
//! saves that hop, which costs as much as the request itself. When a statement is prepared, the node
//! tells which bound values choose its tablet ([`Placement`]); where the tablets are every node tells
//! (`Cluster.Describe`).
//!
//! # Invariants
//!
//! * What is known here is a hint: a request that goes to the wrong node is sent on by it.
//! * Endpoints are asked for the map when an answer shows that it is old, at most every
//!   [`REFRESH_MIN`], and less often up to [`REFRESH_MAX`] while that changes nothing. An address of the list that is another name of a node is found by asking it, so
//!   that proxies do not matter. Nodes that are not on the list are not used directly.

use crate::db::statement::{Consistency, Statement};
use crate::plan::Placement;
use crate::rpc::client::attempts::{Class, Endpoints};
use crate::rpc::proto;
use crate::rpc::proto::cluster_client::ClusterClient;
use futures::future::join_all;
use parking_lot::{Mutex, RwLock};
use quick_cache::sync::Cache;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// The map is asked for at most this often, and up to that seldom while it stays the same.
const REFRESH_MIN: Duration = Duration::from_millis(300);
const REFRESH_MAX: Duration = Duration::from_secs(5);
/// How long an endpoint may take to tell it.
const DESCRIBE_LIMIT: Duration = Duration::from_secs(2);
/// Statements whose placement is remembered.
const PLACEMENTS_MAX: usize = 2048;

/// What a client knows of tablets and leaders.
#[derive(Debug)]
pub(super) struct Routes {
    /// By keyspace and text.
    placements: Cache<String, Arc<Placement>>,
    map: RwLock<Arc<Map>>,
    refresh: Mutex<Refresh>,
}

#[derive(Debug, Default)]
struct Refresh {
    is_running: bool,
    /// The next one begins no earlier.
    not_before: Option<Instant>,
    wait: Duration,
}

/// The tablets whose leader is an endpoint, by first token.
#[derive(Debug, Default, PartialEq, Eq)]
struct Map {
    tablets: Vec<Tablet>,
    /// The number of each endpoint's node.
    nodes: BTreeMap<usize, u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Tablet {
    first: u64,
    last: u64,
    endpoint: usize,
}

impl Routes {
    pub(super) fn new() -> Self {
        Self {
            placements: Cache::new(PLACEMENTS_MAX),
            map: RwLock::default(),
            refresh: Mutex::default(),
        }
    }

    /// A statement was prepared, and its node told this about it.
    pub(super) fn learn(&self, key: &str, placement: Option<Placement>) {
        if let Some(placement) = placement {
            self.placements.insert(key.to_owned(), Arc::new(placement));
        }
    }

    /// The endpoint that leads the tablet of these statements, if that is known.
    pub(super) fn find(&self, class: Class, statements: &[Statement]) -> Found {
        let Some(statement) = statements.first() else {
            return Found::default();
        };
        let is_of_leader = match class {
            Class::Write => true,
            Class::Read => statement.consistency != Consistency::One,
            Class::Once => false,
        };
        if !is_of_leader {
            return Found::default();
        }
        let key = key(statement.keyspace.as_deref().unwrap_or(""), &statement.text);
        let placement = self.placements.get(&key);
        let Some(token) = placement.and_then(|placement| placement.token(&statement.values)) else {
            return Found::default();
        };
        Found {
            is_routed: true,
            endpoint: self.map.read().find(token),
        }
    }

    /// Whether the endpoint is this node, as far as it is known.
    pub(super) fn is_node(&self, endpoint: usize, node: u64) -> bool {
        self.map.read().nodes.get(&endpoint) == Some(&node)
    }

    /// Whether the map is to be asked for now; who is told so asks.
    pub(super) fn should_refresh(&self, now: Instant) -> bool {
        let mut refresh = self.refresh.lock();
        let is_due = refresh.not_before.is_none_or(|at| at <= now);
        if refresh.is_running || !is_due {
            return false;
        }
        refresh.is_running = true;
        true
    }

    fn refreshed(&self, now: Instant, has_changed: bool) {
        let mut refresh = self.refresh.lock();
        refresh.is_running = false;
        refresh.wait = if has_changed {
            REFRESH_MIN
        } else {
            (refresh.wait * 2).clamp(REFRESH_MIN, REFRESH_MAX)
        };
        refresh.not_before = Some(now + refresh.wait);
    }

    /// Asks every endpoint where the tablets are.
    pub(super) async fn refresh(&self, endpoints: &Endpoints) {
        let ask = |(number, channel)| async move {
            let mut client = ClusterClient::new(channel);
            let asking = client.describe(proto::DescribeRequest {});
            let answer = tokio::time::timeout(DESCRIBE_LIMIT, asking).await;
            Some((number, answer.ok()?.ok()?.into_inner()))
        };
        let answers = join_all(endpoints.channels().map(ask)).await;
        let answers: BTreeMap<usize, _> = answers.into_iter().flatten().collect();
        let map = Map::of(&answers);
        let has_changed = !answers.is_empty() && map != **self.map.read();
        if has_changed {
            *self.map.write() = Arc::new(map);
        }
        self.refreshed(Instant::now(), has_changed);
    }
}

/// Where a request belongs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// Whether one tablet's leader does it.
    pub(super) is_routed: bool,
    pub(super) endpoint: Option<usize>,
}

/// Under which a statement is known: its keyspace and text, neither of which holds the separator.
pub(super) fn key(keyspace: &str, text: &str) -> String {
    let mut key = String::with_capacity(keyspace.len() + 1 + text.len());
    key.extend([keyspace, "\0", text]);
    key
}

impl Map {
    /// What the endpoints say, by their numbers. A node knows best what it leads itself; of others it
    /// may know an earlier leader.
    fn of(answers: &BTreeMap<usize, proto::DescribeResponse>) -> Self {
        let endpoint_of: BTreeMap<u32, usize> = answers
            .iter()
            .map(|(number, answer)| (answer.node, *number))
            .collect();
        let mut leaders: BTreeMap<u64, (bool, Tablet)> = BTreeMap::new();
        for answer in answers.values() {
            for tablet in &answer.tablets {
                let Some(&endpoint) = endpoint_of.get(&tablet.leader) else {
                    continue;
                };
                let is_sure = tablet.leader == answer.node;
                let known = leaders.get(&tablet.first_token);
                if known.is_none_or(|(was_sure, _)| is_sure && !was_sure) {
                    let found = Tablet {
                        first: tablet.first_token,
                        last: tablet.last_token,
                        endpoint,
                    };
                    leaders.insert(tablet.first_token, (is_sure, found));
                }
            }
        }
        Self {
            tablets: leaders.into_values().map(|(_, tablet)| tablet).collect(),
            nodes: endpoint_of
                .into_iter()
                .map(|(node, endpoint)| (endpoint, u64::from(node)))
                .collect(),
        }
    }

    fn find(&self, token: u64) -> Option<usize> {
        let after = self.tablets.partition_point(|tablet| tablet.first <= token);
        let tablet = self.tablets.get(after.checked_sub(1)?)?;
        (token <= tablet.last).then_some(tablet.endpoint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::ScalarType;
    use crate::value::Value;

    fn answer(node: u32, leaders: [u32; 2]) -> proto::DescribeResponse {
        let half = 1 << 63;
        let tablet = |(group, leader)| proto::ClusterTablet {
            group,
            first_token: (group - 1) * half,
            last_token: (group - 1) * half + (half - 1),
            leader,
            ..proto::ClusterTablet::default()
        };
        proto::DescribeResponse {
            node,
            tablets: (1..).zip(leaders).map(tablet).collect(),
            ..proto::DescribeResponse::default()
        }
    }

    #[test]
    fn a_leader_is_believed_before_those_who_remember_another() {
        // Endpoint 0 is node 7, endpoint 1 node 8; the first remembers itself as nobody's leader.
        let answers = BTreeMap::from([(0, answer(7, [8, 7])), (1, answer(8, [8, 8]))]);
        let map = Map::of(&answers);
        assert_eq!(map.find(0), Some(1));
        assert_eq!(
            map.find(u64::MAX),
            Some(0),
            "both say they lead: the first that was asked"
        );
        assert_eq!(map.nodes, BTreeMap::from([(0, 7), (1, 8)]));
        let answers = BTreeMap::from([(0, answer(7, [8, 8])), (1, answer(8, [7, 8]))]);
        assert_eq!(
            Map::of(&answers).find(0),
            Some(1),
            "nobody is sure: the first word counts"
        );
        let answers = BTreeMap::from([(0, answer(7, [9, 0]))]);
        assert_eq!(Map::of(&answers).find(0), None, "node 9 is no endpoint");
    }

    #[test]
    fn only_what_one_leader_does_is_routed() {
        let routes = Routes::new();
        let answers = BTreeMap::from([(0, answer(7, [7, 8])), (1, answer(8, [7, 8]))]);
        *routes.map.write() = Arc::new(Map::of(&answers));
        let text = "SELECT v FROM k.t WHERE id = ?";
        let read = Statement::new(text).bind(vec![Value::BigInt(5)]);
        assert_eq!(
            routes.find(Class::Read, std::slice::from_ref(&read)),
            Found::default()
        );
        let placement = Placement(vec![(0, ScalarType::BigInt)]);
        let endpoint = routes
            .map
            .read()
            .find(placement.token(&read.values).unwrap());
        routes.learn(&key("", text), Some(placement));
        let found = Found {
            is_routed: true,
            endpoint,
        };
        assert!(endpoint.is_some());
        assert_eq!(routes.find(Class::Read, std::slice::from_ref(&read)), found);
        let near = read.clone().consistency(Consistency::One);
        assert_eq!(routes.find(Class::Read, &[near]), Found::default());
        let elsewhere = read.keyspace("other");
        assert_eq!(routes.find(Class::Read, &[elsewhere]), Found::default());
    }

    #[test]
    fn the_map_is_asked_for_by_one_and_not_too_often() {
        let (routes, now) = (Routes::new(), Instant::now());
        assert!(routes.should_refresh(now));
        assert!(!routes.should_refresh(now), "one asks already");
        routes.refreshed(now, true);
        assert!(!routes.should_refresh(now), "it was asked for just now");
        assert!(routes.should_refresh(now + REFRESH_MIN));
        for _ in 0..10 {
            routes.refreshed(now, false);
        }
        let soon = now + REFRESH_MAX / 2;
        assert!(!routes.should_refresh(soon), "asking again changes nothing");
        assert!(routes.should_refresh(now + REFRESH_MAX));
    }
}
