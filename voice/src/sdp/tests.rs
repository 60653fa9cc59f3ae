//! Offers of real clients, shortened, and what must not pass.

use super::*;

const HEAD: &str = "v=0\r\no=- 4 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0 1\r\n";
const FINGERPRINT: &str = "a=fingerprint:sha-256 AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB\r\n";
const AUDIO: &str = "m=audio 9 UDP/TLS/RTP/SAVPF 111 63 0\r\nc=IN IP4 0.0.0.0\r\na=ice-ufrag:abcd\r\na=ice-pwd:0123456789012345678901\r\na=setup:actpass\r\na=mid:0\r\na=extmap:1 urn:ietf:params:rtp-hdrext:ssrc-audio-level\r\na=extmap:14 urn:unknown\r\na=sendonly\r\na=rtcp-mux\r\na=rtpmap:111 opus/48000/2\r\na=rtcp-fb:111 transport-cc\r\na=fmtp:111 minptime=10;useinbandfec=1\r\na=rtpmap:63 red/48000/2\r\na=fmtp:63 111/111\r\na=ssrc:4001 cname:x\r\n";
const VIDEO: &str = "m=video 9 UDP/TLS/RTP/SAVPF 96 97 102 103 104\r\na=mid:1\r\na=sendonly\r\na=rtcp-mux\r\na=rtpmap:96 VP8/90000\r\na=rtcp-fb:96 nack\r\na=rtcp-fb:96 nack pli\r\na=rtcp-fb:96 ccm fir\r\na=rtpmap:97 rtx/90000\r\na=fmtp:97 apt=96\r\na=rtpmap:102 H264/90000\r\na=fmtp:102 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42001f\r\na=rtpmap:103 H264/90000\r\na=fmtp:103 packetization-mode=0;profile-level-id=42001f\r\na=rtpmap:104 rtx/90000\r\na=fmtp:104 apt=102\r\na=rid:q send\r\na=rid:h send\r\na=simulcast:send q;h\r\na=ssrc-group:FID 1 2\r\n";

fn offer() -> String {
    [HEAD, FINGERPRINT, AUDIO, VIDEO].concat()
}

#[test]
fn the_offer_of_a_browser_is_understood() {
    let offer = Offer::parse(&offer()).expect("an offer");
    assert_eq!(offer.ufrag, "abcd");
    let [audio, video] = offer.media.as_slice() else {
        panic!("{offer:?}")
    };
    assert_eq!(
        (audio.kind, audio.mid.as_str(), audio.direction),
        (Some(MediaKind::Audio), "0", Direction::Send)
    );
    assert_eq!(
        audio.codecs.len(),
        1,
        "neither RED nor a payload type without a map"
    );
    assert_eq!(
        (
            audio.codecs[0].payload_type,
            audio.codecs[0].feedback.transport
        ),
        (111, true)
    );
    assert_eq!(audio.ssrcs, [4001]);
    let codecs: Vec<_> = video
        .codecs
        .iter()
        .map(|codec| (codec.kind, codec.payload_type, codec.repair))
        .collect();
    assert_eq!(
        codecs,
        [
            (CodecKind::Vp8, 96, Some(97)),
            (CodecKind::H264, 102, Some(104))
        ]
    );
    assert!(
        video.codecs[0].feedback.nack
            && video.codecs[0].feedback.picture_loss
            && !video.codecs[1].feedback.nack
    );
    assert_eq!(
        (video.rids.as_slice(), video.repairs.as_slice()),
        (&["q".to_owned(), "h".to_owned()][..], &[(1, 2)][..])
    );
}

#[test]
fn the_answer_names_what_was_agreed_and_refuses_the_rest() {
    let data = "m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\na=mid:2\r\n";
    let offer = Offer::parse(&[offer().as_str(), data].concat()).expect("an offer");
    let transport = Transport {
        ufrag: "ours",
        password: "secret",
        fingerprint: "CD",
        candidates: &["192.0.2.1:4000".parse().expect("an address")],
    };
    let media = offer
        .media
        .iter()
        .map(|offered| AnswerMedia {
            offered,
            codecs: offered.codecs.get(..1).unwrap_or_default(),
            direction: Direction::Receive,
            sources: None,
            stream: "s",
        })
        .collect();
    let answer = Answer {
        session: 7,
        transport,
        media,
    }
    .render();
    for line in [
        "a=ice-lite",
        "a=group:BUNDLE 0 1",
        "m=audio 9 UDP/TLS/RTP/SAVPF 111",
        "a=extmap:1 urn:ietf:params:rtp-hdrext:ssrc-audio-level",
        "a=fmtp:111 minptime=10;useinbandfec=1",
        "a=setup:passive",
        "a=candidate:1 1 udp 2130706431 192.0.2.1 4000 typ host",
        "m=video 9 UDP/TLS/RTP/SAVPF 96 97",
        "a=rtcp-fb:96 nack pli",
        "a=simulcast:recv q;h",
        "m=application 0 UDP/DTLS/SCTP 0",
        "a=recvonly",
    ] {
        assert!(
            answer.lines().any(|found| found == line),
            "{line} is not in\n{answer}"
        );
    }
    assert!(!answer.contains("urn:unknown") && !answer.contains("H264"));
}

#[test]
fn offers_that_cannot_work_are_refused_with_the_reason() {
    let whole = offer();
    for (from, to, word) in [
        ("a=setup:actpass", "a=setup:passive", "passive"),
        ("a=ice-ufrag:abcd", "a=ice-ufrag:a", "ice-ufrag"),
        ("sha-256", "sha-1", "fingerprint"),
        ("s=-", "s=-\r\na=ice-lite", "ice-lite"),
        ("a=rtcp-mux", "a=x", "rtcp-mux"),
        ("m=audio 9 UDP/TLS/RTP/SAVPF 111 63 0", "m=audio", "m-line"),
        (
            "m=audio 9 UDP/TLS/RTP/SAVPF",
            "m=au\u{7}io 9 UDP/TLS/RTP/SAVPF",
            "m-line",
        ),
    ] {
        let error = Offer::parse(&whole.replace(from, to)).expect_err(word);
        assert!(error.to_string().contains(word), "{error}");
    }
    let error = Offer::parse(&"a=x\r\n".repeat(5000)).expect_err("too many lines");
    assert!(error.to_string().contains("longer"), "{error}");
}

#[test]
fn no_line_of_an_offer_gets_into_the_answer_unchecked() {
    let evil = offer()
        .replace("a=mid:0", "a=mid:0 a=ice-pwd:x")
        .replace("a=rid:q send", "a=rid:q\u{1} send");
    let offer = Offer::parse(&evil).expect("the video is left");
    assert_eq!(
        offer.media[0].kind, None,
        "an m-line without a usable name is refused"
    );
    assert_eq!(offer.media[1].rids, ["h"]);
}

#[test]
fn h264_streams_go_where_the_profile_fits() {
    let codec = |parameters: &str| Codec {
        kind: CodecKind::H264,
        payload_type: 102,
        parameters: parameters.to_owned(),
        repair: None,
        feedback: offer::Feedback::default(),
    };
    let baseline = codec("packetization-mode=1;profile-level-id=42e01f");
    assert!(baseline.accepts(&codec("profile-level-id=42001f;packetization-mode=1")));
    assert!(!baseline.accepts(&codec("packetization-mode=1;profile-level-id=640032")));
}
