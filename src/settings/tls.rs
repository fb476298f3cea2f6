//! `tls` of a listener, of `[control]` and of `[health]`: certificates, and what clients must show.

use std::path::PathBuf;

use serde::Deserialize;

/// TLS of a listener: its certificates, and what its clients must show.
///
/// ```
/// use lastword::settings::{ClientAuth, Tls, TlsVersion};
///
/// let tls = Tls::new("fullchain.pem", "key.pem")
///     .and_certificate("other.pem", "other-key.pem")
///     .client_ca("clients.pem", ClientAuth::Required)
///     .min_version(TlsVersion::V1_3);
/// assert_eq!(tls.certificates().len(), 2);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// At least one; the first is the default.
    certs: Vec<CertificateFiles>,
    client_ca: Option<(PathBuf, ClientAuth)>,
    min_version: TlsVersion,
}

/// The files of a certificate and its key.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CertificateFiles {
    /// Names the file with the certificate, followed by those of the authorities between it and a root.
    ///
    /// Unit: path to PEM. Required. Cost: one look at the file every 10 seconds.
    pub cert: PathBuf,
    /// Names the file with the private key.
    ///
    /// Unit: path to PEM (PKCS#8, PKCS#1 or SEC1), not encrypted. Required. Cost: as `cert`.
    pub key: PathBuf,
}

/// Whether clients must show a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClientAuth {
    /// A client without one is refused.
    #[default]
    Required,
    /// A client may show none, and then has no subject.
    Optional,
}

/// A version of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Deserialize)]
pub enum TlsVersion {
    /// TLS 1.2 (RFC 5246).
    #[default]
    #[serde(rename = "1.2")]
    V1_2,
    /// TLS 1.3 (RFC 8446).
    #[serde(rename = "1.3")]
    V1_3,
}

impl Tls {
    /// Makes the settings of a listener with one certificate.
    pub fn new(cert: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        let first = CertificateFiles { cert: cert.into(), key: key.into() };
        Self { certs: vec![first], client_ca: None, min_version: TlsVersion::default() }
    }

    /// Adds a certificate for the clients that ask for a name of it (SNI).
    #[must_use]
    pub fn and_certificate(mut self, cert: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        self.certs.push(CertificateFiles { cert: cert.into(), key: key.into() });
        self
    }

    /// Asks clients for a certificate that an authority in this PEM file has signed.
    #[must_use]
    pub fn client_ca(mut self, file: impl Into<PathBuf>, auth: ClientAuth) -> Self {
        self.client_ca = Some((file.into(), auth));
        self
    }

    /// Sets the oldest version of TLS that is accepted.
    #[must_use]
    pub fn min_version(mut self, version: TlsVersion) -> Self {
        self.min_version = version;
        self
    }

    /// Returns the files of all certificates, that of the default first.
    pub fn certificates(&self) -> &[CertificateFiles] {
        &self.certs
    }

    /// Returns the file of the authorities of clients, if there is one, and whether clients must show a
    /// certificate.
    pub fn client_authorities(&self) -> Option<(&PathBuf, ClientAuth)> {
        self.client_ca.as_ref().map(|(file, auth)| (file, *auth))
    }

    /// Returns the oldest version of TLS that is accepted.
    pub fn oldest_version(&self) -> TlsVersion {
        self.min_version
    }
}

/// The keys of `tls` in a configuration, which may be set one at a time.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TlsKeys {
    /// Names the file with the certificate, followed by those of the authorities between it and a root.
    ///
    /// Unit: path to PEM. Required, unless there are `certs`. Cost: one look at the file every 10
    /// seconds; CPU for each handshake, and some 8 KiB per connection.
    pub cert: Option<PathBuf>,
    /// Names the file with the private key.
    ///
    /// Unit: path to PEM (PKCS#8, PKCS#1 or SEC1), not encrypted. Required with `cert`. Cost: as there.
    pub key: Option<PathBuf>,
    /// Lists several certificates, which are chosen by the name that a client asks for (SNI); the first
    /// is the default.
    ///
    /// Unit: `{ cert, key }` each. Default: that of `cert` and `key`. Cost: as there for each.
    pub certs: Vec<CertificateFiles>,
    /// Names the file with the authorities whose certificates clients must show. The subject of a
    /// connection is then the certificate's first subject alternative name, else its common name.
    ///
    /// Unit: path to PEM. Default: none, clients are not asked. Cost: one more signature per handshake.
    pub client_ca: Option<PathBuf>,
    /// Says whether clients must show a certificate, or may show none.
    ///
    /// One of `required`, `optional`. Default: `required`. Cost: none.
    pub client_auth: Option<ClientAuth>,
    /// Sets the oldest version of TLS that is accepted.
    ///
    /// One of `"1.2"`, `"1.3"`. Default: `"1.2"`. Cost: with `"1.3"`, older clients cannot connect.
    pub min_version: TlsVersion,
}

impl TryFrom<&TlsKeys> for Tls {
    type Error = &'static str;

    fn try_from(keys: &TlsKeys) -> Result<Self, Self::Error> {
        let TlsKeys { cert, key, certs, client_ca, client_auth, min_version } = keys.clone();
        let certs = match (cert, key, certs.is_empty()) {
            (Some(cert), Some(key), true) => vec![CertificateFiles { cert, key }],
            (None, None, false) => certs,
            (None, None, true) => {
                return Err("names no certificate: write { cert = \"…\", key = \"…\" }");
            }
            (Some(_), None, true) => return Err("has a cert without a key: add key = \"…\""),
            (None, Some(_), true) => return Err("has a key without a cert: add cert = \"…\""),
            (_, _, false) => {
                return Err("has both cert or key and certs: move all of them to certs");
            }
        };
        let client_ca = match (client_ca, client_auth) {
            (Some(file), auth) => Some((file, auth.unwrap_or_default())),
            (None, None) => None,
            (None, Some(_)) => {
                return Err("has client_auth without client_ca: name the file of the authorities");
            }
        };
        Ok(Self { certs, client_ca, min_version })
    }
}
