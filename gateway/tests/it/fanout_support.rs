//! A client that listens to a real server and checks every event with a typed library.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot set itself up must fail"
)]

use std::time::Duration;

use futures::{SinkExt, StreamExt};
use serde::de::DeserializeSeed;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};
use twilight_model::gateway::event::GatewayEventDeserializer;

use crate::rest_support::Person;

/// Longest wait for anything in these tests.
const PATIENCE: Duration = Duration::from_secs(30);
/// Every intent.
pub(crate) const ALL: u32 = 53_608_447;
/// Every intent but the content of messages.
pub(crate) const NO_CONTENT: u32 = ALL & !(1 << 15);

/// Somebody who listens.
pub(crate) struct Listener {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    /// READY's payload.
    pub(crate) ready: Value,
    /// The newest sequence number.
    pub(crate) sequence: u64,
}

impl Listener {
    /// Connects and identifies; READY is read.
    pub(crate) async fn connect(person: &Person, intents: u32) -> Self {
        let mut listener = Self::hello(person).await;
        let data = json!({"token": person.token, "intents": intents, "properties": {}});
        listener.send(&json!({"op": 2, "d": data})).await;
        listener.ready = listener.expect("READY").await;
        listener
    }

    /// Connects only; HELLO is read.
    pub(crate) async fn hello(person: &Person) -> Self {
        let url = person.base.replacen("http", "ws", 1);
        let (socket, _) = connect_async(format!("{url}/gateway?v=10&encoding=json"))
            .await
            .unwrap();
        let mut listener = Self {
            socket,
            ready: Value::Null,
            sequence: 0,
        };
        assert_eq!(listener.next().await["op"], 10);
        listener
    }

    /// Connects anew and resumes; the replay is not read.
    pub(crate) async fn resume(self, person: &Person) -> Self {
        let (ready, sequence) = (self.ready.clone(), self.sequence);
        drop(self);
        let mut listener = Self::hello(person).await;
        let data = json!({
            "token": person.token, "session_id": ready["session_id"], "seq": sequence,
        });
        listener.send(&json!({"op": 6, "d": data})).await;
        Self {
            ready,
            sequence,
            ..listener
        }
    }

    pub(crate) async fn send(&mut self, value: &Value) {
        self.socket
            .send(Message::text(value.to_string()))
            .await
            .unwrap();
    }

    /// The next payload, which a typed library must be able to read.
    pub(crate) async fn next(&mut self) -> Value {
        let next = tokio::time::timeout(PATIENCE, self.socket.next()).await;
        let message = next
            .expect("something is heard in time")
            .expect("the socket is open");
        let text = message.unwrap().into_text().unwrap();
        let value: Value = serde_json::from_str(&text).unwrap();
        if value["op"] == 0 {
            self.sequence += 1;
            assert_eq!(value["s"], self.sequence, "no holes in the sequence");
            read_typed(&text);
        }
        value
    }

    /// The payload of the next event of this name; presences before it are passed over.
    pub(crate) async fn expect(&mut self, name: &str) -> Value {
        loop {
            let mut value = self.next().await;
            if value["t"] == name {
                return value["d"].take();
            }
            assert!(
                value["t"] == "PRESENCE_UPDATE",
                "waiting for {name}, heard {value}"
            );
        }
    }

    /// Checks that nothing but presences was sent until now.
    pub(crate) async fn silence(&mut self) {
        self.send(&json!({"op": 1, "d": self.sequence})).await;
        loop {
            let value = self.next().await;
            if value["op"] == 11 {
                return;
            }
            assert!(value["t"] == "PRESENCE_UPDATE", "heard {value}");
        }
    }
}

/// Events of people's own are not part of the bot API.
fn read_typed(text: &str) {
    let event = GatewayEventDeserializer::from_json(text).unwrap();
    if event.event_type() == Some("MESSAGE_ACK") {
        return;
    }
    let mut json = serde_json::Deserializer::from_str(text);
    if let Err(error) = event.deserialize(&mut json) {
        assert_eq!(error.to_string(), "", "a typed library refuses {text}");
    }
}
