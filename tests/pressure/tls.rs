//! Clients that attack by means of TLS.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rustls::pki_types::ServerName;
use rustls::{ALL_VERSIONS, ClientConfig, ClientConnection};
use tokio::io::AsyncWriteExt;

use super::account::thousands;
use super::clients::{connect, crowd};
use super::stage::{Setup, Stage};
use super::{duration, size};
use crate::support::daemon::Daemon;
use crate::support::frame::{Frame, Side};
use crate::support::http::upgrade_request;
use crate::support::tls::Shared;

/// Starts a daemon with a second listener, which speaks TLS; the bystander is at the first.
async fn with_tls(more: &[&str]) -> (Stage, SocketAddr) {
    let (cert, key) = &Shared::get().files;
    let listeners = format!(
        "listeners=[{{name=\"plain\",listen=\"127.0.0.1:0\"}},{{name=\"secure\",\
         listen=\"127.0.0.1:0\",tls={{cert=\"{}\",key=\"{}\"}}}}]",
        cert.display(),
        key.display()
    );
    let settings = [&[&*listeners], more].concat();
    let stage = Stage::start(Setup::with(&settings)).await;
    let address = stage.daemon.address("listener secure");
    (stage, address)
}

fn session() -> ClientConnection {
    let config: ClientConfig = Shared::get().authority.client(None, ALL_VERSIONS);
    let name = ServerName::try_from("localhost").unwrap();
    ClientConnection::new(Arc::new(config), name).unwrap()
}

/// The first flight of a client.
fn hello() -> Vec<u8> {
    let mut bytes = Vec::new();
    session().write_tls(&mut bytes).unwrap();
    bytes
}

/// Clients that send a part of their hello, or all of it, and nothing more.
async fn half_handshakes(what: &str, bytes: &'static [u8]) {
    let clients = size(150, 4000);
    let timeout = format!("limits.handshake_timeout=\"{}s\"", size(1, 5));
    let (stage, to) = with_tls(&[&timeout]).await;
    let run = async |_: &Daemon| {
        crowd(clients, duration(), move |client| async move {
            let mut stream = connect(to, client).await?;
            stream.write_all(bytes).await.ok()?;
            Some(stream)
        })
        .await;
        format!("{} clients send {what} and stay", thousands(clients as u64))
    };
    let account = stage.under("half handshakes of TLS", clients as u64, run).await;
    assert!(account.failed() >= clients as u64 / 2, "{account:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_a_hello() {
    let hello = hello();
    half_handshakes("100 bytes of a ClientHello", hello[..100].to_vec().leak()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hello_and_nothing_more() {
    half_handshakes("a whole ClientHello", hello().leak()).await;
}

/// How many KeyUpdates a client sends at most.
fn most_updates() -> usize {
    size(2000, 30_000)
}

/// A WebSocket of a client, and KeyUpdates for it that each ask for one in return. An empty Pong follows
/// each: without any data between them, TLS allows a few alone.
fn with_updates(to: SocketAddr) -> (TcpStream, Vec<u8>) {
    let mut socket = TcpStream::connect(to).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let mut session = session();
    session.complete_io(&mut socket).unwrap();
    let mut stream = rustls::Stream::new(&mut session, &mut socket);
    stream.write_all(upgrade_request("localhost", "/echo", "").as_bytes()).unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    assert!(head.starts_with(b"HTTP/1.1 101 "), "{}", head.escape_ascii());
    let mut updates = Vec::new();
    for _ in 0..most_updates() {
        session.refresh_traffic_keys().unwrap();
        session.writer().write_all(&Frame::pong([]).encode(Side::Client)).unwrap();
        while session.wants_write() {
            session.write_tls(&mut updates).unwrap();
        }
    }
    (socket, updates)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn key_updates() {
    let clients = size(4, 20);
    let (stage, to) = with_tls(&[]).await;
    // Made before: this machine has enough to do with them.
    let senders: Vec<_> = (0..clients).map(|_| thread::spawn(move || with_updates(to))).collect();
    let senders: Vec<_> = senders.into_iter().map(|sender| sender.join().unwrap()).collect();
    let run = async |_: &Daemon| {
        let until = Instant::now() + duration();
        let send = move |(mut socket, updates): (TcpStream, Vec<u8>)| {
            socket.set_write_timeout(Some(duration())).unwrap();
            let _ = socket.write_all(&updates);
            thread::sleep(until.saturating_duration_since(Instant::now()));
        };
        let sending = move || {
            let threads: Vec<_> =
                senders.into_iter().map(|sender| thread::spawn(move || send(sender))).collect();
            threads.into_iter().for_each(|sending| sending.join().unwrap());
        };
        tokio::task::spawn_blocking(sending).await.unwrap();
        let most = thousands(most_updates() as u64);
        format!("{clients} clients send up to {most} KeyUpdates each at once, and never read")
    };
    let account = stage.under("a flood of KeyUpdates", clients as u64, run).await;
    assert_eq!(account.ended(), clients as u64, "{account:?}");
}
