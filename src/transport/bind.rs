//! Addresses to listen on, and the sockets bound to them.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use tokio::net::{TcpListener, UnixListener};

use super::any_socket::AnySocket;
use super::inherited::{self, NotPassed};
use super::socket::SocketName;
use crate::vocabulary::ListenAddress;

mod arrivals;

pub use arrivals::{Arrival, Arrivals};

/// The accept backlog; the kernel caps it at `somaxconn`.
const BACKLOG: i32 = 4096;

/// Whether accepted sockets inherit `TCP_NODELAY` from the listening socket.
const INHERITS_NODELAY: bool = cfg!(target_os = "linux");

/// Owner and group may connect; operators add a proxy to the group.
const UNIX_MODE: u32 = 0o660;

/// Why an address could not be listened on. Each message names the address and a remedy.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// Something listens there already.
    #[error("{0} is in use: stop what listens there, or choose another address")]
    InUse(ListenAddress),
    /// This process lacks the permission.
    #[error("no permission to listen on {0}: choose a port above 1023 or a directory it may write")]
    Permission(ListenAddress),
    /// The machine does not have the address.
    #[error("{0} is not an address of this machine: listen on one it has, or on 0.0.0.0 or [::]")]
    NotOurs(ListenAddress),
    /// The directory of the Unix socket is missing.
    #[error("the directory of {0} does not exist: create it first")]
    MissingDirectory(ListenAddress),
    /// The file at the path is not a socket.
    #[error("the file at {0} is not a socket: remove it, or choose another path")]
    NotASocket(ListenAddress),
    /// The service manager passed no such socket.
    #[error(transparent)]
    NotPassed(#[from] NotPassed),
    /// Anything else.
    #[error("cannot listen on {address}: {error}")]
    Other {
        /// The address.
        address: ListenAddress,
        /// The error of the kernel.
        error: io::Error,
    },
}

impl BindError {
    fn new(address: &ListenAddress, error: io::Error) -> Self {
        let address = address.clone();
        match error.kind() {
            io::ErrorKind::AddrInUse => Self::InUse(address),
            io::ErrorKind::PermissionDenied => Self::Permission(address),
            io::ErrorKind::AddrNotAvailable => Self::NotOurs(address),
            io::ErrorKind::NotFound => Self::MissingDirectory(address),
            _ => Self::Other { address, error },
        }
    }
}

/// Listens on an address. Must be called in the context of a tokio runtime.
///
/// A stale Unix socket is removed first, and the new one has mode 0660 before the first peer can
/// connect. A socket of the service manager is used as it is: its address, mode and backlog are the
/// manager's.
///
/// # Errors
///
/// [`BindError`]; no socket file is left behind.
pub fn bind(address: &ListenAddress) -> Result<Acceptor, BindError> {
    match address {
        ListenAddress::Tcp(addr) => bind_tcp(*addr)
            .map(|listener| Acceptor::Tcp { listener, inherited: false })
            .map_err(|error| BindError::new(address, error)),
        ListenAddress::Unix(path) => {
            remove_stale_socket(address, path)?;
            bind_unix(path)
                .map(|(listener, file)| Acceptor::Unix { listener, file: Some(Arc::new(file)) })
                .map_err(|error| BindError::new(address, error))
        }
        ListenAddress::Systemd(name) => {
            adopt(inherited::find(name)?).map_err(|error| BindError::new(address, error))
        }
    }
}

/// Accepts on a socket of the service manager, which listens already.
fn adopt(socket: Socket) -> io::Result<Acceptor> {
    socket.set_nonblocking(true)?;
    match socket.domain()? {
        Domain::UNIX => {
            let listener = UnixListener::from_std(socket.into())?;
            Ok(Acceptor::Unix { listener, file: None })
        }
        _ => {
            socket.set_tcp_nodelay(true)?;
            let listener = TcpListener::from_std(socket.into())?;
            Ok(Acceptor::Tcp { listener, inherited: true })
        }
    }
}

/// A listening socket.
#[derive(Debug)]
pub enum Acceptor {
    /// TCP.
    Tcp {
        /// The socket.
        listener: TcpListener,
        /// Whether the service manager passed it.
        inherited: bool,
    },
    /// A Unix stream socket.
    Unix {
        /// The socket.
        listener: UnixListener,
        /// Its file, which is removed on drop; the service manager removes that of a socket that
        /// it passed.
        file: Option<Arc<SocketFile>>,
    },
}

impl Acceptor {
    /// Waits for the next connection. TCP sockets come with `TCP_NODELAY`.
    ///
    /// # Errors
    ///
    /// Those of accept(2). Some do not concern the listening socket; [`Arrivals`] distinguishes them.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: no connection is lost.
    pub async fn accept(&self) -> io::Result<(AnySocket, SocketName)> {
        match self {
            Self::Tcp { listener, inherited: _ } => {
                let (socket, peer) = listener.accept().await?;
                if !INHERITS_NODELAY {
                    // It fails only on a socket that has already ended, which the next read reports.
                    let _ = socket.set_nodelay(true);
                }
                Ok((AnySocket::Tcp(socket), SocketName::tcp(peer)))
            }
            Self::Unix { listener, file: _ } => {
                let (socket, peer) = listener.accept().await?;
                Ok((AnySocket::Unix(socket), SocketName::unix(&peer)))
            }
        }
    }

    /// Returns another handle of the same socket, whose queue of clients both share.
    ///
    /// # Errors
    ///
    /// There is no free descriptor.
    pub fn try_clone(&self) -> io::Result<Self> {
        match self {
            Self::Tcp { listener, inherited } => {
                let socket = listener.as_fd().try_clone_to_owned()?;
                let listener = TcpListener::from_std(std::net::TcpListener::from(socket))?;
                Ok(Self::Tcp { listener, inherited: *inherited })
            }
            Self::Unix { listener, file } => {
                let socket = listener.as_fd().try_clone_to_owned()?;
                let socket = std::os::unix::net::UnixListener::from(socket);
                let listener = UnixListener::from_std(socket)?;
                Ok(Self::Unix { listener, file: file.clone() })
            }
        }
    }

    /// Returns the address, with the real port.
    ///
    /// # Errors
    ///
    /// As getsockname(2).
    pub fn local_addr(&self) -> io::Result<ListenAddress> {
        match self {
            Self::Tcp { listener, inherited: _ } => listener.local_addr().map(ListenAddress::Tcp),
            Self::Unix { listener, file: _ } => {
                Ok(ListenAddress::Unix(path_of(&listener.local_addr()?)))
            }
        }
    }

    /// Returns whether the service manager passed the socket. What waits in its backlog when this
    /// process ends is then accepted by the next one.
    pub fn is_inherited(&self) -> bool {
        match self {
            Self::Tcp { listener: _, inherited } => *inherited,
            Self::Unix { listener: _, file } => file.is_none(),
        }
    }
}

/// Returns the address of a socket that the service manager passed under this name.
///
/// # Errors
///
/// There is no such socket that can be listened on.
pub fn passed_address(name: &str) -> Result<ListenAddress, NotPassed> {
    let address = inherited::find(name)?.local_addr();
    let address = address.map_err(|error| NotPassed::Other { name: name.to_owned(), error })?;
    Ok(match (address.as_socket(), address.as_unix()) {
        (Some(address), _) => ListenAddress::Tcp(address),
        (None, Some(address)) => ListenAddress::Unix(path_of(&address.into())),
        (None, None) => ListenAddress::Unix(PathBuf::new()),
    })
}

/// Returns the path of a Unix socket; one in the abstract namespace is written with an `@`.
fn path_of(address: &tokio::net::unix::SocketAddr) -> PathBuf {
    match (address.as_pathname(), address.as_abstract_name()) {
        (Some(path), _) => path.to_owned(),
        (None, Some(name)) => format!("@{}", String::from_utf8_lossy(name)).into(),
        (None, None) => PathBuf::new(),
    }
}

/// The file of a Unix socket, which is removed on drop unless another file has replaced it.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl SocketFile {
    fn of(path: &Path) -> io::Result<Self> {
        let metadata = fs::symlink_metadata(path)?;
        Ok(Self { path: path.to_owned(), device: metadata.dev(), inode: metadata.ino() })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let ours = fs::symlink_metadata(&self.path)
            .is_ok_and(|found| (found.dev(), found.ino()) == (self.device, self.inode));
        if ours {
            // A file that cannot be removed is treated as stale by the next bind.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn bind_tcp(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    // Otherwise a restart fails while old connections are in TIME_WAIT.
    socket.set_reuse_address(true)?;
    if addr.is_ipv6() {
        // Accept IPv4 as well, like most daemons and systemd, regardless of the sysctl bindv6only.
        socket.set_only_v6(false)?;
    }
    socket.set_tcp_nodelay(true)?;
    socket.bind(&addr.into())?;
    listen(&socket)?;
    TcpListener::from_std(socket.into())
}

fn bind_unix(path: &Path) -> io::Result<(UnixListener, SocketFile)> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.bind(&SockAddr::unix(path)?)?;
    let file = SocketFile::of(path)?;
    // No peer can connect before listen(2), so the mode from the umask never applies.
    fs::set_permissions(path, fs::Permissions::from_mode(UNIX_MODE))?;
    listen(&socket)?;
    Ok((UnixListener::from_std(socket.into())?, file))
}

fn listen(socket: &Socket) -> io::Result<()> {
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)
}

/// Removes the socket file of a process that was killed, recognised by a refused connection.
fn remove_stale_socket(address: &ListenAddress, path: &Path) -> Result<(), BindError> {
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(BindError::new(address, error)),
    };
    if !found.file_type().is_socket() {
        return Err(BindError::NotASocket(address.clone()));
    }
    match probe(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(|error| BindError::new(address, error))
        }
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            Err(BindError::new(address, error))
        }
        // A full backlog also means that a process is listening.
        Ok(()) | Err(_) => Err(BindError::InUse(address.clone())),
    }
}

/// Connects without blocking, because a listener with a full backlog would block forever.
fn probe(path: &Path) -> io::Result<()> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.connect(&SockAddr::unix(path)?)
}

#[cfg(test)]
mod tests {
    use tokio::net::{TcpStream, UnixStream};

    use super::*;
    use crate::transport::socket::Transport;

    fn address(text: &str) -> ListenAddress {
        text.parse().unwrap()
    }

    fn unix(directory: &tempfile::TempDir, name: &str) -> (PathBuf, ListenAddress) {
        let path = directory.path().join(name);
        (path.clone(), ListenAddress::Unix(path))
    }

    #[test]
    fn addresses_are_parsed_and_written() {
        for text in ["127.0.0.1:8080", "[::]:8080", "unix:/run/x.sock", "systemd:public"] {
            assert_eq!(address(text).to_string(), text);
        }
        let none = ["8080", "localhost:80", "unix:", "unix:x.sock", "127.0.0.1", ""];
        let unnamed = ["systemd:", "systemd:a:b", "systemd:a\n", "systemd:ü"];
        for text in none.into_iter().chain(unnamed) {
            assert!(text.parse::<ListenAddress>().is_err(), "{text}");
        }
    }

    #[tokio::test]
    async fn tcp_is_accepted_with_nodelay_and_names() {
        let acceptor = bind(&address("127.0.0.1:0")).unwrap();
        let ListenAddress::Tcp(addr) = acceptor.local_addr().unwrap() else { panic!() };
        assert_ne!(addr.port(), 0);
        let peer = TcpStream::connect(addr).await.unwrap();
        let (socket, name) = acceptor.accept().await.unwrap();
        assert_eq!(name, SocketName::Tcp(peer.local_addr().unwrap()));
        assert_eq!(socket.local_addr(), Some(SocketName::Tcp(addr)));
        assert!(socket.kernel().is_some());
        let AnySocket::Tcp(socket) = socket else { panic!() };
        assert!(socket.nodelay().unwrap());
    }

    #[tokio::test]
    async fn an_ipv6_wildcard_takes_ipv4() {
        // Not every machine has IPv6.
        let Ok(acceptor) = bind(&address("[::]:0")) else { return };
        let ListenAddress::Tcp(addr) = acceptor.local_addr().unwrap() else { panic!() };
        let _peer = TcpStream::connect(("127.0.0.1", addr.port())).await.unwrap();
        let (_, name) = acceptor.accept().await.unwrap();
        assert!(name.ip().unwrap().is_ipv4());
    }

    #[tokio::test]
    async fn an_address_in_use_or_not_ours_is_named() {
        let acceptor = bind(&address("127.0.0.1:0")).unwrap();
        let taken = acceptor.local_addr().unwrap();
        let error = bind(&taken).unwrap_err();
        assert!(matches!(&error, BindError::InUse(address) if *address == taken));
        assert!(matches!(bind(&address("192.0.2.1:0")), Err(BindError::NotOurs(_))));
    }

    #[tokio::test]
    async fn a_unix_socket_is_0660_and_removed_in_the_end() {
        let directory = tempfile::tempdir().unwrap();
        let (path, address) = unix(&directory, "x.sock");
        let acceptor = bind(&address).unwrap();
        assert_eq!(acceptor.local_addr().unwrap(), address);
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o660);
        let _peer = UnixStream::connect(&path).await.unwrap();
        let (socket, name) = acceptor.accept().await.unwrap();
        assert_eq!(name.to_string(), "unix:");
        assert_eq!(socket.local_addr(), Some(SocketName::Unix(Some(path.clone()))));
        drop(acceptor);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn only_a_stale_unix_socket_is_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let (path, address) = unix(&directory, "x.sock");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        let first = bind(&address).unwrap();
        assert!(matches!(bind(&address), Err(BindError::InUse(_))));
        assert!(path.exists());

        // Another took the path meanwhile: it is not ours to remove.
        fs::remove_file(&path).unwrap();
        let second = bind(&address).unwrap();
        drop(first);
        assert!(path.exists());
        drop(second);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn a_file_or_a_missing_directory_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let (path, file) = unix(&directory, "file");
        fs::write(&path, "precious").unwrap();
        assert!(matches!(bind(&file), Err(BindError::NotASocket(_))));
        assert_eq!(fs::read(&path).unwrap(), b"precious");
        let (_, missing) = unix(&directory, "missing/x.sock");
        assert!(matches!(bind(&missing), Err(BindError::MissingDirectory(_))));
    }
}
