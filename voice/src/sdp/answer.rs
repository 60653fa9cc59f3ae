//! Writes an answer.

use std::fmt::Write;
use std::net::SocketAddr;

use super::{Codec, Direction, Media};

/// Where and how this side is reached; the same for every m-line.
#[derive(Clone, Debug)]
pub(crate) struct Transport<'a> {
    pub(crate) ufrag: &'a str,
    pub(crate) password: &'a str,
    /// SHA-256, as SDP writes it.
    pub(crate) fingerprint: &'a str,
    pub(crate) candidates: &'a [SocketAddr],
}

/// What the answer says to one m-line.
#[derive(Clone, Debug)]
pub(crate) struct AnswerMedia<'a> {
    pub(crate) offered: &'a Media,
    /// Empty refuses the m-line.
    pub(crate) codecs: &'a [Codec],
    /// From this side: we receive what a publisher sends and send what a subscriber receives.
    pub(crate) direction: Direction,
    /// The sources we send: media, repair.
    pub(crate) sources: Option<(u32, Option<u32>)>,
    /// Name of the stream that the sources belong to.
    pub(crate) stream: &'a str,
}

/// The whole answer.
#[derive(Clone, Debug)]
pub(crate) struct Answer<'a> {
    pub(crate) session: u32,
    pub(crate) transport: Transport<'a>,
    pub(crate) media: Vec<AnswerMedia<'a>>,
}

impl Answer<'_> {
    /// The text, lines ended by CR LF.
    pub(crate) fn render(&self) -> String {
        let mut out = String::with_capacity(4096);
        let mids: Vec<&str> = self
            .media
            .iter()
            .filter(|media| !media.codecs.is_empty())
            .map(|media| media.offered.mid.as_str())
            .collect();
        line(&mut out, format_args!("v=0"));
        line(
            &mut out,
            format_args!("o=- {} 1 IN IP4 127.0.0.1", self.session),
        );
        line(&mut out, format_args!("s=-"));
        line(&mut out, format_args!("t=0 0"));
        line(&mut out, format_args!("a=ice-lite"));
        line(&mut out, format_args!("a=group:BUNDLE {}", mids.join(" ")));
        line(&mut out, format_args!("a=msid-semantic: WMS *"));
        for media in &self.media {
            self.render_media(&mut out, media);
        }
        out
    }

    fn render_media(&self, out: &mut String, media: &AnswerMedia<'_>) {
        let offered = media.offered;
        if media.codecs.is_empty() {
            line(
                out,
                format_args!("m={} 0 {} 0", offered.name, offered.protocol),
            );
            line(out, format_args!("c=IN IP4 0.0.0.0"));
            if !offered.mid.is_empty() {
                line(out, format_args!("a=mid:{}", offered.mid));
            }
            line(out, format_args!("a=inactive"));
            return;
        }
        let mut formats = String::new();
        for number in media
            .codecs
            .iter()
            .flat_map(|codec| std::iter::once(codec.payload_type).chain(codec.repair))
        {
            formats.push(' ');
            formats.push_str(&number.to_string());
        }
        line(
            out,
            format_args!("m={} 9 {}{formats}", offered.name, offered.protocol),
        );
        line(out, format_args!("c=IN IP4 0.0.0.0"));
        line(out, format_args!("a=rtcp:9 IN IP4 0.0.0.0"));
        self.render_transport(out);
        line(out, format_args!("a=mid:{}", offered.mid));
        for (id, kind) in offered.extensions.iter() {
            line(out, format_args!("a=extmap:{id} {}", kind.uri()));
        }
        line(out, format_args!("a={}", direction_name(media.direction)));
        line(out, format_args!("a=rtcp-mux"));
        line(out, format_args!("a=rtcp-rsize"));
        for codec in media.codecs {
            render_codec(out, codec);
        }
        if media.direction == Direction::Receive && !offered.rids.is_empty() {
            for rid in &offered.rids {
                line(out, format_args!("a=rid:{rid} recv"));
            }
            line(
                out,
                format_args!("a=simulcast:recv {}", offered.rids.join(";")),
            );
        }
        render_sources(out, media);
    }

    fn render_transport(&self, out: &mut String) {
        let transport = &self.transport;
        line(out, format_args!("a=ice-ufrag:{}", transport.ufrag));
        line(out, format_args!("a=ice-pwd:{}", transport.password));
        line(
            out,
            format_args!("a=fingerprint:sha-256 {}", transport.fingerprint),
        );
        line(out, format_args!("a=setup:passive"));
        for (i, candidate) in (1_u32..).zip(transport.candidates) {
            let priority = (126_u32 << 24) + ((65_536 - i) << 8) + 255;
            line(
                out,
                format_args!(
                    "a=candidate:{i} 1 udp {priority} {} {} typ host",
                    candidate.ip(),
                    candidate.port()
                ),
            );
        }
        line(out, format_args!("a=end-of-candidates"));
    }
}

fn render_codec(out: &mut String, codec: &Codec) {
    let number = codec.payload_type;
    line(
        out,
        format_args!("a=rtpmap:{number} {}", codec.kind.encoding()),
    );
    if !codec.parameters.is_empty() {
        line(out, format_args!("a=fmtp:{number} {}", codec.parameters));
    }
    let feedback = codec.feedback;
    for (agreed, name) in [
        (feedback.nack, "nack"),
        (feedback.picture_loss, "nack pli"),
        (feedback.full_intra, "ccm fir"),
        (feedback.transport, "transport-cc"),
    ] {
        if agreed {
            line(out, format_args!("a=rtcp-fb:{number} {name}"));
        }
    }
    if let Some(repair) = codec.repair {
        line(
            out,
            format_args!("a=rtpmap:{repair} rtx/{}", codec.kind.clock_rate()),
        );
        line(out, format_args!("a=fmtp:{repair} apt={number}"));
    }
}

fn render_sources(out: &mut String, media: &AnswerMedia<'_>) {
    let Some((source, repair)) = media.sources else {
        return;
    };
    let (stream, track) = (media.stream, &media.offered.mid);
    line(out, format_args!("a=msid:{stream} {stream}-{track}"));
    if let Some(repair) = repair {
        line(out, format_args!("a=ssrc-group:FID {source} {repair}"));
    }
    for ssrc in std::iter::once(source).chain(repair) {
        line(out, format_args!("a=ssrc:{ssrc} cname:{stream}"));
        line(
            out,
            format_args!("a=ssrc:{ssrc} msid:{stream} {stream}-{track}"),
        );
    }
}

const fn direction_name(direction: Direction) -> &'static str {
    match direction {
        Direction::Both => "sendrecv",
        Direction::Send => "sendonly",
        Direction::Receive => "recvonly",
        Direction::Inactive => "inactive",
    }
}

/// Writing to a `String` cannot fail; `fmt::Write` only has no way to say so.
fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    if writeln!(out, "{text}\r").is_err() {
        out.clear();
    }
}
