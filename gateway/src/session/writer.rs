//! Puts frames on the socket: control frames from a small buffer, events from shared memory.
//!
//! Up to [`BATCH_MAX`] events leave in one `writev` as `[envelope][shared body]`; no event is copied. When the socket takes only a part, the writer remembers how many bytes of the
//! first waiting event are out; nothing else is written before its rest.
//!
//! Cost: one system call per batch; no memory between batches.

use std::io::{self, IoSlice, Write};
use std::sync::Arc;

use tokio::net::TcpStream;

use super::Session;
use super::link::Link;
use crate::events::Event;
use crate::ws::frame::{HEADER_BYTES_MAX, Opcode, encode_close, encode_frame, encode_header};

/// Events per system call.
const BATCH_MAX: usize = 64;
/// Longest envelope in bytes: header 10, keys 24, name 29, sequence 20, and some.
const ENVELOPE_BYTES_MAX: usize = 96;
/// Why writing an envelope cannot fail.
const FITS: &str = "the longest name and number fit in an envelope";
/// Control bytes that may wait; a client that makes us exceed it does not read.
const CONTROL_BYTES_MAX: usize = 16 << 10;

/// What is still to be written.
#[derive(Debug, Default)]
pub(super) struct Writer {
    control: Vec<u8>,
    /// Sequence number of the event that is partly written, and the bytes of its frame that are out.
    partial: Option<(u64, usize)>,
}

/// What goes before the shared body: the frame header and `{"t":"NAME","op":0,"s":N,"d":`.
///
/// `s` comes before `d`, because a library finds it by searching the text for its key.
struct Envelope {
    bytes: [u8; ENVELOPE_BYTES_MAX],
    len: usize,
}

impl Envelope {
    fn new(sequence: u64, event: &Event, body: &[u8]) -> Self {
        let mut prefix = [0; ENVELOPE_BYTES_MAX - HEADER_BYTES_MAX];
        let mut rest = prefix.as_mut_slice();
        let name = event.kind().name();
        write!(rest, r#"{{"t":"{name}","op":0,"s":{sequence},"d":"#).expect(FITS);
        let rest_len = rest.len();
        let prefix = &prefix[..prefix.len() - rest_len];
        let (header, header_len) = encode_header(Opcode::Text, prefix.len() + body.len());
        let mut bytes = [0; ENVELOPE_BYTES_MAX];
        let mut rest = bytes.as_mut_slice();
        rest.write_all(&header[..header_len]).expect(FITS);
        rest.write_all(prefix).expect(FITS);
        let len = ENVELOPE_BYTES_MAX - rest.len();
        Self { bytes, len }
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl Writer {
    /// Queues a text frame that is no dispatch.
    pub(super) fn text(&mut self, payload: &str) {
        encode_frame(Opcode::Text, payload.as_bytes(), &mut self.control);
    }

    /// Queues the answer to a ping.
    pub(super) fn pong(&mut self, payload: &[u8]) {
        encode_frame(Opcode::Pong, payload, &mut self.control);
    }

    /// Queues a close frame.
    pub(super) fn close(&mut self, code: u16, reason: &str) {
        encode_close(code, reason, &mut self.control);
    }

    /// Writes until nothing waits or the socket is full; true if it is full.
    pub(super) fn flush(
        &mut self,
        io: &TcpStream,
        session: Option<(&Arc<Session>, &Arc<Link>)>,
    ) -> io::Result<bool> {
        loop {
            if self.partial.is_none() && !self.control.is_empty() && !self.flush_control(io)? {
                return Ok(true);
            }
            let Some((session, link)) = session else {
                return Ok(false);
            };
            let batch = session.next_batch(link, BATCH_MAX);
            if batch.is_empty() {
                return match self.partial {
                    None => Ok(false),
                    Some(_) => Err(io::ErrorKind::ConnectionAborted.into()),
                };
            }
            match self.write_batch(io, session, &batch) {
                Ok(written) => {
                    session.metrics.writes.inc();
                    session.metrics.written.inc_by(written as u64);
                    session.advance(link, written);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(true),
                Err(error) => return Err(error),
            }
        }
    }

    /// Writes the control bytes; false if the socket is full.
    fn flush_control(&mut self, io: &TcpStream) -> io::Result<bool> {
        while !self.control.is_empty() {
            match io.try_write(&self.control) {
                Ok(count) => drop(self.control.drain(..count)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return if self.control.len() > CONTROL_BYTES_MAX {
                        Err(io::ErrorKind::OutOfMemory.into())
                    } else {
                        Ok(false)
                    };
                }
                Err(error) => return Err(error),
            }
        }
        self.control = Vec::new();
        Ok(true)
    }

    /// One `writev`; returns how many events are now written completely.
    fn write_batch(
        &mut self,
        io: &TcpStream,
        session: &Session,
        batch: &[(u64, Arc<Event>)],
    ) -> io::Result<usize> {
        let (account, intents) = (session.facts.account, session.facts.intents);
        let frames: Vec<(Envelope, &[u8])> = batch
            .iter()
            .map(|(sequence, event)| {
                let body = event.body_for(account, intents);
                (Envelope::new(*sequence, event, body), body)
            })
            .collect();
        let mut slices = Vec::with_capacity(frames.len() * 2);
        for (envelope, body) in &frames {
            slices.push(IoSlice::new(envelope.bytes()));
            slices.push(IoSlice::new(body));
        }
        let mut out = slices.as_mut_slice();
        let first = batch.first().map_or(0, |(sequence, _)| *sequence);
        let mut count = match self.partial {
            None => 0,
            Some((sequence, count)) if sequence == first => count,
            Some(_) => return Err(io::ErrorKind::ConnectionAborted.into()),
        };
        IoSlice::advance_slices(&mut out, count);
        count += io.try_write_vectored(out)?;
        let mut complete = 0;
        self.partial = None;
        for ((sequence, _), (envelope, body)) in batch.iter().zip(&frames) {
            let len = envelope.len + body.len();
            if count < len {
                self.partial = (count > 0).then_some((*sequence, count));
                break;
            }
            count -= len;
            complete += 1;
        }
        Ok(complete)
    }
}
