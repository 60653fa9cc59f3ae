//! Entry points for fuzzing, see [`crate::fuzzing`]: files of imports, and steps of a remote import.

use std::io::BufReader;

use super::discord::{self, Channel, Guild, Message, Receiver};
use super::irc::{self, LINE_BYTES_MAX, Line};
use super::mint::Minter;
use super::report::Report;
use super::run::exported_message;
use super::sink::Request;
use super::source::channel_name;

/// An IRC log, read through a buffer whose size the first byte chooses; then the same bytes as an
/// annotation file and as a file name. Ids of a source never repeat and never step back.
pub fn import_irc(input: &[u8]) -> bool {
    let Some((capacity, bytes)) = input.split_first() else {
        return false;
    };
    let mut reader = BufReader::with_capacity(usize::from(*capacity) + 1, bytes);
    let mut line = String::new();
    let name = String::from_utf8_lossy(bytes.get(..bytes.len().min(32)).unwrap_or_default());
    let day = irc::date_of(&name).unwrap_or(time::macros::date!(2004 - 07 - 05));
    let mut clock = irc::DayClock::new(day);
    let mut minter = Minter::new(u32::from(*capacity));
    let (mut consumed, mut last, mut said) = (0, 0, false);
    loop {
        let taken = irc::read_line(&mut reader, &mut line).expect("memory can be read");
        if taken == 0 {
            break;
        }
        consumed += taken;
        // A byte that is not UTF-8 becomes three.
        assert!(line.len() <= LINE_BYTES_MAX * 3);
        if let Line::Said {
            minute,
            second,
            nick,
            text,
            ..
        } = irc::parse_line(&line)
        {
            assert!(minute < 1440 && second < 60 && !nick.is_empty() && !text.is_empty());
            if let Some(id) = minter.next(clock.at(minute, second)) {
                assert!(id > last && i64::try_from(id).is_ok(), "{id} after {last}");
                last = id;
            }
            said = true;
        }
    }
    assert_eq!(consumed, bytes.len() as u64);
    let _name = channel_name(&name);
    let replies = irc::read_annotations(bytes);
    let (replies, _) = replies.unwrap_or_default();
    assert!(replies.iter().all(|(later, earlier)| later > earlier));
    said || !replies.is_empty()
}

#[derive(Default)]
struct Counter {
    channels: usize,
    messages: usize,
    report: Report,
}

impl Receiver for Counter {
    fn channel(&mut self, _: Guild, _: Channel) -> anyhow::Result<()> {
        self.channels += 1;
        Ok(())
    }

    fn message(&mut self, message: Message) -> anyhow::Result<()> {
        assert!(self.channels > 0, "messages come after their channel");
        self.messages += 1;
        let _kept = exported_message(message, &mut self.report);
        Ok(())
    }
}

/// A DiscordChatExporter file. A file that was cut gives no more messages than the whole one.
pub fn import_discord(input: &[u8]) -> bool {
    let mut whole = Counter::default();
    let outcome = discord::read(input, &mut whole);
    let mut cut = Counter::default();
    let half = input.split_at(input.len() / 2).0;
    let _cut = discord::read(half, &mut cut);
    assert!(cut.messages <= whole.messages);
    outcome.is_ok()
}

/// A step of an import that runs elsewhere.
pub fn import_step(input: &[u8]) -> bool {
    let Ok(step) = serde_json::from_slice::<Request>(input) else {
        return false;
    };
    let written = serde_json::to_vec(&step).expect("what was read can be written");
    let again: Request = serde_json::from_slice(&written).expect("what was written can be read");
    if let (Request::Messages { channel, messages }, Request::Messages { messages: back, .. }) =
        (&step, &again)
    {
        assert_eq!(messages, back);
        let channel = crate::id::Id::from_bigint(i64::try_from(*channel).unwrap_or(1));
        for message in messages {
            let _stored = super::local::message_row(channel, message);
        }
    }
    true
}
