use http::StatusCode;
use tokio::io::{AsyncReadExt, DuplexStream, duplex};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::super::request::{check_method, check_origin, check_upgrade, choose_subprotocol};
use super::*;

const GOOD: &str = "GET /chat?room=7 HTTP/1.1\r\nHost: example.org\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: v0, v1\r\n\r\n";

type Outcome<T> = Result<Accepted<T>, Box<FailedHandshake>>;

fn decide(request: &Request) -> Result<Agreement, Refusal> {
    check_method(request)?;
    let accept = check_upgrade(request)?;
    check_origin(request, &["https://example.org".parse().unwrap()], request.host(), false)?;
    let chosen = choose_subprotocol(&request.subprotocols(), &["v1".to_owned()]);
    Ok(Agreement::new(accept).subprotocol(chosen))
}

fn serve<T: Transport>(socket: T) -> JoinHandle<Outcome<T>> {
    tokio::spawn(accept(socket, HandshakeLimits::default(), decide))
}

/// A peer over a pipe that, like TCP, has room for an answer while the peer still writes.
fn peer() -> (DuplexStream, JoinHandle<Outcome<DuplexStream>>) {
    let (ours, theirs) = duplex(4096);
    (ours, serve(theirs))
}

/// Sends a request that is refused, and returns the answer and the record.
async fn refused(request: &str) -> (String, Box<FailedHandshake>) {
    let (mut peer, server) = peer();
    // The server may go before all of a flood is sent.
    let _ = peer.write_all(request.as_bytes()).await;
    let mut answer = String::new();
    peer.read_to_string(&mut answer).await.unwrap();
    drop(peer);
    (answer, server.await.unwrap().unwrap_err())
}

async fn assert_refused(request: &str, status: u16, failure: OpenFailure) -> String {
    let (answer, failed) = refused(request).await;
    assert_eq!(failed.failure, failure, "{answer}");
    assert_eq!(failed.status, Some(status));
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let mut lines = head.lines();
    let reason = StatusCode::from_u16(status).unwrap().canonical_reason().unwrap();
    assert_eq!(lines.next().unwrap(), format!("HTTP/1.1 {status} {reason}"));
    let lines: Vec<_> = lines.collect();
    assert!(lines.contains(&"Connection: close"), "{head}");
    assert!(lines.contains(&"Content-Type: text/plain; charset=utf-8"), "{head}");
    assert!(lines.contains(&format!("Content-Length: {}", body.len()).as_str()), "{answer}");
    assert_eq!(body.trim_end(), failed.detail);
    answer
}

#[tokio::test]
async fn a_good_request_gets_101_and_the_glued_bytes_are_kept() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut peer = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let glued = b"\x81\x85\0\0\0\0hello\x88\x80\0\0\0\0";
    peer.write_all(&[GOOD.as_bytes(), glued].concat()).await.unwrap();
    let mut accepted = serve(listener.accept().await.unwrap().0).await.unwrap().unwrap();
    assert_eq!(accepted.read_ahead, &glued[..]);
    assert_eq!(accepted.request.target, "/chat?room=7");
    assert_eq!(accepted.subprotocol.map(String::from).as_deref(), Some("v1"));

    accepted.socket.write_all(b"raw").await.unwrap();
    drop(accepted.socket);
    let mut answer = String::new();
    peer.read_to_string(&mut answer).await.unwrap();
    let (head, rest) = answer.split_once("\r\n\r\n").unwrap();
    assert_eq!(rest, "raw");
    let mut lines: Vec<_> = head.lines().collect();
    assert!(lines.remove(1).starts_with("Date: "));
    assert_eq!(
        lines,
        [
            "HTTP/1.1 101 Switching Protocols",
            "Upgrade: websocket",
            "Connection: Upgrade",
            "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=",
            "Sec-WebSocket-Protocol: v1",
        ]
    );
}

#[tokio::test]
async fn no_byte_behind_the_request_is_lost_wherever_it_is_cut() {
    let glued: Vec<u8> = (0..=255).cycle().take(40_000).collect();
    let whole = [GOOD.as_bytes(), &glued].concat();
    for first in [GOOD.len() - 1, GOOD.len(), GOOD.len() + 1, 8192, 16_384, 20_000] {
        let (mut peer, theirs) = duplex(65_536);
        peer.write_all(&whole[..first]).await.unwrap();
        let server = serve(theirs);
        tokio::task::yield_now().await;
        peer.write_all(&whole[first..]).await.unwrap();
        peer.shutdown().await.unwrap();
        let mut accepted = server.await.unwrap().unwrap();
        let mut read = accepted.read_ahead.to_vec();
        accepted.socket.read_to_end(&mut read).await.unwrap();
        assert!(read == glued, "cut at {first}");
    }
}

#[tokio::test]
async fn a_request_may_come_byte_by_byte() {
    let (mut peer, server) = peer();
    for byte in GOOD.bytes() {
        peer.write_all(&[byte]).await.unwrap();
        tokio::task::yield_now().await;
    }
    let mut answer = [0; 12];
    peer.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 101");
    let mut rest = Vec::new();
    let (accepted, _) =
        tokio::join!(async { server.await.unwrap().map(drop) }, peer.read_to_end(&mut rest));
    accepted.unwrap();
}

#[tokio::test]
async fn a_request_with_fin_behind_it_is_answered() {
    let (mut peer, theirs) = duplex(4096);
    peer.write_all(GOOD.as_bytes()).await.unwrap();
    peer.shutdown().await.unwrap();
    assert!(serve(theirs).await.unwrap().is_ok());
}

#[tokio::test]
async fn a_second_request_behind_the_first_is_not_answered() {
    let (mut peer, theirs) = duplex(4096);
    peer.write_all([GOOD, GOOD].concat().as_bytes()).await.unwrap();
    let accepted = serve(theirs).await.unwrap().unwrap();
    assert_eq!(accepted.read_ahead, GOOD.as_bytes());
    drop(accepted.socket);
    let mut answer = String::new();
    peer.read_to_string(&mut answer).await.unwrap();
    assert_eq!(answer.matches("HTTP/1.1").count(), 1);

    let plain = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let answer = assert_refused(&plain.repeat(2), 426, OpenFailure::BadRequest).await;
    assert_eq!(answer.matches("HTTP/1.1").count(), 1);
}

#[tokio::test]
async fn what_the_owner_refuses_is_answered_in_full() {
    let without_upgrade = GOOD.replace("Upgrade: websocket\r\n", "");
    let answer = assert_refused(&without_upgrade, 426, OpenFailure::BadRequest).await;
    assert!(answer.contains("\r\nSec-WebSocket-Version: 13\r\n"));
    assert!(answer.contains("\r\nUpgrade: websocket\r\n"));
    let post = GOOD.replace("GET", "POST");
    let answer = assert_refused(&post, 405, OpenFailure::BadRequest).await;
    assert!(answer.contains("\r\nAllow: GET\r\n"));
    let old = GOOD.replace("HTTP/1.1", "HTTP/1.0");
    assert_refused(&old, 400, OpenFailure::BadRequest).await;
    let body = GOOD.replace("Host", "Content-Length: 5\r\nHost");
    assert_refused(&(body + "12345"), 400, OpenFailure::BadRequest).await;
    let origin = GOOD.replace("Host", "Origin: https://evil.example\r\nHost");
    assert_refused(&origin, 403, OpenFailure::RefusedOrigin).await;
    let hosts = GOOD.replace("Host", "Host: two\r\nHost");
    assert_refused(&hosts, 400, OpenFailure::BadRequest).await;
    let hostless = GOOD.replace("Host: example.org\r\n", "");
    assert_refused(&hostless, 400, OpenFailure::BadRequest).await;
}

#[tokio::test]
async fn connection_may_be_several_lines() {
    let (mut peer, theirs) = duplex(4096);
    let lines = "Connection: keep-alive\r\nConnection: foo, upgrade\r\n";
    peer.write_all(GOOD.replace("Connection: Upgrade\r\n", lines).as_bytes()).await.unwrap();
    assert!(serve(theirs).await.unwrap().is_ok());
}

#[tokio::test]
async fn what_cannot_be_parsed_gets_a_full_400() {
    let tls = "\x16\x03\x01\x02\0\x01\0\x01";
    assert!(assert_refused(tls, 400, OpenFailure::BadRequest).await.contains("TLS"));
    let h2 = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    assert!(assert_refused(h2, 400, OpenFailure::BadRequest).await.contains("HTTP/2"));
    let proxy = "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n";
    assert!(assert_refused(proxy, 403, OpenFailure::UntrustedProxy).await.contains("PROXY"));
    for garbage in [
        "\0\0\0\0",
        "hello there\r\n\r\n",
        "GET / HTTP/1.1\r\nno colon here\r\n\r\n",
        "GET / HTTP/3.7\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n",
    ] {
        assert_refused(garbage, 400, OpenFailure::BadRequest).await;
    }
}

#[tokio::test]
async fn large_headers_get_431_and_long_targets_414() {
    let headers = GOOD.replace("Host", &format!("Cookie: {}\r\nHost", "c".repeat(17_000)));
    assert_refused(&headers, 431, OpenFailure::BadRequest).await;
    let endless = format!("GET / HTTP/1.1\r\nCookie: {}", "c".repeat(300_000));
    let (_, failed) = refused(&endless).await;
    assert_eq!(failed.status, Some(431));
    let many = GOOD.replace("Host", &("A: b\r\n".repeat(101) + "Host"));
    assert_refused(&many, 431, OpenFailure::BadRequest).await;
    for len in [8193, 20_000] {
        let target = GOOD.replace("/chat?room=7", &format!("/{}", "t".repeat(len)));
        assert_refused(&target, 414, OpenFailure::BadRequest).await;
    }
    let fits = GOOD.replace("Host", &format!("Cookie: {}\r\nHost", "c".repeat(15_000)));
    let (mut peer, theirs) = duplex(65_536);
    peer.write_all(fits.as_bytes()).await.unwrap();
    assert!(serve(theirs).await.unwrap().is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_trickle_gets_408_when_the_time_is_up() {
    let (peer, theirs) = duplex(4096);
    let (mut read, mut write) = tokio::io::split(peer);
    let trickle = tokio::spawn(async move {
        for byte in GOOD.bytes().cycle() {
            if write.write_all(&[byte]).await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    });
    let began = Instant::now();
    let server = serve(theirs);
    let mut answer = [0; 27];
    read.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 408 Request Timeou");
    assert_eq!(began.elapsed().as_secs(), 10);
    let failed = server.await.unwrap().unwrap_err();
    assert_eq!(failed.failure, OpenFailure::HandshakeTimeout);
    assert_eq!(failed.status, Some(408));
    assert_eq!(failed.transport_end, TransportEnd::Timeout);
    assert!(began.elapsed() <= Duration::from_secs(12));
    trickle.abort();
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_does_not_take_its_answer_is_let_go() {
    let (mut peer, theirs) = duplex(16);
    let server = serve(theirs);
    peer.write_all(GOOD.as_bytes()).await.unwrap();
    let failed = server.await.unwrap().unwrap_err();
    assert_eq!(failed.failure, OpenFailure::HandshakeTimeout);
    assert_eq!((failed.status, failed.transport_end), (None, TransportEnd::Local));

    let (mut peer, theirs) = duplex(16);
    let server = serve(theirs);
    peer.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    let failed = server.await.unwrap().unwrap_err();
    assert_eq!((failed.status, failed.transport_end), (None, TransportEnd::Timeout));
}

#[tokio::test]
async fn a_peer_that_left_gets_no_answer() {
    for sent in ["", "GET /chat HTTP/1.1\r\nHost: exa"] {
        let (mut peer, server) = peer();
        peer.write_all(sent.as_bytes()).await.unwrap();
        peer.shutdown().await.unwrap();
        let failed = server.await.unwrap().unwrap_err();
        assert_eq!(failed.failure, OpenFailure::PeerGone);
        assert_eq!((failed.status, failed.transport_end), (None, TransportEnd::Fin));
        let mut answer = Vec::new();
        peer.read_to_end(&mut answer).await.unwrap();
        assert!(answer.is_empty());
    }
}

#[tokio::test]
async fn a_reset_before_the_request_is_told_from_a_fin() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut peer = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    peer.write_all(b"GET /").await.unwrap();
    let server = serve(listener.accept().await.unwrap().0);
    tokio::time::sleep(Duration::from_millis(20)).await;
    peer.reset_on_drop();
    drop(peer);
    let failed = server.await.unwrap().unwrap_err();
    assert_eq!(failed.failure, OpenFailure::PeerGone);
    assert_eq!(failed.transport_end, TransportEnd::Reset);
}

#[tokio::test]
async fn a_refused_peer_that_still_sends_reads_its_answer_over_tcp() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut peer = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let server = serve(listener.accept().await.unwrap().0);
    let endless = format!("GET / HTTP/1.1\r\nCookie: {}", "c".repeat(200_000));
    peer.write_all(endless.as_bytes()).await.unwrap();
    let mut answer = String::new();
    peer.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 431"));
    drop(peer);
    let failed = server.await.unwrap().unwrap_err();
    assert_eq!((failed.status, failed.transport_end), (Some(431), TransportEnd::Fin));
}

#[tokio::test]
async fn the_answer_to_head_has_no_body() {
    let (answer, failed) = refused(&GOOD.replace("GET", "HEAD")).await;
    assert_eq!(failed.status, Some(405));
    assert!(answer.ends_with("\r\n\r\n"), "{answer}");
}

#[test]
fn retry_after_is_in_whole_seconds() {
    let refusal = Refusal::new(StatusCode::SERVICE_UNAVAILABLE, OpenFailure::RefusedDraining, "no")
        .retry_after(Duration::from_millis(1500));
    let answer = String::from_utf8(refusal.to_bytes(SystemTime::UNIX_EPOCH, false)).unwrap();
    assert_eq!(
        answer,
        "HTTP/1.1 503 Service Unavailable\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\n\
         Connection: close\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 3\r\n\
         Retry-After: 2\r\n\r\nno\n"
    );
}

#[tokio::test]
async fn the_future_of_a_handshake_is_small() {
    let (_peer, theirs) = duplex(64);
    let future = accept(theirs, HandshakeLimits::default(), decide);
    assert!(size_of_val(&future) < 4096, "{}", size_of_val(&future));
}

/// Room for so many bytes, and the most that was taken.
struct Measured {
    limit: usize,
    most: usize,
}

impl HeadRoom for Measured {
    fn grow(&mut self, bytes: usize) -> bool {
        if bytes <= self.limit {
            self.most = self.most.max(bytes);
        }
        bytes <= self.limit
    }
}

async fn receive_in(
    socket: DuplexStream,
    room: &mut Measured,
) -> Result<Received<DuplexStream>, Box<FailedHandshake>> {
    let limits = HandshakeLimits::default();
    let began = Instant::now();
    receive_with(socket, Bytes::new(), limits, began, room, limits.timeout, || Ok(())).await
}

#[tokio::test]
async fn a_head_that_drips_takes_no_more_than_twice_its_size_and_less_than_the_limit() {
    let (mut peer, theirs) = duplex(1 << 20);
    let server = tokio::spawn(async move {
        let mut room = Measured { limit: usize::MAX, most: 0 };
        let received = receive_in(theirs, &mut room).await;
        (received.map(drop), room.most)
    });
    peer.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nX: ").await.unwrap();
    for _ in 0..150 {
        peer.write_all(&[b'x'; 100]).await.unwrap();
        tokio::task::yield_now().await;
    }
    peer.write_all(b"\r\n\r\n").await.unwrap();
    let (received, most) = server.await.unwrap();
    received.unwrap();
    assert!((15_000..=16 * 1024).contains(&most), "{most}");
}

#[tokio::test]
async fn a_head_without_room_gets_503() {
    let (mut peer, theirs) = duplex(1 << 20);
    let server = tokio::spawn(async move {
        let mut room = Measured { limit: 2000, most: 0 };
        receive_in(theirs, &mut room).await.map(drop)
    });
    peer.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nX: ").await.unwrap();
    for _ in 0..30 {
        peer.write_all(&[b'x'; 100]).await.unwrap();
        tokio::task::yield_now().await;
    }
    let mut answer = String::new();
    peer.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert!(answer.contains("\r\nRetry-After: 5\r\n"), "{answer}");
    drop(peer);
    assert_eq!(server.await.unwrap().unwrap_err().failure, OpenFailure::RefusedLimit);
}
