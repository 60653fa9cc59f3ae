//! H.264 (RFC 6184): only whether a packet starts something that can be decoded from here on.

use crate::bits::be16;

/// Whether the payload begins a key frame: an IDR slice or the sequence parameters in front of one.
pub(crate) fn key_frame(payload: &[u8]) -> bool {
    let Some((&first, rest)) = payload.split_first() else {
        return false;
    };
    match first & 0x1f {
        5 | 7 => true,
        24 => aggregate_has_key(rest),
        28 => rest
            .first()
            .is_some_and(|fu| fu & 0x80 != 0 && matches!(fu & 0x1f, 5 | 7)),
        _ => false,
    }
}

fn aggregate_has_key(mut rest: &[u8]) -> bool {
    while let Some(len) = be16(rest, 0) {
        let Some((unit, next)) = rest
            .get(2..)
            .and_then(|units| units.split_at_checked(usize::from(len)))
        else {
            return false;
        };
        if unit
            .first()
            .is_some_and(|unit| matches!(unit & 0x1f, 5 | 7))
        {
            return true;
        }
        rest = next;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::key_frame;

    #[test]
    fn key_frames_are_seen_alone_aggregated_and_fragmented() {
        assert!(key_frame(&[0x65, 1]) && key_frame(&[0x67, 1]));
        assert!(key_frame(&[24, 0, 1, 0x09, 0, 2, 0x67, 1]));
        assert!(key_frame(&[28, 0x85]) && !key_frame(&[28, 0x05]));
        assert!(
            !key_frame(&[0x61, 1])
                && !key_frame(&[24, 0, 9, 0x67])
                && !key_frame(&[])
                && !key_frame(&[28])
        );
    }
}
