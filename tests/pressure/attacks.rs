//! Clients that want the daemon's memory, each from one of many addresses of this machine.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{timeout, timeout_at};

use crate::support::frame::{Frame, Side};
use crate::support::http::upgrade_request;

/// So many clients come from one address: no limit per address is what is tried here.
const PER_ADDRESS: usize = 32;

/// So many connect at one time, so that none has to be sent its SYN again.
const AT_A_TIME: usize = 64;

/// How long a client waits for anything.
const PATIENCE: Duration = Duration::from_secs(10);

async fn connect(to: SocketAddr, client: usize) -> Option<TcpStream> {
    let address = u32::from(Ipv4Addr::new(127, 1, 0, 1)) + (client / PER_ADDRESS) as u32;
    let socket = TcpSocket::new_v4().ok()?;
    socket.bind(SocketAddr::from((Ipv4Addr::from(address), 0))).ok()?;
    timeout(PATIENCE, socket.connect(to)).await.ok()?.ok()
}

/// Opens a WebSocket at the echo.
async fn open(to: SocketAddr, client: usize) -> Option<TcpStream> {
    let mut stream = connect(to, client).await?;
    stream.write_all(upgrade_request("x", "/echo", "").as_bytes()).await.ok()?;
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

/// Lets `clients` come, a few at a time, and stay until the time is over.
async fn crowd<F>(clients: usize, lasts: Duration, come: impl Fn(usize) -> F)
where
    F: Future<Output = Option<TcpStream>> + Send + 'static,
{
    let began = Instant::now();
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
    tokio::time::sleep(lasts.saturating_sub(began.elapsed())).await;
}

/// Clients that send a message of this size but for its last byte, as far as it is taken, and come
/// again when they are closed.
pub(super) async fn half_messages(to: SocketAddr, clients: usize, size: usize, lasts: Duration) {
    let message: &'static [u8] = Frame::binary(vec![1; size]).encode(Side::Client).leak();
    let until = tokio::time::Instant::now() + lasts;
    let mut here = JoinSet::new();
    for client in 0..clients {
        here.spawn(async move {
            while tokio::time::Instant::now() < until {
                let Some(mut stream) = open(to, client).await else {
                    // Refused, as it should be: it comes back soon.
                    tokio::time::sleep(Duration::from_millis(200)).await;
                    continue;
                };
                let rest = async {
                    stream.write_all(&message[..message.len() - 1]).await?;
                    stream.readable().await
                };
                let _ = timeout_at(until, rest).await;
            }
        });
        // So that no SYN has to be sent again.
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    while here.join_next().await.is_some() {}
}

/// Clients that send so many bytes of a request and do not end it.
pub(super) async fn unfinished_headers(
    to: SocketAddr,
    clients: usize,
    size: usize,
    lasts: Duration,
) {
    let mut head = b"GET /echo HTTP/1.1\r\nHost: x\r\nCookie: ".to_vec();
    head.resize(size, b'x');
    let head: &'static [u8] = head.leak();
    crowd(clients, lasts, |client| async move {
        let mut stream = connect(to, client).await?;
        // In two parts, as it may well come.
        stream.write_all(&head[..head.len() / 2]).await.ok()?;
        tokio::task::yield_now().await;
        stream.write_all(&head[head.len() / 2..]).await.ok()?;
        Some(stream)
    })
    .await;
}

/// Clients that send empty frames for as long as they are taken, and read nothing.
pub(super) async fn empty_frames(to: SocketAddr, clients: usize, lasts: Duration) {
    let frames: &'static [u8] = Frame::text("").encode(Side::Client).repeat(4096).leak();
    let until = tokio::time::Instant::now() + lasts;
    let mut here = JoinSet::new();
    for client in 0..clients {
        here.spawn(async move {
            let mut stream = open(to, client).await?;
            let flood = async { while stream.write_all(frames).await.is_ok() {} };
            timeout_at(until, flood).await.ok()
        });
    }
    while here.join_next().await.is_some() {}
}

/// So many requests that get 404, many at a time.
pub(super) async fn failed_handshakes(to: SocketAddr, attempts: usize) {
    let request: &'static str = upgrade_request("x", "/nowhere", "X: y\r\n").leak();
    let mut coming = JoinSet::new();
    for client in 0..attempts {
        if coming.len() >= 4 * AT_A_TIME {
            coming.join_next().await;
        }
        coming.spawn(async move {
            let mut stream = connect(to, client).await?;
            stream.write_all(request.as_bytes()).await.ok()?;
            let mut answer = Vec::new();
            timeout(PATIENCE, stream.read_to_end(&mut answer)).await.ok()?.ok()
        });
    }
    while coming.join_next().await.is_some() {}
}
