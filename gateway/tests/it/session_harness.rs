//! A gateway without a database: real sockets, a platform of three accounts and two guilds.
#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot set itself up must fail"
)]

use std::sync::Arc;
use std::time::Duration;

use futures::future::{BoxFuture, FutureExt};
use futures::{SinkExt, StreamExt};
use gateway::events::{Event, EventKind};
use gateway::id::Id;
use gateway::session::{
    Account, MembersPlan, Platform, PlatformError, RequestMembers, Session, Sessions, upgrade,
};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};
use tokio_util::sync::CancellationToken;

/// Longest wait for anything in these tests.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) fn id(number: u64) -> Id {
    Id::new(number).unwrap()
}

/// Accounts: `bot` is 1, `person` is 2, `other` is 3. Guilds: 10 and 20, for everybody.
#[derive(Default)]
pub(crate) struct TestPlatform {
    pub(crate) sessions: Mutex<Vec<Arc<Session>>>,
    pub(crate) guild_bytes: usize,
}

impl Platform for TestPlatform {
    fn authenticate<'a>(
        &'a self,
        token: &'a str,
    ) -> BoxFuture<'a, Result<Option<Account>, PlatformError>> {
        let account = match token {
            "bot" => Some(Account {
                id: id(1),
                bot: true,
            }),
            "person" => Some(Account {
                id: id(2),
                bot: false,
            }),
            "other" => Some(Account {
                id: id(3),
                bot: true,
            }),
            _ => None,
        };
        async move { Ok(account) }.boxed()
    }

    fn ready<'a>(
        &'a self,
        session: &'a Arc<Session>,
        resume_url: &'a str,
    ) -> BoxFuture<'a, Result<Vec<Id>, PlatformError>> {
        self.sessions.lock().push(Arc::clone(session));
        session.push(&event(EventKind::UserUpdate, &json!({"early": true})));
        let ready = json!({"session_id": session.id.to_string(), "resume_gateway_url": resume_url});
        session.push(&event(EventKind::Ready, &ready));
        let guilds = [id(10), id(20)];
        let mine = guilds
            .into_iter()
            .filter(|guild| session.facts.has_guild(*guild))
            .collect();
        async move { Ok(mine) }.boxed()
    }

    fn enter_guild<'a>(
        &'a self,
        session: &'a Arc<Session>,
        guild: Id,
    ) -> BoxFuture<'a, Result<(), PlatformError>> {
        let padding = "x".repeat(self.guild_bytes);
        session.push(&event(
            EventKind::GuildCreate,
            &json!({"id": guild, "padding": padding}),
        ));
        async { Ok(()) }.boxed()
    }

    fn plan_members<'a>(
        &'a self,
        _: &'a Arc<Session>,
        _: &'a RequestMembers,
    ) -> BoxFuture<'a, Result<MembersPlan, PlatformError>> {
        async { Ok(MembersPlan::default()) }.boxed()
    }

    fn push_members<'a>(
        &'a self,
        session: &'a Arc<Session>,
        request: &'a RequestMembers,
        _: (&'a MembersPlan, usize),
    ) -> BoxFuture<'a, Result<(), PlatformError>> {
        let chunk = json!({"guild_id": request.guild, "nonce": request.nonce, "members": []});
        session.push(&event(EventKind::GuildMembersChunk, &chunk));
        async { Ok(()) }.boxed()
    }

    fn presence_changed(&self, _: &Arc<Session>) {}

    fn leave(&self, session: &Arc<Session>) {
        self.sessions.lock().retain(|other| other.id != session.id);
    }
}

pub(crate) fn event(kind: EventKind, data: &Value) -> Arc<Event> {
    Event::new(kind, true, data.to_string().as_bytes()).share()
}

/// A running gateway.
pub(crate) struct TestGateway {
    pub(crate) platform: Arc<TestPlatform>,
    pub(crate) sessions: Arc<Sessions>,
    pub(crate) stop: CancellationToken,
    pub(crate) url: String,
}

impl TestGateway {
    pub(crate) async fn start() -> Self {
        Self::with(TestPlatform::default()).await
    }

    pub(crate) async fn with(platform: TestPlatform) -> Self {
        let (platform, stop) = (Arc::new(platform), CancellationToken::new());
        let sessions = Sessions::start(
            Arc::<TestPlatform>::clone(&platform),
            Arc::default(),
            stop.clone(),
        );
        let shared = Arc::clone(&sessions);
        let app = axum::Router::new().fallback(move |request| {
            let response = upgrade(&shared, request);
            async move { response }
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("ws://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self {
            platform,
            sessions,
            stop,
            url,
        }
    }

    pub(crate) async fn connect(&self, path: &str) -> Client {
        let (socket, _) = tokio_tungstenite::connect_async(format!("{}{path}", self.url))
            .await
            .unwrap();
        Client { socket }
    }

    /// A client that has got its HELLO.
    pub(crate) async fn hello(&self) -> Client {
        let mut client = self.connect("/?v=10&encoding=json").await;
        assert_eq!(client.next().await["op"], 10);
        client
    }

    /// An identified client with its session id; READY and both guilds are read.
    pub(crate) async fn identified(&self, token: &str) -> (Client, String) {
        let mut client = self.hello().await;
        client.identify(token).await;
        let ready = client.next().await;
        assert_eq!((&ready["t"], &ready["s"]), (&json!("READY"), &json!(1)));
        for expected in 2..=4 {
            assert_eq!(client.next().await["s"], expected);
        }
        (
            client,
            ready["d"]["session_id"].as_str().unwrap().to_owned(),
        )
    }

    /// The newest session.
    pub(crate) fn session(&self) -> Arc<Session> {
        Arc::clone(self.platform.sessions.lock().last().unwrap())
    }

    /// Waits until this many sessions are left.
    pub(crate) async fn wait_for_sessions(&self, count: usize) {
        let wait = async {
            while self.sessions.count() != count {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, wait).await.unwrap();
    }
}

/// A client of the reference WebSocket library.
pub(crate) struct Client {
    pub(crate) socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

impl Client {
    pub(crate) async fn send(&mut self, value: &Value) {
        self.send_message(Message::text(value.to_string())).await;
    }

    pub(crate) async fn send_message(&mut self, message: Message) {
        self.socket.send(message).await.unwrap();
    }

    pub(crate) async fn identify(&mut self, token: &str) {
        let data = json!({"token": token, "intents": 53_608_447, "properties": {"$os": "x"}});
        self.send(&json!({"op": 2, "d": data})).await;
    }

    pub(crate) async fn resume(&mut self, token: &str, session: &str, sequence: u64) {
        let data = json!({"token": token, "session_id": session, "seq": sequence});
        self.send(&json!({"op": 6, "d": data})).await;
    }

    pub(crate) async fn next_message(&mut self) -> Message {
        let next = tokio::time::timeout(PATIENCE, self.socket.next()).await;
        next.expect("the gateway answers in time")
            .expect("the socket is open")
            .unwrap()
    }

    pub(crate) async fn next(&mut self) -> Value {
        let message = self.next_message().await;
        let text = message.into_text().expect("the gateway sends text");
        serde_json::from_str(&text).expect("the gateway sends JSON")
    }

    /// Reads until the close frame and returns its code.
    pub(crate) async fn close_code(&mut self) -> u16 {
        loop {
            if let Message::Close(frame) = self.next_message().await {
                return frame.expect("a code is given").code.into();
            }
        }
    }
}
