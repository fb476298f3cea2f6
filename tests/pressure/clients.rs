//! Clients, each from one of many addresses of this machine.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::support::frame::{Frame, Side};
use crate::support::http::upgrade_request;

/// So many clients come from one address: no limit per address is what is tried here.
const PER_ADDRESS: usize = 32;

/// So many connect at one time, so that none has to be sent its SYN again.
pub(super) const AT_A_TIME: usize = 64;

/// How long a client waits for anything.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// Returns the address of a client.
pub(super) fn address_of(client: usize) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(Ipv4Addr::new(127, 1, 0, 1)) + (client / PER_ADDRESS) as u32)
}

pub(super) async fn connect(to: SocketAddr, client: usize) -> Option<TcpStream> {
    let socket = TcpSocket::new_v4().ok()?;
    socket.bind(SocketAddr::from((address_of(client), 0))).ok()?;
    timeout(PATIENCE, socket.connect(to)).await.ok()?.ok()
}

/// Opens a WebSocket at the echo.
pub(super) async fn open(to: SocketAddr, client: usize) -> Option<TcpStream> {
    upgrade(connect(to, client).await?, "/echo").await
}

/// Opens, closes in order and goes.
pub(super) async fn come_and_go(to: SocketAddr, client: usize) -> Option<()> {
    let mut stream = open(to, client).await?;
    stream.write_all(&Frame::close(1000, "bye").encode(Side::Client)).await.ok()?;
    let mut rest = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut rest)).await.ok()?.ok().map(drop)
}

/// Connects such that client and kernel hold little of what is not read.
pub(super) async fn connect_narrow(to: SocketAddr, client: usize) -> Option<TcpStream> {
    let socket = TcpSocket::new_v4().ok()?;
    socket.set_recv_buffer_size(4096).ok()?;
    // The server's send buffer grows with the size of a segment, which is 64 KiB on loopback.
    socket2::SockRef::from(&socket).set_tcp_mss(1400).ok()?;
    socket.bind(SocketAddr::from((address_of(client), 0))).ok()?;
    timeout(PATIENCE, socket.connect(to)).await.ok()?.ok()
}

pub(super) async fn upgrade(mut stream: TcpStream, path: &str) -> Option<TcpStream> {
    stream.write_all(upgrade_request("x", path, "").as_bytes()).await.ok()?;
    let mut head = Vec::new();
    let answer = async {
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.ok()?);
        }
        head.starts_with(b"HTTP/1.1 101").then_some(())
    };
    timeout(PATIENCE, answer).await.ok()??;
    Some(stream)
}

/// Lets `clients` come, a few at a time, and returns those that are there.
pub(super) async fn gather<F>(clients: usize, come: impl Fn(usize) -> F) -> Vec<TcpStream>
where
    F: Future<Output = Option<TcpStream>> + Send + 'static,
{
    let (mut coming, mut here) = (JoinSet::new(), Vec::new());
    for client in 0..clients {
        if coming.len() >= AT_A_TIME {
            here.extend(coming.join_next().await.and_then(Result::unwrap));
        }
        coming.spawn(come(client));
    }
    while let Some(came) = coming.join_next().await {
        here.extend(came.unwrap());
    }
    here
}

/// Lets `clients` come, and stay until the time is over.
pub(super) async fn crowd<F>(clients: usize, lasts: Duration, come: impl Fn(usize) -> F)
where
    F: Future<Output = Option<TcpStream>> + Send + 'static,
{
    let began = Instant::now();
    let here = gather(clients, come).await;
    tokio::time::sleep(lasts.saturating_sub(began.elapsed())).await;
    drop(here);
}
