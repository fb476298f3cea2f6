//! The accept loop, including what to do when descriptors run out.
//!
//! Without a free descriptor accept(2) fails and leaves the connection in the queue, so it would fail
//! again at once while the peer waits. One descriptor is therefore held in reserve, and is released to
//! accept one peer at a time and answer it with 503.

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::Acceptor;
use crate::transport::any_socket::AnySocket;
use crate::transport::socket::SocketName;
use crate::vocabulary::ListenAddress;

/// How long to wait before accept(2) is retried.
const PAUSE: Duration = Duration::from_millis(100);

/// How long a peer that is refused for lack of descriptors may take to read its 503 and close.
const REFUSAL: Duration = Duration::from_millis(100);

/// How long accept(2) must succeed for an outage to be over.
const CALM: Duration = Duration::from_secs(10);

/// The answer to a peer that is refused for lack of descriptors.
const ANSWER: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nRetry-After: 5\r\n\
    Content-Type: text/plain; charset=utf-8\r\nContent-Length: 47\r\n\r\n\
    the server is out of descriptors: retry later.\n";

/// The result of accepting a connection.
#[derive(Debug)]
pub enum Arrival {
    /// A connection.
    Socket {
        /// The socket.
        socket: AnySocket,
        /// The peer's address.
        peer: SocketName,
    },
    /// A peer that was answered with 503, because there was no free descriptor.
    RefusedForDescriptors {
        /// The peer's address.
        peer: SocketName,
    },
}

/// The accept loop of one listening socket.
#[derive(Debug)]
pub struct Arrivals {
    acceptor: Arc<Acceptor>,
    /// The local address of all connections, unless the socket listens on a wildcard address.
    local: Option<SocketName>,
    reserve: Reserve,
    /// When accept(2) may be called again.
    pause_until: Option<Instant>,
    outage: Option<Outage>,
    /// What a peer is answered that is refused for lack of descriptors.
    answer: &'static [u8],
}

/// The descriptor that is held in reserve.
#[derive(Debug)]
enum Reserve {
    Held(#[expect(dead_code, reason = "it is only held to be closed")] File),
    /// It is used for a peer that is being refused.
    Refusing {
        socket: AnySocket,
        peer: SocketName,
        until: Instant,
        written: usize,
    },
    /// It was closed, and another part of the process took it.
    Lost,
}

/// A period in which accepting fails for a local reason, logged once.
#[derive(Debug)]
struct Outage {
    last: Instant,
    refused: u64,
}

/// What an error of accept(2) concerns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum AcceptError {
    /// Only the accepted connection, which has left the queue.
    Connection,
    /// This process or the machine has no free descriptor.
    Descriptors,
    /// Memory, or anything else that does not change at once.
    Machine,
}

impl AcceptError {
    fn classify(error: &io::Error) -> Self {
        match error.raw_os_error() {
            Some(libc::EMFILE | libc::ENFILE) => Self::Descriptors,
            // accept(2) passes on network errors, which are to be treated like EAGAIN; EPERM comes
            // from a firewall.
            Some(
                libc::ECONNABORTED
                | libc::ECONNRESET
                | libc::EINTR
                | libc::EPERM
                | libc::EPROTO
                | libc::ENOPROTOOPT
                | libc::ENETDOWN
                | libc::ENETUNREACH
                | libc::EHOSTDOWN
                | libc::EHOSTUNREACH
                | libc::ENONET
                | libc::EOPNOTSUPP
                | libc::ETIMEDOUT,
            ) => Self::Connection,
            Some(_) | None => Self::Machine,
        }
    }
}

impl Arrivals {
    /// Starts the accept loop, and takes the reserve descriptor.
    pub fn new(acceptor: impl Into<Arc<Acceptor>>) -> Self {
        let acceptor = acceptor.into();
        let local = match acceptor.local_addr() {
            Ok(ListenAddress::Tcp(addr)) if !addr.ip().is_unspecified() => {
                Some(SocketName::tcp(addr))
            }
            Ok(ListenAddress::Tcp(_) | ListenAddress::Unix(_) | ListenAddress::Systemd(_))
            | Err(_) => None,
        };
        let (reserve, pause_until, outage) = (Reserve::take(), None, None);
        Self { acceptor, local, reserve, pause_until, outage, answer: ANSWER }
    }

    /// Sets the answer to a peer that is refused for lack of descriptors, for sockets on which plain
    /// HTTP would not be understood; `None` is 503.
    pub fn refuse_with(&mut self, answer: Option<&'static [u8]>) {
        self.answer = answer.unwrap_or(ANSWER);
    }

    /// Returns the local address of an accepted socket, with a system call only if necessary.
    pub fn local_addr(&self, socket: &AnySocket) -> Option<SocketName> {
        self.local.clone().or_else(|| socket.local_addr())
    }

    /// Waits for the next connection.
    ///
    /// It never fails and never spins: errors of one connection are skipped, and local errors are
    /// logged once and waited out.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: no connection is lost, and a refusal that was begun is continued.
    pub async fn next(&mut self) -> Arrival {
        loop {
            if let Some(peer) = self.reserve.finish_refusal(self.answer).await {
                return Arrival::RefusedForDescriptors { peer };
            }
            if let Some(until) = self.pause_until {
                sleep_until(until).await;
                self.pause_until = None;
                if matches!(self.reserve, Reserve::Lost) {
                    self.reserve = Reserve::take();
                }
            }
            match self.acceptor.accept().await {
                Ok((socket, peer)) => {
                    self.note_calm();
                    return Arrival::Socket { socket, peer };
                }
                Err(error) => match AcceptError::classify(&error) {
                    AcceptError::Connection => {}
                    AcceptError::Descriptors => {
                        self.note_outage(&error);
                        self.begin_refusal();
                    }
                    AcceptError::Machine => {
                        self.note_outage(&error);
                        self.pause_until = Some(Instant::now() + PAUSE);
                    }
                },
            }
        }
    }

    /// Uses the reserve descriptor to accept and refuse one peer, if one is still queued.
    fn begin_refusal(&mut self) {
        self.reserve = Reserve::Lost;
        // Poll once, because the descriptor is free only at this moment.
        let accept = std::pin::pin!(self.acceptor.accept());
        let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
        match accept.poll(&mut cx) {
            std::task::Poll::Ready(Ok((socket, peer))) => {
                let until = Instant::now() + REFUSAL;
                self.reserve = Reserve::Refusing { socket, peer, until, written: 0 };
                if let Some(outage) = &mut self.outage {
                    outage.refused += 1;
                }
            }
            std::task::Poll::Ready(Err(_)) => self.pause_until = Some(Instant::now() + PAUSE),
            // The queue is empty: another thread of the process accepted the peer.
            std::task::Poll::Pending => {
                self.reserve = Reserve::take();
            }
        }
        if matches!(self.reserve, Reserve::Lost) {
            self.pause_until = Some(Instant::now() + PAUSE);
        }
    }

    fn note_outage(&mut self, error: &io::Error) {
        let last = Instant::now();
        match &mut self.outage {
            Some(outage) => outage.last = last,
            None => {
                tracing::warn!(
                    listener.address = self.address(),
                    error = %error,
                    "cannot accept connections, raise the descriptor limit (LimitNOFILE=) or lower \
                     limits.max_connections"
                );
                self.outage = Some(Outage { last, refused: 0 });
            }
        }
    }

    fn note_calm(&mut self) {
        if let Some(outage) = self.outage.take_if(|outage| outage.last.elapsed() >= CALM) {
            tracing::info!(
                listener.address = self.address(),
                refused = outage.refused,
                "accepting connections again"
            );
        }
    }

    /// Returns whether the listening socket is the service manager's.
    pub fn is_inherited(&self) -> bool {
        self.acceptor.is_inherited()
    }

    /// Returns the address of the listening socket, as text.
    pub fn address(&self) -> String {
        self.acceptor.local_addr().map(|addr| addr.to_string()).unwrap_or_default()
    }
}

impl Reserve {
    fn take() -> Self {
        File::open("/dev/null").map_or(Self::Lost, Self::Held)
    }

    /// Finishes a refusal, if one was begun, and takes the reserve descriptor back.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: the next call continues.
    async fn finish_refusal(&mut self, answer: &[u8]) -> Option<SocketName> {
        let Self::Refusing { socket, peer, until, written } = self else { return None };
        let refusal = async {
            while *written < answer.len() {
                *written += socket.write(&answer[*written..]).await?;
            }
            socket.shutdown().await?;
            // A socket closed with unread bytes sends RST, which can discard the answer.
            let mut discarded = [0; 512];
            while socket.read(&mut discarded).await? > 0 {}
            Ok::<_, io::Error>(())
        };
        // The peer counts as refused even if it did not read the answer.
        let _ = timeout_at(*until, refusal).await;
        let peer = peer.clone();
        *self = Self::Lost;
        *self = Self::take();
        Some(peer)
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use tokio::net::TcpStream;

    use super::super::bind;
    use super::*;

    /// Set in the process that has few of them.
    const FEW_DESCRIPTORS: &str = "LASTWORD_TEST_FEW_DESCRIPTORS";

    async fn arrivals() -> (Arrivals, std::net::SocketAddr) {
        let acceptor = bind(&"127.0.0.1:0".parse().unwrap()).unwrap();
        let ListenAddress::Tcp(addr) = acceptor.local_addr().unwrap() else { panic!() };
        (Arrivals::new(acceptor), addr)
    }

    #[test]
    fn errors_of_accept_are_told_apart() {
        let classify = |errno| AcceptError::classify(&io::Error::from_raw_os_error(errno));
        assert_eq!(classify(libc::EMFILE), AcceptError::Descriptors);
        assert_eq!(classify(libc::ENFILE), AcceptError::Descriptors);
        assert_eq!(classify(libc::ECONNABORTED), AcceptError::Connection);
        assert_eq!(classify(libc::EPROTO), AcceptError::Connection);
        assert_eq!(classify(libc::ENOMEM), AcceptError::Machine);
        assert_eq!(classify(libc::EINVAL), AcceptError::Machine);
    }

    #[test]
    fn the_answer_is_as_long_as_it_says() {
        let answer = std::str::from_utf8(ANSWER).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("Content-Length: {}", body.len())), "{}", body.len());
    }

    #[tokio::test]
    async fn what_connects_arrives() {
        let (mut arrivals, addr) = arrivals().await;
        let peer = TcpStream::connect(addr).await.unwrap();
        let Arrival::Socket { peer: name, .. } = arrivals.next().await else { panic!() };
        assert_eq!(name, SocketName::Tcp(peer.local_addr().unwrap()));
    }

    #[tokio::test]
    async fn our_end_of_what_arrives_is_known() {
        for (listen, asked) in [("127.0.0.1:0", false), ("0.0.0.0:0", true)] {
            let mut arrivals = Arrivals::new(bind(&listen.parse().unwrap()).unwrap());
            let ListenAddress::Tcp(addr) = arrivals.acceptor.local_addr().unwrap() else {
                panic!()
            };
            let peer = TcpStream::connect(("127.0.0.1", addr.port())).await.unwrap();
            let Arrival::Socket { socket, .. } = arrivals.next().await else { panic!() };
            let ours = Some(SocketName::Tcp(peer.peer_addr().unwrap()));
            assert_eq!(arrivals.local_addr(&socket), ours);
            assert_eq!(arrivals.local.is_none(), asked);
        }
    }

    #[tokio::test]
    async fn a_refusal_survives_its_cancellation() {
        let (mut arrivals, addr) = arrivals().await;
        let mut peer = TcpStream::connect(addr).await.unwrap();
        arrivals.acceptor.accept().await.map(drop).unwrap();
        drop(peer);
        peer = TcpStream::connect(addr).await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
        arrivals.begin_refusal();
        for _ in 0..3 {
            let wait = tokio::time::timeout(Duration::from_millis(5), arrivals.next());
            assert!(wait.await.is_err());
        }
        let mut answer = Vec::new();
        peer.read_to_end(&mut answer).await.unwrap();
        assert_eq!(answer, ANSWER);
        drop(peer);
        assert!(matches!(arrivals.next().await, Arrival::RefusedForDescriptors { .. }));
        assert!(matches!(arrivals.reserve, Reserve::Held(_)));
    }

    /// The descriptor limit is the whole process's, so this runs in one of its own.
    #[test]
    fn peers_are_refused_while_descriptors_are_out() {
        let output = Command::new("sh")
            .args(["-c", r#"ulimit -n 48 && exec "$0" "$@""#])
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", "transport::bind::arrivals::tests::with_few_descriptors"])
            .env(FEW_DESCRIPTORS, "1")
            .output()
            .unwrap();
        let stdout = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && stdout.contains("1 passed"), "{output:?}");
    }

    #[tokio::test]
    async fn with_few_descriptors() {
        if std::env::var_os(FEW_DESCRIPTORS).is_none() {
            return;
        }
        let (mut arrivals, addr) = arrivals().await;
        let mut peers = Vec::new();
        for _ in 0..3 {
            peers.push(TcpStream::connect(addr).await.unwrap());
        }
        let mut hoard = Vec::new();
        while let Ok(file) = File::open("/dev/null") {
            hoard.push(file);
        }
        for peer in &mut peers {
            peer.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
            let mut answer = Vec::new();
            let began = Instant::now();
            let (arrival, _) = tokio::join!(arrivals.next(), async {
                peer.read_to_end(&mut answer).await.unwrap();
                peer.shutdown().await.unwrap();
            });
            assert!(matches!(arrival, Arrival::RefusedForDescriptors { .. }));
            assert_eq!(answer, ANSWER);
            assert!(began.elapsed() < REFUSAL, "the peer left in time");
        }
        assert_eq!(arrivals.outage.as_ref().unwrap().refused, 3);

        // Nobody waits: it sleeps, and wakes for the next once there is room again.
        assert!(tokio::time::timeout(PAUSE, arrivals.next()).await.is_err());
        drop((peers, hoard));
        let _peer = TcpStream::connect(addr).await.unwrap();
        assert!(matches!(arrivals.next().await, Arrival::Socket { .. }));
    }

    /// As above, but even the reserve is taken by somebody else.
    #[tokio::test(start_paused = true)]
    async fn a_lost_reserve_is_waited_for() {
        let (mut arrivals, addr) = arrivals().await;
        arrivals.reserve = Reserve::Lost;
        arrivals.pause_until = Some(Instant::now() + PAUSE);
        let _peer = std::net::TcpStream::connect(addr).unwrap();
        let began = Instant::now();
        assert!(matches!(arrivals.next().await, Arrival::Socket { .. }));
        assert!(began.elapsed() >= PAUSE);
        assert!(matches!(arrivals.reserve, Reserve::Held(_)));
    }
}
