//! Cuts of numbers that are meant: RTP and its friends carry the low bits of larger counters.

#![expect(
    clippy::cast_possible_truncation,
    reason = "taking the low bits is what these functions are for"
)]

pub(crate) const fn low8(value: u64) -> u8 {
    value as u8
}

pub(crate) const fn low16(value: u64) -> u16 {
    value as u16
}

pub(crate) const fn low32(value: u64) -> u32 {
    value as u32
}

/// Lengths of datagrams and of their parts: far below 2^16 by construction, saturated otherwise.
pub(crate) fn len16(len: usize) -> u16 {
    u16::try_from(len).unwrap_or(u16::MAX)
}

/// Bits per second and other measures as a float; exact below 2^53, which no link reaches.
#[expect(clippy::cast_precision_loss, reason = "rates are far below 2^53")]
pub(crate) const fn float(value: u64) -> f64 {
    value as f64
}

/// Back from a measure: negative and not-a-number become zero, too large saturates.
#[expect(clippy::cast_sign_loss, reason = "`as` saturates at zero")]
pub(crate) const fn whole(value: f64) -> u64 {
    value as u64
}

/// Microseconds of a duration.
pub(crate) const fn micros(duration: std::time::Duration) -> u64 {
    duration.as_micros() as u64
}

pub(crate) fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

pub(crate) fn be24(bytes: &[u8], at: usize) -> Option<u32> {
    let [a, b, c] = *bytes.get(at..)?.first_chunk()?;
    Some(u32::from_be_bytes([0, a, b, c]))
}

pub(crate) fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

pub(crate) fn be64(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// The counter of more than 16 bits that ends in `seq` and lies closest to `near`.
pub(crate) fn extend(near: u64, seq: u16) -> u64 {
    let distance = seq.wrapping_sub(low16(near)).cast_signed();
    near.saturating_add_signed(i64::from(distance))
}

#[cfg(test)]
mod tests {
    use super::extend;

    #[test]
    fn sequence_numbers_are_extended_over_the_wrap() {
        assert_eq!(extend(65_530, 5), 65_541);
        assert_eq!(extend(65_541, 65_530), 65_530);
        assert_eq!(extend(10, 5), 5);
        assert_eq!(extend(3 << 16, 0xffff), (3 << 16) - 1);
    }
}
