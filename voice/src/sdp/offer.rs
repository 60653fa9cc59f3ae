//! Reads an offer.

use super::MediaKind;
use crate::dtls::Fingerprint;
use crate::error::{Error, Result};
use crate::rtp::{ExtensionKind, ExtensionMap};

/// A browser's offer with two simulcast videos is 9 KB.
const LEN_MAX: usize = 64 * 1024;
const LINES_MAX: usize = 2000;
const LINE_LEN_MAX: usize = 1024;
const MEDIA_MAX: usize = 64;
const CODECS_MAX: usize = 64;
const SSRCS_MAX: usize = 16;
const RIDS_MAX: usize = 3;

/// The offer of a client.
#[derive(Clone, Debug)]
pub(crate) struct Offer {
    pub(crate) ufrag: String,
    pub(crate) fingerprint: Fingerprint,
    pub(crate) media: Vec<Media>,
}

/// Who sends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Direction {
    #[default]
    Both,
    /// Only who wrote the description.
    Send,
    /// Only the other one.
    Receive,
    Inactive,
}

/// One m-line.
#[derive(Clone, Debug, Default)]
pub(crate) struct Media {
    /// `None` for what is neither audio nor video over SRTP with RTCP on the same port.
    pub(crate) kind: Option<MediaKind>,
    /// The first line, for the answer that refuses it.
    pub(crate) name: String,
    pub(crate) protocol: String,
    pub(crate) mid: String,
    pub(crate) direction: Direction,
    pub(crate) codecs: Vec<Codec>,
    pub(crate) extensions: ExtensionMap,
    /// Sources, media and repair, in order.
    pub(crate) ssrcs: Vec<u32>,
    /// Pairs of a source and the one that repairs it.
    pub(crate) repairs: Vec<(u32, u32)>,
    /// Simulcast layers that the client sends, as it orders them.
    pub(crate) rids: Vec<String>,
    multiplexed: bool,
    refused: bool,
}

/// What a payload type means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum CodecKind {
    Opus,
    Vp8,
    H264,
}

impl CodecKind {
    pub(crate) const fn clock_rate(self) -> u32 {
        match self {
            Self::Opus => 48_000,
            Self::Vp8 | Self::H264 => 90_000,
        }
    }

    pub(crate) const fn encoding(self) -> &'static str {
        match self {
            Self::Opus => "opus/48000/2",
            Self::Vp8 => "VP8/90000",
            Self::H264 => "H264/90000",
        }
    }
}

/// A payload type that is understood, with what belongs to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Codec {
    pub(crate) kind: CodecKind,
    pub(crate) payload_type: u8,
    pub(crate) parameters: String,
    /// Payload type of its retransmissions.
    pub(crate) repair: Option<u8>,
    pub(crate) feedback: Feedback,
}

/// Which feedback the client understands for a codec.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is one attribute of the offer"
)]
pub(crate) struct Feedback {
    pub(crate) nack: bool,
    pub(crate) picture_loss: bool,
    pub(crate) full_intra: bool,
    pub(crate) transport: bool,
}

impl Codec {
    /// Whether a stream coded as `other` can be decoded where this was agreed.
    pub(crate) fn accepts(&self, other: &Self) -> bool {
        self.kind == other.kind
            && (self.kind != CodecKind::H264 || self.profile() == other.profile())
    }

    /// The profile of H.264 without its constraints and level; baseline if none is given.
    fn profile(&self) -> String {
        let id = self.parameter("profile-level-id").unwrap_or("42e01f");
        id.get(..2).unwrap_or("42").to_ascii_lowercase()
    }

    pub(crate) fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.split(';').find_map(|pair| {
            let (key, value) = pair.split_once('=')?;
            key.trim().eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}

/// Attributes that may stand above the media and count for each.
#[derive(Default)]
struct Shared {
    ufrag: Option<String>,
    fingerprint: Option<Fingerprint>,
    lite: bool,
    passive: bool,
}

/// An m-line while its attributes come.
#[derive(Default)]
struct Draft {
    media: Media,
    formats: Vec<u8>,
    maps: Vec<(u8, String)>,
    parameters: Vec<(u8, String)>,
    feedback: Vec<(Option<u8>, String)>,
}

impl Offer {
    /// Reads an offer; the error names what a client must change.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        if text.len() > LEN_MAX || text.lines().count() > LINES_MAX {
            return Err(Error::invalid(format!(
                "the offer is longer than {LEN_MAX} bytes or {LINES_MAX} lines"
            )));
        }
        let mut shared = Shared::default();
        let mut drafts: Vec<Draft> = Vec::new();
        for line in text
            .lines()
            .map(str::trim_end)
            .filter(|line| line.len() <= LINE_LEN_MAX)
        {
            match (line.split_once('='), drafts.last_mut()) {
                (Some(("m", value)), _) => {
                    if drafts.len() >= MEDIA_MAX {
                        return Err(Error::invalid(format!(
                            "the offer has more than {MEDIA_MAX} media"
                        )));
                    }
                    drafts.push(Draft::begin(value)?);
                }
                (Some(("a", value)), draft) => {
                    let (key, value) = value.split_once(':').unwrap_or((value, ""));
                    shared.read(key, value);
                    if let Some(draft) = draft {
                        draft.read(key, value);
                    }
                }
                _ => {}
            }
        }
        if shared.lite {
            return Err(Error::invalid(
                "the offer says a=ice-lite, as this side does: one of both must send checks",
            ));
        }
        if shared.passive {
            return Err(Error::invalid(
                "the offer says a=setup:passive, as this side does: offer actpass or active",
            ));
        }
        let media: Vec<Media> = drafts.into_iter().map(Draft::finish).collect();
        if !media.iter().any(Media::is_usable) {
            return Err(Error::invalid(
                "the offer has no audio or video with a=rtcp-mux and a codec of opus, VP8, H264",
            ));
        }
        let missing = |name: &str| Error::invalid(format!("the offer has no usable a={name}"));
        Ok(Self {
            ufrag: shared.ufrag.ok_or_else(|| missing("ice-ufrag"))?,
            fingerprint: shared
                .fingerprint
                .ok_or_else(|| missing("fingerprint (sha-256, sha-384 or sha-512)"))?,
            media,
        })
    }
}

impl Shared {
    /// The first of each counts: with BUNDLE the transport is that of the first m-line.
    fn read(&mut self, key: &str, value: &str) {
        match key {
            "ice-ufrag" if self.ufrag.is_none() && (4..=256).contains(&value.len()) => {
                self.ufrag = Some(value.to_owned());
            }
            "fingerprint" if self.fingerprint.is_none() => {
                self.fingerprint = Fingerprint::parse(value);
            }
            "ice-lite" => self.lite = true,
            "setup" => self.passive |= value == "passive",
            _ => {}
        }
    }
}

impl Draft {
    fn begin(value: &str) -> Result<Self> {
        let mut words = value.split_ascii_whitespace();
        let (Some(name), Some(port), Some(protocol)) = (words.next(), words.next(), words.next())
        else {
            return Err(Error::invalid(
                "an m-line is not `m=<media> <port> <protocol> <formats>`",
            ));
        };
        let kind = match name {
            "audio" => Some(MediaKind::Audio),
            "video" => Some(MediaKind::Video),
            _ => None,
        };
        let is_word = |word: &str| {
            word.bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-/".contains(&byte))
        };
        if !is_word(name) || !is_word(protocol) {
            return Err(Error::invalid(
                "an m-line has signs that belong to no media and no protocol",
            ));
        }
        Ok(Self {
            media: Media {
                kind: kind.filter(|_| protocol.contains("SAVPF")),
                name: name.to_owned(),
                protocol: protocol.to_owned(),
                refused: port == "0",
                ..Media::default()
            },
            formats: words
                .take(CODECS_MAX)
                .filter_map(|word| word.parse().ok())
                .collect(),
            ..Self::default()
        })
    }

    fn read(&mut self, key: &str, value: &str) {
        let media = &mut self.media;
        match key {
            "mid" if is_token(value, 32) => value.clone_into(&mut media.mid),
            "sendrecv" => media.direction = Direction::Both,
            "sendonly" => media.direction = Direction::Send,
            "recvonly" => media.direction = Direction::Receive,
            "inactive" => media.direction = Direction::Inactive,
            "rtcp-mux" => media.multiplexed = true,
            "bundle-only" => media.refused = false,
            "rtpmap" => keep_numbered(&mut self.maps, value),
            "fmtp" => keep_numbered(&mut self.parameters, value),
            "rtcp-fb" if self.feedback.len() < 8 * CODECS_MAX => {
                if let Some((number, what)) = value.split_once(' ') {
                    self.feedback.push((number.parse().ok(), what.to_owned()));
                }
            }
            "extmap" => self.read_extension(value),
            "ssrc" => self.read_source(value),
            "ssrc-group" => self.read_group(value),
            "rid" => self.read_layer(value),
            _ => {}
        }
    }

    fn read_extension(&mut self, value: &str) {
        let Some((number, uri)) = value.split_once(' ') else {
            return;
        };
        let number = number
            .split_once('/')
            .map_or(number, |(number, _)| number)
            .parse();
        let uri = uri.split_ascii_whitespace().next().unwrap_or("");
        if let (Ok(number), Some(kind)) = (number, ExtensionKind::from_uri(uri)) {
            self.media.extensions.insert(number, kind);
        }
    }

    fn read_source(&mut self, value: &str) {
        let ssrcs = &mut self.media.ssrcs;
        if let Some(Ok(ssrc)) = value.split_ascii_whitespace().next().map(str::parse)
            && !ssrcs.contains(&ssrc)
            && ssrcs.len() < SSRCS_MAX
        {
            ssrcs.push(ssrc);
        }
    }

    fn read_group(&mut self, value: &str) {
        let mut words = value.split_ascii_whitespace();
        if words.next() != Some("FID") || self.media.repairs.len() >= SSRCS_MAX {
            return;
        }
        if let (Some(Ok(media)), Some(Ok(repair))) =
            (words.next().map(str::parse), words.next().map(str::parse))
        {
            self.media.repairs.push((media, repair));
        }
    }

    fn read_layer(&mut self, value: &str) {
        let mut words = value.split_ascii_whitespace();
        if let (Some(rid), Some("send")) = (words.next(), words.next())
            && is_token(rid, 16)
            && self.media.rids.len() < RIDS_MAX
        {
            self.media.rids.push(rid.to_owned());
        }
    }

    fn finish(mut self) -> Media {
        let formats = std::mem::take(&mut self.formats);
        self.media.codecs = formats
            .iter()
            .filter_map(|format| self.codec(*format))
            .collect();
        if self.media.refused
            || !self.media.multiplexed
            || self.media.mid.is_empty()
            || self.media.codecs.is_empty()
        {
            self.media.kind = None;
        }
        self.media
    }

    fn codec(&self, payload_type: u8) -> Option<Codec> {
        let find = |list: &[(u8, String)]| {
            let found = list.iter().find(|(number, _)| *number == payload_type);
            found.map_or_else(String::new, |(_, text)| text.clone())
        };
        let name = find(&self.maps).to_ascii_lowercase();
        let kind = match (name.as_str(), self.media.kind?) {
            ("opus/48000/2", MediaKind::Audio) => CodecKind::Opus,
            ("vp8/90000", MediaKind::Video) => CodecKind::Vp8,
            ("h264/90000", MediaKind::Video) => CodecKind::H264,
            _ => return None,
        };
        let apt = format!("apt={payload_type}");
        let repair = self.parameters.iter().find_map(|(number, text)| {
            let is_apt = text.split(';').any(|pair| pair.trim() == apt);
            let is_rtx = self
                .maps
                .iter()
                .any(|(map, name)| map == number && name.to_ascii_lowercase().starts_with("rtx/"));
            (is_apt && is_rtx).then_some(*number)
        });
        let says = |what: &str| {
            let ours = |number: &Option<u8>| number.is_none_or(|number| number == payload_type);
            self.feedback
                .iter()
                .any(|(number, text)| ours(number) && text == what)
        };
        let codec = Codec {
            kind,
            payload_type,
            parameters: find(&self.parameters),
            repair,
            feedback: Feedback {
                nack: says("nack"),
                picture_loss: says("nack pli"),
                full_intra: says("ccm fir"),
                transport: says("transport-cc"),
            },
        };
        let whole_units = codec.parameter("packetization-mode") == Some("1");
        (payload_type < 128 && (kind != CodecKind::H264 || whole_units)).then_some(codec)
    }
}

impl Media {
    pub(crate) fn is_usable(&self) -> bool {
        self.kind.is_some()
    }
}

fn keep_numbered(list: &mut Vec<(u8, String)>, value: &str) {
    if let Some((Ok(number), text)) = value
        .split_once(' ')
        .map(|(number, text)| (number.parse(), text))
        && list.len() < CODECS_MAX
        && text.bytes().all(|byte| (b' '..=b'~').contains(&byte))
    {
        list.push((number, text.to_owned()));
    }
}

/// Signs that may stand in an answer without quoting.
fn is_token(text: &str, len_max: usize) -> bool {
    (1..=len_max).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.+".contains(&byte))
}
