//! The files of a listener's TLS: reading them, and making certificates of them.

use std::collections::hash_map::RandomState;
use std::fs::Metadata;
use std::hash::BuildHasher;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use rustls::RootCertStore;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use super::choice::ByName;
use super::error::TlsFileError;
use crate::runtime::read_bounded::read_bounded;
use crate::runtime::watched_file::is_world_readable;
use crate::settings::{CertificateFiles, ClientAuth, Tls};
use crate::transport::tls::authorities::{self, LONGEST};
use crate::transport::tls::provider::provider;
use crate::transport::tls::x509;

/// The contents of the files.
pub(super) struct Files {
    pairs: Vec<Pair>,
    authorities: Option<(PathBuf, ClientAuth, Vec<u8>)>,
}

struct Pair {
    names: CertificateFiles,
    cert: Vec<u8>,
    key: Vec<u8>,
    key_is_exposed: bool,
}

/// What is known of a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFacts {
    /// Its file.
    pub file: PathBuf,
    /// When it becomes valid.
    pub not_before: SystemTime,
    /// When it expires.
    pub not_after: SystemTime,
}

/// The certificates that the files hold.
pub(super) struct LoadedCertificates {
    pub(super) keys: ByName,
    pub(super) facts: Vec<CertificateFacts>,
}

impl Files {
    /// Reads all files. Blocks.
    pub(super) fn read(settings: &Tls) -> Result<Self, TlsFileError> {
        let pair = |names: &CertificateFiles| {
            let (cert, _) = read(&names.cert)?;
            let (key, facts) = read(&names.key)?;
            let key_is_exposed = is_world_readable(&facts);
            Ok(Pair { names: names.clone(), cert, key, key_is_exposed })
        };
        let pairs = settings.certificates().iter().map(pair).collect::<Result<_, _>>()?;
        let authorities = match settings.client_authorities() {
            Some((file, auth)) => Some((file.clone(), auth, read(file)?.0)),
            None => None,
        };
        Ok(Self { pairs, authorities })
    }

    /// Returns a hash of all contents.
    pub(super) fn hash(&self, hasher: &RandomState) -> u64 {
        let pairs: Vec<_> = self.pairs.iter().map(|pair| (&pair.cert, &pair.key)).collect();
        hasher.hash_one((pairs, self.authorities()))
    }

    /// Returns the contents of the file of the clients' authorities.
    pub(super) fn authorities(&self) -> Option<&[u8]> {
        self.authorities.as_ref().map(|(_, _, pem)| &**pem)
    }

    /// Returns a warning for each key that everybody on this machine can read.
    pub(super) fn exposed_keys(&self) -> Vec<String> {
        let exposed = self.pairs.iter().filter(|pair| pair.key_is_exposed);
        exposed
            .map(|pair| {
                let file = pair.names.key.display();
                format!("everybody on this machine can read the private key in {file}: chmod o= it")
            })
            .collect()
    }

    /// Makes certificates of the files.
    pub(super) fn certificates(&self, now: SystemTime) -> Result<LoadedCertificates, TlsFileError> {
        let mut loaded =
            LoadedCertificates { keys: ByName { keys: Vec::new() }, facts: Vec::new() };
        for pair in &self.pairs {
            let (key, facts) = pair.certificate(now)?;
            loaded.keys.keys.push(Arc::new(key));
            loaded.facts.push(facts);
        }
        Ok(loaded)
    }

    /// Returns the authorities whose certificates clients may show, their file, and whether clients must
    /// show one.
    pub(super) fn client_authorities(
        &self,
    ) -> Result<Option<(RootCertStore, &PathBuf, ClientAuth)>, TlsFileError> {
        let Some((file, auth, pem)) = &self.authorities else { return Ok(None) };
        let refuse = |why| TlsFileError::NoAuthority { file: file.clone(), why };
        let (roots, _) = authorities::of_pem(pem).map_err(refuse)?;
        Ok(Some((roots, file, *auth)))
    }
}

impl Pair {
    fn certificate(
        &self,
        now: SystemTime,
    ) -> Result<(CertifiedKey, CertificateFacts), TlsFileError> {
        let file = || self.names.cert.clone();
        let (chain, validity) = self.chain()?;
        let key = self.key()?;
        let unusable = |_| TlsFileError::UnusableKey { file: self.names.key.clone() };
        let key = provider().key_provider.load_private_key(key).map_err(unusable)?;
        let certified = CertifiedKey::new(chain, key);
        if !fits(&certified) {
            // A common mistake is a chain in the wrong order.
            let CertifiedKey { cert: chain, key, .. } = certified;
            let other = chain
                .iter()
                .position(|other| fits(&CertifiedKey::new(vec![other.clone()], Arc::clone(&key))));
            let place = other.map(|index| index + 1);
            let key = self.names.key.clone();
            return Err(TlsFileError::Misfit { cert: file(), key, place });
        }
        let x509::Validity { not_before, not_after } = validity;
        if not_after <= now {
            return Err(TlsFileError::Expired { file: file(), at: not_after });
        }
        Ok((certified, CertificateFacts { file: file(), not_before, not_after }))
    }

    /// Returns the certificates, and how long the first is valid.
    fn chain(&self) -> Result<(Vec<CertificateDer<'static>>, x509::Validity), TlsFileError> {
        let file = || self.names.cert.clone();
        let (mut chain, mut first) = (Vec::new(), None);
        for certificate in CertificateDer::pem_slice_iter(&self.cert) {
            let number = chain.len() + 1;
            let bad = || TlsFileError::BadCertificate { file: file(), number };
            let certificate = certificate.map_err(|_| bad())?;
            let validity = x509::validity(&certificate).ok_or_else(bad)?;
            first.get_or_insert(validity);
            chain.push(certificate);
        }
        let validity = first.ok_or_else(|| TlsFileError::NoCertificate { file: file() })?;
        Ok((chain, validity))
    }

    fn key(&self) -> Result<PrivateKeyDer<'static>, TlsFileError> {
        let file = || self.names.key.clone();
        PrivateKeyDer::from_pem_slice(&self.key).map_err(|error| {
            let is_encrypted = memchr::memmem::find(&self.key, b"ENCRYPTED").is_some();
            match error {
                _ if is_encrypted => TlsFileError::EncryptedKey { file: file() },
                pem::Error::NoItemsFound => TlsFileError::NoKey { file: file() },
                _ => TlsFileError::UnusableKey { file: file() },
            }
        })
    }
}

/// Returns whether a key is that of the first certificate.
fn fits(certified: &CertifiedKey) -> bool {
    use rustls::{Error, InconsistentKeys};
    matches!(
        certified.keys_match(),
        Ok(()) | Err(Error::InconsistentKeys(InconsistentKeys::Unknown))
    )
}

fn read(file: &Path) -> Result<(Vec<u8>, Metadata), TlsFileError> {
    read_bounded(file, LONGEST)
        .map_err(|why| TlsFileError::Unreadable { file: file.to_owned(), error: why.into() })
}
