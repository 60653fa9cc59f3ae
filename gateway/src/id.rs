//! Snowflake identifiers: 64-bit numbers that sort by the time they were made.
//!
//! `(ms - 1420070400000) << 22 | worker 10 bits << 12 | increment 12 bits`. On the wire an id is
//! a decimal string; requests may also send a plain integer.
//!
//! # Invariants
//!
//! * An [`Id`] fits in 63 bits, so that it is a positive `bigint` in the database.
//! * One [`Generator`] never repeats: its clock only moves forward. When the wall clock steps back
//!   or 4096 ids are made within a millisecond, it borrows from the future and says nothing.
//! * A generator mints inside of its [`Window`] only; windows of one worker number never overlap, see
//!   `worker.rs`. So no two generators over one database make the same id.
//!
//! # Cost
//!
//! One short lock per id; no allocation.

use std::fmt;
use std::str::FromStr;

use parking_lot::Mutex;
use serde::de::{self, Deserialize, Deserializer, Visitor};
use serde::{Serialize, Serializer};

use crate::clock;

/// First millisecond that a snowflake can name: 2015-01-01T00:00:00Z in Unix milliseconds.
pub const EPOCH_MS: i64 = 1_420_070_400_000;
/// Days of history in one partition of the messages table.
pub const BUCKET_DAYS: i64 = 10;
/// Milliseconds of history in one partition of the messages table.
pub const BUCKET_MS: i64 = BUCKET_DAYS * 86_400_000;
/// Highest worker number.
pub const WORKER_MAX: u16 = 1023;

const TIME_SHIFT: u32 = 22;
const WORKER_SHIFT: u32 = 12;
const INCREMENT_MAX: u64 = 4095;
const TIME_MAX: u64 = (1 << 41) - 1;

const _: () = assert!(TIME_MAX << TIME_SHIFT < 1 << 63);

/// A snowflake: id of a user, guild, channel, role, message or token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Id(u64);

impl Id {
    /// Wraps a number; `None` when it is 0 or does not fit in 63 bits.
    pub fn new(number: u64) -> Option<Self> {
        (number != 0 && i64::try_from(number).is_ok()).then_some(Self(number))
    }

    /// Takes an id back from a `bigint` column. A negative number has no id and becomes 0.
    pub fn from_bigint(number: i64) -> Self {
        Self(u64::try_from(number).unwrap_or(0))
    }

    /// The value for a `bigint` column.
    pub fn bigint(self) -> i64 {
        self.0.cast_signed()
    }

    /// The plain number.
    pub fn get(self) -> u64 {
        self.0
    }

    /// When the id was made, in Unix milliseconds.
    pub fn unix_ms(self) -> i64 {
        (self.0 >> TIME_SHIFT).cast_signed() + EPOCH_MS
    }

    /// The ten-day window in which a message with this id is stored.
    pub fn bucket(self) -> i32 {
        let bucket = (self.0 >> TIME_SHIFT) / BUCKET_MS.cast_unsigned();
        i32::try_from(bucket).expect("41 bits of milliseconds hold fewer than 2^12 windows")
    }

    /// An id for something that happened at `unix_ms`: for imports, which must get the same id for
    /// the same event every time. `None` before 2015 and after 2084, or when a part is too large.
    pub fn at(unix_ms: i64, worker: u16, increment: u16) -> Option<Self> {
        let time = u64::try_from(unix_ms.checked_sub(EPOCH_MS)?).ok()?;
        let fits =
            time <= TIME_MAX && worker <= WORKER_MAX && u64::from(increment) <= INCREMENT_MAX;
        let number = time << TIME_SHIFT | u64::from(worker) << WORKER_SHIFT | u64::from(increment);
        if fits { Self::new(number) } else { None }
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The text is not a decimal number between 1 and 2^63 - 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an id: expected a decimal number between 1 and 9223372036854775807")]
pub struct ParseIdError;

impl FromStr for Id {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        let number = text.parse::<u64>().map_err(|_| ParseIdError)?;
        if digits {
            Self::new(number).ok_or(ParseIdError)
        } else {
            Err(ParseIdError)
        }
    }
}

impl Serialize for Id {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(IdVisitor)
    }
}

struct IdVisitor;

impl Visitor<'_> for IdVisitor {
    type Value = Id;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an id as decimal string or integer")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Id, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Id, E> {
        Id::new(number).ok_or_else(|| E::custom(ParseIdError))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Id, E> {
        u64::try_from(number)
            .ok()
            .and_then(Id::new)
            .ok_or_else(|| E::custom(ParseIdError))
    }
}

/// A worker number and the times, in Unix milliseconds, that its ids may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    pub(crate) worker: u16,
    /// The first time.
    pub(crate) from_ms: i64,
    /// The first time that no id may have any more.
    pub(crate) until_ms: i64,
}

/// Makes ids of one worker.
#[derive(Debug)]
pub(crate) struct Generator(Mutex<Minting>);

#[derive(Debug)]
struct Minting {
    window: Window,
    /// Milliseconds since [`EPOCH_MS`] and increment of the newest id, as one number.
    last: u64,
    is_closed: bool,
}

impl Minting {
    fn new(window: Window) -> Self {
        Self {
            window,
            last: ticket(window.from_ms).saturating_sub(1),
            is_closed: false,
        }
    }
}

/// The first ticket of this time.
fn ticket(unix_ms: i64) -> u64 {
    let time = u64::try_from(unix_ms.saturating_sub(EPOCH_MS)).unwrap_or(0);
    time.min(TIME_MAX) << WORKER_SHIFT
}

impl Generator {
    /// A generator for a window.
    pub(crate) fn leased(window: Window) -> Self {
        Self(Mutex::new(Minting::new(window)))
    }

    /// The next id, newer than every id that this generator made before under its number.
    pub(crate) fn next_id(&self) -> chatdb::Result<Id> {
        self.next_at(clock::now_ms())
    }

    /// As [`Generator::next_id`] with the wall clock given.
    pub(crate) fn next_at(&self, unix_ms: i64) -> chatdb::Result<Id> {
        let mut minting = self.0.lock();
        let next = (minting.last + 1).max(ticket(unix_ms));
        if minting.is_closed || next >= ticket(minting.window.until_ms) {
            let message = "the lease of this process's worker number has ended; retry";
            return Err(chatdb::Error::new(chatdb::ErrorKind::Unavailable, message));
        }
        minting.last = next;
        let time = next >> WORKER_SHIFT;
        let worker = u64::from(minting.window.worker & WORKER_MAX);
        let increment = next & INCREMENT_MAX;
        Ok(Id(time << TIME_SHIFT | worker << WORKER_SHIFT | increment))
    }

    /// The window now.
    pub(crate) fn window(&self) -> Window {
        self.0.lock().window
    }

    /// Moves the end of the window.
    pub(crate) fn extend(&self, until_ms: i64) {
        self.0.lock().window.until_ms = until_ms;
    }

    /// Goes on in another window.
    pub(crate) fn switch(&self, window: Window) {
        let mut minting = self.0.lock();
        if !minting.is_closed {
            *minting = Minting::new(window);
        }
    }

    /// Makes no more ids; tells the worker number and the time of the newest id, or the last time
    /// before the window if there is none.
    pub(crate) fn close(&self) -> (u16, i64) {
        let mut minting = self.0.lock();
        minting.is_closed = true;
        let newest_ms = (minting.last >> WORKER_SHIFT).cast_signed() + EPOCH_MS;
        (minting.window.worker, newest_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn always(worker: u16) -> Window {
        Window {
            worker,
            from_ms: EPOCH_MS,
            until_ms: i64::MAX,
        }
    }

    #[test]
    fn ids_stay_unique_and_sorted_when_the_clock_steps_back() {
        let generator = Generator::leased(always(7));
        let start = EPOCH_MS + 1_000_000;
        let mut last = Id::default();
        for turn in 0..20_000 {
            let now = if turn % 3 == 0 {
                start - 500_000
            } else {
                start
            };
            let id = generator.next_at(now).unwrap();
            assert!(id > last, "{id} after {last}");
            assert_eq!(id.get() >> 12 & 1023, 7);
            last = id;
        }
        assert!(
            last.unix_ms() < start + 10,
            "borrowed {} ms",
            last.unix_ms() - start
        );
    }

    #[test]
    fn ids_from_many_threads_never_repeat() {
        let generator = Generator::leased(always(1));
        let mut ids: Vec<Id> = std::thread::scope(|scope| {
            let spawn = |_| {
                scope.spawn(|| {
                    (0..5000)
                        .map(|_| generator.next_id().unwrap())
                        .collect::<Vec<_>>()
                })
            };
            let threads: Vec<_> = (0..4).map(spawn).collect();
            threads
                .into_iter()
                .flat_map(|thread| thread.join().unwrap())
                .collect()
        });
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), 20_000);
    }

    #[test]
    fn an_imported_time_gives_the_same_id_every_time() {
        let id = Id::at(EPOCH_MS + BUCKET_MS * 3, 5, 9).unwrap();
        assert_eq!(Id::at(id.unix_ms(), 5, 9), Some(id));
        assert_eq!(id.bucket(), 3);
        assert_eq!(Id::at(EPOCH_MS - 1, 0, 0), None);
        assert_eq!(Id::at(EPOCH_MS + 1, 1024, 0), None);
    }

    #[test]
    fn ids_are_read_from_strings_and_integers_and_nothing_else() {
        let read = |text| serde_json::from_str::<Id>(text).ok().map(Id::get);
        assert_eq!(read("\"81384788765712384\""), Some(81_384_788_765_712_384));
        assert_eq!(read("81384788765712384"), Some(81_384_788_765_712_384));
        for bad in [
            "0",
            "-1",
            "\"+5\"",
            "\"\"",
            "\"abc\"",
            "1.5",
            "18446744073709551615",
            "null",
        ] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
