//! Clients that do not get in, each with its word and a sentence.

use std::time::Duration;

use rcgen::SanType;
use rustls::version::{TLS12, TLS13};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::stage::{PROGRAM, Stage, WAIT, soon};
use crate::support::daemon::Daemon;
use crate::support::http;

#[tokio::test]
async fn plain_http_gets_a_plain_400_that_says_so() {
    let stage = Stage::open("", &[]).await;
    let request = http::upgrade_request("localhost", "/echo", "");
    let answer = http::exchange(stage.daemon.listener(), request, WAIT).await;
    assert_eq!(answer.head.status(), 400);
    assert!(answer.body.contains("use wss:// instead of ws://"), "{}", answer.body);
    let (failure, detail) = stage.failure().await;
    assert_eq!(failure, "tls");
    assert!(detail.contains("this is plain HTTP") && detail.ends_with("answered 400"), "{detail}");
    assert_eq!(stage.daemon.count_refused("tls").await, 1);
}

#[tokio::test]
async fn a_proxy_header_that_is_not_taken_is_recorded_as_that() {
    let stage = Stage::open("", &[]).await;
    for header in [&b"PROXY TCP4 203.0.113.9 10.0.0.5 5 443\r\n"[..], V2_LOCAL] {
        let mut peer = TcpStream::connect(stage.daemon.listener()).await.unwrap();
        peer.write_all(&[header, &client_hello(&stage)].concat()).await.unwrap();
        let mut answer = Vec::new();
        let _ = soon(peer.read_to_end(&mut answer)).await;
        assert!(answer.is_empty(), "{}", answer.escape_ascii());
    }
    let failed = |ending: &serde_json::Value| ending["kind"] == "open_failed";
    for refused in stage.daemon.await_endings(2, failed, WAIT).await {
        assert_eq!(refused["open_failure"], "untrusted_proxy");
        let detail = refused["detail"].as_str().unwrap();
        assert!(detail.contains("set proxy_protocol = true and trusted_proxies"), "{detail}");
        assert!(refused["peer"].as_str().unwrap().starts_with("127.0.0.1:"), "{refused}");
    }
    assert_eq!(stage.daemon.count_refused("untrusted_proxy").await, 2);
}

#[tokio::test]
async fn a_client_that_there_is_no_place_for_gets_an_alert() {
    let settings = ["limits.max_connections=1", "limits.half_open_per_ip=0"];
    let stage = Stage::open("", &settings).await;
    // 128 more than max_connections are heard.
    let mut silent = Vec::new();
    for _ in 0..129 {
        silent.push(TcpStream::connect(stage.daemon.listener()).await.unwrap());
    }
    assert_is_turned_away(&stage, "max_connections", "was sent without a handshake").await;
}

#[tokio::test]
async fn a_client_that_there_is_no_memory_for_gets_an_alert() {
    // TLS takes 24 KiB, and attempts may have a quarter.
    let stage = Stage::open("", &["limits.memory='64KiB'"]).await;
    assert_is_turned_away(&stage, "memory", "limits.memory is used up").await;
}

/// Asserts that a client gets an alert, and that the record names this limit.
async fn assert_is_turned_away(stage: &Stage, limit: &str, says: &str) {
    let mut peer = TcpStream::connect(stage.daemon.listener()).await.unwrap();
    let mut answer = Vec::new();
    let _ = soon(peer.read_to_end(&mut answer)).await;
    // internal_error
    assert_eq!(answer, [21, 3, 3, 0, 2, 2, 80]);
    let failed = |ending: &serde_json::Value| ending["kind"] == "open_failed";
    let refused = stage.daemon.await_ending(failed, WAIT).await;
    assert_eq!(refused["open_failure"], "refused_limit");
    assert_eq!(refused["limit"]["name"], limit);
    assert!(refused["detail"].as_str().unwrap().contains(says), "{refused}");
    assert_eq!(stage.daemon.count_refused("refused_limit").await, 1);
}

#[tokio::test]
async fn tls_on_a_plain_port_is_recorded_as_that() {
    let stage = Stage::open("", &[]).await;
    let plain = Daemon::start(PROGRAM, &[]).await;
    super::stage::tls(plain.listener(), stage.client(), "localhost").await.unwrap_err();
    let record = plain.await_ending(|ending| ending["kind"] == "open_failed", WAIT).await;
    assert_eq!(record["open_failure"], "bad_request");
    let detail = record["detail"].as_str().unwrap();
    assert!(detail.contains("this port speaks plain HTTP, and this is TLS"), "{detail}");
}

#[tokio::test]
async fn what_the_client_cannot_do_is_said_in_a_sentence() {
    for (more, set_up, says) in [
        (", min_version=\"1.3\"", "TLS 1.2", "min_version"),
        ("", "h2", "HTTP/1.1 (ALPN)"),
        ("", "another authority", "does not accept this listener's certificate (alert unknown_ca)"),
    ] {
        let stage = Stage::open(more, &[]).await;
        let mut config = stage.client();
        match set_up {
            "TLS 1.2" => config = stage.authority.client(None, &[&TLS12]),
            "h2" => config.alpn_protocols = vec![b"h2".to_vec()],
            _ => {
                config = crate::support::tls::Authority::new().client(None, rustls::ALL_VERSIONS);
            }
        }
        stage.tls(config).await.unwrap_err();
        let (failure, detail) = stage.failure().await;
        assert_eq!(failure, "tls", "{detail}");
        assert!(detail.contains(says), "{set_up}: {detail}");
    }
}

#[tokio::test]
async fn clients_without_a_good_certificate_are_refused() {
    let other = crate::support::tls::Authority::new();
    for (shown, says) in [
        ("none", "client_auth demands one"),
        ("another authority's", "not signed by an authority in client_ca"),
        ("an expired one", "the client's certificate expired at 2020-01-01"),
        ("one of a long name", "the name in the client's certificate cannot be recorded"),
    ] {
        for version in [&TLS12, &TLS13] {
            let authority = crate::support::tls::Authority::new();
            let (cert, key) = authority.issue("own", &["localhost"]);
            let ca = authority.file();
            let tls = format!("listeners[0].tls={{cert={cert:?},key={key:?},client_ca={ca:?}}}");
            let daemon = Daemon::start(PROGRAM, &[&tls]).await;
            let files = match shown {
                "none" => None,
                "another authority's" => Some(other.issue("client", &["ann"])),
                "one of a long name" => Some(authority.issue_with("client", &[], |params| {
                    let long = format!("spiffe://example.org/{}", "x".repeat(300));
                    params.subject_alt_names = vec![SanType::URI(long.try_into().unwrap())];
                })),
                _ => Some(authority.issue_with("client", &["ann"], |params| {
                    params.not_before = rcgen::date_time_ymd(2019, 1, 1);
                    params.not_after = rcgen::date_time_ymd(2020, 1, 1);
                })),
            };
            let config = authority.client(files.as_ref(), &[version]);
            // With TLS 1.3 the client is done before its certificate is judged.
            if let Ok(mut stream) = super::stage::tls(daemon.listener(), config, "localhost").await
            {
                soon(stream.read(&mut [0; 1])).await.unwrap_err();
            }
            let record = daemon.await_ending(|ending| ending["kind"] == "open_failed", WAIT).await;
            assert_eq!(record["open_failure"], "tls");
            let detail = record["detail"].as_str().unwrap();
            assert!(detail.contains(says), "{shown}: {detail}");
        }
    }
}

#[tokio::test]
async fn a_handshake_that_stalls_or_dribbles_has_an_end() {
    let stage = Stage::open("", &["limits.handshake_timeout='400ms'"]).await;
    for dribbles in [false, true] {
        let mut peer = TcpStream::connect(stage.daemon.listener()).await.unwrap();
        let hello = client_hello(&stage);
        let began = tokio::time::Instant::now();
        if dribbles {
            for byte in hello {
                if peer.write_all(&[byte]).await.is_err() {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        } else {
            peer.write_all(&hello[..20]).await.unwrap();
        }
        let _ = soon(peer.read_to_end(&mut Vec::new())).await;
        assert!(began.elapsed() >= Duration::from_millis(380), "{:?}", began.elapsed());
    }
    let stalled = |ending: &serde_json::Value| ending["open_failure"] == "handshake_timeout";
    let records = stage.daemon.await_endings(2, stalled, WAIT).await;
    for record in records {
        let detail = record["detail"].as_str().unwrap();
        assert_eq!(detail, "the TLS handshake was not complete within 400ms");
    }
}

#[tokio::test]
async fn the_request_has_what_the_tls_handshake_left_of_the_time() {
    let stage = Stage::open("", &["limits.handshake_timeout='1500ms'"]).await;
    let mut peer = TcpStream::connect(stage.daemon.listener()).await.unwrap();
    let began = tokio::time::Instant::now();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let name = rustls::pki_types::ServerName::try_from("localhost").unwrap();
    let connector = tokio_rustls::TlsConnector::from(std::sync::Arc::new(stage.client()));
    let mut stream = soon(connector.connect(name, &mut peer)).await.unwrap();
    let mut answer = String::new();
    soon(stream.read_to_string(&mut answer)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    let took = began.elapsed();
    assert!(took < Duration::from_millis(2400), "{took:?}");
}

#[tokio::test]
async fn clients_that_leave_before_or_in_the_handshake_are_told_apart() {
    for (sends, failure, says) in [
        (0, "peer_gone", "without sending anything"),
        (30, "tls", "in the middle of the TLS handshake"),
    ] {
        let stage = Stage::open("", &[]).await;
        let mut peer = TcpStream::connect(stage.daemon.listener()).await.unwrap();
        peer.write_all(&client_hello(&stage)[..sends]).await.unwrap();
        drop(peer);
        let (word, detail) = stage.failure().await;
        assert_eq!(word, failure, "{detail}");
        assert!(detail.contains(says), "{detail}");
    }
}

#[tokio::test]
async fn garbage_and_old_tls_are_answered_with_an_alert() {
    // A hello of TLS 1.0 that offers nothing newer.
    let old =
        [&[0x16, 3, 1, 0, 0x2d, 1, 0, 0, 0x29, 3, 1][..], &[7; 32], &[0, 0, 2, 0, 0x2f, 1, 0]]
            .concat();
    for (sent, says) in [
        (&[0x99, 3, 1, 0, 1, 0][..], "does not speak TLS"),
        (&[0x80, 0x2e, 1, 0, 2, 0, 0x15, 0, 0, 0], "does not speak TLS"),
        (&old, "no version of TLS"),
    ] {
        let stage = Stage::open("", &[]).await;
        let mut peer = TcpStream::connect(stage.daemon.listener()).await.unwrap();
        peer.write_all(sent).await.unwrap();
        let mut answer = Vec::new();
        soon(peer.read_to_end(&mut answer)).await.unwrap();
        assert_eq!(answer.first(), Some(&21), "an alert for {sent:?}: {answer:?}");
        drop(peer);
        let (failure, detail) = stage.failure().await;
        assert_eq!(failure, "tls");
        assert!(detail.contains(says), "{detail}");
    }
}

#[tokio::test]
async fn half_open_handshakes_of_one_address_are_bounded() {
    let settings = ["limits.half_open_per_ip=3", "limits.handshake_timeout='20s'"];
    let stage = Stage::open("", &settings).await;
    let hello = client_hello(&stage);
    let mut peers = Vec::new();
    for _ in 0..6 {
        let mut peer = TcpStream::connect(stage.daemon.listener()).await.unwrap();
        peer.write_all(&hello[..30]).await.unwrap();
        peers.push(peer);
    }
    let refused = |ending: &serde_json::Value| ending["limit"]["name"] == "half_open_per_ip";
    let records = stage.daemon.await_endings(3, refused, WAIT).await;
    assert!(records.iter().all(|record| record["open_failure"] == "refused_limit"));
    // The others have no part in that.
    super::stage::echo_and_close(stage.websocket(stage.client()).await).await;
    drop(peers);
}

/// A PROXY header of version 2 by which a balancer speaks for itself.
const V2_LOCAL: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x00";

/// The first flight of a client.
fn client_hello(stage: &Stage) -> Vec<u8> {
    let name = rustls::pki_types::ServerName::try_from("localhost").unwrap();
    let config = std::sync::Arc::new(stage.client());
    let mut session = rustls::ClientConnection::new(config, name).unwrap();
    let mut hello = Vec::new();
    session.write_tls(&mut hello).unwrap();
    hello
}
