//! A network in memory whose ways can be slow, cut in one direction, or both.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use raft::{Error, ErrorKind, Inbound, Lane, NodeId, Peer, Result, Session, Transport};
use tokio::sync::{mpsc, oneshot};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::support::Random;

/// All hosts that can reach each other.
#[derive(Clone, Debug)]
pub(crate) struct Network(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    /// Each with the number of its present life.
    hosts: BTreeMap<NodeId, (u64, Inbound)>,
    lives: u64,
    /// From, to.
    cut: BTreeSet<(NodeId, NodeId)>,
    random: Random,
    delay_max_us: u64,
    calls: u64,
    started: tokio::time::Instant,
    /// Over all calls: when, from whom, to whom, and their bytes.
    trace: u64,
    /// Every call is printed: to see where two runs part.
    is_told: bool,
    /// Bytes on the lane of raft snapshots.
    bulk_bytes: u64,
    /// After so many of them both ways between the two hosts are cut.
    bulk_cut_at: Option<u64>,
}

/// One host's way into the network.
#[derive(Debug)]
pub(crate) struct Port {
    network: Network,
    own: NodeId,
    /// By peer and lane.
    ways: Mutex<BTreeMap<(NodeId, u8), mpsc::Sender<Letter>>>,
}

/// A call on its way.
#[derive(Debug)]
struct Letter {
    peer: Peer,
    request: Bytes,
    answer: oneshot::Sender<Bytes>,
}

impl Network {
    pub(crate) fn new(seed: u64, delay_max: Duration) -> Self {
        Self(Arc::new(Mutex::new(State {
            hosts: BTreeMap::new(),
            lives: 0,
            cut: BTreeSet::new(),
            random: Random(seed),
            delay_max_us: u64::try_from(delay_max.as_micros()).unwrap_or(u64::MAX),
            calls: 0,
            started: tokio::time::Instant::now(),
            trace: 0,
            is_told: std::env::var_os("CALLS").is_some(),
            bulk_bytes: 0,
            bulk_cut_at: None,
        })))
    }

    pub(crate) fn port(&self, own: NodeId) -> Arc<Port> {
        let network = self.clone();
        let ways = Mutex::default();
        Arc::new(Port { network, own, ways })
    }

    /// Nothing from `from` reaches `to` any more.
    pub(crate) fn cut(&self, from: NodeId, to: NodeId) {
        self.0.lock().cut.insert((from, to));
    }

    pub(crate) fn heal(&self) {
        self.0.lock().cut.clear();
    }

    /// The host is gone.
    pub(crate) fn unplug(&self, host: NodeId) {
        self.0.lock().hosts.remove(&host);
    }

    fn note(&self, from: NodeId, peer: Peer, lane: Lane, request: &Bytes) {
        let mut state = self.0.lock();
        let at_us = u64::try_from(state.started.elapsed().as_micros()).unwrap_or(u64::MAX);
        state.calls += 1;
        for part in [
            at_us,
            u64::from(from.0),
            peer.replica.0,
            peer.group.0,
            lane as u64,
        ] {
            state.trace = xxh3_64_with_seed(&part.to_le_bytes(), state.trace);
        }
        state.trace = xxh3_64_with_seed(request, state.trace);
        if state.is_told {
            let trace = state.trace;
            println!("{at_us} {from} to {peer:?} {lane:?} {request:?} {trace}");
        }
    }

    /// A number that differs between runs whose hosts did not call each other alike.
    pub(crate) fn trace(&self) -> u64 {
        self.0.lock().trace
    }

    /// Calls that were made.
    pub(crate) fn calls(&self) -> u64 {
        self.0.lock().calls
    }

    /// Bytes that were sent on the lane of raft snapshots.
    pub(crate) fn bulk_bytes(&self) -> u64 {
        self.0.lock().bulk_bytes
    }

    /// Cuts the two hosts that a raft snapshot travels between, after so many more bytes of it.
    pub(crate) fn cut_bulk_after(&self, bytes: u64) {
        let mut state = self.0.lock();
        state.bulk_cut_at = Some(state.bulk_bytes + bytes);
    }

    /// Whether that has happened.
    pub(crate) fn has_cut_bulk(&self) -> bool {
        self.0.lock().bulk_cut_at.is_none()
    }

    fn count_bulk(&self, bytes: usize, (from, to): (NodeId, NodeId)) {
        let mut state = self.0.lock();
        state.bulk_bytes += bytes as u64;
        if state.bulk_cut_at.is_some_and(|at| state.bulk_bytes > at) {
            state.bulk_cut_at = None;
            state.cut.extend([(from, to), (to, from)]);
        }
    }

    fn delay(&self) -> Duration {
        let mut state = self.0.lock();
        let most = state.delay_max_us.max(1);
        Duration::from_micros(state.random.below(most))
    }

    fn is_cut(&self, from: NodeId, to: NodeId) -> bool {
        self.0.lock().cut.contains(&(from, to))
    }

    /// Delivers the calls of one way, one after the other.
    async fn deliver(self, from: NodeId, mut calls: mpsc::Receiver<Letter>) {
        let mut session: Option<(u64, Session)> = None;
        while let Some(Letter {
            peer,
            request,
            answer,
        }) = calls.recv().await
        {
            tokio::time::sleep(self.delay()).await;
            let host = self.0.lock().hosts.get(&peer.replica.node()).cloned();
            let Some((life, inbound)) = host.filter(|_| !self.is_cut(from, peer.replica.node()))
            else {
                continue;
            };
            if session.as_ref().is_none_or(|(old, _)| *old != life) {
                session = Some((life, inbound.session()));
            }
            let Some((_, session)) = &mut session else {
                continue;
            };
            let answered = session.take(peer, request);
            let network = self.clone();
            tokio::spawn(async move {
                let bytes = answered.await;
                tokio::time::sleep(network.delay()).await;
                if !network.is_cut(peer.replica.node(), from) {
                    drop(answer.send(bytes));
                }
            });
        }
    }
}

impl Transport for Port {
    fn attach(&self, inbound: Inbound) {
        let mut state = self.network.0.lock();
        state.lives += 1;
        let life = state.lives;
        state.hosts.insert(self.own, (life, inbound));
    }

    fn call(
        &self,
        peer: Peer,
        lane: Lane,
        request: Bytes,
        limit: Duration,
    ) -> BoxFuture<'static, Result<Bytes>> {
        self.network.note(self.own, peer, lane, &request);
        if lane == Lane::Bulk {
            self.network
                .count_bulk(request.len(), (self.own, peer.replica.node()));
        }
        let way = (peer.replica.node(), lane as u8);
        let mut ways = self.ways.lock();
        let way = ways.entry(way).or_insert_with(|| {
            let (way, calls) = mpsc::channel(4096);
            tokio::spawn(self.network.clone().deliver(self.own, calls));
            way
        });
        let (answer, answered) = oneshot::channel();
        let letter = Letter {
            peer,
            request,
            answer,
        };
        let sent = way.try_send(letter).is_ok();
        Box::pin(async move {
            let lost = || Error::new(ErrorKind::Unavailable, "lost on the way");
            match tokio::time::timeout(limit, answered).await {
                Ok(Ok(bytes)) if sent => Ok(bytes),
                Ok(_) => {
                    tokio::time::sleep(limit).await;
                    Err(lost())
                }
                Err(_) => Err(lost()),
            }
        })
    }
}
