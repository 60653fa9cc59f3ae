//! The peer: etcd as Debian has it, its nodes as processes beside ours, its `Put` over gRPC.
//!
//! The two messages are written here by their numbers; etcd's own files would bring their tool chain.

use anyhow::{Context, Result, bail};
use prost::Message;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};
use tokio::process::{Child, Command};
use tonic::transport::{Channel, Endpoint};

const READY_TIMEOUT: Duration = Duration::from_secs(30);

/// `etcdserverpb.PutRequest`, the fields that are used.
#[derive(Clone, PartialEq, Message)]
pub(super) struct PutRequest {
    #[prost(bytes = "vec", tag = "1")]
    pub(super) key: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub(super) value: Vec<u8>,
}

/// `etcdserverpb.PutResponse`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct PutResponse {
    /// The message `ResponseHeader`, not decoded.
    #[prost(bytes = "vec", tag = "1")]
    header: Vec<u8>,
}

/// Running nodes.
#[derive(Debug)]
pub(super) struct Etcd {
    children: Vec<Child>,
    clients: Vec<String>,
}

impl Etcd {
    /// Starts nodes on loopback addresses of their own and waits until they have a leader.
    pub(super) async fn start(program: &Path, nodes: usize, dir: &Path) -> Result<Self> {
        let process = std::process::id().to_le_bytes();
        let host = |node: usize| {
            format!(
                "127.{}.{}.{}",
                16 + process[1] % 200,
                process[0],
                100 + node
            )
        };
        let peers: Vec<String> = (1..=nodes)
            .map(|node| format!("n{node}=http://{}:2380", host(node)))
            .collect();
        let mut etcd = Self {
            children: Vec::new(),
            clients: (1..=nodes)
                .map(|node| format!("http://{}:2379", host(node)))
                .collect(),
        };
        for (node, client) in (1..=nodes).zip(&etcd.clients) {
            let peer = format!("http://{}:2380", host(node));
            let log = std::fs::File::create(dir.join(format!("etcd{node}.log")))?;
            let data: PathBuf = dir.join(format!("etcd{node}"));
            let child = Command::new(program)
                .args(["--name", &format!("n{node}"), "--data-dir"])
                .arg(data)
                .args([
                    "--listen-client-urls",
                    client,
                    "--advertise-client-urls",
                    client,
                ])
                .args([
                    "--listen-peer-urls",
                    &peer,
                    "--initial-advertise-peer-urls",
                    &peer,
                ])
                .args([
                    "--initial-cluster",
                    &peers.join(","),
                    "--initial-cluster-state",
                    "new",
                ])
                .args(["--quota-backend-bytes", "8589934592"])
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(log)
                .kill_on_drop(true)
                .spawn()
                .with_context(|| format!("start {}", program.display()))?;
            etcd.children.push(child);
        }
        let begun = Instant::now();
        while let Err(error) = etcd.first_put().await {
            if begun.elapsed() > READY_TIMEOUT {
                return Err(error.context("etcd is not ready"));
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        Ok(etcd)
    }

    async fn first_put(&self) -> Result<()> {
        for client in self.connect().await? {
            put(client, b"first".to_vec(), Vec::new()).await?;
        }
        Ok(())
    }

    /// A connection to each node.
    pub(super) async fn connect(&self) -> Result<Vec<Channel>> {
        let mut channels = Vec::new();
        for client in &self.clients {
            let endpoint = Endpoint::from_shared(client.clone())?.tcp_nodelay(true);
            channels.push(endpoint.connect().await?);
        }
        Ok(channels)
    }

    pub(super) fn processes(&self) -> Vec<u32> {
        self.children.iter().filter_map(Child::id).collect()
    }

    /// Syncs of each node's log so far.
    pub(super) async fn syncs(&self) -> Result<Vec<f64>> {
        let mut syncs = Vec::new();
        for client in &self.clients {
            let address = client.trim_start_matches("http://").parse()?;
            let page = crate::chaos::cluster::page(address).await?;
            let name = "etcd_disk_wal_fsync_duration_seconds_count";
            syncs.push(crate::chaos::cluster::sum(&page, name));
        }
        Ok(syncs)
    }

    pub(super) async fn stop(mut self) -> Result<()> {
        for child in &mut self.children {
            child.kill().await?;
        }
        Ok(())
    }
}

/// One durable, replicated write.
pub(super) async fn put(channel: Channel, key: Vec<u8>, value: Vec<u8>) -> Result<()> {
    let mut grpc = tonic::client::Grpc::new(channel);
    grpc.ready().await?;
    let codec = tonic_prost::ProstCodec::<PutRequest, PutResponse>::default();
    let path = http::uri::PathAndQuery::from_static("/etcdserverpb.KV/Put");
    let request = tonic::Request::new(PutRequest { key, value });
    match grpc.unary(request, path, codec).await {
        Ok(_) => Ok(()),
        Err(status) => bail!("etcd: {status}"),
    }
}
