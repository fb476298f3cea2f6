//! The listening sockets that the service manager passed to this process (sd_listen_fds(3)).
//!
//! They belong to the process and are claimed once. The manager keeps its own descriptor of each, so
//! what connects while no process accepts waits in the backlog: no socket is shut down here, and no
//! socket file removed.

use std::fmt;
use std::io;
use std::sync::OnceLock;

use socket2::Socket;

/// The sockets of this process, once it has claimed them.
static SOCKETS: OnceLock<Sockets> = OnceLock::new();

/// Why a socket of the service manager cannot be listened on. Each message names a remedy.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NotPassed {
    /// No socket was passed at all.
    #[error(
        "the service manager passed no sockets: start the daemon by its socket unit (systemctl enable --now \
         lastword.socket), or write an address in place of systemd:{name}"
    )]
    NoSockets {
        /// The name that was looked for.
        name: String,
    },
    /// None of the sockets has this name.
    #[error(
        "the service manager passed no socket named {name:?}, only {}: write one of these names, or set \
         FileDescriptorName={name} in the socket unit", Quoted(.names)
    )]
    Unknown {
        /// The name that was looked for.
        name: String,
        /// The names of the sockets that were passed.
        names: Vec<String>,
    },
    /// Several sockets have this name.
    #[error(
        "the service manager passed {found} sockets named {name:?}: give each a socket unit of its own, with its \
         own FileDescriptorName="
    )]
    Several {
        /// The name.
        name: String,
        /// How many there are.
        found: usize,
    },
    /// It is not a stream socket that listens.
    #[error(
        "what the service manager passed as {name:?} is not a listening stream socket: write ListenStream= and \
         Accept=no in the socket unit"
    )]
    Unfit {
        /// The name.
        name: String,
    },
    /// Its descriptor cannot be used.
    #[error("the socket that the service manager passed as {name:?} cannot be used: {error}")]
    Other {
        /// The name.
        name: String,
        /// The error of the kernel.
        error: io::Error,
    },
}

/// Claims the sockets that were passed to this process, and unsets the variables that say so.
///
/// Must be called before the process starts its first thread.
#[cfg(feature = "daemon")]
pub fn claim() {
    SOCKETS.get_or_init(|| {
        // Variables of a parent that did not clean up are no business of ours (sd_listen_fds(3)).
        let is_ours =
            std::env::var("LISTEN_PID").is_ok_and(|pid| pid == std::process::id().to_string());
        if !is_ours {
            return Sockets::default();
        }
        let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut passed = listenfd::ListenFd::from_env();
        let sockets = (0..passed.len()).map(|index| take(&mut passed, index)).collect();
        Sockets::new(&names, sockets)
    });
}

/// Takes one socket, TCP or Unix; it is not passed on to children.
#[cfg(feature = "daemon")]
fn take(passed: &mut listenfd::ListenFd, index: usize) -> Option<Socket> {
    [libc::AF_INET, libc::AF_UNIX].into_iter().find_map(|family| {
        // An error means that it is of another family or type; it stays open and unused.
        passed.take_custom::<Socket>(index, family, libc::SOCK_STREAM, "stream socket").ok()?
    })
}

/// Returns the names of the sockets that were passed.
pub fn names() -> Vec<&'static str> {
    SOCKETS.get().map(Sockets::names).unwrap_or_default()
}

/// Returns a descriptor of the socket with this name.
///
/// # Errors
/// [`NotPassed`].
pub fn find(name: &str) -> Result<Socket, NotPassed> {
    SOCKETS.get_or_init(Sockets::default).find(name)
}

#[derive(Debug, Default)]
struct Sockets(Vec<Passed>);

#[derive(Debug)]
struct Passed {
    name: String,
    /// `None` if it is not a stream socket.
    socket: Option<Socket>,
}

impl Sockets {
    /// Joins sockets and their names, which colons separate; one without a name is `unknown`.
    #[cfg(any(test, feature = "daemon"))]
    fn new(names: &str, sockets: Vec<Option<Socket>>) -> Self {
        let names = names.split(':').chain(std::iter::repeat(""));
        let named = sockets.into_iter().zip(names).map(|(socket, name)| {
            let name = if name.is_empty() { "unknown" } else { name };
            Passed { name: name.to_owned(), socket }
        });
        Self(named.collect())
    }

    fn names(&self) -> Vec<&str> {
        self.0.iter().map(|passed| passed.name.as_str()).collect()
    }

    fn find(&self, name: &str) -> Result<Socket, NotPassed> {
        let found: Vec<&Passed> = self.0.iter().filter(|passed| passed.name == name).collect();
        let name = name.to_owned();
        let passed = match found[..] {
            [passed] => passed,
            [] if self.0.is_empty() => return Err(NotPassed::NoSockets { name }),
            [] => {
                let names = self.names().into_iter().map(str::to_owned).collect();
                return Err(NotPassed::Unknown { name, names });
            }
            [..] => return Err(NotPassed::Several { name, found: found.len() }),
        };
        match &passed.socket {
            Some(socket) if socket.is_listener().is_ok_and(|listens| listens) => {
                socket.try_clone().map_err(|error| NotPassed::Other { name, error })
            }
            Some(_) | None => Err(NotPassed::Unfit { name }),
        }
    }
}

/// Names in quotes, with commas between them.
struct Quoted<'a>(&'a [String]);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, name) in self.0.iter().enumerate() {
            write!(f, "{}{name:?}", if index == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use socket2::{Domain, Type};

    use super::*;

    fn socket(listens: bool) -> Option<Socket> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        if listens {
            socket.listen(1).unwrap();
        }
        Some(socket)
    }

    #[test]
    fn a_socket_is_found_by_its_name_and_stays_open() {
        let sockets = Sockets::new("public:control", vec![socket(true), socket(true)]);
        let address = |name| sockets.find(name).unwrap().local_addr().unwrap().as_socket().unwrap();
        assert_ne!(address("public"), address("control"));
        std::net::TcpStream::connect(address("control")).unwrap();
    }

    #[test]
    fn what_cannot_be_listened_on_is_told_apart() {
        let sockets = vec![socket(true), socket(true), socket(false), None];
        let sockets = Sockets::new("a:a:silent", sockets);
        let said = |name: &str| sockets.find(name).unwrap_err().to_string();
        assert!(matches!(sockets.find("a"), Err(NotPassed::Several { found: 2, .. })));
        assert!(matches!(sockets.find("silent"), Err(NotPassed::Unfit { .. })));
        assert!(matches!(sockets.find("unknown"), Err(NotPassed::Unfit { .. })));
        let names = r#"only "a", "a", "silent", "unknown": "#;
        assert!(said("public").contains(names), "{}", said("public"));
        let none = Sockets::default().find("a").unwrap_err();
        assert!(matches!(none, NotPassed::NoSockets { .. }));
    }
}
