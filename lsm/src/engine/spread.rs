//! Where the data of an engine lies between its tokens.
//!
//! A file tells its first and last token and its length. Tokens are hashes, so that between them the
//! bytes count as even; a file of one partition counts wholly at its token.

use crate::manifest::Version;

/// How the bytes of an engine lie around a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spread {
    /// About half of the bytes have smaller tokens.
    pub token: u64,
    /// Those bytes. Far from half when much is one partition.
    pub below: u64,
    /// All bytes.
    pub all: u64,
}

/// The token in the middle of what `version` has between the `first` and the `last` token. `None` when
/// that is one token.
pub(super) fn halfway(version: &Version, (first, last): (u64, u64)) -> Option<Spread> {
    let files: Vec<(u64, u64, u64)> = version
        .all()
        .map(|file| {
            let properties = &file.meta.properties;
            (properties.first_token, properties.last_token, file.meta.len)
        })
        .collect();
    // Bytes of all files with tokens below the bound.
    let below = |bound: u64| -> u64 {
        let parts = files.iter().map(|file| part_below(*file, bound));
        parts.sum()
    };
    let before = below(first);
    let all = files
        .iter()
        .map(|file| {
            last.checked_add(1)
                .map_or(file.2, |end| part_below(*file, end))
        })
        .sum::<u64>()
        .saturating_sub(before);
    let half = before + all / 2;
    let (mut low, mut high) = (first.checked_add(1)?, last);
    if low > high {
        return None;
    }
    while low < high {
        let middle = low + (high - low) / 2;
        if below(middle) < half {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    Some(Spread {
        token: low,
        below: below(low).saturating_sub(before),
        all,
    })
}

/// The bytes of a file, first and last token and length, with tokens below the bound.
fn part_below((first, last, len): (u64, u64, u64), bound: u64) -> u64 {
    if bound <= first {
        return 0;
    }
    if last < bound {
        return len;
    }
    let share = u128::from(len) * u128::from(bound - first) / (u128::from(last - first) + 1);
    u64::try_from(share).unwrap_or(len)
}

#[cfg(test)]
mod tests {
    use super::part_below;

    #[test]
    fn a_file_counts_evenly_between_its_tokens_and_wholly_at_one() {
        let even = (100, 199, 1000);
        assert_eq!(part_below(even, 100), 0);
        assert_eq!(part_below(even, 150), 500);
        assert_eq!(part_below(even, 200), 1000);
        let single = (7, 7, 50);
        assert_eq!((part_below(single, 7), part_below(single, 8)), (0, 50));
        let whole = (0, u64::MAX, u64::MAX);
        assert_eq!(part_below(whole, 1 << 63), (1 << 63) - 1);
    }
}
