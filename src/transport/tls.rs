//! TLS over TCP, with rustls; no other module names it.
//!
//! - [`Trust`] and [`ClientTls`]: dials.
//! - [`ServerTls`]: listeners, and the certificates that they show.
//! - [`TlsSocket`]: what both make of a TCP socket.

mod authorities;
mod failure;
mod handshake;
mod outcome;
mod pinned;
mod provider;
mod read_size;
mod server;
mod session;
mod socket;
mod trust;
mod unverified;
mod words;
mod x509;

pub use outcome::{FailedAccept, FailedTls, OpenedTls, not_tls};
pub use server::{CertificateFacts, ServerTls, TlsFileError};
pub use socket::TlsSocket;
pub use trust::{AuthorityFile, ClientTls, TlsSetupError, Trust};
