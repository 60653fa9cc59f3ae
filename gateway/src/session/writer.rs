//! Puts frames on the socket: control frames from a small buffer, events from shared memory.
//!
//! Up to [`BATCH_MAX`] events leave in one `writev` as `[frame header][shared body][sequence]}`; no
//! event is copied. When the socket takes only a part, the writer remembers how many bytes of the
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
/// Longest sequence number with its closing brace, in bytes.
const TAIL_BYTES_MAX: usize = 21;
/// Control bytes that may wait; a client that makes us exceed it does not read.
const CONTROL_BYTES_MAX: usize = 16 << 10;

/// What is still to be written.
#[derive(Debug, Default)]
pub(super) struct Writer {
    control: Vec<u8>,
    /// Sequence number of the event that is partly written, and the bytes of its frame that are out.
    partial: Option<(u64, usize)>,
}

/// The parts of a frame that belong to one session alone.
struct Envelope {
    header: [u8; HEADER_BYTES_MAX],
    header_len: usize,
    tail: [u8; TAIL_BYTES_MAX],
    tail_len: usize,
}

impl Envelope {
    fn new(sequence: u64, body: &[u8]) -> Self {
        let mut tail = [0; TAIL_BYTES_MAX];
        let mut rest = tail.as_mut_slice();
        write!(rest, "{sequence}}}").expect("20 digits and a brace fit in the tail");
        let tail_len = TAIL_BYTES_MAX - rest.len();
        let (header, header_len) = encode_header(Opcode::Text, body.len() + tail_len);
        Self {
            header,
            header_len,
            tail,
            tail_len,
        }
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
                Ok(written) => session.advance(link, written),
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
        let frames: Vec<(&[u8], Envelope)> = batch
            .iter()
            .map(|(sequence, event)| {
                let body = event.body_for(account, intents);
                (body, Envelope::new(*sequence, body))
            })
            .collect();
        let mut slices = Vec::with_capacity(frames.len() * 3);
        for (body, envelope) in &frames {
            slices.push(IoSlice::new(&envelope.header[..envelope.header_len]));
            slices.push(IoSlice::new(body));
            slices.push(IoSlice::new(&envelope.tail[..envelope.tail_len]));
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
        for ((sequence, _), (body, envelope)) in batch.iter().zip(&frames) {
            let len = envelope.header_len + body.len() + envelope.tail_len;
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
