//! Message ids for history that never had any: a pure function of time, line and source.
//!
//! An id is `(ms since 2015-01-01) << 22 | low bits`, as for every message. Logs older than the epoch of the wire
//! format would need negative ids, which no bot library reads, so the years before it are folded, in order, into
//! the first sixteen hours of 2015: four id-milliseconds for each minute since 1988. Ids therefore sort as the
//! times do, over the whole history; the true time of a message is stored beside it and is what people see.
//!
//! ```text
//! low 22 bits:  | line within its minute, 10 bits | source slot, 12 bits |
//! ```
//!
//! The line within the minute carries into the milliseconds, so 4096 lines a minute and source fit before the
//! fold and 61 million after it. The slot tells apart sources that cover the same minute of a channel.

/// 2015-01-01T00:00:00Z in milliseconds since 1970, the zero of snowflake time.
pub(crate) const EPOCH_MS: i64 = 1_420_070_400_000;
/// 1988-01-01T00:00:00Z: no IRC log is older.
const OLDEST_MS: i64 = 567_993_600_000;
/// Times before this are folded: sixteen hours after the epoch.
const FOLD_END_MS: i64 = EPOCH_MS + 16 * 3_600_000;
const FOLD_MS_PER_MINUTE: i64 = 4;
const LINE_BITS: u32 = 10;
const SLOT_BITS: u32 = 12;
/// The last millisecond that an id has bits for, since 2015: in the year 2084.
const TIME_MAX_MS: u64 = (1 << 41) - 1;
/// Number of distinct source slots of a channel.
pub(crate) const SLOTS: u32 = 1 << SLOT_BITS;

// The folded years end before the first time that is not folded begins.
const _: () =
    assert!((FOLD_END_MS - OLDEST_MS) / 60_000 * FOLD_MS_PER_MINUTE <= FOLD_END_MS - EPOCH_MS);

/// Mints the ids of one source, line by line.
#[derive(Debug)]
pub(crate) struct Minter {
    slot: u64,
    minute: i64,
    line: i64,
}

impl Minter {
    /// For the source with this slot (taken modulo [`SLOTS`]).
    pub(crate) fn new(slot: u32) -> Self {
        Self {
            slot: u64::from(slot % SLOTS),
            minute: i64::MIN,
            line: 0,
        }
    }

    /// The id of the next line, said at `sent_ms` (milliseconds since 1970).
    ///
    /// Lines must come in the order of the file. `None` if the time is older than 1988 or later than 2084, or the
    /// minute is full.
    pub(crate) fn next(&mut self, sent_ms: i64) -> Option<u64> {
        // A clock that steps back must not mint the same ids twice: the id stays in the later minute.
        let minute = sent_ms.div_euclid(60_000).max(self.minute);
        if minute == self.minute {
            self.line += 1;
        } else {
            self.minute = minute;
            self.line = 0;
        }
        let (base_ms, room_ms) = if minute * 60_000 < FOLD_END_MS {
            (
                (minute - OLDEST_MS / 60_000) * FOLD_MS_PER_MINUTE,
                FOLD_MS_PER_MINUTE,
            )
        } else {
            (minute * 60_000 - EPOCH_MS, 60_000)
        };
        let carry_ms = self.line >> LINE_BITS;
        let in_line = u64::try_from(self.line & ((1 << LINE_BITS) - 1)).ok()?;
        let ms = u64::try_from(base_ms + carry_ms).ok()?;
        (base_ms >= 0 && carry_ms < room_ms && ms <= TIME_MAX_MS)
            .then_some((ms << (LINE_BITS + SLOT_BITS)) | (in_line << SLOT_BITS) | self.slot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_sort_as_times_do_across_the_fold() {
        let times = [
            OLDEST_MS,
            1_100_000_000_000,
            EPOCH_MS - 1,
            EPOCH_MS,
            FOLD_END_MS - 1,
            FOLD_END_MS,
            1_600_000_000_000,
        ];
        let mut minter = Minter::new(4095);
        let ids: Vec<u64> = times.iter().map(|ms| minter.next(*ms).unwrap()).collect();
        assert!(ids.is_sorted_by(|a, b| a < b), "{ids:?}");
    }

    #[test]
    fn lines_of_one_minute_keep_their_order_and_sources_never_meet() {
        let (mut one, mut two) = (Minter::new(1), Minter::new(2));
        let mut last = 0;
        for _ in 0..4096 {
            let (a, b) = (
                one.next(1_100_000_000_000).unwrap(),
                two.next(1_100_000_000_000).unwrap(),
            );
            assert!(a > last && b == a + 1);
            last = a;
        }
        assert_eq!(one.next(1_100_000_000_000), None, "the minute is full");
        assert!(one.next(1_100_000_060_000).unwrap() > last);
    }

    #[test]
    fn a_clock_that_steps_back_repeats_no_id() {
        let mut minter = Minter::new(0);
        let minutes = [5, 6, 5, 6, 5, 7].map(|minute| 1_300_000_020_000 + minute * 60_000);
        let ids: Vec<u64> = minutes.iter().map(|ms| minter.next(*ms).unwrap()).collect();
        assert!(ids.is_sorted_by(|a, b| a < b), "{ids:?}");
    }

    #[test]
    fn a_time_before_irc_or_after_the_last_id_has_none() {
        assert_eq!(Minter::new(0).next(OLDEST_MS - 60_000), None);
        let last_ms = EPOCH_MS + i64::try_from(TIME_MAX_MS).unwrap();
        let last = Minter::new(0).next(last_ms - 60_000).unwrap();
        assert!(i64::try_from(last).unwrap() > 0);
        assert_eq!(Minter::new(0).next(last_ms + 60_000), None);
    }
}
