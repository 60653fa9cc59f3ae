//! Who is let in over TLS, who is not, and what either is told.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use raft::{
    Group, Host, HostOptions, Lane, NodeId, Protocol, TcpOptions, TcpTransport, Tls, TlsFiles,
    Transport,
};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::certificates::{Authority, Says, client, node, write};
use crate::cluster::LONG;
use crate::support::{GROUP, Ledger, World, life, replica};

const LOCAL: &str = "127.0.0.1";
/// How long a handshake may take here.
const LIMIT: Duration = Duration::from_millis(300);

/// Node 1, which listens.
struct Called {
    address: SocketAddr,
    _host: Host,
    _group: Group,
    serving: JoinHandle<()>,
}

impl Drop for Called {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

fn transport(id: u32, tls: Option<Arc<Tls>>) -> Arc<TcpTransport> {
    let mut options = TcpOptions::new(5, NodeId(id));
    options.tls = tls;
    options.connect_timeout = LIMIT;
    options.retry_pause = Duration::from_millis(1);
    TcpTransport::new(options)
}

async fn called(world: &World, tls: impl Into<Option<Arc<Tls>>>) -> Called {
    let transport = transport(1, tls.into());
    let host = world.host(HostOptions {
        node: NodeId(1),
        transport: Arc::clone(&transport) as Arc<_>,
        ..HostOptions::default()
    });
    let machine = Ledger::default().machine();
    let group = host.open_group(GROUP, replica(1), machine, true).await;
    let listener = TcpListener::bind((LOCAL, 0)).await.expect("a free port");
    Called {
        address: listener.local_addr().expect("an address"),
        _host: host,
        _group: group.expect("the group opens"),
        serving: tokio::spawn(async move { drop(transport.serve(listener).await) }),
    }
}

/// A call that means nothing: whether it is answered at all.
async fn call(caller: &TcpTransport) -> raft::Result<Bytes> {
    let (group, replica) = (GROUP, replica(1));
    let peer = raft::Peer { group, replica };
    let request = Bytes::from_static(b"?");
    Transport::call(caller, peer, Lane::Control, request, LONG).await
}

/// What somebody who shows these files is told by the node, with or without TLS.
async fn told(called: &Called, tls: impl Into<Option<Arc<Tls>>>) -> String {
    let caller = transport(2, tls.into());
    caller.set_address(NodeId(1), called.address);
    match call(&caller).await {
        Ok(_) => "welcome".to_owned(),
        Err(error) => error.to_string(),
    }
}

fn of_node(files: TlsFiles) -> Arc<Tls> {
    Tls::node(files).expect("the files are right")
}

#[test]
fn only_nodes_of_the_own_authority_are_let_in_and_the_others_are_told_why_not() {
    let directory = TempDir::new().expect("a directory");
    let own = Authority::new(directory.path(), "own");
    let foreign = Authority::new(directory.path(), "foreign");
    let world = World::new(1);
    life(async {
        let secured = called(&world, of_node(own.sign(node("n1", LOCAL)))).await;
        let welcome = told(&secured, of_node(own.sign(node("n2", LOCAL)))).await;
        assert_eq!(welcome, "welcome");
        // A client has a certificate of the same authority, and is no node.
        let user = Tls::client(own.sign(client("user"))).expect("a client");
        let refused = told(&secured, Some(user)).await;
        assert!(refused.contains("ended the connection"), "{refused}");
        // Whose authority is foreign believes nobody here, and if it did, nobody here believed it.
        let stranger = foreign.sign(node("stranger", LOCAL));
        let refused = told(&secured, of_node(stranger.clone())).await;
        assert!(refused.contains("authority that is not known"), "{refused}");
        let mixed = directory.path().join("both.crt");
        let both = [own.sign(node("n3", LOCAL)).authority, stranger.authority].map(read);
        write(&mixed, &both.concat());
        let believing = TlsFiles {
            authority: mixed,
            ..foreign.sign(node("stranger", LOCAL))
        };
        let refused = told(&secured, of_node(believing)).await;
        assert!(
            refused.contains("does not know the authority of this certificate"),
            "{refused}"
        );
        let refused = told(&secured, None).await;
        assert!(refused.contains("it may only take TLS"), "{refused}");
        drop(secured);
        let world = World::new(2);
        let plain = called(&world, None).await;
        assert_eq!(told(&plain, None).await, "welcome");
        let refused = told(&plain, of_node(own.sign(node("n2", LOCAL)))).await;
        assert!(refused.contains("it may not use TLS"), "{refused}");
    });
}

#[test]
fn a_node_is_called_only_under_a_name_of_its_certificate_and_only_if_it_is_a_node() {
    let directory = TempDir::new().expect("a directory");
    let own = Authority::new(directory.path(), "own");
    let caller = of_node(own.sign(node("n2", LOCAL)));
    for (listens, why) in [
        (node("n1", "127.0.0.9"), "is not for this name"),
        (client("user"), "is not that of a node"),
    ] {
        let world = World::new(1);
        life(async {
            let tls = if listens.is_node {
                Tls::node(own.sign(listens))
            } else {
                Tls::client(own.sign(listens))
            };
            let called = called(&world, tls.ok()).await;
            let refused = told(&called, Arc::clone(&caller)).await;
            assert!(refused.contains(why), "{refused}");
        });
    }
}

#[test]
fn who_connects_and_says_nothing_is_gone_after_the_limit_and_keeps_nobody_out() {
    let directory = TempDir::new().expect("a directory");
    let own = Authority::new(directory.path(), "own");
    let world = World::new(1);
    life(async {
        let called = called(&world, of_node(own.sign(node("n1", LOCAL)))).await;
        let begun = tokio::time::Instant::now();
        let mut silent = Vec::new();
        for number in 0..64 {
            let mut stream = TcpStream::connect(called.address)
                .await
                .expect("it listens");
            // Half of them say a bit: the beginning of a handshake that never goes on.
            if number % 2 == 0 {
                let hello = [0x16, 3, 1, 2, 0, 1];
                stream.write_all(&hello).await.expect("it is sent");
            }
            silent.push(stream);
        }
        let welcome = told(&called, of_node(own.sign(node("n2", LOCAL)))).await;
        assert_eq!(welcome, "welcome");
        for stream in &mut silent {
            let mut rest = Vec::new();
            let ended = tokio::time::timeout(LONG, stream.read_to_end(&mut rest)).await;
            drop(ended.expect("it is ended from there"));
        }
        assert!(begun.elapsed() >= LIMIT / 2, "they were let try");
    });
}

#[test]
fn new_files_are_used_by_the_next_connection_and_wrong_ones_are_not() {
    let directory = TempDir::new().expect("a directory");
    let own = Authority::new(directory.path(), "own");
    let foreign = Authority::new(directory.path(), "foreign");
    let files = own.sign(node("n1", LOCAL));
    let tls = Tls::node(files.clone()).expect("the files are right");
    let caller = Tls::node(own.sign(node("n2", LOCAL))).expect("they are right");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let shown = async || {
            // The files are looked at no more often than every few seconds.
            tokio::time::advance(Duration::from_secs(6)).await;
            let (here, there) = tokio::io::duplex(1 << 16);
            let (accepted, connected) = tokio::join!(
                tls.accept(Protocol::Node, there),
                caller.connect(Protocol::Node, LOCAL, here)
            );
            let (_, is_node) = accepted.expect("a caller");
            assert!(is_node);
            let connected = connected.expect("a connection");
            let chain = connected.get_ref().1.peer_certificates();
            chain.expect("a certificate")[0].to_vec()
        };
        let first = shown().await;
        assert_eq!(shown().await, first);
        own.sign(node("n1", LOCAL));
        let second = shown().await;
        assert_ne!(second, first, "the new certificate is shown");
        write(&files.key, "no key");
        assert_eq!(shown().await, second, "wrong files change nothing");
        foreign.sign(node("n1", LOCAL));
        assert_eq!(shown().await, second, "nor do those of another authority");
        own.sign(node("n1", LOCAL));
        assert_ne!(shown().await, second, "right ones are used again");
    });
}

#[test]
fn wrong_files_are_told_before_anybody_calls() {
    let directory = TempDir::new().expect("a directory");
    let own = Authority::new(directory.path(), "own");
    let foreign = Authority::new(directory.path(), "foreign");
    let right = own.sign(node("n1", LOCAL));
    let other = own.sign(node("n2", LOCAL));
    let empty = directory.path().join("empty");
    write(&empty, "");
    let refused = |files: TlsFiles| {
        let error = Tls::node(files).expect_err("a wrong file");
        assert_eq!(error.kind(), raft::ErrorKind::Invalid, "{error}");
        error.to_string()
    };
    let said = refused(TlsFiles {
        key: other.key,
        ..right.clone()
    });
    assert!(
        said.contains("n1.crt: does not belong to the key in"),
        "{said}"
    );
    let said = refused(TlsFiles {
        key: right.certificate.clone(),
        ..right.clone()
    });
    assert!(said.contains("n1.crt: has no private key in PEM"), "{said}");
    let said = refused(TlsFiles {
        certificate: right.key.clone(),
        ..right.clone()
    });
    assert!(said.contains("n1.key: has no certificate in PEM"), "{said}");
    let said = refused(TlsFiles {
        authority: empty,
        ..right.clone()
    });
    assert!(said.contains("empty: has no certificate in PEM"), "{said}");
    let said = refused(TlsFiles {
        authority: directory.path().join("nowhere"),
        ..right.clone()
    });
    assert!(said.contains("nowhere: cannot be read"), "{said}");
    let said = refused(TlsFiles {
        authority: foreign.sign(client("foreigner")).authority,
        ..right
    });
    assert!(
        said.contains("n1.crt: was not signed by the authority in"),
        "{said}"
    );
    let said = refused(own.sign(client("user")));
    assert!(said.contains("user.crt: is not that of a node"), "{said}");
    let said = refused(own.sign(Says {
        has_expired: true,
        ..node("old", LOCAL)
    }));
    assert!(said.contains("old.crt: has expired"), "{said}");
}

fn read(path: std::path::PathBuf) -> String {
    std::fs::read_to_string(path).expect("a file")
}
