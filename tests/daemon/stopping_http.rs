//! Plain HTTP that never ends by itself does not hold a stop: `drain.within` bounds all of it.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::PROGRAM;
use crate::support::SOON;
use crate::support::daemon::{Daemon, arguments};
use crate::support::http::read_request;
use crate::support::raw_peer::RawPeer;

const WITHIN: Duration = Duration::from_secs(2);

/// Serves each client in its own way: `/poll` gets no answer, `/events` one event and then nothing,
/// `/trickle` a chunk every 100 ms.
async fn application(listener: TcpListener) {
    loop {
        let (mut stream, _) = listener.accept().await.unwrap();
        tokio::spawn(async move {
            let head = read_request(&mut stream, &mut Vec::new()).await;
            let kind = match head.target() {
                "/events" => "text/event-stream",
                "/trickle" => "application/octet-stream",
                _ => return std::future::pending().await,
            };
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nTransfer-Encoding: chunked\r\n\r\n"
            );
            stream.write_all(head.as_bytes()).await?;
            loop {
                stream.write_all(b"6\r\nx: 1\n\n\r\n").await?;
                let pause = if kind == "text/event-stream" { 3600 * 1000 } else { 100 };
                sleep(Duration::from_millis(pause)).await;
            }
            #[expect(unreachable_code, reason = "it names the error")]
            Ok::<(), std::io::Error>(())
        });
    }
}

/// What a client read until its connection ended, and when that was.
type Heard = JoinHandle<(String, Instant)>;

/// Sends a request, waits until its answer has come this far, and reads on in the background.
async fn ask(address: SocketAddr, target: &str, first: &str) -> Heard {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut heard = Vec::new();
    while !String::from_utf8_lossy(&heard).contains(first) {
        let read = timeout(SOON, stream.read_buf(&mut heard)).await.expect("awaited an answer");
        assert_ne!(read.unwrap(), 0, "{target}");
    }
    tokio::spawn(async move {
        // How a connection that is cut ends is no matter.
        let _ = stream.read_to_end(&mut heard).await;
        (String::from_utf8_lossy(&heard).into_owned(), Instant::now())
    })
}

async fn drain_seen(daemon: &Daemon) -> Value {
    let status = daemon.get("/v1/status").await.body;
    serde_json::from_str::<Value>(&status).unwrap()["drain"].take()
}

#[tokio::test]
async fn streams_and_polls_that_never_end_are_ended_within_the_drain() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let relay = format!("ws://{}", listener.local_addr().unwrap());
    let serving = tokio::spawn(application(listener));
    let arguments = [arguments(&[r#"drain.within="2s""#]), vec!["--relay", &relay]].concat();
    let mut daemon = Daemon::start_with(PROGRAM, &arguments).await;
    let public = daemon.listener();
    let poll = ask(public, "/poll", "").await;
    let events = ask(public, "/events", "x: 1").await;
    let trickle = ask(public, "/trickle", "x: 1").await;
    let followed = ask(daemon.control(), "/v1/events", "200 OK").await;
    // It never answers a Close.
    let mut silent = RawPeer::connect(public, "/echo").await;
    let served = async {
        while !daemon.metrics().await.contains("\nlastword_http_connections 3\n") {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(SOON, served).await.expect("awaited three plain HTTP clients");

    daemon.signal("TERM").await;
    let asked = Instant::now();
    assert_eq!(silent.expect_close(SOON).await.0, Some(1012));
    let (heard, ended) = events.await.unwrap();
    assert!(heard.contains("x: 1"), "{heard}");
    assert!(ended - asked < Duration::from_secs(1), "an event stream is told at once");
    // The client of the event stream has read its end, and the daemon learns that next.
    let seen = async {
        loop {
            let seen = drain_seen(&daemon).await;
            if seen["http_left"] != 3 {
                return seen;
            }
        }
    };
    let seen = timeout(SOON, seen).await.expect("awaited that one of three has left");
    assert_eq!((&seen["phase"], &seen["total"]), (&"running".into(), &1.into()), "{seen}");
    assert_eq!((&seen["left"], &seen["http_left"]), (&1.into(), &2.into()), "{seen}");
    assert!(daemon.metrics().await.contains("\nlastword_drain_http_left 2\n"));

    assert_eq!(daemon.await_exit(2 * SOON).await.code(), Some(0));
    let took = asked.elapsed();
    assert!(took >= WITHIN && took < WITHIN + Duration::from_millis(1500), "{took:?}");
    let (heard, _) = poll.await.unwrap();
    assert!(heard.starts_with("HTTP/1.1 503 ") && heard.contains("\r\nRetry-After: "), "{heard}");
    let (heard, _) = trickle.await.unwrap();
    assert!(!heard.ends_with("0\r\n\r\n"), "a part must not look like the whole");
    let (heard, _) = followed.await.unwrap();
    assert!(heard.contains("event: ended") && heard.contains("drain_deadline"), "{heard}");
    serving.abort();
}
