//! The files of an import: which there are, to which channel each belongs, and their lines in order.
//!
//! Reading happens on a thread of its own, which hands lumps of at most [`LUMP`] messages to the writer through a
//! bounded queue. The writer keeps 16 bytes for each line of the log at hand, to find what a reply answers; beyond
//! that, memory does not grow with an archive.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use time::Date;
use tokio::sync::mpsc::Sender;

use super::{discord, irc};

/// Messages handed over at once.
pub(crate) const LUMP: usize = 2000;
const WALK_DEPTH_MAX: usize = 16;

/// One IRC log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct IrcFile {
    pub(crate) path: PathBuf,
    pub(crate) channel: String,
    /// Name under which the source is registered: channel, directory and file name; not the whole path, so that an
    /// archive may move.
    pub(crate) name: String,
    pub(crate) day: Date,
    pub(crate) bytes: u64,
}

/// What the reading thread says, in order.
#[derive(Debug)]
pub(crate) enum Input {
    /// Lines of the current IRC log: (line number, message or what else it was).
    Irc(Vec<(u64, IrcLine)>),
    /// A DiscordChatExporter file begins.
    Channel(discord::Guild, discord::Channel),
    /// Its messages.
    Discord(Vec<discord::Message>),
    /// Input consumed since the last of these, in bytes.
    Consumed(u64),
    /// The file could not be read to its end.
    Failed(String),
}

/// One line of an IRC log.
#[derive(Debug)]
pub(crate) enum IrcLine {
    /// A message.
    Said {
        nick: String,
        text: String,
        sent_ms: i64,
        reply_to: Option<u64>,
    },
    /// Anything else.
    Notice,
}

/// Finds the logs below `paths`: files as named, directories searched for `*.raw`, `*.raw.txt` and `*.log`.
///
/// A dated file (`2008-12-11...`) belongs to `dated_channel`, or to the channel named as its directory; another file
/// is a channel of its own, named as the file. Sorted by channel and file name.
pub(crate) fn irc_files(
    paths: &[PathBuf],
    dated_channel: Option<&str>,
    day: Date,
) -> Result<Vec<IrcFile>> {
    let mut found = Vec::new();
    for path in paths {
        let meta =
            std::fs::metadata(path).with_context(|| format!("cannot read {}", path.display()))?;
        if meta.is_dir() {
            walk(path, WALK_DEPTH_MAX, &mut found)?;
        } else {
            found.push(path.clone());
        }
    }
    let mut files = Vec::new();
    for path in found {
        files.push(irc_file(path, dated_channel, day)?);
    }
    files.sort_by(|a, b| (&a.channel, &a.name, &a.path).cmp(&(&b.channel, &b.name, &b.path)));
    files.dedup_by(|a, b| a.path == b.path);
    anyhow::ensure!(
        !files.is_empty(),
        "no logs found: name .raw, .raw.txt or .log files or a directory with them"
    );
    Ok(files)
}

fn walk(dir: &Path, depth: usize, found: &mut Vec<PathBuf>) -> Result<()> {
    anyhow::ensure!(
        depth > 0,
        "{} is nested deeper than {WALK_DEPTH_MAX} directories",
        dir.display()
    );
    let entries =
        std::fs::read_dir(dir).with_context(|| format!("cannot list {}", dir.display()))?;
    for entry in entries {
        let entry = entry.with_context(|| format!("cannot list {}", dir.display()))?;
        let (path, kind) = (entry.path(), entry.file_type()?);
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let is_log = [".raw", ".raw.txt", ".log"]
            .iter()
            .any(|ending| name.ends_with(ending));
        if kind.is_dir() {
            walk(&path, depth - 1, found)?;
        } else if is_log {
            found.push(path);
        }
    }
    Ok(())
}

fn irc_file(path: PathBuf, dated_channel: Option<&str>, day: Date) -> Result<IrcFile> {
    let bytes = std::fs::metadata(&path)?.len();
    let file_name = path
        .file_name()
        .context("a log has no name")?
        .to_string_lossy()
        .into_owned();
    let stem = [".raw.txt", ".raw", ".log"]
        .iter()
        .find_map(|ending| file_name.strip_suffix(ending))
        .unwrap_or(&file_name);
    let date = irc::date_of(stem);
    let parent = path
        .parent()
        .and_then(Path::file_name)
        .map(|name| name.to_string_lossy());
    let parent = parent.unwrap_or_else(|| "irc".into());
    let channel = match (date, dated_channel) {
        (None, _) => stem,
        (Some(_), Some(channel)) => channel,
        (Some(_), None) => &parent,
    };
    let channel = channel_name(channel);
    let name = format!("irc/{channel}/{parent}/{file_name}");
    Ok(IrcFile {
        path,
        channel,
        name,
        day: date.unwrap_or(day),
        bytes,
    })
}

/// Lower case, with `-` for everything a channel name should not hold; at most 100 characters.
pub(crate) fn channel_name(text: &str) -> String {
    let name: String = text
        .trim_start_matches('#')
        .chars()
        .map(|letter| {
            if letter.is_alphanumeric() {
                letter
            } else {
                '-'
            }
        })
        .flat_map(char::to_lowercase)
        .take(100)
        .collect();
    if name.is_empty() {
        "channel".to_owned()
    } else {
        name
    }
}

/// Reads one IRC log and its annotations; runs on a thread that may block.
pub(crate) fn read_irc(file: &IrcFile, queue: &Sender<Input>) -> Result<()> {
    let (replies, unreadable) = annotations(&file.path)?;
    if unreadable > 0 {
        let failed = format!(
            "{unreadable} annotation lines beside {} could not be read",
            file.path.display()
        );
        send(queue, Input::Failed(failed))?;
    }
    let source =
        File::open(&file.path).with_context(|| format!("cannot read {}", file.path.display()))?;
    let mut reader = BufReader::with_capacity(256 * 1024, source);
    let mut clock = irc::DayClock::new(file.day);
    let (mut text, mut lump, mut number, mut consumed) = (String::new(), Vec::new(), 0, 0);
    loop {
        let bytes = irc::read_line(&mut reader, &mut text)
            .with_context(|| format!("cannot read {} at line {number}", file.path.display()))?;
        if bytes == 0 {
            break;
        }
        consumed += bytes;
        lump.push((
            number,
            irc_line(&text, &mut clock, replies.get(&number).copied()),
        ));
        number += 1;
        if lump.len() == LUMP {
            send(queue, Input::Irc(std::mem::take(&mut lump)))?;
            send(queue, Input::Consumed(std::mem::take(&mut consumed)))?;
        }
    }
    send(queue, Input::Irc(lump))?;
    send(queue, Input::Consumed(consumed))
}

fn irc_line(text: &str, clock: &mut irc::DayClock, reply_to: Option<u64>) -> IrcLine {
    match irc::parse_line(text) {
        irc::Line::Notice => IrcLine::Notice,
        irc::Line::Said {
            minute,
            second,
            nick,
            text,
            action,
        } => IrcLine::Said {
            nick: nick.to_owned(),
            text: if action {
                format!("*{text}*")
            } else {
                text.to_owned()
            },
            sent_ms: clock.at(minute, second),
            reply_to,
        },
    }
}

/// `X.annotation.txt` beside `X.raw.txt`; none is no error.
fn annotations(log: &Path) -> Result<(BTreeMap<u64, u64>, u64)> {
    let name = log.to_string_lossy();
    let Some(stem) = name
        .strip_suffix(".raw.txt")
        .or_else(|| name.strip_suffix(".raw"))
    else {
        return Ok((BTreeMap::new(), 0));
    };
    let path = format!("{stem}.annotation.txt");
    match File::open(&path) {
        Ok(file) => irc::read_annotations(BufReader::new(file))
            .with_context(|| format!("cannot read {path}")),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok((BTreeMap::new(), 0)),
        Err(error) => Err(error).with_context(|| format!("cannot read {path}")),
    }
}

/// Reads one DiscordChatExporter file; runs on a thread that may block.
pub(crate) fn read_discord(path: &Path, queue: &Sender<Input>) -> Result<()> {
    let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    let counter = std::rc::Rc::new(std::cell::Cell::new(0));
    let source = Counted {
        inner: BufReader::with_capacity(256 * 1024, file),
        bytes: std::rc::Rc::clone(&counter),
    };
    let mut lumps = Lumps {
        queue,
        lump: Vec::new(),
        bytes: counter,
    };
    let outcome = discord::read(BufReader::with_capacity(64 * 1024, source), &mut lumps);
    lumps.flush()?; // what was whole before an error counts
    outcome.with_context(|| format!("{} is not a whole DiscordChatExporter file", path.display()))
}

struct Lumps<'a> {
    queue: &'a Sender<Input>,
    lump: Vec<discord::Message>,
    bytes: std::rc::Rc<std::cell::Cell<u64>>,
}

impl Lumps<'_> {
    fn flush(&mut self) -> Result<()> {
        send(self.queue, Input::Discord(std::mem::take(&mut self.lump)))?;
        send(self.queue, Input::Consumed(self.bytes.take()))
    }
}

impl discord::Receiver for Lumps<'_> {
    fn channel(&mut self, guild: discord::Guild, channel: discord::Channel) -> Result<()> {
        send(self.queue, Input::Channel(guild, channel))
    }

    fn message(&mut self, message: discord::Message) -> Result<()> {
        self.lump.push(message);
        if self.lump.len() == LUMP {
            self.flush()
        } else {
            Ok(())
        }
    }
}

struct Counted<R> {
    inner: R,
    bytes: std::rc::Rc<std::cell::Cell<u64>>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.bytes.set(self.bytes.get() + count as u64);
        Ok(count)
    }
}

fn send(queue: &Sender<Input>, what: Input) -> Result<()> {
    queue
        .blocking_send(what)
        .map_err(|_| anyhow::anyhow!("the import was stopped"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dated_logs_share_a_channel_and_others_have_their_own() {
        let root = tempfile::tempdir().unwrap();
        let make = |name: &str| {
            let path = root.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "x").unwrap();
        };
        for name in [
            "train/2008-12-11_11.raw.txt",
            "train/2007-01-02.b.raw.txt",
            "two/channel.two.raw.txt",
            "two/x.tok.txt",
            "one.log",
        ] {
            make(name);
        }
        let day = time::macros::date!(2000 - 01 - 01);
        let names = |dated| {
            let files = irc_files(&[root.path().to_owned()], dated, day).unwrap();
            files.into_iter().map(|file| file.name).collect::<Vec<_>>()
        };
        let one = format!(
            "irc/one/{}/one.log",
            root.path().file_name().unwrap().to_string_lossy()
        );
        assert_eq!(
            names(Some("#Ubuntu")),
            [
                "irc/channel-two/two/channel.two.raw.txt",
                one.as_str(),
                "irc/ubuntu/train/2007-01-02.b.raw.txt",
                "irc/ubuntu/train/2008-12-11_11.raw.txt"
            ]
        );
        assert_eq!(names(None)[2], "irc/train/train/2007-01-02.b.raw.txt");
        let error = irc_files(&[root.path().join("nothing")], None, day).unwrap_err();
        assert!(error.to_string().contains("nothing"), "{error}");
    }
}
