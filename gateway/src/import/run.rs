//! Runs an import: takes what the reading thread hands over, gives every message its id and author, stores lumps,
//! and notes how far it is.
//!
//! A lump is stored before the source's progress is noted, and a message stored twice is the same row, so an
//! interruption at any point costs at most one lump of repeated work and never doubles or loses a message.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;

use anyhow::{Context, Result};
use tokio::sync::mpsc::{Receiver, channel};

use super::mint::Minter;
use super::progress::Progress;
use super::report::Report;
use super::sink::{Author, ChannelSpec, GuildSpec, Message, Sink, SourceState};
use super::source::{Input, IrcFile, IrcLine};
use super::{discord, source};

/// Lumps that may wait between the reading thread and the writer.
const QUEUE_LUMPS: usize = 4;

/// One import under way.
#[derive(Debug)]
pub(crate) struct Import<'a> {
    sink: &'a Sink,
    progress: Progress,
    report: Report,
    /// Accounts already resolved in this run, by the archive's name or id.
    authors: HashMap<AuthorKey, u64>,
    channels: BTreeMap<String, u64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum AuthorKey {
    Name(String),
    Id(u64),
}

impl<'a> Import<'a> {
    /// An import of `total_bytes` of input into `sink`.
    pub(crate) fn new(sink: &'a Sink, total_bytes: u64) -> Self {
        Self {
            sink,
            progress: Progress::new(total_bytes),
            report: Report::default(),
            authors: HashMap::new(),
            channels: BTreeMap::new(),
        }
    }

    /// Imports IRC logs into the guild named `guild`, one channel per source.
    pub(crate) async fn irc(mut self, guild: &str, files: Vec<IrcFile>) -> Result<Report> {
        let guild = self
            .sink
            .guild(GuildSpec {
                id: None,
                name: guild.to_owned(),
            })
            .await?;
        for file in files {
            self.progress.source(&file.name);
            let channel = self.channel(guild, None, &file.channel, None).await?;
            let state = self.sink.source(guild, &file.name).await?;
            let mut log = IrcLog::new(guild, channel, file.name.clone(), state);
            let (queue, mut inputs) = channel_of_inputs();
            let reader = tokio::task::spawn_blocking(move || source::read_irc(&file, &queue));
            while let Some(input) = inputs.recv().await {
                match input {
                    Input::Irc(lines) => self.store_lines(&mut log, lines).await?,
                    Input::Consumed(bytes) => self.progress.advance(bytes, 0),
                    Input::Failed(reason) => self.report.failed.push(reason),
                    Input::Channel(..) | Input::Discord(_) => {}
                }
            }
            self.ended(reader.await)?;
        }
        self.finish(Some(guild)).await
    }

    /// Imports DiscordChatExporter files, each into the guild and channel that it names.
    pub(crate) async fn discord(mut self, files: Vec<PathBuf>) -> Result<Report> {
        let mut last_guild = None;
        for path in files {
            self.progress
                .source(&path.file_name().unwrap_or_default().to_string_lossy());
            let (queue, mut inputs) = channel_of_inputs();
            let reader = tokio::task::spawn_blocking(move || source::read_discord(&path, &queue));
            let mut export = None;
            while let Some(input) = inputs.recv().await {
                match input {
                    Input::Channel(guild, channel) => {
                        export = Some(self.open_export(guild, channel).await?);
                    }
                    Input::Discord(messages) => self.store_messages(&mut export, messages).await?,
                    Input::Consumed(bytes) => self.progress.advance(bytes, 0),
                    Input::Failed(reason) => self.report.failed.push(reason),
                    Input::Irc(_) => {}
                }
            }
            self.ended(reader.await)?;
            last_guild = export.map(|export| export.guild).or(last_guild);
        }
        self.finish(last_guild).await
    }

    /// A file that could not be read to its end is reported; the others go on.
    fn ended(&mut self, reader: Result<Result<()>, tokio::task::JoinError>) -> Result<()> {
        if let Err(error) = reader.context("the reading thread died")? {
            self.report.failed.push(format!("{error:#}"));
        }
        Ok(())
    }

    async fn finish(mut self, guild: Option<u64>) -> Result<Report> {
        if let Some(guild) = guild {
            self.report.invite = Some(self.sink.finish(guild).await?);
        }
        self.report.channels = self.channels.len() as u64;
        self.report.authors = self.authors.len() as u64;
        self.progress.finish();
        tracing::info!(messages = self.report.stored, elapsed = %self.progress.elapsed(), rate = self.progress.rate(), "import ended");
        Ok(self.report)
    }

    async fn channel(
        &mut self,
        guild: u64,
        id: Option<u64>,
        name: &str,
        topic: Option<String>,
    ) -> Result<u64> {
        let key = format!("{guild}/{}/{name}", id.unwrap_or_default());
        if let Some(channel) = self.channels.get(&key) {
            return Ok(*channel);
        }
        let spec = ChannelSpec {
            guild,
            id,
            name: name.to_owned(),
            topic,
        };
        let channel = self.sink.channel(spec).await?;
        self.channels.insert(key, channel);
        Ok(channel)
    }

    async fn store_lines(&mut self, log: &mut IrcLog, lines: Vec<(u64, IrcLine)>) -> Result<()> {
        let Some(end) = lines.last().map(|(number, _)| number + 1) else {
            return Ok(());
        };
        let (mut drafts, mut known) = (Vec::new(), 0);
        for (number, line) in lines {
            let Some(draft) = log.draft(number, line, &mut self.report) else {
                continue;
            };
            if number < log.state.done {
                known += 1;
            } else {
                drafts.push(draft);
            }
        }
        self.report.known += known;
        let names = drafts.iter().map(|(nick, _)| Author {
            id: None,
            name: nick.clone(),
            bot: false,
        });
        self.resolve(log.guild, names.collect()).await?;
        let messages = drafts.into_iter().map(|(nick, mut message)| {
            message.author = self
                .authors
                .get(&AuthorKey::Name(nick))
                .copied()
                .unwrap_or_default();
            message
        });
        let messages: Vec<Message> = messages.collect();
        self.store(log.channel, messages).await?;
        if end > log.state.done {
            log.state.done = end;
            self.sink
                .note_progress(log.guild, &log.name, log.state)
                .await?;
        }
        Ok(())
    }

    async fn store(&mut self, channel: u64, messages: Vec<Message>) -> Result<()> {
        let count = messages.len() as u64;
        if count > 0 {
            self.sink.messages(channel, messages).await?;
        }
        self.report.stored += count;
        self.progress.advance(0, count);
        Ok(())
    }

    /// Makes sure that every author has an account; asks the sink only for those not seen in this run.
    async fn resolve(&mut self, guild: u64, authors: Vec<Author>) -> Result<()> {
        let mut wanted: BTreeMap<(Option<u64>, String), Author> = BTreeMap::new();
        for author in authors {
            if !self.authors.contains_key(&author_key(&author)) {
                let key = (
                    author.id,
                    if author.id.is_some() {
                        String::new()
                    } else {
                        author.name.clone()
                    },
                );
                wanted.entry(key).or_insert(author);
            }
        }
        if wanted.is_empty() {
            return Ok(());
        }
        let wanted: Vec<Author> = wanted.into_values().collect();
        let ids = self.sink.authors(guild, wanted.clone()).await?;
        anyhow::ensure!(
            ids.len() == wanted.len(),
            "asked for {} authors, got {}",
            wanted.len(),
            ids.len()
        );
        for (author, id) in wanted.iter().zip(ids) {
            self.authors.insert(author_key(author), id);
        }
        Ok(())
    }

    async fn open_export(
        &mut self,
        guild: discord::Guild,
        channel: discord::Channel,
    ) -> Result<Export> {
        let spec = GuildSpec {
            id: (guild.id.0 != 0).then_some(guild.id.0),
            name: guild.name,
        };
        let guild = self.sink.guild(spec).await?;
        let id = self
            .channel(
                guild,
                Some(channel.id.0),
                &source::channel_name(&channel.name),
                channel.topic,
            )
            .await?;
        Ok(Export {
            guild,
            channel: id,
            source: None,
            read: 0,
        })
    }

    async fn store_messages(
        &mut self,
        export: &mut Option<Export>,
        messages: Vec<discord::Message>,
    ) -> Result<()> {
        let (Some(export), Some(first)) = (export, messages.first()) else {
            return Ok(());
        };
        let (name, mut state) = if let Some(open) = export.source.take() {
            open
        } else {
            let name = format!("discord/{}/{}", export.channel, first.id.0);
            let state = self.sink.source(export.guild, &name).await?;
            (name, state)
        };
        let mut fresh = Vec::new();
        for message in messages {
            export.read += 1;
            if export.read > state.done {
                fresh.push(message);
            } else {
                self.report.known += u64::from(is_kept(&message));
            }
        }
        self.store_fresh(export, fresh).await?;
        if export.read > state.done {
            state.done = export.read;
            self.sink.note_progress(export.guild, &name, state).await?;
        }
        export.source = Some((name, state));
        Ok(())
    }

    async fn store_fresh(&mut self, export: &Export, fresh: Vec<discord::Message>) -> Result<()> {
        let authors = fresh.iter().flat_map(|message| {
            let reacted = message
                .reactions
                .iter()
                .flat_map(|reaction| &reaction.users);
            std::iter::once(&message.author)
                .chain(reacted)
                .map(exported_author)
        });
        let authors = authors.collect();
        self.resolve(export.guild, authors).await?;
        let report = &mut self.report;
        let kept: Vec<Message> = fresh
            .into_iter()
            .filter_map(|message| exported_message(message, report))
            .collect();
        self.store(export.channel, kept).await
    }
}

fn channel_of_inputs() -> (tokio::sync::mpsc::Sender<Input>, Receiver<Input>) {
    channel(QUEUE_LUMPS)
}

fn author_key(author: &Author) -> AuthorKey {
    author
        .id
        .map_or_else(|| AuthorKey::Name(author.name.clone()), AuthorKey::Id)
}

/// One IRC log being stored.
struct IrcLog {
    guild: u64,
    channel: u64,
    name: String,
    state: SourceState,
    minter: Minter,
    ids: Vec<Option<u64>>,
}

impl IrcLog {
    fn new(guild: u64, channel: u64, name: String, state: SourceState) -> Self {
        Self {
            guild,
            channel,
            name,
            state,
            minter: Minter::new(state.slot),
            ids: Vec::new(),
        }
    }

    /// The message of a line, without its author; every line is minted, also those stored before, so that ids and
    /// replies come out the same in every run.
    fn draft(
        &mut self,
        number: u64,
        line: IrcLine,
        report: &mut Report,
    ) -> Option<(String, Message)> {
        let at = usize::try_from(number).ok()?;
        self.ids.resize(at + 1, None);
        let IrcLine::Said {
            nick,
            text,
            sent_ms,
            reply_to,
        } = line
        else {
            report.notice("system lines");
            return None;
        };
        let Some(id) = self.minter.next(sent_ms) else {
            report.skip(
                "messages of a minute with more lines than ids, or not between 1988 and 2084",
            );
            return None;
        };
        self.ids[at] = Some(id);
        let answered = reply_to.and_then(|line| usize::try_from(line).ok());
        let reply_to = answered.and_then(|line| self.ids.get(line).copied().flatten());
        let message = Message {
            id,
            author: 0,
            sent_ms,
            edited_ms: None,
            reply_to,
            pinned: false,
            content: text,
            reactions: Vec::new(),
        };
        Some((nick, message))
    }
}

/// One exported channel being stored.
///
/// Its source is the channel and the first message of the file, so that a longer export of the same channel goes on
/// where the shorter one ended, and one of other dates is read from its start.
struct Export {
    guild: u64,
    channel: u64,
    source: Option<(String, SourceState)>,
    /// Messages of the file that were read.
    read: u64,
}

/// False for what is not a message of a person: joins, pins, calls.
fn is_spoken(message: &discord::Message) -> bool {
    matches!(message.kind.as_str(), "" | "Default" | "Reply")
}

/// True if the message is stored.
fn is_kept(message: &discord::Message) -> bool {
    is_spoken(message) && !(message.content.is_empty() && message.attachments.is_empty())
}

fn exported_author(author: &discord::Author) -> Author {
    let name = author
        .nickname
        .clone()
        .unwrap_or_else(|| author.name.clone());
    Author {
        id: Some(author.id.0),
        name,
        bot: author.is_bot,
    }
}

pub(super) fn exported_message(message: discord::Message, report: &mut Report) -> Option<Message> {
    if !is_spoken(&message) {
        report.notice("system messages (joins, pins, calls)");
        return None;
    }
    if !is_kept(&message) {
        report.skip("messages with neither text nor attachment (embeds or stickers only)");
        return None;
    }
    let mut content = message.content;
    for attachment in &message.attachments {
        report.notice("attachments, kept as a link in the message");
        if !content.is_empty() {
            content.push('\n');
        }
        content.push_str(if attachment.url.is_empty() {
            &attachment.file_name
        } else {
            &attachment.url
        });
    }
    let reactions = message
        .reactions
        .into_iter()
        .filter(|reaction| !reaction.users.is_empty());
    Some(Message {
        id: message.id.0,
        author: message.author.id.0,
        sent_ms: message.timestamp.0,
        edited_ms: message.timestamp_edited.map(|at| at.0),
        reply_to: message
            .reference
            .and_then(|reference| reference.message_id)
            .map(|id| id.0),
        pinned: message.is_pinned,
        content,
        reactions: reactions
            .map(|reaction| {
                let id = reaction.emoji.id.filter(|id| !id.is_empty());
                let key = id.map_or_else(
                    || reaction.emoji.name.clone(),
                    |id| format!("{}:{id}", reaction.emoji.name),
                );
                (key, reaction.users.iter().map(|user| user.id.0).collect())
            })
            .collect(),
    })
}
