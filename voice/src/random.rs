//! Randomness enters here: names, keys of ICE, first numbers. (DTLS and SRTP take theirs inside their library.)

use aws_lc_rs::rand;

use crate::error::{Error, ErrorKind, Result};

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// `N` random bytes.
pub(crate) fn bytes<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    rand::fill(&mut bytes).map_err(|error| {
        Error::new(ErrorKind::Io, "the operating system gives no random bytes").with_source(error)
    })?;
    Ok(bytes)
}

/// A random number.
pub(crate) fn number() -> Result<u32> {
    bytes().map(u32::from_be_bytes)
}

/// `N` characters of ICE's alphabet, 6 bits each.
pub(crate) fn text<const N: usize>() -> Result<String> {
    Ok(bytes::<N>()?
        .iter()
        .map(|byte| char::from(ALPHABET[usize::from(byte & 63)]))
        .collect())
}
