//! The opening handshake: the client gets the application's answer.

use std::sync::Arc;
use std::time::Duration;

use lastword::Ending;
use lastword::settings::{HostHeader, RelayBackend};
use lastword::vocabulary::{Direction, Fault, Kind, OpenFailure, Retry};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixListener};

use super::stage::{House, Scene, settings};
use crate::support::SOON;
use crate::support::http::{Head, exchange, read_request, upgrade_request};
use crate::support::raw_peer::RawPeer;
use crate::support::tls::{Authority, Flaw};

#[tokio::test]
async fn what_belongs_to_both_ends_passes_both_ways() {
    let request = "Cookie: a=b\r\nAuthorization: Bearer t\r\nOrigin: https://o.example\r\n\
                   Sec-WebSocket-Protocol: v1, v2\r\nX-Forwarded-For: 10.9.8.7\r\n\
                   Lastword-Connection-Id: forged\r\nKeep-Alive: 5\r\n\
                   Sec-WebSocket-Origin: https://o.example\r\n";
    let answer = "Set-Cookie: s=1\r\nSet-Cookie: t=2\r\nSec-WebSocket-Protocol: v2\r\n\
                  Keep-Alive: 5\r\nSec-WebSocket-Origin: null\r\n";
    let mut scene = Scene::between(|_| {}, |_| {}, request, answer).await;
    let asked = &scene.application.head;
    assert_eq!(asked.start_line, "GET /chat?room=7 HTTP/1.1");
    let host = scene.house.address.to_string();
    for (name, value) in [
        ("host", host.as_str()),
        ("cookie", "a=b"),
        ("authorization", "Bearer t"),
        ("origin", "https://o.example"),
        ("sec-websocket-protocol", "v1, v2"),
        ("x-forwarded-for", "127.0.0.1"),
        ("x-forwarded-host", host.as_str()),
        ("x-forwarded-proto", "http"),
        ("forwarded", format!("for=127.0.0.1;host=\"{host}\";proto=http").as_str()),
    ] {
        assert_eq!(asked.header(name), Some(value), "{name}");
    }
    // Only the handshake itself writes `Sec-WebSocket-*`.
    for name in ["keep-alive", "sec-websocket-origin"] {
        assert_eq!(asked.header(name), None, "{name}");
        assert_eq!(scene.client.head.header(name), None, "{name}");
    }
    let id = asked.header("lastword-connection-id").unwrap().to_owned();
    let answered = &scene.client.head;
    assert_eq!(answered.header("sec-websocket-protocol"), Some("v2"));
    assert_eq!(all(answered, "set-cookie"), ["s=1", "t=2"]);

    let legs = scene.leave().await;
    assert_eq!(legs.client.id.to_string(), id);
    let upstream = legs.client.origin.upstream.as_ref().unwrap();
    assert_eq!((upstream.status, &upstream.addr), (Some(101), &legs.application.origin.peer));
    assert!(upstream.connect.is_some());
    for leg in [&legs.client, &legs.application] {
        assert_eq!(leg.origin.backend.as_deref(), Some("relay"));
        assert_eq!(leg.origin.route.as_deref(), Some("/*"));
        assert_eq!(leg.origin.subprotocol.as_deref(), Some("v2"));
    }
}

fn all(head: &Head, name: &str) -> Vec<String> {
    let lines = head.headers.iter().filter(|(line, _)| line.eq_ignore_ascii_case(name));
    lines.map(|(_, value)| value.clone()).collect()
}

#[tokio::test]
async fn bytes_glued_to_either_handshake_are_not_lost() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}", listener.local_addr().unwrap());
    let house = House::open(&url, settings(|_| {}), |_| {}).await;
    let (mut client, mut application) = tokio::join!(
        RawPeer::connect_with(house.address, "/", "", b"\x81\x82\0\0\0\0hi"),
        RawPeer::accept_with(&listener, "", b"\x81\x02ho"),
    );
    client.expect_text("ho").await;
    application.expect_text("hi").await;
}

#[tokio::test]
async fn the_host_can_be_the_applications_and_the_path_the_urls() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let url = format!("ws://{address}/feed?x=1");
    let house =
        House::open(&url, settings(|_| {}), |relay| relay.host = HostHeader::Upstream).await;
    let (_client, application) =
        tokio::join!(RawPeer::connect(house.address, "/any"), RawPeer::accept(&listener));
    assert_eq!(application.head.header("host"), Some(&*address));
    assert_eq!(application.head.start_line, "GET /feed?x=1 HTTP/1.1");
}

/// Sends a request and reads all of the answer; returns it with the record of the attempt.
async fn refused(house: &mut House) -> (String, Arc<Ending>) {
    let mut client = TcpStream::connect(house.address).await.unwrap();
    client.write_all(upgrade_request("here", "/x", "").as_bytes()).await.unwrap();
    let mut answer = String::new();
    let read = client.read_to_string(&mut answer);
    tokio::time::timeout(SOON, read).await.expect("awaited an answer").unwrap();
    drop(client);
    let ending = house.next_ending().await;
    assert!(house.supervisor.accounting().opened == 0);
    (answer, ending)
}

/// An application that answers every request so.
async fn answering(answer: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            read_request(&mut socket, &mut Vec::new()).await;
            socket.write_all(answer).await.unwrap();
        }
    });
    url
}

#[tokio::test]
async fn a_refusal_passes_through() {
    let answer = b"HTTP/1.1 403 Forbidden\r\nContent-Type: application/json\r\nX-Why: no\r\n\
                   Connection: close\r\nContent-Length: 12\r\n\r\n{\"no\":\"way\"}";
    let mut house = House::open(&answering(answer).await, settings(|_| {}), |_| {}).await;
    let (answer, ending) = refused(&mut house).await;
    assert!(answer.starts_with("HTTP/1.1 403 Forbidden\r\n"), "{answer}");
    assert!(answer.ends_with("\r\n\r\n{\"no\":\"way\"}"), "{answer}");
    assert!(answer.contains("x-why: no\r\n"), "{answer}");
    assert!(answer.contains("content-type: application/json\r\n"), "{answer}");
    let outcome = &ending.outcome;
    assert_eq!(outcome.kind, Kind::OpenFailed(OpenFailure::BackendRefused));
    assert_eq!(outcome.fault, Fault::Peer);
    assert_eq!(outcome.retry, Retry::Reauthenticate);
    assert_eq!(ending.origin.upstream.as_ref().unwrap().status, Some(403));
    assert_eq!(ending.origin.route.as_deref(), Some("/*"));
}

#[tokio::test]
async fn whose_fault_a_refusal_is_and_whether_to_come_back_follows_its_status() {
    for (status, more, fault, retry) in [
        ("302 Found", "Location: /login\r\n", Fault::Peer, (1, 30)),
        ("404 Not Found", "", Fault::Peer, (0, 0)),
        ("429 Too Many Requests", "Retry-After: 90\r\n", Fault::Peer, (90, 99)),
        ("500 Internal Server Error", "", Fault::Backend, (1, 30)),
        ("503 Service Unavailable", "Retry-After: 7\r\n", Fault::Backend, (7, 30)),
    ] {
        let answer = format!("HTTP/1.1 {status}\r\n{more}Content-Length: 0\r\n\r\n");
        let url = answering(answer.leak().as_bytes()).await;
        let mut house = House::open(&url, settings(|_| {}), |_| {}).await;
        let (_, ending) = refused(&mut house).await;
        let outcome = &ending.outcome;
        assert_eq!(outcome.kind, Kind::OpenFailed(OpenFailure::BackendRefused));
        assert_eq!(outcome.fault, fault, "{status}");
        let wait = match outcome.retry {
            Retry::Never => (0, 0),
            Retry::Backoff { min, max } => (min.as_secs(), max.as_secs()),
            Retry::Reauthenticate => panic!("{status}"),
        };
        assert_eq!(wait, retry, "{status}");
    }
    let url = answering(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n").await;
    let mut house = House::open(&url, settings(|_| {}), |_| {}).await;
    assert_eq!(refused(&mut house).await.1.outcome.retry, Retry::Reauthenticate);
}

#[tokio::test]
async fn a_refusal_passes_as_it_is_framed_and_says_what_would_be_taken() {
    let no_content = answering(b"HTTP/1.1 204 No Content\r\nX-Why: no\r\n\r\n").await;
    let mut house = House::open(&no_content, settings(|_| {}), |_| {}).await;
    let (answer, _) = refused(&mut house).await;
    assert!(answer.starts_with("HTTP/1.1 204 ") && answer.ends_with("x-why: no\r\n\r\n"));
    assert!(!answer.to_ascii_lowercase().contains("content-length"), "{answer}");

    let upgrade = b"HTTP/1.1 426 Upgrade Required\r\nUpgrade: websocket\r\n\
                    Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nContent-Length: 0\r\n\r\n";
    let mut house = House::open(&answering(upgrade).await, settings(|_| {}), |_| {}).await;
    let answer = refused(&mut house).await.0.to_ascii_lowercase();
    for line in ["upgrade: websocket", "sec-websocket-version: 13", "connection: upgrade"] {
        assert!(answer.contains(&format!("\r\n{line}\r\n")), "{line} of {answer}");
    }
}

#[tokio::test]
async fn an_answer_may_have_hundreds_of_header_lines() {
    let cookies: String = (0..300).map(|n| format!("Set-Cookie: c{n}=1\r\n")).collect();
    let scene = Scene::between(|_| {}, |_| {}, "", &cookies).await;
    assert_eq!(all(&scene.client.head, "set-cookie").len(), 300);

    let refusal = format!("HTTP/1.1 403 Forbidden\r\n{cookies}Content-Length: 2\r\n\r\nno");
    let url = answering(refusal.leak().as_bytes()).await;
    let mut house = House::open(&url, settings(|_| {}), |_| {}).await;
    let (answer, _) = refused(&mut house).await;
    assert!(answer.starts_with("HTTP/1.1 403 ") && answer.ends_with("\r\n\r\nno"), "{answer}");
    assert!(answer.contains("c299=1"));
}

#[tokio::test]
async fn subprotocols_pass_whole_whatever_they_look_like_and_are_recorded_in_part() {
    let token = format!("bearer.{}", "x".repeat(3000));
    let request = format!("Sec-WebSocket-Protocol: {token}, not a token, v1\r\n");
    let answer = format!("Sec-WebSocket-Protocol: {token}\r\n");
    let mut scene = Scene::between(|_| {}, |_| {}, &request, &answer).await;
    let offered = scene.application.head.header("sec-websocket-protocol").unwrap();
    assert_eq!(offered, format!("{token}, not a token, v1"));
    assert_eq!(scene.client.head.header("sec-websocket-protocol"), Some(&*token));
    let legs = scene.leave().await;
    assert!(legs.client.origin.subprotocol.as_ref().unwrap().len() <= 1024);
}

#[tokio::test]
async fn a_large_refusal_passes_whole_with_its_length_or_without() {
    let page: String = (0..60_000).map(|n| format!("line {n}\n")).collect();
    let chunks: String = page
        .as_bytes()
        .chunks(10_000)
        .map(|part| format!("{:x}\r\n{}\r\n", part.len(), str::from_utf8(part).unwrap()))
        .collect();
    for answer in [
        format!("HTTP/1.1 404 Not Found\r\nContent-Length: {}\r\n\r\n{page}", page.len()),
        format!("HTTP/1.1 404 Not Found\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}0\r\n\r\n"),
    ] {
        let mut house =
            House::open(&answering(answer.leak().as_bytes()).await, settings(|_| {}), |_| {}).await;
        let (answer, ending) = refused(&mut house).await;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 404 "), "{head}");
        assert!(body == page, "{} of {} bytes", body.len(), page.len());
        assert!(ending.outcome.detail.ends_with("; answered 404"), "{ending}");
    }
}

#[tokio::test]
async fn a_refusal_passes_without_a_body_that_does_not_come() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}", listener.local_addr().unwrap());
    let mut house = House::open(&url, settings(|_| {}), |relay| {
        relay.response_timeout = Duration::from_millis(200);
    })
    .await;
    let stalling = async {
        let (mut socket, _) = listener.accept().await.unwrap();
        let answer = b"HTTP/1.1 403 Forbidden\r\nX-Why: no\r\nContent-Length: 12\r\n\r\nhalf";
        socket.write_all(answer).await.unwrap();
        socket
    };
    let (_socket, (answer, ending)) = tokio::join!(stalling, refused(&mut house));
    assert!(answer.starts_with("HTTP/1.1 403 Forbidden\r\n"), "{answer}");
    assert!(answer.contains("x-why: no\r\n") && !answer.contains("half"), "{answer}");
    assert_eq!(ending.outcome.kind, Kind::OpenFailed(OpenFailure::BackendRefused));
    assert_eq!(ending.origin.upstream.as_ref().unwrap().status, Some(403));
}

#[tokio::test]
async fn a_wrong_101_is_a_refusal() {
    let answer = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
                   Connection: Upgrade\r\nSec-WebSocket-Accept: wrong\r\n\r\n";
    let mut house = House::open(&answering(answer).await, settings(|_| {}), |_| {}).await;
    let (answer, ending) = refused(&mut house).await;
    assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
    assert_eq!(ending.outcome.kind, Kind::OpenFailed(OpenFailure::BackendRefused));
}

#[tokio::test]
async fn an_unreachable_application_is_502_and_a_silent_one_504() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}", listener.local_addr().unwrap());
    let mut house = House::open(&url, settings(|_| {}), |relay| {
        relay.response_timeout = Duration::from_millis(200);
    })
    .await;
    let (answer, ending) = refused(&mut house).await;
    assert!(answer.starts_with("HTTP/1.1 504 "), "{answer}");
    assert_eq!(ending.outcome.kind, Kind::OpenFailed(OpenFailure::BackendUnreachable));
    drop(listener);
    let (answer, ending) = refused(&mut house).await;
    assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
    let url = url.trim_start_matches("ws://");
    assert!(!answer.contains(url), "an answer must not show addresses: {answer}");
    assert_eq!(ending.outcome.kind, Kind::OpenFailed(OpenFailure::BackendUnreachable));
    assert!(ending.outcome.detail.contains(url), "{ending}");
}

#[tokio::test]
async fn more_than_max_pending_are_refused_with_503() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}", listener.local_addr().unwrap());
    let mut house = House::open(&url, settings(|_| {}), |relay| relay.max_pending = 1).await;
    let mut waiting = TcpStream::connect(house.address).await.unwrap();
    waiting.write_all(upgrade_request("here", "/", "").as_bytes()).await.unwrap();
    let (mut socket, _) = listener.accept().await.unwrap();
    read_request(&mut socket, &mut Vec::new()).await;
    let (answer, ending) = refused(&mut house).await;
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("Retry-After"), "{answer}");
    assert_eq!(ending.outcome.kind, Kind::OpenFailed(OpenFailure::RefusedLimit));
    assert_eq!(ending.outcome.limit.as_ref().unwrap().name, "max_pending");
}

#[tokio::test]
async fn an_application_can_listen_on_a_unix_socket() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("app.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let url = format!("ws+unix:{}", path.display());
    let house = House::open(&url, settings(|_| {}), |_| {}).await;
    let serve = async {
        let (socket, _) = listener.accept().await.unwrap();
        let mut socket = tokio_tungstenite::accept_async(socket).await.unwrap();
        use futures_util::{SinkExt, StreamExt};
        let message = socket.next().await.unwrap().unwrap();
        socket.send(message).await.unwrap();
    };
    let talk = async {
        let mut client = RawPeer::connect(house.address, "/").await;
        client.text("through a file").await;
        client.expect_text("through a file").await;
    };
    tokio::join!(serve, talk);
}

#[tokio::test]
async fn an_application_can_have_tls_and_is_held_to_its_certificate() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let acceptor = authority.acceptor(Flaw::None);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("wss://localhost:{}", listener.local_addr().unwrap().port());
    let ca_file = |file| move |relay: &mut RelayBackend| relay.ca_file = Some(file);
    let mut house = House::open(&url, settings(|_| {}), ca_file(authority.file())).await;
    let serve = async {
        let (socket, _) = listener.accept().await.unwrap();
        let socket = acceptor.accept(socket).await.unwrap();
        let mut socket = tokio_tungstenite::accept_async(socket).await.unwrap();
        use futures_util::{SinkExt, StreamExt};
        while let Some(Ok(message)) = socket.next().await {
            if message.is_text() {
                socket.send(message).await.unwrap();
            }
        }
    };
    let talk = async {
        let mut client = RawPeer::connect(house.address, "/").await;
        client.text("through TLS").await;
        client.expect_text("through TLS").await;
        client.close(1000, "").await;
        client.expect_close(SOON).await;
        client.fin().await;
    };
    tokio::join!(serve, talk);
    for _leg in 0..2 {
        let ending = house.next_ending().await;
        assert_eq!(ending.outcome.kind, Kind::Clean, "{ending}");
        let tls = ending.origin.tls.as_deref();
        let expected = (ending.origin.direction == Direction::Outbound).then_some("TLSv1.3");
        assert_eq!(tls, expected);
    }

    let mut house = House::open(&url, settings(|_| {}), ca_file(stranger.file())).await;
    let request = upgrade_request("house", "/", "");
    let accept = async {
        for _try in 0..2 {
            let (socket, _) = listener.accept().await.unwrap();
            assert!(acceptor.accept(socket).await.is_err());
        }
    };
    let (answer, ()) = tokio::join!(exchange(house.address, request, SOON), accept);
    assert_eq!(answer.head.status(), 502);
    let ending = house.next_ending().await;
    assert_eq!(ending.outcome.kind, Kind::OpenFailed(OpenFailure::BackendUnreachable));
    assert!(ending.outcome.detail.contains("certificate"), "{ending}");
}

#[tokio::test]
async fn it_dials_from_the_addresses_that_it_is_given() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}", listener.local_addr().unwrap());
    let sources = ["127.0.0.2".parse().unwrap(), "127.0.0.3".parse().unwrap()];
    let house = House::open(&url, settings(|_| {}), |relay| {
        relay.source_addresses = sources.to_vec();
    })
    .await;
    for source in sources {
        let (_client, application) =
            tokio::join!(RawPeer::connect(house.address, "/"), RawPeer::accept(&listener));
        assert_eq!(application.stream().peer_addr().unwrap().ip(), source);
    }
}
