//! DiscordChatExporter JSON: one file is one channel; read as a stream, message by message.
//!
//! The file is an object whose `guild` and `channel` come before a `messages` array of any length, so memory stays
//! at one message whatever the size of the file. Ids are real snowflakes and are kept. A file that ends in the
//! middle gives every whole message before the cut and then an error that says where it stopped.

use std::fmt;
use std::io::Read;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// The guild of a file.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub(crate) struct Guild {
    pub(crate) id: Id,
    pub(crate) name: String,
}

/// The channel of a file.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Channel {
    pub(crate) id: Id,
    #[serde(rename = "type", default)]
    pub(crate) kind: String,
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) topic: Option<String>,
}

/// An account that wrote, reacted or was mentioned.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Author {
    pub(crate) id: Id,
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) nickname: Option<String>,
    #[serde(default)]
    pub(crate) is_bot: bool,
}

/// One message as exported. Fields that Flux does not keep are skipped without being built.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Message {
    pub(crate) id: Id,
    #[serde(rename = "type", default)]
    pub(crate) kind: String,
    pub(crate) timestamp: Moment,
    #[serde(default)]
    pub(crate) timestamp_edited: Option<Moment>,
    #[serde(default)]
    pub(crate) is_pinned: bool,
    #[serde(default)]
    pub(crate) content: String,
    pub(crate) author: Author,
    #[serde(default)]
    pub(crate) attachments: Vec<Attachment>,
    #[serde(default)]
    pub(crate) reactions: Vec<Reaction>,
    #[serde(default)]
    pub(crate) reference: Option<Reference>,
}

/// A file that was attached; its bytes stay where the export put them.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Attachment {
    #[serde(default)]
    pub(crate) url: String,
    #[serde(default)]
    pub(crate) file_name: String,
}

/// A reaction and, where the export has them, who reacted.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Reaction {
    pub(crate) emoji: Emoji,
    #[serde(default)]
    pub(crate) users: Vec<Author>,
}

/// The emoji of a reaction: `id` is empty for a Unicode emoji.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Emoji {
    #[serde(default)]
    pub(crate) id: Option<String>,
    pub(crate) name: String,
}

/// The message that a reply answers.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Reference {
    #[serde(default)]
    pub(crate) message_id: Option<Id>,
}

/// A snowflake written as a decimal string.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Id(pub(crate) u64);

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse()
            .map(Self)
            .map_err(|_| serde::de::Error::custom(format!("expected a decimal id, found {text:?}")))
    }
}

/// An ISO 8601 time, as milliseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Moment(pub(crate) i64);

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        OffsetDateTime::parse(&text, &Rfc3339)
            .map(|at| Self(at.unix_timestamp() * 1000 + i64::from(at.millisecond())))
            .map_err(|_| {
                serde::de::Error::custom(format!("expected an ISO 8601 time, found {text:?}"))
            })
    }
}

/// What the reader hands over, in file order.
pub(crate) trait Receiver {
    /// Called once, before the first message. An error ends the reading.
    fn channel(&mut self, guild: Guild, channel: Channel) -> anyhow::Result<()>;
    /// Called for each message. An error ends the reading.
    fn message(&mut self, message: Message) -> anyhow::Result<()>;
}

/// Reads one exported file to its end.
///
/// A syntax error carries line and column; an error of the receiver is passed through as its text.
pub(crate) fn read(
    source: impl Read,
    receiver: &mut dyn Receiver,
) -> Result<(), serde_json::Error> {
    let mut deserializer = serde_json::Deserializer::from_reader(source);
    Export { receiver }.deserialize(&mut deserializer)?;
    deserializer.end()
}

struct Export<'a> {
    receiver: &'a mut dyn Receiver,
}

impl<'de> DeserializeSeed<'de> for Export<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Export<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .write_str("a DiscordChatExporter file: an object with guild, channel and messages")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        use serde::de::Error as _;
        let (mut guild, mut channel, mut saw_messages) = (None, None, false);
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "guild" => guild = Some(map.next_value::<Guild>()?),
                "channel" => channel = Some(map.next_value::<Channel>()?),
                "messages" => {
                    let (Some(guild), Some(channel)) = (guild.take(), channel.take()) else {
                        return Err(A::Error::custom(
                            "guild and channel must come before messages",
                        ));
                    };
                    self.receiver
                        .channel(guild, channel)
                        .map_err(A::Error::custom)?;
                    map.next_value_seed(Messages {
                        receiver: self.receiver,
                    })?;
                    saw_messages = true;
                }
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        if saw_messages {
            Ok(())
        } else {
            Err(A::Error::missing_field("messages"))
        }
    }
}

struct Messages<'a> {
    receiver: &'a mut dyn Receiver,
}

impl<'de> DeserializeSeed<'de> for Messages<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Messages<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an array of messages")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut messages: A) -> Result<(), A::Error> {
        while let Some(message) = messages.next_element::<Message>()? {
            self.receiver
                .message(message)
                .map_err(serde::de::Error::custom)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"{"guild":{"id":"1","name":"g","iconUrl":"x"},"channel":{"id":"2","type":"GuildTextChat","categoryId":null,"name":"general","topic":null},
        "dateRange":{"after":null},"messages":[
        {"id":"10","type":"Default","timestamp":"2020-01-02T03:04:05.678+00:00","timestampEdited":null,"isPinned":false,"content":"one","author":{"id":"7","name":"ann","discriminator":"0000","isBot":false},"attachments":[],"reactions":[]},
        {"id":"11","type":"Reply","timestamp":"2020-01-02T03:05:05+02:00","content":"two","author":{"id":"8","name":"bob"},"reactions":[{"emoji":{"id":"","name":"x"},"count":1,"users":[{"id":"7","name":"ann"}]}],"reference":{"messageId":"10"}}
        ],"messageCount":2}"#;

    #[derive(Default)]
    struct Seen(Vec<String>);

    impl Receiver for Seen {
        fn channel(&mut self, guild: Guild, channel: Channel) -> anyhow::Result<()> {
            self.0.push(format!("{}/{}", guild.name, channel.name));
            Ok(())
        }
        fn message(&mut self, message: Message) -> anyhow::Result<()> {
            self.0.push(format!(
                "{} {} {}",
                message.id.0, message.timestamp.0, message.content
            ));
            Ok(())
        }
    }

    #[test]
    fn messages_stream_in_file_order_with_their_ids_and_times() {
        let mut seen = Seen::default();
        read(FILE.as_bytes(), &mut seen).unwrap();
        assert_eq!(
            seen.0,
            ["g/general", "10 1577934245678 one", "11 1577927105000 two"]
        );
    }

    #[test]
    fn a_file_cut_in_the_middle_gives_what_was_whole_and_an_error_with_its_place() {
        for cut in 0..FILE.len() {
            let mut seen = Seen::default();
            let error = read(&FILE.as_bytes()[..cut], &mut seen).unwrap_err();
            assert!(error.line() > 0 || cut == 0, "{error}");
            assert!(seen.0.len() <= 3);
        }
    }

    #[test]
    fn messages_before_the_channel_are_refused() {
        let error = read(&br#"{"messages":[]}"#[..], &mut Seen::default()).unwrap_err();
        assert!(error.to_string().contains("must come before"), "{error}");
    }
}
