//! Points in time as ISO 8601 text with microseconds and `+00:00`.

use std::fmt;

use serde::{Serialize, Serializer};
use time::OffsetDateTime;

/// Unix milliseconds that are written as `2024-01-31T10:20:30.400000+00:00`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Timestamp(pub(crate) i64);

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = OffsetDateTime::from_unix_timestamp(self.0.div_euclid(1000))
            .unwrap_or(OffsetDateTime::UNIX_EPOCH);
        let (hour, minute, second) = whole.to_hms();
        write!(
            f,
            "{:04}-{:02}-{:02}T{hour:02}:{minute:02}:{second:02}.{:03}000+00:00",
            whole.year(),
            u8::from(whole.month()),
            whole.day(),
            self.0.rem_euclid(1000),
        )
    }
}

impl Timestamp {
    /// Reads ISO 8601 text; `None` when it is anything else.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let format = time::format_description::well_known::Iso8601::PARSING;
        let time = OffsetDateTime::parse(text, &format).ok()?;
        i64::try_from(time.unix_timestamp_nanos() / 1_000_000)
            .ok()
            .map(Self)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_survives_the_wire() {
        for ms in [0, 1_420_070_400_000, 1_700_000_000_123, -1] {
            assert_eq!(
                Timestamp::parse(&Timestamp(ms).to_string()),
                Some(Timestamp(ms))
            );
        }
        assert_eq!(
            Timestamp(1_704_067_205_007).to_string(),
            "2024-01-01T00:00:05.007000+00:00"
        );
        assert_eq!(Timestamp::parse("yesterday"), None);
    }
}
