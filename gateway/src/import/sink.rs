//! Where an import writes to: this process's database, or a running server.
//!
//! Both speak the same six operations. Every operation can be repeated: names and slots are registered once, and a
//! message has an id that does not depend on when it is imported.

use std::time::Duration;

use anyhow::{Context, Result};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::local::LocalSink;

/// Aimed size of a request, half of what a server takes.
const REQUEST_BYTES: usize = 512 * 1024;
/// Times a request is repeated while the server is busy.
const ATTEMPTS: usize = 60;

/// An account that history speaks of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Author {
    /// Its id, if the archive has ids; else one is made for the name, once per guild.
    pub(crate) id: Option<u64>,
    /// The name as the archive writes it.
    pub(crate) name: String,
    /// True for a bot account.
    pub(crate) bot: bool,
}

/// One message of history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Message {
    pub(crate) id: u64,
    pub(crate) author: u64,
    /// Milliseconds since 1970: what people see, also where the id had to be folded.
    pub(crate) sent_ms: i64,
    pub(crate) edited_ms: Option<i64>,
    pub(crate) reply_to: Option<u64>,
    pub(crate) pinned: bool,
    pub(crate) content: String,
    /// Emoji key and the accounts that reacted with it.
    pub(crate) reactions: Vec<(String, Vec<u64>)>,
}

/// The guild that an import fills.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct GuildSpec {
    /// Its id, if the archive has one; else the guild of this name that an import made before, or a new one.
    pub(crate) id: Option<u64>,
    pub(crate) name: String,
}

/// A channel of that guild, found again by name (or id, if the archive has one).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ChannelSpec {
    pub(crate) guild: u64,
    pub(crate) id: Option<u64>,
    pub(crate) name: String,
    pub(crate) topic: Option<String>,
}

/// What is known of a source (one file of an archive).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SourceState {
    /// Tells its ids apart from those of other sources of the guild.
    pub(crate) slot: u32,
    /// Items (lines or messages) that are stored for certain.
    pub(crate) done: u64,
}

/// One operation, as it goes to a running server.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "operation", content = "of", rename_all = "snake_case")]
pub(crate) enum Request {
    Guild(GuildSpec),
    Channel(ChannelSpec),
    Source {
        guild: u64,
        name: String,
    },
    Progress {
        guild: u64,
        name: String,
        state: SourceState,
    },
    Authors {
        guild: u64,
        authors: Vec<Author>,
    },
    Messages {
        channel: u64,
        messages: Vec<Message>,
    },
    Finish {
        guild: u64,
    },
}

/// Where history goes.
#[derive(Debug)]
pub(crate) enum Sink {
    /// The database of this process.
    Local(LocalSink),
    /// A running server, as its administrator.
    Remote(RemoteSink),
}

impl Sink {
    /// The guild to fill, made when it is not there.
    pub(crate) async fn guild(&self, spec: GuildSpec) -> Result<u64> {
        match self {
            Self::Local(sink) => Ok(sink.guild(&spec).await?.get()),
            Self::Remote(sink) => sink.call(&Request::Guild(spec)).await,
        }
    }

    /// The channel to fill, made when it is not there.
    pub(crate) async fn channel(&self, spec: ChannelSpec) -> Result<u64> {
        match self {
            Self::Local(sink) => Ok(sink.channel(&spec).await?.get()),
            Self::Remote(sink) => sink.call(&Request::Channel(spec)).await,
        }
    }

    /// How far a source is.
    pub(crate) async fn source(&self, guild: u64, name: &str) -> Result<SourceState> {
        match self {
            Self::Local(sink) => sink.source(guild, name).await,
            Self::Remote(sink) => {
                sink.call(&Request::Source {
                    guild,
                    name: name.to_owned(),
                })
                .await
            }
        }
    }

    /// Notes how far a source is; what it says is stored must be stored.
    pub(crate) async fn note_progress(
        &self,
        guild: u64,
        name: &str,
        state: SourceState,
    ) -> Result<()> {
        match self {
            Self::Local(sink) => sink.note_progress(guild, name, state).await,
            Self::Remote(sink) => {
                sink.call(&Request::Progress {
                    guild,
                    name: name.to_owned(),
                    state,
                })
                .await
            }
        }
    }

    /// Account ids of the authors, in their order.
    pub(crate) async fn authors(&self, guild: u64, authors: Vec<Author>) -> Result<Vec<u64>> {
        match self {
            Self::Local(sink) => sink.authors(guild, &authors).await,
            Self::Remote(sink) => sink.call(&Request::Authors { guild, authors }).await,
        }
    }

    /// Stores messages; durable when it returns.
    pub(crate) async fn messages(&self, channel: u64, messages: Vec<Message>) -> Result<()> {
        match self {
            Self::Local(sink) => sink.messages(channel, &messages).await,
            Self::Remote(sink) => sink.messages(channel, messages).await,
        }
    }

    /// The code of an invite to the guild.
    pub(crate) async fn finish(&self, guild: u64) -> Result<String> {
        match self {
            Self::Local(sink) => sink.finish(guild).await,
            Self::Remote(sink) => sink.call(&Request::Finish { guild }).await,
        }
    }
}

/// A running server.
#[derive(Debug)]
pub(crate) struct RemoteSink {
    client: reqwest::Client,
    url: String,
    token: String,
}

impl RemoteSink {
    /// For the server at `at` (`http://host:port`) and its administrator's token.
    pub(crate) fn new(at: &str, token: &str) -> Self {
        let url = format!("{}/api/v10/admin/import", at.trim_end_matches('/'));
        Self {
            client: reqwest::Client::new(),
            url,
            token: token.to_owned(),
        }
    }

    /// Sends messages in requests that stay well below the size a server takes.
    async fn messages(&self, channel: u64, mut messages: Vec<Message>) -> Result<()> {
        while !messages.is_empty() {
            let mut bytes = 0;
            let fits = messages.iter().take_while(|message| {
                bytes += 300 + 2 * message.content.len() + 24 * reaction_count(message);
                bytes <= REQUEST_BYTES
            });
            let count = fits.count().max(1);
            let rest = messages.split_off(count);
            let part = std::mem::replace(&mut messages, rest);
            self.call::<()>(&Request::Messages {
                channel,
                messages: part,
            })
            .await?;
        }
        Ok(())
    }

    /// Sends one request; waits and repeats it when the server asks to slow down. Every request can be repeated.
    async fn call<T: DeserializeOwned>(&self, request: &Request) -> Result<T> {
        for _ in 0..ATTEMPTS {
            let answer = self.send(request).await?;
            let status = answer.status();
            let wait_s = answer
                .headers()
                .get("retry-after")
                .and_then(|wait| wait.to_str().ok()?.parse().ok());
            let body = answer
                .bytes()
                .await
                .context("the server closed the connection")?;
            if status.is_success() {
                let foreign = || format!("{} did not answer as a Flux server", self.url);
                return serde_json::from_slice(&body).with_context(foreign);
            }
            let is_busy = status.as_u16() == 429 || status.as_u16() == 503;
            anyhow::ensure!(
                is_busy,
                "the server refused ({status}): {}",
                String::from_utf8_lossy(&body)
                    .chars()
                    .take(300)
                    .collect::<String>()
            );
            tokio::time::sleep(Duration::from_secs(wait_s.unwrap_or(1).clamp(1, 30))).await;
        }
        anyhow::bail!("the server stayed busy: run the same command again later to go on")
    }

    async fn send(&self, request: &Request) -> Result<reqwest::Response> {
        let request = self
            .client
            .post(&self.url)
            .header("authorization", &self.token)
            .json(request);
        request
            .send()
            .await
            .with_context(|| format!("cannot reach {}", self.url))
    }
}

fn reaction_count(message: &Message) -> usize {
    message
        .reactions
        .iter()
        .map(|(_, users)| 1 + users.len())
        .sum()
}
