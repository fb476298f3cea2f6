//! Plain HTTP beside the WebSocket goes to the same application, streaming both ways.

use std::time::Duration;

use lastword::settings::PlainHttp;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use super::stage::{House, settings};
use crate::support::http::{exchange, read_request, upgrade_request};
use crate::support::{A_WHILE, SOON};

async fn house(http: PlainHttp) -> (House, TcpListener) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}", listener.local_addr().unwrap());
    let house = House::open(&url, settings(|_| {}), |relay| {
        relay.http = http;
        relay.http_timeout = Duration::from_secs(1);
    })
    .await;
    (house, listener)
}

async fn send(house: &House, request: &str) -> TcpStream {
    let mut client = TcpStream::connect(house.address).await.unwrap();
    client.write_all(request.as_bytes()).await.unwrap();
    client
}

async fn rest(client: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    timeout(SOON, client.read_to_end(&mut answer)).await.expect("awaited the answer").unwrap();
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn a_request_and_its_answer_pass() {
    let (house, listener) = house(PlainHttp::Proxy).await;
    let request = "POST /poll?sid=1 HTTP/1.1\r\nHost: a.example\r\nCookie: c=1\r\n\
                   Connection: close\r\nContent-Length: 4\r\n\r\nbody";
    let mut client = send(&house, request).await;
    let (mut application, _) = listener.accept().await.unwrap();
    let mut read = Vec::new();
    let head = read_request(&mut application, &mut read).await;
    assert_eq!(head.start_line, "POST /poll?sid=1 HTTP/1.1");
    for (name, value) in [
        ("host", "a.example"),
        ("cookie", "c=1"),
        ("content-length", "4"),
        ("x-forwarded-for", "127.0.0.1"),
        ("x-forwarded-proto", "http"),
    ] {
        assert_eq!(head.header(name), Some(value), "{name}");
    }
    assert_eq!(head.header("lastword-connection-id"), None);
    while read.len() < 4 {
        assert_ne!(application.read_buf(&mut read).await.unwrap(), 0, "{}", read.escape_ascii());
    }
    assert_eq!(read, b"body");
    let answer =
        b"HTTP/1.1 201 Created\r\nSet-Cookie: s=1\r\nKeep-Alive: 5\r\nContent-Length: 2\r\n\r\nok";
    application.write_all(answer).await.unwrap();
    let answer = rest(&mut client).await;
    assert!(answer.starts_with("HTTP/1.1 201 Created\r\n"), "{answer}");
    assert!(answer.contains("Set-Cookie: s=1\r\n") && answer.ends_with("\r\n\r\nok"), "{answer}");
    assert!(!answer.to_ascii_lowercase().contains("keep-alive"), "{answer}");
    // It is neither a connection nor an attempt.
    assert_eq!(house.supervisor.accounting().opened, 0);
}

#[tokio::test]
async fn an_answer_streams_as_it_comes() {
    let (house, listener) = house(PlainHttp::Proxy).await;
    let mut client =
        send(&house, "GET /events HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
    let (mut application, _) = listener.accept().await.unwrap();
    read_request(&mut application, &mut Vec::new()).await;
    let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    application.write_all(head).await.unwrap();
    let mut seen = Vec::new();
    for (chunk, word) in [(&b"3\r\none\r\n"[..], "one"), (b"3\r\ntwo\r\n", "two")] {
        application.write_all(chunk).await.unwrap();
        let sees = async {
            while !String::from_utf8_lossy(&seen).contains(word) {
                assert_ne!(client.read_buf(&mut seen).await.unwrap(), 0);
            }
        };
        timeout(SOON, sees).await.expect("awaited a chunk");
    }
    application.write_all(b"0\r\n\r\n").await.unwrap();
    rest(&mut client).await;
}

#[tokio::test]
async fn an_upload_streams_too_and_a_large_one_is_not_held() {
    let (house, listener) = house(PlainHttp::Proxy).await;
    const SIZE: usize = 64 << 20;
    let request = format!(
        "PUT /file HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: {SIZE}\r\n\r\n"
    );
    let mut client = send(&house, &request).await;
    let (mut application, _) = listener.accept().await.unwrap();
    let mut read = Vec::new();
    read_request(&mut application, &mut read).await;
    let sent = async {
        let chunk = vec![7; 1 << 16];
        for _ in 0..SIZE / chunk.len() {
            client.write_all(&chunk).await.unwrap();
        }
    };
    let received = async {
        let mut buffer = vec![0; 1 << 16];
        let mut left = SIZE - read.len();
        while left > 0 {
            left -= application.read(&mut buffer).await.unwrap();
        }
        application.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
    };
    timeout(SOON * 4, async { tokio::join!(sent, received) }).await.unwrap();
    assert!(rest(&mut client).await.starts_with("HTTP/1.1 204 "));
}

#[tokio::test]
async fn an_unreachable_application_is_502_and_a_silent_one_504() {
    let (house, listener) = house(PlainHttp::Proxy).await;
    let mut client = send(&house, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
    let (application, _) = listener.accept().await.unwrap();
    let answer = rest(&mut client).await;
    assert!(answer.starts_with("HTTP/1.1 504 "), "{answer}");
    drop((application, listener));
    let mut client = send(&house, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
    let answer = rest(&mut client).await;
    assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
}

#[tokio::test]
async fn it_is_refused_unless_it_is_asked_for_and_a_bad_upgrade_always() {
    let (refusing, _listener) = house(PlainHttp::Refuse).await;
    let mut client =
        send(&refusing, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
    assert!(rest(&mut client).await.starts_with("HTTP/1.1 426 "));
    let (proxying, listener) = house(PlainHttp::Proxy).await;
    let upgrade = "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";
    let mut client = send(&proxying, upgrade).await;
    assert!(rest(&mut client).await.starts_with("HTTP/1.1 426 "));
    assert!(timeout(A_WHILE, listener.accept()).await.is_err());
}

/// Sends a request, and returns the application's end of it once the request is there.
async fn asked(house: &House, listener: &TcpListener) -> (TcpStream, TcpStream) {
    let client = send(house, "GET /poll HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
    let (mut application, _) = listener.accept().await.unwrap();
    read_request(&mut application, &mut Vec::new()).await;
    (client, application)
}

#[tokio::test]
async fn a_client_that_leaves_amid_a_poll_frees_the_application() {
    let (house, listener) = house(PlainHttp::Proxy).await;
    let (client, mut application) = asked(&house, &listener).await;
    socket2::SockRef::from(&client).set_linger(Some(Duration::ZERO)).unwrap();
    drop(client);
    // Well before http_timeout.
    let end = timeout(Duration::from_millis(700), application.read(&mut [0; 16])).await;
    assert!(matches!(end, Ok(Ok(0) | Err(_))), "{end:?}");
}

#[tokio::test]
async fn a_client_that_has_ended_its_side_gets_its_answer() {
    let (house, listener) = house(PlainHttp::Proxy).await;
    let (mut client, mut application) = asked(&house, &listener).await;
    client.shutdown().await.unwrap();
    tokio::time::sleep(A_WHILE).await;
    application.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await.unwrap();
    let answer = rest(&mut client).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("ok"), "{answer}");
}

#[tokio::test]
async fn an_answer_that_was_cut_does_not_look_whole() {
    let (house, listener) = house(PlainHttp::Proxy).await;
    for (head, is_whole) in [
        ("Transfer-Encoding: chunked\r\n\r\n3\r\none\r\n", "0\r\n\r\n"),
        ("Content-Length: 6\r\n\r\none", "onetwo"),
    ] {
        let (mut client, mut application) = asked(&house, &listener).await;
        application.write_all(format!("HTTP/1.1 200 OK\r\n{head}").as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let begins = async {
            while !answer.ends_with(b"one") && !answer.ends_with(b"one\r\n") {
                assert_ne!(client.read_buf(&mut answer).await.unwrap(), 0);
            }
        };
        timeout(SOON, begins).await.expect("awaited the beginning");
        drop(application);
        let _ = timeout(SOON, client.read_to_end(&mut answer)).await.expect("awaited the end");
        let answer = String::from_utf8(answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(!answer.ends_with(is_whole), "{answer}");
    }
}

#[tokio::test]
async fn an_answer_that_is_none_is_502() {
    let (house, listener) = house(PlainHttp::Proxy).await;
    for wrong in [
        "SSH-2.0-OpenSSH_9.2p1\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
        "",
    ] {
        let (mut client, mut application) = asked(&house, &listener).await;
        application.write_all(wrong.as_bytes()).await.unwrap();
        drop(application);
        let answer = rest(&mut client).await;
        assert!(answer.starts_with("HTTP/1.1 502 "), "{wrong:?}: {answer}");
    }
}

#[tokio::test]
async fn an_application_that_opens_no_tls_in_time_is_504_for_both() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("wss://localhost:{}", listener.local_addr().unwrap().port());
    let house = House::open(&url, settings(|_| {}), |relay| {
        relay.http = PlainHttp::Proxy;
        relay.response_timeout = Duration::from_millis(100);
        relay.tries = 1;
    })
    .await;
    let plain = "GET / HTTP/1.1\r\nHost: house\r\nConnection: close\r\n\r\n".to_owned();
    for request in [plain, upgrade_request("house", "/", "")] {
        assert_eq!(exchange(house.address, request, SOON).await.head.status(), 504);
    }
}
