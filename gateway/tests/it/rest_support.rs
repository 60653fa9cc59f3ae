//! A real server on a port of its own over a directory of its own, and people who talk to it.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail as tests do"
)]

use std::sync::Arc;

use chatdb::{Db, EmbeddedOptions};
use gateway::app::App;
use gateway::config::Config;
use http::{HeaderMap, Method};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// A running server.
pub(crate) struct Server {
    pub(crate) db: Db,
    pub(crate) app: Arc<App>,
    base: String,
    serving: JoinHandle<gateway::error::Result<()>>,
    _directory: TempDir,
}

/// Settings of most tests: nothing is limited.
pub(crate) fn unlimited() -> Config {
    Config {
        limits: None,
        ..Config::default()
    }
}

impl Server {
    pub(crate) async fn start() -> Self {
        Self::start_with(unlimited()).await
    }

    pub(crate) async fn start_with(config: Config) -> Self {
        let directory = TempDir::new().unwrap();
        let options = EmbeddedOptions::new(directory.path());
        let db = Db::open(options).await.unwrap();
        let app = App::start(db.clone(), config).await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let serving = tokio::spawn(Arc::clone(&app).serve(listener));
        Self {
            db,
            app,
            base,
            serving,
            _directory: directory,
        }
    }

    /// Stops and waits for it.
    pub(crate) async fn stop(self) {
        self.app.stop();
        self.serving.await.unwrap().unwrap();
        self.db.close().await.unwrap();
    }

    /// Somebody without an account.
    pub(crate) fn stranger(&self) -> Person {
        Person {
            http: reqwest::Client::new(),
            base: self.base.clone(),
            token: String::new(),
            id: String::new(),
        }
    }

    /// A new account.
    pub(crate) async fn register(&self, name: &str) -> Person {
        let mut person = self.stranger();
        let body = json!({"username": name, "password": "correct horse"});
        let answer = person.post("/auth/register", body).await;
        assert_eq!(answer.status, 201, "{:?}", answer.body);
        person.token = text(&answer.body["token"]);
        person.id = text(&answer.body["user"]["id"]);
        person
    }

    /// Somebody who owns a guild with one channel.
    pub(crate) async fn owner(&self) -> Owner {
        let person = self.register("owner").await;
        let guild = person.post("/guilds", json!({"name": "Test"})).await.ok();
        let guild = text(&guild["id"]);
        let channels = person.get(&format!("/guilds/{guild}/channels")).await.ok();
        let channel = text(&channels[0]["id"]);
        Owner {
            person,
            guild,
            channel,
        }
    }
}

/// An account that owns a guild.
pub(crate) struct Owner {
    pub(crate) person: Person,
    pub(crate) guild: String,
    pub(crate) channel: String,
}

impl Owner {
    /// Path of the channel's messages.
    pub(crate) fn messages(&self) -> String {
        format!("/channels/{}/messages", self.channel)
    }

    /// Lets somebody in.
    pub(crate) async fn invite(&self, person: &Person) {
        let path = format!("/channels/{}/invites", self.channel);
        let invite = self.person.post(&path, json!({})).await.ok();
        let path = format!("/invites/{}", text(&invite["code"]));
        person.post(&path, json!({})).await.ok();
    }

    /// Writes a message and answers its id.
    pub(crate) async fn say(&self, content: &str) -> String {
        let body = json!({"content": content});
        let message = self.person.post(&self.messages(), body).await.ok();
        text(&message["id"])
    }
}

/// Somebody who sends requests.
#[derive(Clone)]
pub(crate) struct Person {
    pub(crate) http: reqwest::Client,
    pub(crate) base: String,
    pub(crate) token: String,
    pub(crate) id: String,
}

/// What came back.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

impl Answer {
    /// The body of an answer that has to be success.
    pub(crate) fn ok(self) -> Value {
        assert!(
            (200..300).contains(&self.status),
            "{}: {}",
            self.status,
            self.body
        );
        self.body
    }

    /// Checks status and code of a refusal.
    pub(crate) fn refused(&self, status: u16, code: u64) {
        let found = (self.status, self.body["code"].as_u64());
        assert_eq!(found, (status, Some(code)), "{}", self.body);
        assert!(self.body["message"].is_string(), "{}", self.body);
        assert_eq!(self.headers["content-type"], "application/json");
    }

    /// Checks that the form was refused for the field.
    pub(crate) fn faulty(&self, field: &str) {
        self.refused(400, 50035);
        let faults = &self.body["errors"][field]["_errors"];
        assert!(faults[0]["code"].is_string(), "{}", self.body);
    }
}

impl Person {
    /// Sends raw bytes.
    pub(crate) async fn send(&self, method: Method, path: &str, body: Vec<u8>) -> Answer {
        let path = if path.starts_with("/api") || path.starts_with("/v1") {
            format!("{}{path}", self.base)
        } else {
            format!("{}/api/v10{path}", self.base)
        };
        let mut request = self.http.request(method, path);
        if !self.token.is_empty() {
            request = request.header("authorization", &self.token);
        }
        if !body.is_empty() {
            request = request
                .header("content-type", "application/json")
                .body(body);
        }
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let bytes = response.bytes().await.unwrap();
        let body = serde_json::from_slice(&bytes)
            .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&bytes).into_owned()));
        Answer {
            status,
            headers,
            body,
        }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, Vec::new()).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.send(Method::DELETE, path, Vec::new()).await
    }

    pub(crate) async fn put(&self, path: &str) -> Answer {
        self.send(Method::PUT, path, b"{}".to_vec()).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Answer {
        self.send(Method::POST, path, body.to_string().into_bytes())
            .await
    }

    pub(crate) async fn patch(&self, path: &str, body: Value) -> Answer {
        self.send(Method::PATCH, path, body.to_string().into_bytes())
            .await
    }
}

/// A string of JSON.
pub(crate) fn text(value: &Value) -> String {
    value
        .as_str()
        .unwrap_or_else(|| panic!("not text: {value}"))
        .to_owned()
}

/// The contents of a page, in its order.
pub(crate) fn contents(page: &Value) -> Vec<String> {
    let messages = page.as_array().unwrap();
    messages
        .iter()
        .map(|message| text(&message["content"]))
        .collect()
}
