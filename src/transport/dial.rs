//! Dialling: from a `ws://` or `wss://` URL to a TCP socket.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use http::HeaderValue;
use http::uri::PathAndQuery;
use tokio::net::{TcpSocket, TcpStream, lookup_host};
use tokio::time::{Instant, timeout_at};

use super::opening_handshake::ClientRequest;
use super::source_port;
use crate::protocol::url::{Scheme, Url, UrlProblem};
use crate::vocabulary::OpenFailure;

/// The delay before the next address is tried in parallel (RFC 8305 section 8).
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// A WebSocket URL (RFC 6455 section 3): `ws://host[:port][/path][?query]`, or `wss://` for TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WsUrl(Url);

impl WsUrl {
    /// Returns the URL with its parts.
    pub fn url(&self) -> &Url {
        &self.0
    }

    /// Returns the URL as it was written.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// Returns whether the scheme is `wss://`. [`dial`] itself only opens TCP.
    pub fn is_secure(&self) -> bool {
        self.0.scheme().is_secure()
    }

    /// Returns the host, without the brackets of an IPv6 address.
    pub fn host(&self) -> &str {
        self.0.host()
    }

    /// Returns the port; 80 or 443 where the URL has none.
    pub fn port(&self) -> u16 {
        self.0.port()
    }

    /// Returns the path and the query.
    pub fn target(&self) -> &PathAndQuery {
        self.0.target()
    }

    /// Returns the host, and the port if the URL has one.
    pub fn authority(&self) -> &HeaderValue {
        self.0.authority()
    }

    /// Makes the opening handshake for this URL.
    pub fn request(&self) -> ClientRequest {
        self.request_for(self.target().clone())
    }

    /// Makes the opening handshake for another path and query on the same host, as a relay does.
    pub fn request_for(&self, target: PathAndQuery) -> ClientRequest {
        ClientRequest::new(self.authority().clone(), target)
    }
}

impl FromStr for WsUrl {
    type Err = InvalidUrl;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Url::parse(text, &[Scheme::Ws, Scheme::Wss]).map(Self).map_err(InvalidUrl::Malformed)
    }
}

impl fmt::Display for WsUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A string that is not a WebSocket URL. The error does not repeat it, because it may hold a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidUrl {
    /// It is malformed, for this reason.
    #[error("the URL cannot be dialled: {0}; write ws://host:port/path")]
    Malformed(UrlProblem),
    /// The path of a Unix socket is not absolute.
    #[error("the URL cannot be dialled: write the absolute path of the socket after ws+unix:")]
    SocketPath,
    /// There is no URL.
    #[error("the list of URLs is empty: name an application")]
    Missing,
}

impl InvalidUrl {
    /// Returns the failure to record.
    pub const fn failure(&self) -> OpenFailure {
        match self {
            Self::Malformed(_) | Self::SocketPath | Self::Missing => OpenFailure::BadRequest,
        }
    }
}

/// A dialled socket.
#[derive(Debug)]
pub struct Dialled {
    /// The socket, with `TCP_NODELAY`.
    pub socket: TcpStream,
    /// The address that answered.
    pub addr: SocketAddr,
    /// How long name resolution and TCP took.
    pub connect: Duration,
}

/// Why none of the addresses of a host could be connected to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{failure}: {detail}")]
pub struct FailedDial {
    /// The failure: `dns`, `connect_refused`, `connect_timeout` or `ports_exhausted`.
    pub failure: OpenFailure,
    /// One sentence for people, with each address that was tried.
    pub detail: String,
}

/// Resolves the host and connects to the first of its addresses that answers (happy eyeballs, RFC
/// 8305).
///
/// # Errors
///
/// The failure of the last address. A local shortage of ports ends the search.
///
/// # Cancel safety
///
/// Dropping the future drops the attempt.
pub async fn dial(url: &WsUrl, timeout: Duration) -> Result<Dialled, FailedDial> {
    dial_from(url.host(), url.port(), timeout, None).await
}

/// Like [`dial`], for a host and a port, and optionally from a source address. The kernel then chooses
/// the source port for each destination separately (`IP_BIND_ADDRESS_NO_PORT`).
///
/// # Errors
///
/// As [`dial`].
///
/// # Cancel safety
///
/// As [`dial`].
pub async fn dial_from(
    host: &str,
    port: u16,
    timeout: Duration,
    source: Option<IpAddr>,
) -> Result<Dialled, FailedDial> {
    let began = Instant::now();
    let deadline = began + timeout;
    let addrs = interleave(resolve(host, port, deadline, timeout).await?, source);
    let (socket, addr) = race(&addrs, deadline, source).await?;
    // It fails only on a socket that has already ended, which the next read reports.
    let _ = socket.set_nodelay(true);
    Ok(Dialled { socket, addr, connect: began.elapsed() })
}

/// Orders addresses for trying: the families alternate, beginning with that of the first (RFC 8305
/// section 4). With a source address only its family is kept, if it has any. Pure.
fn interleave(addrs: Vec<SocketAddr>, source: Option<IpAddr>) -> Vec<SocketAddr> {
    let of_source = |addr: &SocketAddr| source.is_none_or(|ours| ours.is_ipv4() == addr.is_ipv4());
    let suits = addrs.iter().any(of_source);
    let addrs = addrs.into_iter().filter(|addr| !suits || of_source(addr));
    let (mut first, mut second) = (VecDeque::<SocketAddr>::new(), VecDeque::new());
    for addr in addrs {
        match first.front() {
            Some(other) if other.is_ipv4() != addr.is_ipv4() => second.push_back(addr),
            Some(_) | None => first.push_back(addr),
        }
    }
    let mut ordered = Vec::with_capacity(first.len() + second.len());
    while !(first.is_empty() && second.is_empty()) {
        ordered.extend(first.pop_front());
        ordered.extend(second.pop_front());
    }
    ordered
}

/// Connects to the first of these addresses that answers (RFC 8305 section 5). The next one is tried
/// once the previous has failed, or in parallel after [`ATTEMPT_DELAY`], so that an address that drops
/// packets costs no more than that.
async fn race(
    addrs: &[SocketAddr],
    deadline: Instant,
    source: Option<IpAddr>,
) -> Result<(TcpStream, SocketAddr), FailedDial> {
    let left = deadline.saturating_duration_since(Instant::now());
    let delay = ATTEMPT_DELAY.min(left / u32::try_from(addrs.len().max(1)).unwrap_or(u32::MAX));
    let mut waiting = addrs.iter().copied();
    let (mut attempts, mut under_way) = (FuturesUnordered::new(), Vec::new());
    let (mut tried, mut failure) = (Vec::new(), OpenFailure::Dns);
    let mut next_at = Instant::now();
    loop {
        if attempts.is_empty() || next_at <= Instant::now() {
            match waiting.next() {
                Some(addr) => {
                    attempts.push(async move { (addr, connect(addr, source).await) });
                    under_way.push(addr);
                    next_at = Instant::now() + delay;
                }
                None if attempts.is_empty() => break,
                None => {}
            }
        }
        let until = if waiting.len() > 0 { next_at.min(deadline) } else { deadline };
        match timeout_at(until, attempts.next()).await {
            Ok(Some((addr, Ok(socket)))) => return Ok((socket, addr)),
            Ok(Some((addr, Err(error)))) => {
                under_way.retain(|other| *other != addr);
                tried.push(format!("{addr}: {error}"));
                failure = classify(&error);
                if failure == OpenFailure::PortsExhausted {
                    break;
                }
                next_at = Instant::now();
            }
            Err(_) if Instant::now() >= deadline => {
                tried.extend(under_way.iter().map(|addr| format!("{addr}: no answer in time")));
                failure = OpenFailure::ConnectTimeout;
                break;
            }
            // Start the next one.
            Ok(None) | Err(_) => {}
        }
    }
    Err(FailedDial { failure, detail: format!("cannot connect to {}", tried.join("; ")) })
}

async fn connect(addr: SocketAddr, source: Option<IpAddr>) -> io::Result<TcpStream> {
    let Some(source) = source else { return TcpStream::connect(addr).await };
    let socket = if addr.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    source_port::choose_at_connect(&socket)?;
    socket.bind(SocketAddr::new(source, 0))?;
    socket.connect(addr).await
}

async fn resolve(
    host: &str,
    port: u16,
    deadline: Instant,
    timeout: Duration,
) -> Result<Vec<SocketAddr>, FailedDial> {
    let why = match timeout_at(deadline, lookup_host((host, port))).await {
        Ok(Ok(found)) => {
            let addrs: Vec<_> = found.collect();
            if !addrs.is_empty() {
                return Ok(addrs);
            }
            "it has no address".to_owned()
        }
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("no answer within {timeout:?}"),
    };
    let detail = format!("cannot resolve {host}: {why}");
    Err(FailedDial { failure: OpenFailure::Dns, detail })
}

/// Classifies an error of connect(2). Pure.
fn classify(error: &io::Error) -> OpenFailure {
    match error.raw_os_error() {
        // Running out of descriptors counts as this too; the detail distinguishes them.
        Some(libc::EADDRNOTAVAIL | libc::EMFILE | libc::ENFILE) => OpenFailure::PortsExhausted,
        Some(libc::ETIMEDOUT) => OpenFailure::ConnectTimeout,
        // Refused by the host, by a router on the way (unreachable), or by a firewall.
        Some(_) | None => OpenFailure::ConnectRefused,
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    fn url(text: &str) -> WsUrl {
        text.parse().unwrap()
    }

    #[test]
    fn only_websocket_urls_are_dialled() {
        assert!(url("wss://a").is_secure() && !url("ws://a").is_secure());
        let error = "http://a/".parse::<WsUrl>().unwrap_err();
        assert_eq!(error.failure(), OpenFailure::BadRequest);
    }

    #[tokio::test]
    async fn a_listening_host_is_connected_to_with_nodelay() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        // By name, which may also resolve to an IPv6 address without a listener.
        let url = url(&format!("ws://localhost:{port}/"));
        let dialled = dial(&url, Duration::from_secs(5)).await.unwrap();
        assert_eq!(dialled.addr, listener.local_addr().unwrap());
        assert!(dialled.socket.nodelay().unwrap());
    }

    #[tokio::test]
    async fn a_refusal_names_the_address() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        drop(listener);
        let failed = dial(&url(&format!("ws://{addr}")), Duration::from_secs(5)).await.unwrap_err();
        assert_eq!(failed.failure, OpenFailure::ConnectRefused);
        assert!(failed.detail.contains(&addr.to_string()));
    }

    #[tokio::test]
    async fn a_full_backlog_times_out() {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(0).unwrap();
        let url = url(&format!("ws://{}", listener.local_addr().unwrap()));
        let mut filling = Vec::new();
        let failed = loop {
            match dial(&url, Duration::from_millis(100)).await {
                Ok(dialled) => filling.push(dialled),
                Err(failed) => break failed,
            }
            assert!(filling.len() < 10, "the backlog takes one or two");
        };
        assert_eq!(failed.failure, OpenFailure::ConnectTimeout);
    }

    /// A listener whose backlog is full: it swallows what comes.
    async fn black_hole(address: &str) -> (tokio::net::TcpListener, Vec<TcpStream>) {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind(address.parse().unwrap()).unwrap();
        let listener = socket.listen(0).unwrap();
        let (addr, mut filling) = (listener.local_addr().unwrap(), Vec::new());
        let brief = Duration::from_millis(100);
        while let Ok(filled) = tokio::time::timeout(brief, TcpStream::connect(addr)).await {
            filling.push(filled.unwrap());
            assert!(filling.len() < 10, "the backlog takes one or two");
        }
        (listener, filling)
    }

    #[tokio::test]
    async fn an_address_that_swallows_packets_costs_a_moment() {
        let (hole, _filling) = black_hole("127.0.0.2:0").await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (hole, good) = (hole.local_addr().unwrap(), listener.local_addr().unwrap());
        let began = Instant::now();
        let (_socket, addr) =
            race(&[hole, good], began + Duration::from_secs(30), None).await.unwrap();
        assert_eq!(addr, good);
        assert!((250..5000).contains(&began.elapsed().as_millis()), "{:?}", began.elapsed());
        // One that is slow may still win.
        let (_socket, addr) =
            race(&[good, hole], Instant::now() + Duration::from_secs(30), None).await.unwrap();
        assert_eq!(addr, good);
    }

    #[tokio::test]
    async fn a_refusal_lets_the_next_be_tried_at_once_and_all_that_failed_are_named() {
        let (hole, _filling) = black_hole("127.0.0.2:0").await;
        let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (hole, refusing) = (hole.local_addr().unwrap(), closed.local_addr().unwrap());
        drop(closed);
        let began = Instant::now();
        let within = began + Duration::from_millis(600);
        let failed = race(&[refusing, hole], within, None).await.unwrap_err();
        assert_eq!(failed.failure, OpenFailure::ConnectTimeout);
        for named in [format!("{refusing}: "), format!("{hole}: no answer in time")] {
            assert!(failed.detail.contains(&named), "{failed}");
        }
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let good = listener.local_addr().unwrap();
        let began = Instant::now();
        race(&[refusing, refusing, good], began + Duration::from_secs(30), None).await.unwrap();
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
        let from = Some("127.0.0.3".parse().unwrap());
        let (socket, _) =
            race(&[good], Instant::now() + Duration::from_secs(5), from).await.unwrap();
        assert_eq!(Some(socket.local_addr().unwrap().ip()), from);
    }

    #[test]
    fn families_take_turns_and_a_source_keeps_to_its_own() {
        let addrs = |texts: &[&str]| -> Vec<SocketAddr> {
            texts.iter().map(|text| text.parse().unwrap()).collect()
        };
        let found = addrs(&["[::1]:1", "[::2]:1", "[::3]:1", "1.1.1.1:1", "2.2.2.2:1"]);
        let expected = addrs(&["[::1]:1", "1.1.1.1:1", "[::2]:1", "2.2.2.2:1", "[::3]:1"]);
        assert_eq!(interleave(found.clone(), None), expected);
        let source = |ip: &str| Some(ip.parse().unwrap());
        let expected = addrs(&["1.1.1.1:1", "2.2.2.2:1"]);
        assert_eq!(interleave(found.clone(), source("127.0.0.1")), expected);
        assert_eq!(interleave(found[..2].to_vec(), source("127.0.0.1")), found[..2]);
        assert_eq!(interleave(Vec::new(), None), Vec::new());
    }

    #[tokio::test]
    async fn an_unknown_name_is_dns() {
        let failed = dial(&url("ws://nowhere.invalid/"), Duration::from_secs(5)).await.unwrap_err();
        assert_eq!(failed.failure, OpenFailure::Dns);
        assert!(failed.detail.contains("nowhere.invalid"));
    }

    #[test]
    fn errors_of_connect_are_told_apart() {
        let classify = |errno| classify(&io::Error::from_raw_os_error(errno));
        assert_eq!(classify(libc::ECONNREFUSED), OpenFailure::ConnectRefused);
        assert_eq!(classify(libc::ENETUNREACH), OpenFailure::ConnectRefused);
        assert_eq!(classify(libc::ETIMEDOUT), OpenFailure::ConnectTimeout);
        assert_eq!(classify(libc::EADDRNOTAVAIL), OpenFailure::PortsExhausted);
    }
}
