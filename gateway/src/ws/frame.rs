//! RFC 6455 framing for the server side: decode masked client frames, encode unmasked ones.
//!
//! The decoder is sans-IO: bytes go in by [`Decoder::push`], frames come out of [`Decoder::next`].
//! It keeps nothing between messages: an idle connection owns two empty vectors.
//!
//! Invariants:
//! - a length is checked against [`PAYLOAD_BYTES_MAX`] before a byte of payload is kept;
//! - at most one frame and one message under reassembly are buffered, so a peer costs at most
//!   about three times the limit;
//! - control frames are never fragmented and never longer than 125 bytes;
//! - no input panics.
//!
//! Cost: one copy of the input, unmasked in place.
#![deny(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation
)]

/// Longest payload that a client may send, in bytes, also when it comes in fragments.
pub const PAYLOAD_BYTES_MAX: usize = 4096;

/// Longest frame header that the server writes, in bytes.
pub const HEADER_BYTES_MAX: usize = 10;

/// Longest payload of a control frame, in bytes.
const CONTROL_BYTES_MAX: usize = 125;

/// What a client sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Incoming {
    /// A whole text message. UTF-8 is checked by whoever parses it.
    Text(Vec<u8>),
    /// A whole binary message.
    Binary(Vec<u8>),
    /// A ping to be answered with the same bytes.
    Ping(Vec<u8>),
    /// An answer to a ping.
    Pong,
    /// The peer closes, with its code if it gave one.
    Close(Option<u16>),
}

/// Why a frame was refused. The connection cannot be read any further.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The bytes break the framing rules.
    #[error("websocket frame breaks the protocol: {0}")]
    Protocol(&'static str),
    /// The payload is longer than [`PAYLOAD_BYTES_MAX`].
    #[error("websocket payload is longer than {PAYLOAD_BYTES_MAX} bytes")]
    TooLong,
}

/// Frame types of RFC 6455.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opcode {
    /// Continues a fragmented message.
    Continuation,
    /// Text.
    Text,
    /// Binary.
    Binary,
    /// Close.
    Close,
    /// Ping.
    Ping,
    /// Pong.
    Pong,
}

impl Opcode {
    const fn from_bits(bits: u8) -> Option<Self> {
        Some(match bits {
            0 => Self::Continuation,
            1 => Self::Text,
            2 => Self::Binary,
            8 => Self::Close,
            9 => Self::Ping,
            10 => Self::Pong,
            _ => return None,
        })
    }

    const fn bits(self) -> u8 {
        match self {
            Self::Continuation => 0,
            Self::Text => 1,
            Self::Binary => 2,
            Self::Close => 8,
            Self::Ping => 9,
            Self::Pong => 10,
        }
    }

    const fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }
}

/// Header of one frame as the client sent it.
struct Header {
    fin: bool,
    opcode: Opcode,
    mask: [u8; 4],
    payload: usize,
    /// Bytes of the header itself.
    len: usize,
}

/// Turns the bytes of one client into messages.
#[derive(Debug, Default)]
pub struct Decoder {
    /// Bytes not decoded yet; without capacity when empty.
    buffer: Vec<u8>,
    /// How much of `buffer` is used up.
    consumed: usize,
    /// A fragmented message so far.
    message: Option<(Opcode, Vec<u8>)>,
}

impl Decoder {
    /// Adds bytes that came from the socket.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole message or control frame; `None` until more bytes come.
    #[expect(clippy::should_implement_trait, reason = "fallible: not an iterator")]
    pub fn next(&mut self) -> Result<Option<Incoming>, FrameError> {
        loop {
            let rest = self.buffer.get(self.consumed..).unwrap_or_default();
            let Some(header) = parse_header(rest)? else {
                self.release();
                return Ok(None);
            };
            let end = header.len.saturating_add(header.payload);
            let Some(payload) = rest.get(header.len..end) else {
                self.release();
                return Ok(None);
            };
            let mut payload = payload.to_vec();
            unmask(&mut payload, header.mask);
            self.consumed = self.consumed.saturating_add(end);
            if let Some(incoming) = self.accept(&header, payload)? {
                return Ok(Some(incoming));
            }
        }
    }

    /// Gives back what is used up; everything when nothing is left.
    fn release(&mut self) {
        if self.consumed >= self.buffer.len() {
            self.buffer = Vec::new();
        } else if self.consumed > 0 {
            self.buffer.drain(..self.consumed);
        }
        self.consumed = 0;
    }

    fn accept(
        &mut self,
        header: &Header,
        payload: Vec<u8>,
    ) -> Result<Option<Incoming>, FrameError> {
        match header.opcode {
            Opcode::Ping => return Ok(Some(Incoming::Ping(payload))),
            Opcode::Pong => return Ok(Some(Incoming::Pong)),
            Opcode::Close => return close_frame(&payload).map(Some),
            Opcode::Text | Opcode::Binary => {
                if self.message.is_some() {
                    return Err(FrameError::Protocol("new message inside a fragmented one"));
                }
                self.message = Some((header.opcode, payload));
            }
            Opcode::Continuation => {
                let Some((_, message)) = &mut self.message else {
                    return Err(FrameError::Protocol("continuation without a message"));
                };
                if message.len().saturating_add(payload.len()) > PAYLOAD_BYTES_MAX {
                    return Err(FrameError::TooLong);
                }
                message.extend_from_slice(&payload);
            }
        }
        if !header.fin {
            return Ok(None);
        }
        Ok(self.message.take().map(|(opcode, payload)| match opcode {
            Opcode::Binary => Incoming::Binary(payload),
            _ => Incoming::Text(payload),
        }))
    }
}

/// Reads a header; `None` if it is not complete yet.
fn parse_header(bytes: &[u8]) -> Result<Option<Header>, FrameError> {
    let Some((&[first, second], rest)) = bytes.split_first_chunk::<2>() else {
        return Ok(None);
    };
    if first & 0x70 != 0 {
        return Err(FrameError::Protocol("reserved bits without an extension"));
    }
    let opcode = Opcode::from_bits(first & 0x0f).ok_or(FrameError::Protocol("unknown opcode"))?;
    let fin = first & 0x80 != 0;
    if second & 0x80 == 0 {
        return Err(FrameError::Protocol("client frame without a mask"));
    }
    let short = second & 0x7f;
    if opcode.is_control() && (!fin || usize::from(short) > CONTROL_BYTES_MAX) {
        return Err(FrameError::Protocol(
            "control frame that is fragmented or too long",
        ));
    }
    let (payload, rest, extended) = match short {
        126 => match rest.split_first_chunk::<2>() {
            Some((len, rest)) => (u64::from(u16::from_be_bytes(*len)), rest, 2_usize),
            None => return Ok(None),
        },
        127 => match rest.split_first_chunk::<8>() {
            Some((len, rest)) => (u64::from_be_bytes(*len), rest, 8),
            None => return Ok(None),
        },
        short => (u64::from(short), rest, 0),
    };
    let payload = usize::try_from(payload).map_err(|_| FrameError::TooLong)?;
    if payload > PAYLOAD_BYTES_MAX {
        return Err(FrameError::TooLong);
    }
    let Some((&mask, _)) = rest.split_first_chunk::<4>() else {
        return Ok(None);
    };
    let len = extended.saturating_add(6);
    Ok(Some(Header {
        fin,
        opcode,
        mask,
        payload,
        len,
    }))
}

fn unmask(payload: &mut [u8], mask: [u8; 4]) {
    for (byte, mask) in payload.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= mask;
    }
}

fn close_frame(payload: &[u8]) -> Result<Incoming, FrameError> {
    match payload {
        [] => Ok(Incoming::Close(None)),
        [_] => Err(FrameError::Protocol("close frame with half a code")),
        [high, low, ..] => Ok(Incoming::Close(Some(u16::from_be_bytes([*high, *low])))),
    }
}

/// The header of an unmasked frame with `payload` bytes: the bytes and how many of them count.
pub fn encode_header(opcode: Opcode, payload: usize) -> ([u8; HEADER_BYTES_MAX], usize) {
    let first = 0x80 | opcode.bits();
    let (short, extended, len) = match (u8::try_from(payload), u16::try_from(payload)) {
        (Ok(short @ 0..=125), _) => (short, [0; 8], 2),
        (_, Ok(medium)) => (126, (u64::from(medium) << 48).to_be_bytes(), 4),
        _ => (127, (payload as u64).to_be_bytes(), HEADER_BYTES_MAX),
    };
    let mut header = [0; HEADER_BYTES_MAX];
    for (slot, byte) in header
        .iter_mut()
        .zip([first, short].into_iter().chain(extended))
    {
        *slot = byte;
    }
    (header, len)
}

/// Appends a whole unmasked frame to `out`.
pub fn encode_frame(opcode: Opcode, payload: &[u8], out: &mut Vec<u8>) {
    let (header, len) = encode_header(opcode, payload.len());
    out.extend(header.iter().take(len));
    out.extend_from_slice(payload);
}

/// Appends a close frame with `code` and a short reason.
pub fn encode_close(code: u16, reason: &str, out: &mut Vec<u8>) {
    let mut payload = code.to_be_bytes().to_vec();
    payload.extend(reason.bytes().take(CONTROL_BYTES_MAX.saturating_sub(2)));
    encode_frame(Opcode::Close, &payload, out);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(first: u8, payload: &[u8]) -> Vec<u8> {
        let (header, len) = encode_header(Opcode::Text, payload.len());
        let mut frame = vec![first, header[1] | 0x80];
        frame.extend_from_slice(&header[2..len]);
        let mask = [1, 2, 3, 4];
        frame.extend_from_slice(&mask);
        frame.extend(
            payload
                .iter()
                .zip(mask.iter().cycle())
                .map(|(byte, mask)| byte ^ mask),
        );
        frame
    }

    #[test]
    fn a_message_is_the_same_however_its_bytes_arrive() {
        let mut bytes = client(0x81, b"hello");
        bytes.extend(client(0x89, b"p"));
        bytes.extend(client(0x81, &[b'x'; 300]));
        for step in 1..bytes.len() {
            let mut decoder = Decoder::default();
            let mut seen = Vec::new();
            for chunk in bytes.chunks(step) {
                decoder.push(chunk);
                while let Some(incoming) = decoder.next().unwrap() {
                    seen.push(incoming);
                }
            }
            let expected = vec![
                Incoming::Text(b"hello".to_vec()),
                Incoming::Ping(b"p".to_vec()),
                Incoming::Text(vec![b'x'; 300]),
            ];
            assert_eq!(seen, expected);
            assert_eq!(
                decoder.buffer.capacity(),
                0,
                "an idle decoder owns no memory"
            );
        }
    }

    #[test]
    fn fragments_become_one_message_and_control_frames_may_come_between() {
        let mut decoder = Decoder::default();
        decoder.push(&client(0x01, b"ab"));
        decoder.push(&client(0x89, b"!"));
        decoder.push(&client(0x80, b"cd"));
        assert_eq!(decoder.next().unwrap(), Some(Incoming::Ping(b"!".to_vec())));
        assert_eq!(
            decoder.next().unwrap(),
            Some(Incoming::Text(b"abcd".to_vec()))
        );
    }

    #[track_caller]
    fn refused(frames: &[Vec<u8>], expected: FrameError) {
        let mut decoder = Decoder::default();
        for frame in frames {
            decoder.push(frame);
        }
        let error = loop {
            match decoder.next() {
                Ok(Some(_)) => {}
                Ok(None) => panic!("accepted"),
                Err(error) => break error,
            }
        };
        assert_eq!(error, expected);
    }

    #[test]
    fn what_breaks_the_protocol_is_refused() {
        let protocol = FrameError::Protocol;
        refused(
            &[vec![0x81, 0x01, b'x']],
            protocol("client frame without a mask"),
        );
        refused(
            &[client(0xc1, b"x")],
            protocol("reserved bits without an extension"),
        );
        refused(&[client(0x83, b"x")], protocol("unknown opcode"));
        refused(
            &[client(0x80, b"x")],
            protocol("continuation without a message"),
        );
        let two = [client(0x01, b"x"), client(0x01, b"x")];
        refused(&two, protocol("new message inside a fragmented one"));
        let control = protocol("control frame that is fragmented or too long");
        refused(&[client(0x09, b"x")], control);
        refused(&[client(0x89, &[0; 126])], control);
        refused(
            &[client(0x88, &[3])],
            protocol("close frame with half a code"),
        );
    }

    #[test]
    fn a_payload_over_the_limit_is_refused_from_its_header_alone() {
        let long = client(0x81, &[0; PAYLOAD_BYTES_MAX + 1]);
        refused(&[long[..8].to_vec()], FrameError::TooLong);
        refused(
            &[vec![0x81, 0xff, 255, 255, 255, 255, 255, 255, 255, 255]],
            FrameError::TooLong,
        );
        let half = PAYLOAD_BYTES_MAX / 2 + 1;
        refused(
            &[client(0x01, &vec![0; half]), client(0x80, &vec![0; half])],
            FrameError::TooLong,
        );
        let mut decoder = Decoder::default();
        decoder.push(&client(0x81, &[0; PAYLOAD_BYTES_MAX]));
        assert!(decoder.next().unwrap().is_some());
    }

    #[test]
    fn headers_use_the_shortest_length() {
        for (payload, expected) in [(0, 2), (125, 2), (126, 4), (65_535, 4), (65_536, 10)] {
            assert_eq!(encode_header(Opcode::Text, payload).1, expected);
        }
    }
}
