//! TLS over TCP, with rustls; no other module names it.
//!
//! - [`Trust`] and [`ClientTls`]: dials.
//! - [`ServerTls`]: listeners, and the certificates that they show.
//! - [`TlsSocket`]: what both make of a TCP socket.

mod failure;
mod handshake;
mod pinned;
mod provider;
mod server;
mod session;
mod socket;
mod trust;
mod words;
mod x509;

pub use failure::FailedTls;
pub use server::{CertificateFacts, FailedAccept, OpenedTls, ServerTls, TlsFileError};
pub use socket::TlsSocket;
pub use trust::{AuthorityFile, ClientTls, TlsSetupError, Trust};
