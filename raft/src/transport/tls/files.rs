//! The files of a process: read, and checked as far as that can be done before anybody calls.
//!
//! A wrong file is told here, with its name, instead of as a handshake that fails at the other end.

use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::{WebPkiServerVerifier, verify_server_cert_signed_by_trust_anchor};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::{NoServerSessionStorage, ParsedCertificate, WebPkiClientVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{
    CertificateError, ClientConfig, ExtendedKeyPurpose, InconsistentKeys, RootCertStore,
    ServerConfig,
};

use super::{NODE_NAME, Protocol, is_node};
use crate::error::{Error, ErrorKind, Result};

/// Largest file that is read, in bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// The one version that is spoken: both ends are ours, or of this decade.
const VERSIONS: [&rustls::SupportedProtocolVersion; 1] = [&rustls::version::TLS13];

/// Where the certificate of a process is, and whom it believes. All three are PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// Its certificate, and those between it and the authority, if there are any.
    pub certificate: PathBuf,
    /// The key of the certificate.
    pub key: PathBuf,
    /// The certificates of the authorities that sign those of nodes and clients.
    pub authority: PathBuf,
}

/// How a file looked: another one, or other contents, look different.
type Look = (u64, u64, i64, i64);
/// How the three files looked.
pub(super) type Looks = [Look; 3];

/// Both ends of connections, by protocol.
#[derive(Debug)]
pub(super) struct Ends {
    servers: [Arc<ServerConfig>; 2],
    clients: [Arc<ClientConfig>; 2],
}

impl Ends {
    pub(super) fn server(&self, protocol: Protocol) -> Arc<ServerConfig> {
        let [node, grpc] = &self.servers;
        Arc::clone(match protocol {
            Protocol::Node => node,
            Protocol::Grpc => grpc,
        })
    }

    pub(super) fn client(&self, protocol: Protocol) -> Arc<ClientConfig> {
        let [node, grpc] = &self.clients;
        Arc::clone(match protocol {
            Protocol::Node => node,
            Protocol::Grpc => grpc,
        })
    }
}

impl TlsFiles {
    /// How the files look now.
    pub(super) fn looks(&self) -> Result<Looks> {
        Ok([
            look(&self.certificate)?,
            look(&self.key)?,
            look(&self.authority)?,
        ])
    }

    /// Reads them; a node's certificate must be one of a node.
    pub(super) fn load(&self, for_node: bool) -> Result<Ends> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let key = PrivateKeyDer::from_pem_slice(&read(&self.key)?).map_err(|source| {
            let what = "has no private key in PEM, which begins with -----BEGIN PRIVATE KEY-----";
            wrong(&self.key, what).with_source(source)
        })?;
        let chain = certificates(&self.certificate)?;
        let key = CertifiedKey::from_der(chain, key, &provider).map_err(|source| {
            let path = self.key.display();
            let what = match &source {
                rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
                    format!("does not belong to the key in {path}")
                }
                other => format!("cannot be used with the key in {path}: {other}"),
            };
            wrong(&self.certificate, &what).with_source(source)
        })?;
        let roots = Arc::new(self.roots()?);
        self.check(&key, (&roots, &provider), for_node)?;
        ends(key, &roots, &provider).map_err(|source| {
            wrong(&self.authority, &format!("cannot be used: {source}")).with_source(source)
        })
    }

    fn roots(&self) -> Result<RootCertStore> {
        let mut roots = RootCertStore::empty();
        for certificate in certificates(&self.authority)? {
            roots.add(certificate).map_err(|source| {
                let what = format!("has a certificate that is none of an authority: {source}");
                wrong(&self.authority, &what).with_source(source)
            })?;
        }
        Ok(roots)
    }

    /// Whether the other end will take the certificate.
    fn check(
        &self,
        key: &CertifiedKey,
        (roots, provider): (&Arc<RootCertStore>, &Arc<CryptoProvider>),
        for_node: bool,
    ) -> Result<()> {
        let refused = |source: rustls::Error| {
            let what = match &source {
                rustls::Error::InvalidCertificate(why) => self.told(why),
                other => other.to_string(),
            };
            wrong(&self.certificate, &what).with_source(source)
        };
        let Some((own, between)) = key.cert.split_first() else {
            return Err(wrong(&self.certificate, "has no certificate"));
        };
        let now = UnixTime::now();
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::clone(roots), Arc::clone(provider));
        let verifier = verifier.build().map_err(|source| {
            let what = format!("cannot be used as an authority: {source}");
            wrong(&self.authority, &what).with_source(source)
        })?;
        verifier
            .verify_client_cert(own, between, now)
            .map_err(refused)?;
        if !for_node {
            return Ok(());
        }
        let parsed = ParsedCertificate::try_from(own).map_err(refused)?;
        let algorithms = provider.signature_verification_algorithms.all;
        verify_server_cert_signed_by_trust_anchor(&parsed, roots, between, now, algorithms)
            .map_err(refused)?;
        if !is_node(own) {
            let what = format!(
                "is not that of a node: {NODE_NAME} is not among its DNS names (subjectAltName)"
            );
            return Err(wrong(&self.certificate, &what));
        }
        Ok(())
    }

    fn told(&self, why: &CertificateError) -> String {
        match why {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                "has expired".to_owned()
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                "is not valid yet: check the clock".to_owned()
            }
            CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                let authority = self.authority.display();
                format!("was not signed by the authority in {authority}")
            }
            CertificateError::InvalidPurpose => format!("may not be used so: {PURPOSES}"),
            CertificateError::InvalidPurposeContext { required, .. } => {
                let use_ = match required {
                    ExtendedKeyPurpose::ClientAuth => "to call",
                    _ => "to be called",
                };
                format!("may not be used {use_}: {PURPOSES}")
            }
            other => other.to_string(),
        }
    }
}

const PURPOSES: &str = "extendedKeyUsage needs clientAuth, and for a node serverAuth as well";

fn ends(
    key: CertifiedKey,
    roots: &Arc<RootCertStore>,
    provider: &Arc<CryptoProvider>,
) -> std::result::Result<Ends, rustls::Error> {
    let key = Arc::new(SingleCertAndKey::from(key));
    let unusable = |cause: rustls::server::VerifierBuilderError| {
        rustls::Error::General(format!("no authority: {cause}"))
    };
    let callers =
        WebPkiClientVerifier::builder_with_provider(Arc::clone(roots), Arc::clone(provider))
            .build()
            .map_err(unusable)?;
    let called =
        WebPkiServerVerifier::builder_with_provider(Arc::clone(roots), Arc::clone(provider))
            .build()
            .map_err(unusable)?;
    let mut server = ServerConfig::builder_with_provider(Arc::clone(provider))
        .with_protocol_versions(&VERSIONS)?
        .with_client_cert_verifier(callers)
        .with_cert_resolver(Arc::clone(&key) as Arc<_>);
    // Connections live long, and every handshake is to look at the certificates.
    server.session_storage = Arc::new(NoServerSessionStorage {});
    server.send_tls13_tickets = 0;
    let mut client = ClientConfig::builder_with_provider(Arc::clone(provider))
        .with_protocol_versions(&VERSIONS)?
        .with_webpki_verifier(called)
        .with_client_cert_resolver(key);
    client.resumption = rustls::client::Resumption::disabled();
    let named_server = |protocol: Protocol| {
        let mut named = server.clone();
        named.alpn_protocols = vec![protocol.name().to_vec()];
        Arc::new(named)
    };
    let named_client = |protocol: Protocol| {
        let mut named = client.clone();
        named.alpn_protocols = vec![protocol.name().to_vec()];
        Arc::new(named)
    };
    Ok(Ends {
        servers: [named_server(Protocol::Node), named_server(Protocol::Grpc)],
        clients: [named_client(Protocol::Node), named_client(Protocol::Grpc)],
    })
}

fn wrong(path: &Path, what: &str) -> Error {
    Error::new(ErrorKind::Invalid, format!("{}: {what}", path.display()))
}

fn unreadable(path: &Path, source: std::io::Error) -> Error {
    wrong(path, &format!("cannot be read: {source}")).with_source(source)
}

fn look(path: &Path) -> Result<Look> {
    let found = std::fs::metadata(path).map_err(|source| unreadable(path, source))?;
    Ok((found.ino(), found.len(), found.mtime(), found.mtime_nsec()))
}

#[expect(
    clippy::disallowed_methods,
    reason = "certificates are no data of the database and lie elsewhere"
)]
fn read(path: &Path) -> Result<Vec<u8>> {
    let file = std::fs::File::open(path).map_err(|source| unreadable(path, source))?;
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(|source| unreadable(path, source))?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(wrong(path, "is larger than 1 MiB, which no certificate is"));
    }
    Ok(bytes)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let bytes = read(path)?;
    let found: std::result::Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    let found = found
        .map_err(|source| wrong(path, &format!("is no sound PEM: {source}")).with_source(source))?;
    if found.is_empty() {
        let what = "has no certificate in PEM, which begins with -----BEGIN CERTIFICATE-----";
        return Err(wrong(path, what));
    }
    Ok(found)
}
