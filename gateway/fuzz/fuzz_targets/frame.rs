//! Any bytes from a socket: the same frames or the same refusal, however the bytes are cut, and no
//! message longer than the limit.
#![no_main]

use gateway::ws::frame::{Decoder, FrameError, Incoming, PAYLOAD_BYTES_MAX};
use libfuzzer_sys::fuzz_target;

fn decode<'a>(chunks: impl Iterator<Item = &'a [u8]>) -> (Vec<Incoming>, Option<FrameError>) {
    let mut decoder = Decoder::default();
    let mut messages = Vec::new();
    for chunk in chunks {
        decoder.push(chunk);
        loop {
            match decoder.next() {
                Ok(Some(message)) => messages.push(message),
                Ok(None) => break,
                Err(error) => return (messages, Some(error)),
            }
        }
    }
    (messages, None)
}

fuzz_target!(|input: &[u8]| {
    let whole = decode(std::iter::once(input));
    let step = usize::from(input.first().copied().unwrap_or(0) % 7) + 1;
    assert_eq!(whole, decode(input.chunks(step)));
    for message in &whole.0 {
        if let Incoming::Text(bytes) | Incoming::Binary(bytes) | Incoming::Ping(bytes) = message {
            assert!(bytes.len() <= PAYLOAD_BYTES_MAX);
        }
    }
});
