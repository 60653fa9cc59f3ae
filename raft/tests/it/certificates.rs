//! Authorities and the certificates that they sign, as PEM files. Also a module of the tests of `chatdb`.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};

use raft::{NODE_NAME, TlsFiles};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};

/// Somebody who signs, and the directory of what was signed.
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    directory: PathBuf,
    file: PathBuf,
}

/// What a certificate says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Says<'a> {
    /// Names the files.
    pub(crate) name: &'a str,
    pub(crate) is_node: bool,
    /// Valid for these addresses, with commas between them, and for `localhost`.
    pub(crate) ips: &'a str,
    /// Whether its time is over.
    pub(crate) has_expired: bool,
}

/// A node at these addresses.
pub(crate) fn node<'a>(name: &'a str, ips: &'a str) -> Says<'a> {
    Says {
        name,
        is_node: true,
        ips,
        has_expired: false,
    }
}

/// A client.
pub(crate) fn client(name: &str) -> Says<'_> {
    Says {
        is_node: false,
        ..node(name, "127.0.0.1")
    }
}

impl Authority {
    pub(crate) fn new(directory: &Path, name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names are fine");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = KeyPair::generate().expect("a key");
        let issuer = CertifiedIssuer::self_signed(params, key).expect("an authority");
        let file = directory.join(format!("{name}.crt"));
        write(&file, &issuer.pem());
        Self {
            issuer,
            directory: directory.to_owned(),
            file,
        }
    }

    /// Signs a certificate of a new key, which replaces the one of that name.
    pub(crate) fn sign(&self, says: Says<'_>) -> TlsFiles {
        let mut names = vec!["localhost".to_owned()];
        names.extend(says.ips.split(',').map(str::to_owned));
        if says.is_node {
            names.push(NODE_NAME.to_owned());
        }
        let mut params = CertificateParams::new(names).expect("names");
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ClientAuth,
            ExtendedKeyUsagePurpose::ServerAuth,
        ];
        if says.has_expired {
            params.not_before = date_time_ymd(2001, 1, 1);
            params.not_after = date_time_ymd(2002, 1, 1);
        }
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("it is signed");
        let files = TlsFiles {
            certificate: self.directory.join(format!("{}.crt", says.name)),
            key: self.directory.join(format!("{}.key", says.name)),
            authority: self.file.clone(),
        };
        write(&files.certificate, &certificate.pem());
        write(&files.key, &key.serialize_pem());
        files
    }
}

/// Replaces a file as a whole.
pub(crate) fn write(path: &Path, text: &str) {
    let new = path.with_extension("new");
    let mut options = OpenOptions::new();
    let options = options.write(true).create(true).truncate(true);
    let file = options
        .open(&new)
        .and_then(|mut it| it.write_all(text.as_bytes()));
    file.expect("a file is written");
    std::fs::rename(new, path).expect("it takes its place");
}
