//! Addresses to listen on.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

/// Where to listen: `127.0.0.1:8080`, `[::]:8080`, `unix:/run/lastword.sock` or `systemd:public`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ListenAddress {
    /// A TCP address and port; with port 0 the kernel chooses, and `[::]` accepts IPv4 as well.
    Tcp(SocketAddr),
    /// A Unix stream socket, by its absolute path.
    Unix(PathBuf),
    /// The socket that the service manager passes to the daemon under this name
    /// (`FileDescriptorName=` of systemd.socket(5)).
    Systemd(String),
}

/// A string that is not an address to listen on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidListenAddress {
    /// It is neither an IP address with a port nor the path of a Unix socket.
    #[error(
        "{0:?} is not an address: write \"127.0.0.1:8080\", \"[::]:8080\", \"unix:/run/lastword.sock\" or \
         \"systemd:NAME\""
    )]
    Address(String),
    /// The path of the Unix socket is relative, or longer than the kernel allows.
    #[error("{0:?} is not the path of a Unix socket: write an absolute path of at most 107 bytes")]
    SocketPath(String),
    /// No socket can have the name.
    #[error(
        "{0:?} is not the name of a socket: write that of FileDescriptorName= in the socket unit, 1 to 255 ASCII \
         characters without colons"
    )]
    SocketName(String),
}

/// The size of `sun_path` on Linux, less the final zero byte.
const LONGEST_SOCKET_PATH: usize = 107;

/// The longest name that systemd accepts (`FDNAME_MAX`).
const LONGEST_SOCKET_NAME: usize = 255;

impl ListenAddress {
    /// Returns whether only programs of this machine can reach it. What the service manager passes is not
    /// known by its name.
    #[cfg(feature = "schema")]
    pub(crate) fn is_local(&self) -> bool {
        match self {
            Self::Tcp(address) => address.ip().to_canonical().is_loopback(),
            Self::Unix(_) => true,
            Self::Systemd(_) => false,
        }
    }
}

impl FromStr for ListenAddress {
    type Err = InvalidListenAddress;

    fn from_str(text: &str) -> Result<Self, InvalidListenAddress> {
        if let Some(path) = text.strip_prefix("unix:") {
            if !path.starts_with('/') || path.len() > LONGEST_SOCKET_PATH || path.contains('\0') {
                return Err(InvalidListenAddress::SocketPath(path.to_owned()));
            }
            return Ok(Self::Unix(PathBuf::from(path)));
        }
        if let Some(name) = text.strip_prefix("systemd:") {
            let fits = (1..=LONGEST_SOCKET_NAME).contains(&name.len());
            if !fits || !name.chars().all(|c| c == ' ' || c.is_ascii_graphic() && c != ':') {
                return Err(InvalidListenAddress::SocketName(name.to_owned()));
            }
            return Ok(Self::Systemd(name.to_owned()));
        }
        text.parse().map(Self::Tcp).map_err(|_| InvalidListenAddress::Address(text.to_owned()))
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Systemd(name) => write!(f, "systemd:{name}"),
        }
    }
}
