//! A proxy that delays, chops and reorders what passes, as bad networks do.
//!
//! Within a connection TCP keeps the order, so it is that of the connections that is changed.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::account::thousands;
use super::clients::{AT_A_TIME, PATIENCE, upgrade};
use super::size;
use super::stage::{Setup, Stage};
use crate::support::daemon::Daemon;
use crate::support::frame::{Frame, Side, take_frame};

/// The longest that a piece is held back.
const DELAY_MS: u64 = 60;

/// Passes pieces of up to 7 bytes at first, and then of any size, each after a delay of its own.
async fn pass(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin) {
    let mut buffer = vec![0; 4096];
    for piece in 0.. {
        let most = if piece < 3 { 7 } else { rand::random_range(1..buffer.len()) };
        let Ok(read @ 1..) = from.read(&mut buffer[..most]).await else { break };
        tokio::time::sleep(Duration::from_millis(rand::random_range(0..DELAY_MS))).await;
        if to.write_all(&buffer[..read]).await.is_err() {
            break;
        }
    }
    let _ = to.shutdown().await;
}

async fn proxy(listener: TcpListener, to: SocketAddr) {
    let mut passing = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        passing.spawn(async move {
            let Ok(server) = TcpStream::connect(to).await else { return };
            let (client_in, client_out) = client.into_split();
            let (server_in, server_out) = server.into_split();
            tokio::join!(pass(client_in, server_out), pass(server_in, client_out));
        });
    }
}

/// Has messages of many sizes echoed, checks each, and closes in order.
async fn talk(to: SocketAddr, messages: usize) {
    let stream = TcpStream::connect(to).await.expect("connect");
    let mut stream = upgrade(stream, "/echo").await.expect("an answer through the proxy");
    let mut buffer = Vec::new();
    for message in 0..messages {
        let frame = Frame::binary(vec![message as u8; message * 97 % 3000]);
        stream.write_all(&frame.encode(Side::Client)).await.expect("send");
        assert_eq!(next(&mut stream, &mut buffer).await.payload, frame.payload);
    }
    stream.write_all(&Frame::close(1000, "bye").encode(Side::Client)).await.expect("close");
    let close = next(&mut stream, &mut buffer).await;
    assert_eq!(close.close_code_and_reason(), (Some(1000), "bye".to_owned()));
}

async fn next(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Frame {
    let frame = timeout(PATIENCE, async {
        loop {
            if let Some(frame) = take_frame(buffer) {
                return frame;
            }
            assert!(stream.read_buf(buffer).await.expect("read") > 0, "it ended");
        }
    });
    frame.await.expect("awaited a frame")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn delay_and_reordering() {
    let (clients, messages) = (size(50, 500), size(6, 40));
    let stage = Stage::start(Setup::default()).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let passing = tokio::spawn(proxy(listener, stage.address()));
    let run = async |_: &Daemon| {
        let mut talking = JoinSet::new();
        for client in 0..clients {
            talking.spawn(talk(at, messages));
            if client % AT_A_TIME == 0 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        while let Some(talked) = talking.join_next().await {
            talked.unwrap();
        }
        format!(
            "{clients} clients have {} messages echoed through a proxy that chops them and holds \
             each piece back for up to {DELAY_MS} ms; each comes back right and in order",
            thousands((clients * messages) as u64)
        )
    };
    let account = stage.under("delay and reordering", clients as u64, run).await;
    assert_eq!(account.kinds.get("clean"), Some(&(clients as u64)), "{account:?}");
    passing.abort();
}
