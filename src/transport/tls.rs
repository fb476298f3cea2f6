//! TLS for dialling: rustls over TCP. No other module uses rustls.

use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};

use parking_lot::Mutex;
use rustls::client::{WantsClientCert, WebPkiServerVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ConfigBuilder, ProtocolVersion, RootCertStore, WantsVerifier};
use rustls_platform_verifier::BuilderVerifierExt;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

mod failure;
mod pinned;

pub use failure::FailedTls;
use pinned::PinnedOrIssued;

use super::socket::Transport;
use super::tcp_info::KernelFacts;

/// The most plaintext that is encrypted at a time: one record (RFC 8446 section 5.1). The next is
/// encrypted only once the kernel has taken the last, so that the outbox knows how much is queued.
const RECORD: usize = 16 * 1024;

/// The overhead of a record: header, content type and tag; in TLS 1.2 header, nonce and tag.
const RECORD_OVERHEAD: u64 = 5 + 1 + 16;
const RECORD_OVERHEAD_1_2: u64 = 5 + 8 + 16;

/// The authorities whose certificates a dialled server may present.
#[derive(Debug, Default)]
pub enum Trust {
    /// The authorities that this machine trusts, read at first use.
    #[default]
    Platform,
    /// The authorities in a file, and no others.
    File(AuthorityFile),
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
        }
    }
}

impl AuthorityFile {
    async fn tls(&self) -> Result<ClientTls, TlsSetupError> {
        let path = || self.path.clone();
        let pem = tokio::fs::read(&self.path)
            .await
            .map_err(|error| TlsSetupError::Unreadable { path: path(), error })?;
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

fn with_authorities(pem: &[u8]) -> Result<ClientTls, String> {
    let (mut roots, mut pinned) = (RootCertStore::empty(), Vec::new());
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|error| error.to_string())?;
        roots.add(certificate.clone()).map_err(|error| failure::sentence(&error))?;
        pinned.push(certificate);
    }
    if roots.is_empty() {
        return Err("no CERTIFICATE section".to_owned());
    }
    let issued = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider())
        .build()
        .map_err(|error| error.to_string())?;
    let verifier = Arc::new(PinnedOrIssued { issued, pinned });
    // See `PinnedOrIssued` for why a custom verifier is safe here.
    Ok(ClientTls::of(builder()?.dangerous().with_custom_certificate_verifier(verifier)))
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
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
        // RFC 6455 needs HTTP/1.1, even if the server prefers HTTP/2.
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
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
        match TlsConnector::from(Arc::clone(&self.0)).connect(name, socket).await {
            Ok(stream) => Ok(TlsSocket { stream, resets: false }),
            Err(error) => Err(FailedTls::of(&error, host)),
        }
    }
}

/// A dialled TCP socket with TLS.
///
/// Dropping it sends close_notify and closes TCP, unless it is to be reset.
#[derive(Debug)]
pub struct TlsSocket {
    stream: TlsStream<TcpStream>,
    resets: bool,
}

impl TlsSocket {
    /// Returns the negotiated TLS version, as it is recorded.
    pub fn version(&self) -> &'static str {
        match self.stream.get_ref().1.protocol_version() {
            Some(ProtocolVersion::TLSv1_2) => "TLSv1.2",
            // The only other version that rustls supports.
            Some(_) | None => "TLSv1.3",
        }
    }
}

impl Transport for TlsSocket {
    fn reset_on_drop(&mut self) {
        self.resets = true;
        self.stream.get_mut().0.reset_on_drop();
    }

    fn kernel(&self) -> Option<KernelFacts> {
        self.stream.get_ref().0.kernel()
    }

    fn take_error(&self) -> Option<io::Error> {
        Transport::take_error(self.stream.get_ref().0)
    }

    fn overhead(&self) -> u64 {
        match self.stream.get_ref().1.protocol_version() {
            Some(ProtocolVersion::TLSv1_2) => RECORD_OVERHEAD_1_2,
            Some(_) | None => RECORD_OVERHEAD,
        }
    }
}

impl AsyncRead for TlsSocket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for TlsSocket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let stream = Pin::new(&mut self.stream);
        ready!(stream.poll_flush(cx))?;
        Pin::new(&mut self.stream).poll_write(cx, &bytes[..bytes.len().min(RECORD)])
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl Drop for TlsSocket {
    fn drop(&mut self) {
        if self.resets {
            return;
        }
        let (socket, session) = self.stream.get_mut();
        session.send_close_notify();
        // Only what the kernel takes at once, because drop cannot wait.
        let _ = session.write_tls(&mut NonBlocking(socket));
    }
}

/// Writes what the kernel takes without blocking.
struct NonBlocking<'a>(&'a TcpStream);

impl io::Write for NonBlocking<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl PartialEq for Trust {
    fn eq(&self, other: &Self) -> bool {
        self.path() == other.path()
    }
}

impl Trust {
    /// Returns the file of authorities, if there is one.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Platform => None,
            Self::File(file) => Some(&file.path),
        }
    }
}
