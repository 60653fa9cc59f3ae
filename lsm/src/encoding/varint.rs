//! Variable-length numbers: 7 bits per byte, low bits first, high bit set on all but the last.
//!
//! Only the shortest form decodes, so that a value has one encoding and a damaged byte has fewer
//! ways to pass.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

/// Longest encoding of a 64-bit number, in bytes.
pub const VARINT_BYTES_MAX: usize = 10;

/// Appends `value` to `out`.
pub fn encode(out: &mut Vec<u8>, mut value: u64) {
    loop {
        let [low, ..] = value.to_le_bytes();
        value >>= 7;
        if value == 0 {
            out.push(low & 0x7f);
            return;
        }
        out.push(low | 0x80);
    }
}

/// The number at the front of `bytes` and its encoded length in bytes, or `None` if the bytes
/// end early, overflow 64 bits, or are not the shortest form.
#[inline]
pub fn decode(bytes: &[u8]) -> Option<(u64, usize)> {
    let first = *bytes.first()?;
    if first & 0x80 == 0 {
        return Some((u64::from(first), 1));
    }
    if let Some(chunk) = bytes.first_chunk::<8>() {
        let word = u64::from_le_bytes(*chunk);
        let ends = !word & 0x8080_8080_8080_8080;
        if ends != 0 {
            return decode_word(word, ends.trailing_zeros());
        }
    }
    decode_bytewise(bytes)
}

/// Decodes a number whose highest bit is `last_bit` of the eight bytes of `word`: drops what
/// follows it, then moves the groups of 7 bits together in three steps.
#[inline]
fn decode_word(word: u64, last_bit: u32) -> Option<(u64, usize)> {
    let kept = word & (u64::MAX >> 63_u32.saturating_sub(last_bit));
    let bits = kept & 0x7f7f_7f7f_7f7f_7f7f;
    let bits = (bits & 0x007f_007f_007f_007f) | ((bits & 0x7f00_7f00_7f00_7f00) >> 1);
    let bits = (bits & 0x0000_3fff_0000_3fff) | ((bits & 0x3fff_0000_3fff_0000) >> 2);
    let bits = (bits & 0x0fff_ffff) | ((bits & 0x0fff_ffff_0000_0000) >> 4);
    let len = (last_bit >> 3).saturating_add(1);
    let highest = kept >> last_bit.saturating_sub(7);
    let len = usize::try_from(len).unwrap_or(usize::MAX);
    (highest != 0 || len == 1).then_some((bits, len))
}

fn decode_bytewise(bytes: &[u8]) -> Option<(u64, usize)> {
    let mut value = 0_u64;
    let mut shift = 0_u32;
    for (at, byte) in bytes.iter().take(VARINT_BYTES_MAX).enumerate() {
        let bits = u64::from(byte & 0x7f);
        if shift == 63 && bits > 1 {
            return None;
        }
        value |= bits.wrapping_shl(shift);
        shift = shift.saturating_add(7);
        if byte & 0x80 == 0 {
            let is_shortest = *byte != 0 || at == 0;
            return is_shortest.then_some((value, at.saturating_add(1)));
        }
    }
    None
}

/// Maps small negative numbers to small positive ones: 0, -1, 1, -2, ... become 0, 1, 2, 3, ...
pub fn zigzag(value: i64) -> u64 {
    (value << 1).cast_unsigned() ^ (value >> 63).cast_unsigned()
}

/// The inverse of [`zigzag`].
pub fn unzigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ (value & 1).cast_signed().wrapping_neg()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_survive_the_round_trip_and_long_forms_are_refused() {
        for value in [
            0,
            1,
            127,
            128,
            300,
            u64::from(u32::MAX),
            u64::MAX - 1,
            u64::MAX,
        ] {
            let mut bytes = Vec::new();
            encode(&mut bytes, value);
            assert_eq!(decode(&bytes), Some((value, bytes.len())));
            bytes.pop();
            assert_eq!(decode(&bytes), None);
        }
        assert_eq!(decode(&[0x80, 0x00]), None);
        assert_eq!(decode(&[0xff; 11]), None);
        // All lengths, at the end of the bytes and with others behind them.
        for shift in 0..64 {
            for value in [1_u64 << shift, u64::MAX >> shift] {
                let mut bytes = Vec::new();
                encode(&mut bytes, value);
                let len = bytes.len();
                assert_eq!(decode_bytewise(&bytes), Some((value, len)));
                for behind in [0x00, 0x01, 0x80, 0xff] {
                    bytes.resize(len + 10, behind);
                    assert_eq!(decode(&bytes), Some((value, len)));
                    bytes.truncate(len);
                }
                if len < 8 {
                    bytes[len - 1] |= 0x80;
                    bytes.resize(12, 0);
                    assert_eq!(decode(&bytes), None, "a longer form of {value}");
                }
            }
        }
        for value in [0, -1, 1, i64::MIN, i64::MAX] {
            assert_eq!(unzigzag(zigzag(value)), value);
        }
    }
}
