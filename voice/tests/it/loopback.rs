//! A node with its threads and sockets, over loopback and in real time.

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use str0m::change::SdpAnswer;
use str0m::media::{Direction, MediaKind, Mid};
use str0m::net::{Protocol, Receive};
use str0m::rtp::RtpWrite;
use str0m::{Candidate, Event, Input, Output, Rtc};
use voice::{
    ErrorKind, Limits, NodeOptions, ParticipantId, PeerId, Role, RoomId, RoomOptions, VoiceNode,
};

use crate::support::payload;

const PATIENCE: Duration = Duration::from_secs(20);

struct Client {
    rtc: Rtc,
    socket: UdpSocket,
    mid: Mid,
    peer: PeerId,
    connected: bool,
    received: Vec<Vec<u8>>,
}

impl Client {
    async fn join(node: &VoiceNode, room: RoomId, who: u64, role: Role) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        let mut rtc = Rtc::builder().set_rtp_mode(true).build(Instant::now());
        let address = socket.local_addr().expect("bound");
        rtc.add_local_candidate(Candidate::host(address, "udp").expect("a candidate"));
        let direction = if role == Role::Publish {
            Direction::SendOnly
        } else {
            Direction::RecvOnly
        };
        let mut changes = rtc.sdp_api();
        let mid = changes.add_media(MediaKind::Audio, direction, None, None, None);
        let (offer, pending) = changes.apply().expect("changes");
        let joined = node
            .join(room, ParticipantId(who), role, offer.to_sdp_string())
            .await
            .expect("joins");
        let answer = SdpAnswer::from_sdp_string(&joined.answer).expect("an answer that parses");
        rtc.sdp_api()
            .accept_answer(pending, answer)
            .expect("an answer that fits");
        Self {
            rtc,
            socket,
            mid,
            peer: joined.peer,
            connected: false,
            received: Vec::new(),
        }
    }

    /// Sends what is to send and takes at most one datagram, within 2 ms.
    fn turn(&mut self) {
        self.drain();
        self.socket
            .set_read_timeout(Some(Duration::from_millis(2)))
            .expect("a timeout");
        let mut buffer = [0; 2000];
        if let Ok((len, from)) = self.socket.recv_from(&mut buffer) {
            let to = self.socket.local_addr().expect("bound");
            let contents =
                Receive::new(Protocol::Udp, from, to, &buffer[..len]).expect("a datagram");
            self.rtc
                .handle_input(Input::Receive(Instant::now(), contents))
                .expect("taken");
        } else {
            self.rtc
                .handle_input(Input::Timeout(Instant::now()))
                .expect("taken");
        }
        self.drain();
    }

    fn drain(&mut self) {
        loop {
            match self.rtc.poll_output().expect("goes on") {
                Output::Timeout(_) => return,
                Output::Transmit(transmit) => {
                    self.socket
                        .send_to(&transmit.contents, transmit.destination)
                        .expect("sent");
                }
                Output::Event(Event::Connected) => self.connected = true,
                Output::Event(Event::RtpPacket(packet)) => {
                    self.received.push(packet.payload.to_vec());
                }
                Output::Event(_) => {}
            }
        }
    }

    fn send(&mut self, i: u32, body: &[u8]) {
        let pt = *self
            .rtc
            .media(self.mid)
            .expect("negotiated")
            .remote_pts()
            .first()
            .expect("opus");
        let mut direct = self.rtc.direct_api();
        let stream = direct.stream_tx_by_mid(self.mid, None).expect("a stream");
        stream.write_rtp(RtpWrite::new(
            pt,
            u64::from(i).into(),
            i * 960,
            Instant::now(),
            body.to_vec(),
        ));
        self.drain();
    }
}

/// Turns until `done` or the patience ends.
async fn until(
    node: &VoiceNode,
    clients: &mut [Client],
    done: impl AsyncFn(&VoiceNode, &[Client]) -> bool,
) {
    let begun = Instant::now();
    while !done(node, clients).await {
        assert!(begun.elapsed() < PATIENCE, "{:?}", node.stats().await);
        clients.iter_mut().for_each(Client::turn);
    }
}

#[test]
fn over_loopback_a_voice_arrives_and_a_stopped_node_says_so() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let listen = vec!["127.0.0.1:0".parse().expect("an address"); 2];
        let options = NodeOptions {
            listen,
            advertised: Vec::new(),
            limits: Limits::default(),
        };
        let (node, mut events) = VoiceNode::start(&options).expect("a node");
        let first = node
            .create_room(RoomOptions::default())
            .await
            .expect("a room");
        let speaker = Client::join(&node, first, 1, Role::Publish).await;
        let listener = Client::join(&node, first, 2, Role::Subscribe).await;
        let mut clients = vec![speaker, listener];
        until(&node, &mut clients, async |node, clients| {
            let mut all = clients.iter().all(|client| client.connected);
            for client in clients {
                let stats = node
                    .peer_stats(client.peer)
                    .await
                    .expect("a node that runs");
                all &= stats.is_some_and(|stats| stats.connected);
            }
            all
        })
        .await;
        let second = node
            .create_room(RoomOptions::default())
            .await
            .expect("a room");
        assert_ne!(first, second);
        let other = Client::join(&node, second, 3, Role::Subscribe).await;
        let bodies: Vec<Vec<u8>> = (0..100).map(|i| payload(i, 120)).collect();
        for (i, body) in (0..).zip(&bodies) {
            clients[0].send(i, body);
            clients[1].turn();
        }
        until(&node, &mut clients, async |_, clients| {
            clients[1].received.len() >= 100
        })
        .await;
        assert_eq!(clients[1].received, bodies);
        let stats = node.stats().await.expect("a node that runs");
        let peers: Vec<usize> = stats.iter().map(|stats| stats.peers).collect();
        assert_eq!(
            peers,
            [2, 1],
            "the second room is on the worker that had nobody"
        );
        node.leave(other.peer).await.expect("there");
        node.stop().await.expect("stops");
        let refused = node
            .create_room(RoomOptions::default())
            .await
            .expect_err("stopped");
        assert_eq!(refused.kind(), ErrorKind::Closed);
        let mut left = 0;
        drop(node);
        while let Some(event) = events.next().await {
            left += usize::from(matches!(event, voice::Event::Left { .. }));
        }
        assert_eq!(left, 3);
    });
}

#[test]
fn a_node_that_no_client_could_reach_is_not_started() {
    let listen = vec!["0.0.0.0:0".parse().expect("an address")];
    let mut options = NodeOptions {
        listen,
        advertised: Vec::new(),
        limits: Limits::default(),
    };
    let refused = VoiceNode::start(&options).expect_err("no address to tell");
    assert_eq!(refused.kind(), ErrorKind::Invalid);
    options.listen.clear();
    assert_eq!(
        VoiceNode::start(&options).expect_err("no worker").kind(),
        ErrorKind::Invalid
    );
}
