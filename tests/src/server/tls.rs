//! Certificates for a server of the tests, by an authority that nobody trusts unless told to.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

/// Files in PEM.
#[derive(Debug)]
pub struct Tls {
    /// Who trusts this one, trusts the server.
    pub authority: PathBuf,
    pub certificate: PathBuf,
    pub key: PathBuf,
}

impl Tls {
    /// For a server at 127.0.0.1.
    pub fn new(folder: &Path) -> Result<Self> {
        let mut authority = CertificateParams::new(Vec::new())?;
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority_key = KeyPair::generate()?;
        let authority_pem = authority.self_signed(&authority_key)?.pem();
        let key = KeyPair::generate()?;
        let server = CertificateParams::new(vec!["127.0.0.1".to_owned()])?;
        let server = server.signed_by(&key, &Issuer::new(authority, authority_key))?;
        let made = Self {
            authority: folder.join("authority.pem"),
            certificate: folder.join("certificate.pem"),
            key: folder.join("key.pem"),
        };
        fs::write(&made.authority, authority_pem)?;
        fs::write(&made.certificate, server.pem())?;
        fs::write(&made.key, key.serialize_pem())?;
        // PostgreSQL takes no key that others can read.
        fs::set_permissions(&made.key, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
        Ok(made)
    }
}
