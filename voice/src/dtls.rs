//! DTLS 1.2, always as the server: `rtc-dtls` shakes hands, this file chooses the SRTP profile and checks who it was.
//!
//! The library takes the first profile of the client's list that it knows, and browsers list HMAC-SHA-1 first. So the
//! client's hello, which is readable, is looked at: if it offers AES-128-GCM the handshake runs with GCM alone.
//! The certificate is compared with the fingerprint of the signalled offer when the handshake is complete; until then
//! nothing of the peer is believed. The hello is answered with a cookie first, so that a forged address is sent no more
//! than came from it.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_lc_rs::digest;
use bytes::BytesMut;
use rtc_dtls::config::{ClientAuthType, ConfigBuilder, HandshakeConfig};
use rtc_dtls::crypto::Certificate;
use rtc_dtls::crypto_provider::{RTCCryptoProvider, default_provider};
use rtc_dtls::endpoint::{Endpoint, EndpointEvent};
use rtc_dtls::extension::extension_use_srtp::SrtpProtectionProfile;
use rtc_shared::TransportProtocol;

use crate::bits::be16;
use crate::error::{Error, ErrorKind, Result};
use crate::srtp::{KeyBlock, Profile};

const EXPORT_LABEL: &str = "EXTRACTOR-dtls_srtp";
/// Small enough for every path, with room for a relay's header.
const MTU: usize = 1200;
const FLIGHT_INTERVAL: Duration = Duration::from_millis(250);
/// The library keys its associations by address; here each has one of its own, whatever address the peer has now.
const THE_PEER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 1);

/// Certificate and settings of a process, shared by all its peers.
#[derive(Clone)]
pub(crate) struct Identity {
    pub(crate) provider: Arc<dyn RTCCryptoProvider>,
    gcm: Arc<HandshakeConfig>,
    both: Arc<HandshakeConfig>,
    /// As SDP writes it: pairs of hexadecimal digits with colons.
    pub(crate) fingerprint: String,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity")
            .field("fingerprint", &self.fingerprint)
            .finish_non_exhaustive()
    }
}

impl Identity {
    /// Makes a key (P-256) and a certificate that lives as long as the process.
    pub(crate) fn generate() -> Result<Self> {
        let provider =
            default_provider().map_err(|error| failed("no cryptography is compiled in", &error))?;
        let certificate =
            Certificate::generate_self_signed(vec!["voice".to_owned()], provider.crypto())
                .map_err(|error| failed("no certificate", &error))?;
        let der = certificate
            .certificate
            .first()
            .map(|der| der.as_ref().to_vec())
            .unwrap_or_default();
        let builder = ConfigBuilder::default()
            .with_crypto_provider(Arc::clone(&provider))
            .with_certificates(vec![certificate])
            .with_client_auth(ClientAuthType::RequireAnyClientCert)
            .with_flight_interval(FLIGHT_INTERVAL)
            .with_mtu(MTU);
        let config = |profiles: Vec<SrtpProtectionProfile>| {
            builder
                .clone()
                .with_srtp_protection_profiles(profiles)
                .build(false, None)
                .map(Arc::new)
                .map_err(|error| failed("no settings", &error))
        };
        Ok(Self {
            gcm: config(vec![SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm])?,
            both: config(vec![
                SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm,
                SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_80,
            ])?,
            provider,
            fingerprint: Fingerprint::of(&digest::SHA256, &der).to_string(),
        })
    }
}

fn failed(what: &str, error: &dyn std::fmt::Display) -> Error {
    Error::new(ErrorKind::Bug, format!("dtls: {what}: {error}"))
}

/// The hash of a certificate, as an offer announces it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Fingerprint {
    algorithm: &'static digest::Algorithm,
    hash: Vec<u8>,
}

impl std::fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self}")
    }
}

impl std::fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (i, byte) in self.hash.iter().enumerate() {
            write!(f, "{}{byte:02X}", if i == 0 { "" } else { ":" })?;
        }
        Ok(())
    }
}

impl Fingerprint {
    fn of(algorithm: &'static digest::Algorithm, der: &[u8]) -> Self {
        Self {
            algorithm,
            hash: digest::digest(algorithm, der).as_ref().to_vec(),
        }
    }

    /// Reads `sha-256 AB:CD:...`; `None` for another hash than SHA-2 or a wrong number of bytes.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (name, hex) = text.trim().split_once(' ')?;
        let algorithm = match name.to_ascii_lowercase().as_str() {
            "sha-256" => &digest::SHA256,
            "sha-384" => &digest::SHA384,
            "sha-512" => &digest::SHA512,
            _ => return None,
        };
        let hash: Option<Vec<u8>> = hex
            .trim()
            .split(':')
            .map(|pair| (pair.len() == 2).then(|| u8::from_str_radix(pair, 16).ok())?)
            .take(65)
            .collect();
        hash.filter(|hash| hash.len() == algorithm.output_len())
            .map(|hash| Self { algorithm, hash })
    }

    fn is_of(&self, der: &[u8]) -> bool {
        Self::of(self.algorithm, der).hash == self.hash
    }
}

/// What a datagram did.
#[derive(Clone)]
pub(crate) enum Progress {
    /// More datagrams are needed.
    Waiting,
    /// The peer is who its offer said: keys for both directions, the client's first.
    Connected(Box<(KeyBlock, KeyBlock)>),
    /// The peer closed the association.
    Closed,
    /// The peer is somebody else, or the handshake cannot succeed.
    Failed(&'static str),
}

/// The association with one peer.
pub(crate) struct Dtls {
    endpoint: Option<Endpoint>,
    complete: bool,
}

impl Dtls {
    /// Nothing is kept until the first hello comes.
    pub(crate) const fn new() -> Self {
        Self {
            endpoint: None,
            complete: false,
        }
    }

    /// Takes a datagram from a peer whose address is proven by STUN.
    pub(crate) fn handle(
        &mut self,
        datagram: &[u8],
        now: Instant,
        identity: &Identity,
        expected: &Fingerprint,
    ) -> Progress {
        let endpoint = self.endpoint.get_or_insert_with(|| {
            let gcm = offers_gcm(datagram).unwrap_or(false);
            let config = Arc::clone(if gcm { &identity.gcm } else { &identity.both });
            Endpoint::new(THE_PEER, TransportProtocol::UDP, Some(config))
        });
        match endpoint.read(now, THE_PEER, None, BytesMut::from(datagram)) {
            Ok(events) => {
                events
                    .into_iter()
                    .fold(Progress::Waiting, |progress, event| match event {
                        EndpointEvent::HandshakeComplete => self.finish(expected),
                        EndpointEvent::PeerClosed => Progress::Closed,
                        _ => progress,
                    })
            }
            Err(_) if self.complete => Progress::Waiting,
            Err(error) => {
                tracing::debug!(%error, "a DTLS handshake failed");
                Progress::Failed("the DTLS handshake failed")
            }
        }
    }

    fn finish(&mut self, expected: &Fingerprint) -> Progress {
        let state = self
            .endpoint
            .as_ref()
            .and_then(|endpoint| endpoint.get_connection_state(THE_PEER));
        let Some(state) = state else {
            return Progress::Failed("the DTLS association is gone");
        };
        if !state
            .peer_certificates
            .first()
            .is_some_and(|der| expected.is_of(der))
        {
            return Progress::Failed("the certificate is not the one of the offer");
        }
        let profile = match state.srtp_protection_profile() {
            SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm => Profile::Gcm,
            SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_80 => Profile::CounterSha1,
            _ => return Progress::Failed("no SRTP profile in common"),
        };
        let exported =
            state.export_keying_material(EXPORT_LABEL, &[], KeyBlock::exported_len(profile));
        let Some(keys) = exported
            .ok()
            .and_then(|secret| KeyBlock::pair(profile, secret.as_ref()))
        else {
            return Progress::Failed("the handshake gives no keys");
        };
        self.complete = true;
        Progress::Connected(Box::new(keys))
    }

    /// Repeats what was lost.
    pub(crate) fn handle_timeout(&mut self, now: Instant) -> Progress {
        match self
            .endpoint
            .as_mut()
            .map(|endpoint| endpoint.handle_timeout(THE_PEER, now))
        {
            Some(Err(_)) if !self.complete => Progress::Failed("the DTLS handshake was given up"),
            _ => Progress::Waiting,
        }
    }

    /// When [`Dtls::handle_timeout`] is due.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.endpoint.as_ref()?.poll_timeout(&THE_PEER)
    }

    /// The next datagram for the peer.
    pub(crate) fn poll_transmit(&mut self) -> Option<BytesMut> {
        Some(self.endpoint.as_mut()?.poll_transmit()?.message)
    }

    /// Says goodbye; what is to send remains in [`Dtls::poll_transmit`].
    pub(crate) fn close(&mut self, now: Instant) {
        if let Some(endpoint) = &mut self.endpoint {
            drop(endpoint.stop(now, THE_PEER));
        }
    }
}

/// Whether the client's hello in `datagram` lists `SRTP_AEAD_AES_128_GCM`; `None` if it cannot be told, as for a hello
/// whose first fragment ends before the extension.
pub(crate) fn offers_gcm(datagram: &[u8]) -> Option<bool> {
    const USE_SRTP: u16 = 14;
    let record_len = usize::from(be16(datagram, 11)?);
    let body = datagram.get(13..)?;
    let handshake = body.get(..record_len.min(body.len()))?;
    if *datagram.first()? != 22 || *handshake.first()? != 1 {
        return None;
    }
    let mut rest = handshake.get(12 + 2 + 32..)?;
    for width in [1, 1, 2, 1] {
        let len = if width == 1 {
            usize::from(*rest.first()?)
        } else {
            usize::from(be16(rest, 0)?)
        };
        rest = rest.get(width + len..)?;
    }
    rest = rest.get(2..)?;
    while let (Some(kind), Some(len)) = (be16(rest, 0), be16(rest, 2)) {
        let value = rest.get(4..4 + usize::from(len))?;
        if kind == USE_SRTP {
            let profiles = value.get(2..2 + usize::from(be16(value, 0)?))?;
            return Some(profiles.chunks_exact(2).any(|profile| profile == [0, 7]));
        }
        rest = &rest[4 + usize::from(len)..];
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprints_are_read_exactly() {
        let fingerprint = Fingerprint::of(&digest::SHA256, b"certificate");
        let text = format!("SHA-256 {}", fingerprint.to_string().to_lowercase());
        assert_eq!(Fingerprint::parse(&text), Some(fingerprint.clone()));
        assert!(fingerprint.is_of(b"certificate") && !fingerprint.is_of(b"Certificate"));
        for wrong in [
            "sha-1 AB:CD",
            "sha-256",
            "sha-256 AB",
            "sha-256 ",
            &text[..text.len() - 3],
            &format!("{text}:00"),
        ] {
            assert_eq!(Fingerprint::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn the_profiles_of_a_hello_are_found_and_a_cut_hello_tells_nothing() {
        let mut hello = vec![22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        hello.extend_from_slice(&[1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xfe, 0xfd]);
        hello.extend_from_slice(&[9; 32]);
        hello.extend_from_slice(&[0, 0, 0, 2, 0xc0, 0x2b, 1, 0]);
        hello.extend_from_slice(&[0, 15, 0, 23, 0, 0, 0, 14, 0, 7, 0, 4, 0, 1, 0, 7, 0]);
        let len = u8::try_from(hello.len() - 13).expect("short");
        hello[12] = len;
        assert_eq!(offers_gcm(&hello), Some(true));
        for cut in 0..hello.len() {
            assert_eq!(offers_gcm(&hello[..cut]), None, "{cut}");
        }
        let last = hello.len() - 2;
        hello[last] = 8;
        assert_eq!(offers_gcm(&hello), Some(false));
    }
}
