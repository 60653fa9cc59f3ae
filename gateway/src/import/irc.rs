//! IRC logs: one line is one message, an action, or a system notice.
//!
//! Lines look like `[HH:MM] <nick> text`, `[HH:MM:SS] <nick> text` or `[HH:MM] * nick does`; everything else
//! (`=== nick joined`, `*** ...`, blank lines) is a notice and is counted, not imported. The date comes from the
//! file's name (`2008-12-11...`); a clock that jumps back by more than twelve hours means that midnight passed.
//! A file `X.annotation.txt` beside `X.raw.txt` holds lines `A B -`: line B answers line A, both counted from 0
//! over every line of the file, notices included.
//!
//! Files are read line by line; a line is cut at [`LINE_BYTES_MAX`], never kept whole beyond it.

use std::collections::BTreeMap;
use std::io::BufRead;

use time::{Date, Month};

/// Longest line that is read, in bytes; the rest of a longer line is skipped and the message is reported.
pub(crate) const LINE_BYTES_MAX: usize = 64 * 1024;
/// A clock that runs back by more than this many minutes has passed midnight.
const MIDNIGHT_JUMP_MINUTES: i64 = 12 * 60;
const MINUTES_PER_DAY: i64 = 24 * 60;

/// What one line of a log says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Line<'a> {
    /// Something a person said or did.
    Said {
        /// Minutes since midnight.
        minute: u16,
        /// Seconds within the minute; 0 where the log has only minutes.
        second: u8,
        /// The nick as written.
        nick: &'a str,
        /// The text; an action is `*text*`, as chat clients show it.
        text: &'a str,
        /// True for `* nick text`.
        action: bool,
    },
    /// A join, a part, a rename, a blank line: nothing to import.
    Notice,
}

/// Reads one line. Anything that is not a message is a [`Line::Notice`].
pub(crate) fn parse_line(line: &str) -> Line<'_> {
    said(line.trim_end_matches(['\r', '\n'])).unwrap_or(Line::Notice)
}

fn said(line: &str) -> Option<Line<'_>> {
    let (clock, rest) = line.strip_prefix('[')?.split_once(']')?;
    let (minute, second) = parse_clock(clock)?;
    let rest = rest.strip_prefix(' ').unwrap_or(rest);
    if let Some(spoken) = rest.strip_prefix('<') {
        let (nick, text) = spoken.split_once('>')?;
        let text = text.strip_prefix(' ').unwrap_or(text);
        return checked(minute, second, nick.trim(), text, false);
    }
    let acted = rest.trim_start().strip_prefix("* ").map(str::trim_start)?;
    let (nick, text) = acted.split_once(' ').unwrap_or((acted, ""));
    checked(minute, second, nick, text, true)
}

fn checked<'a>(
    minute: u16,
    second: u8,
    nick: &'a str,
    text: &'a str,
    action: bool,
) -> Option<Line<'a>> {
    let nick_is_plausible = !nick.is_empty() && nick.len() <= 64;
    (nick_is_plausible && !text.trim().is_empty()).then_some(Line::Said {
        minute,
        second,
        nick,
        text,
        action,
    })
}

/// `HH:MM` or `HH:MM:SS`, as minutes since midnight and seconds.
fn parse_clock(clock: &str) -> Option<(u16, u8)> {
    let mut parts = clock.split(':');
    let hour: u16 = parts.next()?.trim().parse().ok()?;
    let minute: u16 = parts.next()?.parse().ok()?;
    let second: u8 = parts.next().map_or(Some(0), |text| text.parse().ok())?;
    (parts.next().is_none() && hour < 24 && minute < 60 && second < 60)
        .then(|| (hour * 60 + minute, second))
}

/// Follows the date through a file whose lines carry only the time of day.
#[derive(Debug)]
pub(crate) struct DayClock {
    day: Date,
    last_minute: Option<i64>,
}

impl DayClock {
    /// Starts on `day`.
    pub(crate) fn new(day: Date) -> Self {
        Self {
            day,
            last_minute: None,
        }
    }

    /// Milliseconds since 1970-01-01 of a line said at `minute` and `second`.
    pub(crate) fn at(&mut self, minute: u16, second: u8) -> i64 {
        let minute = i64::from(minute);
        if self
            .last_minute
            .is_some_and(|last| last - minute > MIDNIGHT_JUMP_MINUTES)
        {
            self.day = self.day.next_day().unwrap_or(self.day);
        }
        self.last_minute = Some(minute);
        let days = i64::from(self.day.to_julian_day()) - i64::from(unix_epoch_julian_day());
        ((days * MINUTES_PER_DAY + minute) * 60 + i64::from(second)) * 1000
    }
}

fn unix_epoch_julian_day() -> i32 {
    time::macros::date!(1970 - 01 - 01).to_julian_day()
}

/// The date in front of a file name such as `2008-12-11_11.raw.txt`.
pub(crate) fn date_of(file_name: &str) -> Option<Date> {
    let year = file_name.get(0..4)?.parse().ok()?;
    let month: u8 = file_name.get(5..7)?.parse().ok()?;
    let day = file_name.get(8..10)?.parse().ok()?;
    let separators = (file_name.get(4..5)?, file_name.get(7..8)?);
    (separators == ("-", "-"))
        .then(|| Date::from_calendar_date(year, Month::try_from(month).ok()?, day).ok())
        .flatten()
}

/// Reply links of one log: line to the nearest earlier line it answers.
///
/// Lines that cannot be read are counted in the second value.
pub(crate) fn read_annotations(reader: impl BufRead) -> std::io::Result<(BTreeMap<u64, u64>, u64)> {
    let mut replies = BTreeMap::new();
    let mut unreadable = 0;
    for line in reader.lines() {
        let line = line?;
        if line.trim().is_empty() {
            continue;
        }
        let mut fields = line.split_whitespace();
        let pair = (
            fields.next().and_then(|field| field.parse::<u64>().ok()),
            fields.next().and_then(|field| field.parse::<u64>().ok()),
        );
        let (Some(one), Some(other)) = pair else {
            unreadable += 1;
            continue;
        };
        let (earlier, later) = (one.min(other), one.max(other));
        if earlier != later {
            let nearest = replies.entry(later).or_insert(earlier);
            *nearest = earlier.max(*nearest);
        }
    }
    Ok((replies, unreadable))
}

/// Reads the next line into `line`, at most [`LINE_BYTES_MAX`] bytes of it, invalid UTF-8 replaced.
///
/// Returns the bytes consumed, 0 at the end of the file.
pub(crate) fn read_line(reader: &mut impl BufRead, line: &mut String) -> std::io::Result<u64> {
    let mut raw = Vec::new();
    let mut consumed = 0_u64;
    loop {
        let chunk = reader.fill_buf()?;
        if chunk.is_empty() {
            break;
        }
        let end = chunk.iter().position(|byte| *byte == b'\n');
        let taken = end.map_or(chunk.len(), |at| at + 1);
        let room = LINE_BYTES_MAX.saturating_sub(raw.len()).min(taken);
        raw.extend(chunk.iter().take(room));
        reader.consume(taken);
        consumed += taken as u64;
        if end.is_some() {
            break;
        }
    }
    line.clear();
    line.push_str(&String::from_utf8_lossy(&raw));
    Ok(consumed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_message_an_action_or_a_notice() {
        let check = |line, expected| assert_eq!(parse_line(line), expected, "{line:?}");
        let said = |minute, second, nick, text, action| Line::Said {
            minute,
            second,
            nick,
            text,
            action,
        };
        check(
            "[03:41] <ubotu> hello > world",
            said(221, 0, "ubotu", "hello > world", false),
        );
        check("[23:59:58] <a|b> x", said(1439, 58, "a|b", "x", false));
        check(
            "[22:15]  * mike waves ...",
            said(1335, 0, "mike", "waves ...", true),
        );
        for notice in [
            "=== Nella entered the room.",
            "",
            "[25:00] <a> b",
            "[1:2:3:4] <a> b",
            "[12:30] <a>",
            "[12:30] <> x",
            "[65535:65535:255] <a> b",
            "<a> b",
        ] {
            check(notice, Line::Notice);
        }
    }

    #[test]
    fn midnight_is_passed_when_the_clock_jumps_back() {
        let mut clock = DayClock::new(date_of("2008-12-31_11.raw.txt").unwrap());
        let before = clock.at(1439, 0);
        assert_eq!(clock.at(0, 30) - before, 90_000);
        assert_eq!(clock.at(1438, 0) - before, 86_400_000 - 60_000);
        assert_eq!(before, 1_230_767_940_000);
    }

    #[test]
    fn a_reply_goes_to_the_nearest_earlier_line() {
        let (replies, unreadable) =
            read_annotations(&b"0 0 -\n3 9 -\n7 9 - \n9 5 -\nx y -\n\n"[..]).unwrap();
        assert_eq!(replies, BTreeMap::from([(9, 7)]));
        assert_eq!(unreadable, 1);
    }

    #[test]
    fn a_long_line_is_cut_and_the_next_one_is_whole() {
        let text = format!("{}\n[00:01] <a> b\n", "x".repeat(LINE_BYTES_MAX * 2));
        let mut reader = std::io::BufReader::with_capacity(7, text.as_bytes());
        let mut line = String::new();
        assert_eq!(
            read_line(&mut reader, &mut line).unwrap(),
            (LINE_BYTES_MAX * 2 + 1) as u64
        );
        assert_eq!(line.len(), LINE_BYTES_MAX);
        read_line(&mut reader, &mut line).unwrap();
        assert_eq!(line, "[00:01] <a> b\n");
        assert_eq!(read_line(&mut reader, &mut line).unwrap(), 0);
    }
}
