//! TLS of dials: whose certificates a server may present, and opening TLS with it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use rustls::client::{WantsClientCert, WebPkiServerVerifier};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, ConfigBuilder, WantsVerifier};
use rustls_platform_verifier::BuilderVerifierExt;
use tokio::net::TcpStream;

use super::authorities::{self, LONGEST};
use super::handshake::{Broken, Handshake};
use super::outcome::FailedTls;
use super::pinned::PinnedOrIssued;
use super::provider::{ALPN, provider};
use super::socket::TlsSocket;
use super::unverified::Unverified;
use crate::runtime::read_bounded::read_in_background;
use crate::transport::shared_tcp::SharedTcp;
use crate::transport::socket::Transport;

/// The authorities whose certificates a dialled server may present.
#[derive(Debug, Default)]
pub enum Trust {
    /// The authorities that this machine trusts, read at first use.
    #[default]
    Platform,
    /// The authorities in a file, and no others.
    File(AuthorityFile),
    /// No authority: any certificate will do. Only for diagnosis by hand.
    Anything,
}

/// A PEM file with CA certificates, which is read again for every dial.
#[derive(Debug)]
pub struct AuthorityFile {
    path: PathBuf,
    /// The contents of the file when it was last read, and the configuration made from them.
    last: Mutex<Option<(Vec<u8>, ClientTls)>>,
}

/// Why TLS could not be set up on this end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsSetupError {
    /// The file of authorities cannot be read.
    #[error("ca_file {} cannot be read ({error}): name a readable PEM file", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The file of authorities has no usable certificate.
    #[error("ca_file {} holds no certificate that could be an authority's ({why}): write PEM", path.display())]
    NoAuthority {
        /// The file.
        path: PathBuf,
        /// The problem.
        why: String,
    },
    /// The machine's authorities cannot be used.
    #[error("the authorities of this machine cannot be used ({0}): install ca-certificates")]
    Platform(String),
}

impl Trust {
    /// Trusts the authorities in a file, or without one those of this machine.
    pub fn of(file: Option<&Path>) -> Self {
        file.map_or(Self::Platform, Self::file)
    }

    /// Trusts the authorities in a PEM file, and no others.
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self::File(AuthorityFile { path: path.into(), last: Mutex::new(None) })
    }

    /// Returns the TLS client configuration. Reads files, so it may wait for a disk.
    ///
    /// # Errors
    /// [`TlsSetupError`], whose message is recorded.
    pub async fn tls(&self) -> Result<ClientTls, TlsSetupError> {
        match self {
            Self::Platform => platform().await,
            Self::File(file) => file.tls().await,
            Self::Anything => unverified().map_err(TlsSetupError::Platform),
        }
    }
}

impl AuthorityFile {
    async fn tls(&self) -> Result<ClientTls, TlsSetupError> {
        let path = || self.path.clone();
        let (pem, _) = read_in_background(&self.path, LONGEST)
            .await
            .map_err(|why| TlsSetupError::Unreadable { path: path(), error: why.into() })?;
        let mut last = self.last.lock();
        if let Some((read, tls)) = &*last
            && *read == pem
        {
            // The cached configuration keeps its TLS sessions for resumption.
            return Ok(tls.clone());
        }
        let tls = with_authorities(&pem)
            .map_err(|why| TlsSetupError::NoAuthority { path: path(), why })?;
        *last = Some((pem, tls.clone()));
        Ok(tls)
    }
}

/// Reads the machine's authorities once, which takes some milliseconds.
async fn platform() -> Result<ClientTls, TlsSetupError> {
    static PLATFORM: OnceLock<ClientTls> = OnceLock::new();
    if let Some(tls) = PLATFORM.get() {
        return Ok(tls.clone());
    }
    let read = tokio::task::spawn_blocking(|| {
        let builder = builder()?.with_platform_verifier().map_err(|error| error.to_string())?;
        Ok::<_, String>(ClientTls::of(builder))
    });
    let tls = read.await.unwrap_or_else(|panic| Err(panic.to_string()));
    Ok(PLATFORM
        .get_or_init({
            let tls = tls.map_err(TlsSetupError::Platform)?;
            || tls
        })
        .clone())
}

fn unverified() -> Result<ClientTls, String> {
    let verifier = Arc::new(Unverified);
    Ok(ClientTls::of(builder()?.dangerous().with_custom_certificate_verifier(verifier)))
}

fn with_authorities(pem: &[u8]) -> Result<ClientTls, String> {
    let (roots, pinned) = authorities::of_pem(pem)?;
    let issued = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider())
        .build()
        .map_err(|error| error.to_string())?;
    let verifier = Arc::new(PinnedOrIssued { issued, pinned });
    // See `PinnedOrIssued` for why a custom verifier is safe here.
    Ok(ClientTls::of(builder()?.dangerous().with_custom_certificate_verifier(verifier)))
}

fn builder() -> Result<ConfigBuilder<ClientConfig, WantsVerifier>, String> {
    ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())
}

/// Opens TLS on sockets that were dialled.
#[derive(Debug, Clone)]
pub struct ClientTls(Arc<ClientConfig>);

impl ClientTls {
    fn of(builder: ConfigBuilder<ClientConfig, WantsClientCert>) -> Self {
        let mut config = builder.with_no_client_auth();
        config.alpn_protocols = vec![ALPN.to_vec()];
        Self(Arc::new(config))
    }

    /// Opens TLS as [`ClientTls::connect`] does; returns the version, too.
    ///
    /// # Errors
    /// As [`ClientTls::connect`].
    ///
    /// # Cancel safety
    /// As [`ClientTls::connect`].
    pub async fn open(
        &self,
        host: &str,
        socket: TcpStream,
    ) -> Result<(Box<dyn Transport>, &'static str), FailedTls> {
        let opened = self.connect(host, socket).await?;
        let version = opened.version();
        Ok((Box::new(opened), version))
    }

    /// Opens TLS with the server of that name (SNI, and the name its certificate must have).
    ///
    /// # Errors
    /// [`FailedTls`], whose message names the problem and the remedy.
    ///
    /// # Cancel safety
    /// Dropping the future drops the socket.
    pub async fn connect(&self, host: &str, socket: TcpStream) -> Result<TlsSocket, FailedTls> {
        let name = ServerName::try_from(host.to_owned()).map_err(|_| FailedTls::no_name(host))?;
        let tls = ClientConnection::new(Arc::clone(&self.0), name)
            .map_err(|error| FailedTls::of(&Broken::Tls(error), host))?;
        let mut handshake = Handshake::new(SharedTcp::from(socket), tls.into());
        match handshake.complete().await {
            Ok(()) => Ok(handshake.into_socket()),
            Err(broken) => Err(FailedTls::of(&broken, host)),
        }
    }
}

impl PartialEq for Trust {
    fn eq(&self, other: &Self) -> bool {
        let accepts_all = |trust: &Self| matches!(trust, Self::Anything);
        self.path() == other.path() && accepts_all(self) == accepts_all(other)
    }
}

impl Trust {
    /// Returns the file of authorities, if there is one.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Platform | Self::Anything => None,
            Self::File(file) => Some(&file.path),
        }
    }
}
