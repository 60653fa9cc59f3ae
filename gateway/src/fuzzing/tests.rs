//! The seeds of the fuzz targets: what clients, peers and archives send, one file each.
//!
//! `UPDATE=1 cargo test -p gateway --lib fuzzing` writes them again.

use std::path::Path;

use super::TARGETS;
use crate::events::{EventKind, Note};
use crate::id::Id;
use crate::import::sink::{Author, ChannelSpec, GuildSpec, Message, Request, SourceState};
use crate::token::{SECRET_BYTES, TokenKey};

const COMMANDS: [&str; 9] = [
    r#"{"op":1,"d":251}"#,
    r#"{"op":1,"d":null}"#,
    r#"{"op":2,"d":{"token":"Bot a.b.c","intents":33281,"properties":{"os":"linux","browser":"x","device":"x"},"compress":false,"large_threshold":250,"shard":[0,1],"presence":{"status":"dnd","since":0,"activities":[{"name":"x","type":0}],"afk":false}}}"#,
    r#"{"op":2,"d":{"token":"a.b.c","capabilities":1}}"#,
    r#"{"op":3,"d":{"since":91879201,"activities":[{"name":"Save the Oxford Comma","type":0}],"status":"idle","afk":false}}"#,
    r#"{"op":4,"d":{"guild_id":"41771983423143937","channel_id":null,"self_mute":false,"self_deaf":false}}"#,
    r#"{"op":6,"d":{"token":"Bot a.b.c","session_id":"0123456789abcdef0123456789abcdef","seq":1337}}"#,
    r#"{"op":8,"d":{"guild_id":"41771983444115456","query":"","limit":0,"presences":true,"nonce":"n"}}"#,
    r#"{"op":8,"d":{"guild_id":["1"],"user_ids":["2",3],"limit":1}}"#,
];

const TEXTS: [&str; 16] = [
    "81384788765712384",
    "\"81384788765712384\"",
    "81384788765712384,",
    "a:wave:81384788765712384",
    "\u{1f44d}",
    "0123456789abcdef0123456789abcdef",
    "2024-01-01T00:00:05.007000+00:00",
    "2024-W01-1T00:00:05,5Z",
    "guild:7",
    "user:9223372036854775807",
    "v=10&encoding=json&compress=zlib-stream",
    "/api/v10/channels/81384788765712384/messages",
    "/v1/guilds/5/members/6",
    r#"[{"id":"1","type":0,"allow":"1024","deny":2048},{"id":2,"type":"member","allow":0,"deny":"0"}]"#,
    "1099511627775",
    "-1",
];

const FORMS: [&str; 8] = [
    r#"{"content":"hi <@1> <@!2> <@&3> @everyone","nonce":"25","enforce_nonce":true,"tts":false,"flags":4,"allowed_mentions":{"parse":["users"],"roles":["3"],"replied_user":true},"message_reference":{"message_id":"7","channel_id":"1","type":0,"fail_if_not_exists":false},"embeds":[{"title":"t","fields":[{"name":"n","value":"v"}]}]}"#,
    r#"{"content":null,"embed":{"description":"d"},"attachments":[],"sticker_ids":[]}"#,
    r#"{"username":"ann.b-c_d","password":"correct horse"}"#,
    r#"{"name":"general","type":0,"topic":"t","position":3,"nsfw":false,"rate_limit_per_user":5,"parent_id":"9","permission_overwrites":[{"id":"1","type":0,"allow":"1024","deny":"0"}],"username":"ab","password":"12345678"}"#,
    r#"{"name":"role","permissions":"1071698660929","color":16711680,"colors":{"primary_color":1},"hoist":true,"mentionable":true,"unicode_emoji":null,"username":"ab","password":"12345678"}"#,
    r#"{"roles":["1",2],"nick":"n","username":"ab","password":"12345678"}"#,
    r#"[{"id":"5","position":1},{"id":6,"position":null}]"#,
    r#"{"content":"\u0041\ud83d\udc4d","message_reference":{"message_id":8}}"#,
];

const QUERIES: [&str; 8] = [
    "limit=50&before=81384788765712384",
    "around=1&limit=100",
    "after=0&limit=1",
    "query=an%20n+b&limit=1000",
    "with_counts=true",
    "before=2024-01-01T00%3A00%3A00%2B00%3A00&limit=50",
    "after=18446744073709551615",
    "a=b&&c",
];

const LOG: &str = "2008-12-11 header\n[23:58] <ubotu> hello > world\n[23:59:58] <a|b> x\r\n\
[00:01]  * mike waves ...\n=== Nella entered the room.\n\n[00:01] <c> \u{e9}t\u{e9}\n";

const EXPORT: &str = r#"{"guild":{"id":"1","name":"g","iconUrl":"x"},"channel":{"id":"2","type":"GuildTextChat","categoryId":null,"name":"general","topic":null},"dateRange":{"after":null},"messages":[{"id":"10","type":"Default","timestamp":"2020-01-02T03:04:05.678+00:00","timestampEdited":null,"isPinned":false,"content":"one","author":{"id":"7","name":"ann","discriminator":"0000","nickname":"a","isBot":false},"attachments":[{"url":"u","fileName":"f"}],"reactions":[]},{"id":"11","type":"Reply","timestamp":"2020-01-02T03:05:05+02:00","content":"two","author":{"id":"8","name":"bob"},"reactions":[{"emoji":{"id":"","name":"x"},"count":1,"users":[{"id":"7","name":"ann"}]}],"reference":{"messageId":"10"}}],"messageCount":2}"#;

struct Seed {
    target: &'static str,
    name: String,
    bytes: Vec<u8>,
}

#[derive(Default)]
struct Seeds(Vec<Seed>);

impl Seeds {
    fn add(&mut self, target: &'static str, bytes: impl Into<Vec<u8>>) {
        let number = self.0.iter().filter(|seed| seed.target == target).count();
        self.0.push(Seed {
            target,
            name: number.to_string(),
            bytes: bytes.into(),
        });
    }
}

/// A frame as a client sends it: masked.
fn client_frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [1, 2, 3, 4];
    let len = u16::try_from(payload.len()).unwrap();
    let mut frame = vec![first];
    match u8::try_from(len) {
        Ok(len) if len < 126 => frame.push(0x80 | len),
        _ => {
            frame.push(0xfe);
            frame.extend(len.to_be_bytes());
        }
    }
    frame.extend(mask);
    let masked = payload.iter().zip(mask.iter().cycle());
    frame.extend(masked.map(|(byte, mask)| byte ^ mask));
    frame
}

fn seeds() -> Vec<Seed> {
    let mut seeds = Seeds::default();
    let text = |number: usize| COMMANDS[number].as_bytes();
    seeds.add("frame", client_frame(0x81, text(0)));
    seeds.add("frame", client_frame(0x81, text(2)));
    let parts = [
        client_frame(0x01, b"{\"op\":"),
        client_frame(0x89, b"ping"),
        client_frame(0x00, b"1,"),
        client_frame(0x80, b"\"d\":1}"),
        client_frame(0x8a, b""),
        client_frame(0x82, &[0; 200]),
        client_frame(0x88, &[0x03, 0xe8, b'b', b'y', b'e']),
    ];
    seeds.add("frame", parts.concat());
    for command in COMMANDS {
        seeds.add("socket_command", command);
    }
    let member =
        serde_json::json!({"user": {"id": "7"}, "guild_id": "1", "roles": [], "nick": null});
    let presence =
        serde_json::json!({"user": {"id": "7"}, "status": "dnd", "activities": [{"name": "x"}]});
    let create = Note::new(EventKind::MessageCreate).nonce(Some("n"));
    for note in [
        create,
        Note::with(EventKind::GuildMemberAdd, &member),
        Note::with(EventKind::PresenceUpdate, &presence),
        Note::with(EventKind::GuildCreate, &serde_json::json!({"id": "5"})),
    ] {
        seeds.add("note", note.encode());
    }
    let key = TokenKey::new(&[7; SECRET_BYTES]);
    for user in [1, 81_384_788_765_712_384, i64::MAX] {
        let token = key.encode(Id::from_bigint(user), Id::from_bigint(42));
        seeds.add("token", token.rsplit_once('.').unwrap().0);
    }
    for text in TEXTS {
        seeds.add("text", text);
    }
    for form in FORMS {
        seeds.add("form", form);
    }
    for query in QUERIES {
        seeds.add("query", query);
    }
    for capacity in [0, 6, 255] {
        seeds.add("import_irc", [&[capacity], LOG.as_bytes()].concat());
    }
    seeds.add("import_irc", "\u{7}0 0 -\n3 9 -\n7 9 - \n9 5 -\nx y -\n");
    seeds.add("import_discord", EXPORT);
    for step in steps() {
        seeds.add("import_step", serde_json::to_vec(&step).unwrap());
    }
    seeds.0
}

fn steps() -> Vec<Request> {
    let state = SourceState { slot: 1, done: 2 };
    let message = Message {
        id: 10,
        author: 7,
        sent_ms: 1_577_934_245_678,
        edited_ms: None,
        reply_to: Some(9),
        pinned: false,
        content: "one".to_owned(),
        reactions: vec![("x".to_owned(), vec![7])],
    };
    let author = Author {
        id: None,
        name: "ann".to_owned(),
        bot: false,
    };
    let (guild, name) = (1, "irc/ubuntu".to_owned());
    vec![
        Request::Guild(GuildSpec {
            id: Some(1),
            name: name.clone(),
        }),
        Request::Channel(ChannelSpec {
            guild,
            id: None,
            name: name.clone(),
            topic: Some("t".to_owned()),
        }),
        Request::Source {
            guild,
            name: name.clone(),
        },
        Request::Progress { guild, name, state },
        Request::Authors {
            guild,
            authors: vec![author],
        },
        Request::Messages {
            channel: 2,
            messages: vec![message],
        },
        Request::Finish { guild },
    ]
}

#[test]
fn every_seed_is_what_the_encoders_write_and_is_accepted() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    let is_update = std::env::var_os("UPDATE").is_some();
    let seeds = seeds();
    for Seed {
        target,
        name,
        bytes,
    } in &seeds
    {
        let found = TARGETS.into_iter().find(|(known, _)| known == target);
        let (_, run) = found.unwrap();
        assert!(run(bytes), "the seed {target}/{name} is refused");
        let path = root.join(target).join(name);
        if is_update {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, bytes).unwrap();
        }
        assert_eq!(&std::fs::read(&path).unwrap(), bytes, "{}", path.display());
    }
    for (target, _) in TARGETS {
        assert!(
            seeds.iter().any(|seed| seed.target == target),
            "{target} has no seed"
        );
    }
}

/// The decoders run in `make test` too, for a while; `ROUNDS=n` makes it longer.
#[test]
fn mangled_seeds_are_read_or_refused() {
    let rounds = std::env::var("ROUNDS").map_or(100, |rounds| rounds.parse().unwrap());
    let mut state = 0x5eed_0007_u64;
    let mut below = |bound: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % u64::try_from(bound).unwrap()).unwrap()
    };
    for seed in seeds() {
        let found = TARGETS.into_iter().find(|(known, _)| *known == seed.target);
        let (_, run) = found.unwrap();
        for _ in 0..rounds {
            let mut bytes = seed.bytes.clone();
            for _ in 0..=below(3) {
                let at = below(bytes.len() + 1).min(bytes.len().saturating_sub(1));
                match below(4) {
                    _ if bytes.is_empty() => bytes.push(0),
                    0 => bytes[at] ^= 1 << below(8),
                    1 => bytes[at] = u8::try_from(below(256)).unwrap(),
                    2 => bytes.truncate(at),
                    _ => bytes.insert(at, u8::try_from(below(256)).unwrap()),
                }
            }
            run(&bytes);
        }
    }
}
