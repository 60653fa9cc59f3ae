//! The parts of a forwarder that know time and packets, but neither peers nor keys.
//!
//! Time is microseconds since the core began ([`Micros`]), so that it can be stored in four or eight bytes and is what a
//! test says it is.

pub(crate) mod cache;
pub(crate) mod estimate;
pub(crate) mod missing;
pub(crate) mod rate;
pub(crate) mod receive;
pub(crate) mod rewrite;
pub(crate) mod speaker;

/// Microseconds since the core began.
pub(crate) type Micros = u64;

pub(crate) const MILLISECOND: Micros = 1000;
pub(crate) const SECOND: Micros = 1_000_000;

/// Ticks of a media clock of `rate` hertz in `span`.
pub(crate) fn ticks(span: Micros, rate: u32) -> u32 {
    crate::bits::low32(u64::from(rate).saturating_mul(span) / SECOND)
}
