//! Stands in for TLS in a build without the feature `tls`: every `wss://` dial fails, and says why, and no
//! listener has TLS.

#[path = "tls/outcome.rs"]
mod outcome;

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::net::TcpStream;

use super::socket::Transport;
pub use outcome::{FailedAccept, FailedTls, OpenedTls, not_tls};

/// Whose certificates a dialled server may show.
#[derive(Debug, Default)]
pub enum Trust {
    /// Those of the authorities that this machine trusts.
    #[default]
    Platform,
    /// Those of the authorities in a file.
    File(PathBuf),
}

/// Why TLS could not be set up on this end.
#[derive(Debug, thiserror::Error)]
#[error("this build dials no wss://: enable the feature `tls` of the crate lastword")]
pub struct TlsSetupError;

impl Trust {
    /// Trusts the authorities in a file, or without one those of this machine.
    pub fn of(file: Option<&Path>) -> Self {
        file.map_or(Self::Platform, Self::file)
    }

    /// Trusts the authorities in a PEM file, and no others.
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self::File(path.into())
    }

    /// Returns the file of authorities, if there is one.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Platform => None,
            Self::File(path) => Some(path),
        }
    }

    /// Fails.
    ///
    /// # Errors
    /// [`TlsSetupError`], always.
    pub async fn tls(&self) -> Result<ClientTls, TlsSetupError> {
        Err(TlsSetupError)
    }
}

/// Opens TLS; no value of it exists.
#[derive(Debug, Clone, Copy)]
pub struct ClientTls(Infallible);

impl ClientTls {
    /// Opens TLS.
    ///
    /// # Errors
    /// [`FailedTls`].
    ///
    /// # Cancel safety
    /// Dropping the future drops the socket.
    pub async fn open(
        &self,
        _host: &str,
        _socket: TcpStream,
    ) -> Result<(Box<dyn Transport>, &'static str), FailedTls> {
        match self.0 {}
    }
}

impl PartialEq for Trust {
    fn eq(&self, other: &Self) -> bool {
        self.path() == other.path()
    }
}

/// A socket with TLS; no value of it exists.
#[derive(Debug)]
pub enum TlsSocket {}

/// The TLS of a listener; no value of it exists.
#[derive(Debug)]
pub enum ServerTls {}

impl ServerTls {
    /// A TLS alert for a client that cannot be served.
    pub const ALERT: [u8; 0] = [];

    /// Opens TLS.
    ///
    /// # Errors
    /// [`FailedAccept`].
    ///
    /// # Cancel safety
    /// Dropping the future drops the socket.
    pub async fn accept(&self, _socket: TcpStream) -> Result<OpenedTls, FailedAccept> {
        match *self {}
    }

    /// Follows the files.
    pub async fn follow(self: Arc<Self>, _listener: &str) -> Infallible {
        match *self {}
    }
}
