//! Why the files of a listener's TLS cannot be used.

use std::io;
use std::path::PathBuf;
use std::time::SystemTime;

/// Why the files of a listener's TLS cannot be used. Each message names the file and a remedy.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsFileError {
    /// A file cannot be read.
    #[error("{} cannot be read ({error}): name a PEM file that this user can read", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// The error of the operating system.
        error: io::Error,
    },
    /// A file of certificates has none.
    #[error("{} holds no certificate: write PEM, with a section BEGIN CERTIFICATE", file.display())]
    NoCertificate {
        /// The file.
        file: PathBuf,
    },
    /// A certificate cannot be read.
    #[error("certificate {number} in {} cannot be read: write PEM, as the authority gave it", file.display())]
    BadCertificate {
        /// The file.
        file: PathBuf,
        /// Which of its certificates, from 1.
        number: usize,
    },
    /// A file of a key has none.
    #[error("{} holds no private key: write PEM, with a section BEGIN PRIVATE KEY", file.display())]
    NoKey {
        /// The file.
        file: PathBuf,
    },
    /// A key is encrypted.
    #[error(
        "the private key in {} is encrypted: write it without a passphrase, as `openssl pkey` does",
        file.display()
    )]
    EncryptedKey {
        /// The file.
        file: PathBuf,
    },
    /// A key is of a kind that TLS here does not take.
    #[error(
        "the private key in {} cannot be used: make an ECDSA key (P-256), or RSA from 2048 bits",
        file.display()
    )]
    UnusableKey {
        /// The file.
        file: PathBuf,
    },
    /// A key is not that of the certificate.
    #[error("{}", misfit(cert, key, *place))]
    Misfit {
        /// The file of the certificate.
        cert: PathBuf,
        /// The file of the key.
        key: PathBuf,
        /// Which other certificate in the file has this key, from 1.
        place: Option<usize>,
    },
    /// A certificate has expired.
    #[error(
        "the certificate in {} expired at {}: renew it, unless the clock here is wrong",
        file.display(),
        humantime::format_rfc3339_seconds(*at)
    )]
    Expired {
        /// The file.
        file: PathBuf,
        /// When.
        at: SystemTime,
    },
    /// The file of the authorities of clients has no usable certificate.
    #[error(
        "client_ca {} holds no certificate that could be an authority's ({why}): write PEM",
        file.display()
    )]
    NoAuthority {
        /// The file.
        file: PathBuf,
        /// The problem.
        why: String,
    },
    /// The machine gives no random numbers.
    #[error("TLS got no random numbers from this machine: see whether getrandom(2) is allowed")]
    NoRandomNumbers,
    /// TLS of this build has no such version.
    #[error("this build has no TLS of that version: set min_version = \"1.2\"")]
    NoVersion,
    /// Reading the files panicked.
    #[error("reading the files of TLS panicked: please report this")]
    Panicked,
    /// The runtime stops.
    #[error("the runtime stopped before the files of TLS were read")]
    Stopped,
    /// The address is that of a Unix socket.
    #[error("TLS is for TCP: a Unix socket does not leave this machine, so remove tls there")]
    UnixSocket,
}

fn misfit(cert: &std::path::Path, key: &std::path::Path, place: Option<usize>) -> String {
    let (cert, key) = (cert.display(), key.display());
    match place {
        None => format!(
            "the private key in {key} does not belong to the certificate in {cert}: name the key \
             that it was made for"
        ),
        Some(place) => format!(
            "the private key in {key} belongs to certificate {place} in {cert}, and not to the \
             first: move the server's own to the front"
        ),
    }
}
