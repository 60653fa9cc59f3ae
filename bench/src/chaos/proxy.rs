//! A TCP proxy in front of a node, with faults for each directed link.
//!
//! A node gives this address to the others as its own. Who connects is found by the owner of the connecting socket in
//! `/proc`: then the bytes of each direction follow the faults of their own link, and a link can be cut one way. A cut
//! link keeps the bytes and the connection, as a network does: senders fill their buffers and wait.
//!
//! # Cost
//!
//! Two tasks for each connection, and at most [`HELD_BYTES_MAX`] bytes held back in each.

use crate::messages::Seeded;
use anyhow::{Context, Result};
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::Instant;

const CHUNK_BYTES: usize = 16 * 1024;
const HELD_BYTES_MAX: usize = 1024 * 1024;

/// How a directed link behaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Link {
    /// Nothing passes.
    pub(crate) is_cut: bool,
    pub(crate) delay: Duration,
    /// Added to the delay, from nothing up to this.
    pub(crate) jitter: Duration,
    pub(crate) bytes_per_second: Option<u32>,
    /// Connections that are older than a change of this number are reset.
    pub(crate) resets: u32,
}

/// The links of all nodes in both directions. End 0 is a client, node n has end n.
#[derive(Debug)]
pub(crate) struct Links {
    ends: usize,
    directed: Vec<watch::Sender<Link>>,
    /// Process of each end; 0 when it does not run.
    processes: Mutex<Vec<u32>>,
}

impl Links {
    pub(crate) fn new(nodes: usize) -> Arc<Self> {
        let ends = nodes + 1;
        let link = |_| watch::Sender::new(Link::default());
        Arc::new(Self {
            ends,
            directed: (0..ends * ends).map(link).collect(),
            processes: Mutex::new(vec![0; ends]),
        })
    }

    fn link(&self, from: usize, to: usize) -> &watch::Sender<Link> {
        &self.directed[from * self.ends + to]
    }

    /// Changes how the link from one end to another behaves.
    pub(crate) fn change(&self, from: usize, to: usize, change: impl FnOnce(&mut Link)) {
        self.link(from, to).send_modify(change);
    }

    /// All links between two different ends.
    pub(crate) fn pairs(&self) -> impl Iterator<Item = (usize, usize)> + use<> {
        let ends = self.ends;
        (0..ends * ends)
            .map(move |at| (at / ends, at % ends))
            .filter(|(a, b)| a != b)
    }

    /// Ends every fault.
    pub(crate) fn heal(&self) {
        for (from, to) in self.pairs() {
            self.change(from, to, |link| {
                let resets = link.resets;
                *link = Link {
                    resets,
                    ..Link::default()
                };
            });
        }
    }

    /// Which process is a node's now.
    pub(crate) fn set_process(&self, node: usize, process: u32) {
        self.processes.lock()[node] = process;
    }

    /// The end that a connection comes from, by the two ends of its socket.
    fn end_of(&self, from: SocketAddr, to: SocketAddr) -> usize {
        let Some(inode) = inode_of(from, to) else {
            return 0;
        };
        let processes = self.processes.lock().clone();
        let owns = |process: &u32| *process != 0 && has_socket(*process, &inode);
        processes.iter().position(owns).unwrap_or(0)
    }
}

/// The inode of the socket that is bound to `local` and connected to `remote`.
fn inode_of(local: SocketAddr, remote: SocketAddr) -> Option<String> {
    let (local, remote) = (kernel_form(local)?, kernel_form(remote)?);
    let table = std::fs::read_to_string("/proc/net/tcp").ok()?;
    table.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let is_it =
            fields.get(1) == Some(&local.as_str()) && fields.get(2) == Some(&remote.as_str());
        is_it.then(|| (*fields.get(9).unwrap_or(&"")).to_owned())
    })
}

/// An address as `/proc/net/tcp` writes it: the octets as one little-endian number.
fn kernel_form(address: SocketAddr) -> Option<String> {
    let SocketAddr::V4(address) = address else {
        return None;
    };
    let octets = u32::from_le_bytes(address.ip().octets());
    Some(format!("{octets:08X}:{:04X}", address.port()))
}

fn has_socket(process: u32, inode: &str) -> bool {
    let wanted = format!("socket:[{inode}]");
    let Ok(files) = std::fs::read_dir(format!("/proc/{process}/fd")) else {
        return false;
    };
    files
        .flatten()
        .filter_map(|file| std::fs::read_link(file.path()).ok())
        .any(|target| target == Path::new(&wanted))
}

/// Listens on `listen` for connections to `node` at `target`, until the runtime ends.
pub(crate) async fn start(
    links: &Arc<Links>,
    node: usize,
    listen: SocketAddr,
    target: SocketAddr,
) -> Result<SocketAddr> {
    let listener = TcpListener::bind(listen)
        .await
        .with_context(|| format!("listen on {listen}"))?;
    let address = listener.local_addr()?;
    let links = Arc::clone(links);
    tokio::spawn(async move {
        let mut number = 0_u64;
        while let Ok((stream, from)) = listener.accept().await {
            number += 1;
            let links = Arc::clone(&links);
            tokio::spawn(async move {
                // A target that does not answer is a connection that breaks.
                drop(pass(&links, node, (stream, from), (target, number)).await);
            });
        }
    });
    Ok(address)
}

async fn pass(
    links: &Links,
    node: usize,
    (near, from): (TcpStream, SocketAddr),
    (target, seed): (SocketAddr, u64),
) -> Result<()> {
    let end = links.end_of(from, near.local_addr()?);
    let mut there = links.link(end, node).subscribe();
    let back = links.link(node, end).subscribe();
    // Who cannot send does not get as far as a connection.
    there.wait_for(|link| !link.is_cut).await?;
    let far = TcpStream::connect(target).await?;
    near.set_nodelay(true)?;
    far.set_nodelay(true)?;
    let resets = (there.clone(), back.clone());
    let (near_read, near_write) = near.into_split();
    let (far_read, far_write) = far.into_split();
    let forth = pump(near_read, far_write, there, seed);
    let back = pump(far_read, near_write, back, seed ^ 0x5eed);
    tokio::select! {
        // Either direction may end first; the other still has bytes to bring.
        ends = async { tokio::join!(forth, back) } => {
            ends.0?;
            ends.1?;
        }
        () = reset(resets.0) => {}
        () = reset(resets.1) => {}
    }
    Ok(())
}

/// Waits until the connections of the link are to be reset.
async fn reset(mut link: watch::Receiver<Link>) {
    let before = link.borrow().resets;
    drop(link.wait_for(|link| link.resets != before).await);
}

/// Bytes that wait until they are due.
#[derive(Default)]
struct Held {
    chunks: VecDeque<(Instant, Vec<u8>)>,
    bytes: usize,
}

/// Brings the bytes of one direction, as its link allows.
async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut link: watch::Receiver<Link>,
    seed: u64,
) -> Result<()> {
    let mut random = Seeded::new(seed);
    let mut held = Held::default();
    let mut is_over = false;
    let mut buffer = vec![0; CHUNK_BYTES];
    loop {
        let now = *link.borrow_and_update();
        let due = held
            .chunks
            .front()
            .map(|(due, _)| *due)
            .filter(|_| !now.is_cut);
        if due.is_none() && is_over && held.chunks.is_empty() {
            to.shutdown().await?;
            return Ok(());
        }
        let may_read = !is_over && !now.is_cut && held.bytes < HELD_BYTES_MAX;
        tokio::select! {
            biased;
            changed = link.changed() => changed?,
            () = until(due), if due.is_some() => {
                let Some((_, chunk)) = held.chunks.pop_front() else { continue };
                held.bytes -= chunk.len();
                to.write_all(&chunk).await?;
                if let Some(rate) = now.bytes_per_second {
                    let share = f64::from(u32::try_from(chunk.len())?) / f64::from(rate.max(1));
                    tokio::time::sleep(Duration::from_secs_f64(share)).await;
                }
            }
            read = from.read(&mut buffer), if may_read => {
                let count = read?;
                is_over = count == 0;
                if count > 0 {
                    let last = held.chunks.back().map(|(due, _)| *due);
                    let due = Instant::now() + now.delay + now.jitter.mul_f64(random.unit());
                    // Bytes of one connection never overtake each other.
                    let due = last.map_or(due, |last| last.max(due));
                    held.chunks.push_back((due, buffer[..count].to_vec()));
                    held.bytes += count;
                }
            }
        }
    }
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that sends back what it gets, behind a proxy; the client counts as node 2.
    async fn echo() -> (Arc<Links>, TcpStream) {
        let any: SocketAddr = "127.0.0.1:0".parse().expect("an address");
        let server = TcpListener::bind(any).await.expect("it listens");
        let target = server.local_addr().expect("it has an address");
        tokio::spawn(async move {
            while let Ok((stream, _)) = server.accept().await {
                tokio::spawn(async move {
                    let (mut from, mut to) = stream.into_split();
                    drop(tokio::io::copy(&mut from, &mut to).await);
                });
            }
        });
        let links = Links::new(2);
        links.set_process(2, std::process::id());
        let address = start(&links, 1, any, target).await.expect("it starts");
        let client = TcpStream::connect(address).await.expect("it answers");
        (links, client)
    }

    async fn round(client: &mut TcpStream) -> Option<Duration> {
        let begun = Instant::now();
        client.write_all(b"hello").await.ok()?;
        let mut answer = [0; 5];
        let reading = client.read_exact(&mut answer);
        let limit = Duration::from_millis(400);
        tokio::time::timeout(limit, reading).await.ok()?.ok()?;
        assert_eq!(&answer, b"hello");
        Some(begun.elapsed())
    }

    #[tokio::test]
    async fn bytes_pass_and_a_delay_of_one_direction_is_felt() {
        let (links, mut client) = echo().await;
        assert!(round(&mut client).await.expect("an answer") < Duration::from_millis(100));
        links.change(1, 2, |link| link.delay = Duration::from_millis(120));
        assert!(round(&mut client).await.expect("an answer") >= Duration::from_millis(120));
        links.heal();
        assert!(round(&mut client).await.expect("an answer") < Duration::from_millis(100));
    }

    #[tokio::test]
    async fn a_link_that_is_cut_one_way_keeps_its_bytes_until_it_heals() {
        for (from, to) in [(1, 2), (2, 1)] {
            let (links, mut client) = echo().await;
            assert!(round(&mut client).await.is_some());
            links.change(from, to, |link| link.is_cut = true);
            assert_eq!(round(&mut client).await, None, "from {from} to {to}");
            links.heal();
            let mut answer = [0; 5];
            client.read_exact(&mut answer).await.expect("it comes late");
        }
    }

    #[tokio::test]
    async fn faults_of_other_links_are_not_felt() {
        let (links, mut client) = echo().await;
        for (from, to) in links.pairs().filter(|(from, to)| (*from).min(*to) == 0) {
            links.change(from, to, |link| link.is_cut = true);
        }
        assert!(round(&mut client).await.is_some());
    }

    #[tokio::test]
    async fn a_reset_ends_the_connection_and_a_rate_holds() {
        let (links, mut client) = echo().await;
        links.change(2, 1, |link| link.bytes_per_second = Some(40));
        assert!(
            round(&mut client).await.is_some(),
            "the first chunk is not late"
        );
        let second = round(&mut client).await;
        assert!(
            second.is_none_or(|it| it >= Duration::from_millis(100)),
            "{second:?}"
        );
        links.heal();
        links.change(2, 1, |link| link.resets += 1);
        let mut rest = Vec::new();
        let ended = tokio::time::timeout(Duration::from_secs(5), client.read_to_end(&mut rest));
        drop(ended.await.expect("it ends"));
    }
}
