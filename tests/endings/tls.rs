//! Connections over TLS: how they open, what keeps them from it, and how they end.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use lastword::settings::SecretSource;
use lastword::vocabulary::{Advice, FirstClose, Kind, OpenFailure, Secret, TransportEnd};
use lastword::{ConnectionHandle, Dial, DialError, Ending, Receiver, Supervisor};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::server::TlsStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message as Wire;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, frame::coding::CloseCode};

use super::stage::{ended, failure, patient, settings, soon};
use crate::support::http;
use crate::support::tls::{Authority, Flaw, truncate};

type Server = WebSocketStream<TlsStream<TcpStream>>;

struct Scene {
    supervisor: Supervisor,
    connection: ConnectionHandle,
    messages: Receiver,
    server: Server,
}

impl Scene {
    async fn open() -> Self {
        Self::open_with(patient()).await
    }

    async fn open_with(settings: lastword::settings::ConnectionSettings) -> Self {
        let authority = Authority::new();
        let supervisor = Supervisor::builder().start().await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let acceptor = authority.acceptor(Flaw::None);
        let url = format!("wss://localhost:{}/feed", listener.local_addr().unwrap().port());
        let dial = supervisor.dial(&url).ca_file(authority.file()).settings(settings);
        let (dialled, server) = tokio::join!(soon("the dial", dial.receive()), async {
            let (socket, _) = soon("TCP", listener.accept()).await.unwrap();
            let stream = soon("TLS", acceptor.accept(socket)).await.unwrap();
            assert_eq!(stream.get_ref().1.server_name(), Some("localhost"));
            assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
            soon("the upgrade", tokio_tungstenite::accept_async(stream)).await.unwrap()
        });
        let (connection, messages) = dialled.unwrap();
        Self { supervisor, connection, messages, server }
    }
}

/// Dials a TCP server that does what `serve` does; returns the record of the attempt.
async fn dial_fails(
    url: impl FnOnce(u16) -> String,
    set_up: impl FnOnce(Dial) -> Dial,
    serve: impl AsyncFnOnce(TcpStream),
) -> Arc<Ending> {
    let supervisor = Supervisor::builder().start().await.unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = url(listener.local_addr().unwrap().port());
    let dial = set_up(supervisor.dial(&url).settings(patient()));
    let (dialled, ()) = tokio::join!(soon("the attempt", dial.receive()), async {
        serve(soon("the dial", listener.accept()).await.unwrap().0).await;
    });
    match dialled {
        Err(DialError::Failed(ending)) => ending,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn messages_pass_and_both_closes_are_clean_over_tls() {
    let Scene { supervisor: _supervisor, connection, mut messages, mut server } =
        Scene::open().await;
    // Larger than a record, and than what rustls buffers.
    let large = "x".repeat(300_000);
    let echo = async move {
        let message = soon("a message", server.next()).await.unwrap().unwrap();
        server.send(message).await.unwrap();
        while soon("the Close", server.next()).await.is_some_and(|message| message.is_ok()) {}
    };
    let talk = async {
        connection.send(large.as_str()).await.unwrap();
        match soon("the echo", messages.receive()).await {
            Ok(lastword::Incoming::Message(message)) => {
                assert!(message.as_text() == Some(&large));
            }
            other => panic!("{other:?}"),
        }
        connection.close(1000, "bye").unwrap().await
    };
    let ((), ending) = tokio::join!(echo, talk);
    assert_eq!(ending.outcome.kind, Kind::Clean);
    assert_eq!(ending.outcome.first_close, FirstClose::Local);
    assert_eq!(ending.origin.tls.as_deref(), Some("TLSv1.3"));
    assert!(ending.tcp.is_some(), "TCP_INFO is the inner socket's");
    let traffic = ending.traffic.as_ref().unwrap();
    assert_eq!((traffic.messages_in, traffic.messages_out), (1, 1));
    let upstream = ending.origin.upstream.as_ref().unwrap();
    assert!(upstream.url.starts_with("wss://localhost:") && upstream.connect.is_some());
}

#[tokio::test]
async fn a_server_that_closes_first_and_ends_tls_in_order_is_clean_with_fin() {
    let mut scene = Scene::open().await;
    let close = CloseFrame { code: CloseCode::Away, reason: "going".into() };
    scene.server.close(Some(close)).await.unwrap();
    while soon("the answer", scene.server.next()).await.is_some() {}
    scene.server.get_mut().shutdown().await.unwrap();
    let ending = ended(&scene.connection).await;
    assert_eq!(ending.outcome.kind, Kind::Clean);
    assert_eq!(ending.outcome.close_code(), Some(1001));
    assert_eq!(ending.outcome.transport_end, Some(TransportEnd::Fin));
}

#[tokio::test]
async fn tls_that_is_cut_off_without_a_close_is_tls_truncated() {
    let scene = Scene::open().await;
    truncate(scene.server.into_inner()).await;
    let ending = ended(&scene.connection).await;
    assert_eq!(ending.outcome.kind, Kind::TlsTruncated);
    assert_eq!(ending.outcome.transport_end, Some(TransportEnd::TlsTruncated));
    assert_eq!(ending.outcome.close_code(), Some(1006));
}

#[tokio::test]
async fn tls_that_ends_in_order_without_a_close_is_closed_prematurely() {
    let mut scene = Scene::open().await;
    scene.server.get_mut().shutdown().await.unwrap();
    let ending = ended(&scene.connection).await;
    assert_eq!(ending.outcome.kind, Kind::ClosedPrematurely);
    assert_eq!(ending.outcome.transport_end, Some(TransportEnd::Fin));
}

#[tokio::test]
async fn a_reset_under_tls_is_connection_reset() {
    let scene = Scene::open().await;
    let (socket, _session) = scene.server.into_inner().into_inner();
    socket.set_zero_linger().unwrap();
    drop(socket);
    assert_eq!(ended(&scene.connection).await.outcome.kind, Kind::ConnectionReset);
}

#[tokio::test]
async fn this_end_ends_tls_in_order_and_an_abort_resets() {
    let brief = settings(|s| s.close.linger = Duration::from_millis(300));
    let mut scene = Scene::open_with(brief).await;
    let closed = scene.connection.close(1000, "bye").unwrap();
    let serve = async {
        while soon("the Close", scene.server.next()).await.is_some() {}
        let (mut socket, mut session) = scene.server.into_inner().into_inner();
        // Until this end has closed, which is after the linger: neither side sends a FIN.
        let mut ciphertext = Vec::new();
        soon("the end", socket.read_to_end(&mut ciphertext)).await.unwrap();
        session.read_tls(&mut &*ciphertext).unwrap();
        session.process_new_packets().unwrap().peer_has_closed()
    };
    let (_, told) = tokio::join!(closed, serve);
    assert!(told, "close_notify came before FIN");

    let scene = Scene::open().await;
    scene.connection.abort();
    let (mut socket, _session) = scene.server.into_inner().into_inner();
    let error = soon("the reset", socket.read_to_end(&mut Vec::new())).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn a_peer_that_does_not_read_stalls_tls_like_tcp() {
    let hurried = settings(|s| s.limits.write_timeout = Duration::from_millis(300));
    let scene = Scene::open_with(hurried).await;
    let flood = async {
        let chunk = vec![0_u8; 64 * 1024];
        while scene.connection.send(chunk.clone()).await.is_ok() {}
    };
    let (ending, ()) = tokio::join!(ended(&scene.connection), flood);
    assert_eq!(ending.outcome.kind, Kind::SlowConsumer);
    assert!(ending.traffic.as_ref().unwrap().undelivered_messages > 0);
    assert!(scene.supervisor.accounting().balances());
}

#[tokio::test]
async fn a_close_that_tls_holds_back_has_not_left() {
    // What fits into TLS's own buffer and not into the kernel's is still under the deadline.
    let hurried = settings(|s| s.close.timeout = Duration::from_millis(500));
    let scene = Scene::open_with(hurried).await;
    while scene.connection.try_send(vec![0_u8; 64 * 1024]).is_ok() {
        tokio::task::yield_now().await;
    }
    let ending = soon("the ending", scene.connection.close(1000, "").unwrap()).await;
    assert_eq!(ending.outcome.kind, Kind::CloseTimeout);
    assert_eq!(ending.outcome.close_sent, None);
}

#[tokio::test]
async fn a_certificate_that_is_wrong_is_tls_and_the_record_says_how() {
    for (flaw, says) in [
        (Flaw::Expired, "expired at 2020-01-01"),
        (Flaw::NotYetValid, "not valid before 4000-01-01"),
        (Flaw::OtherName, "other.example"),
        (Flaw::SelfSigned, "ca_file"),
        (Flaw::SelfSignedAuthority, "openssl req -x509"),
    ] {
        let authority = Authority::new();
        let acceptor = authority.acceptor(flaw);
        let ending = dial_fails(
            |port| format!("wss://localhost:{port}/feed?token=secret"),
            |dial| dial.ca_file(authority.file()),
            async |socket| assert!(soon("an alert", acceptor.accept(socket)).await.is_err()),
        )
        .await;
        assert_eq!(failure(&ending), OpenFailure::Tls, "{flaw:?}: {ending}");
        assert!(ending.outcome.detail.contains(says), "{flaw:?}: {ending}");
        assert_eq!(ending.outcome.retry.advice(), Advice::Backoff);
        assert!(ending.origin.upstream.as_ref().unwrap().addr.is_some());
        assert!(!format!("{ending:?}").contains("secret"));
    }
}

#[tokio::test]
async fn a_self_signed_certificate_is_trusted_by_its_own_file() {
    for flaw in [Flaw::SelfSigned, Flaw::SelfSignedAuthority] {
        let authority = Authority::new();
        let acceptor = authority.acceptor(flaw);
        let ending = dial_fails(
            |port| format!("wss://localhost:{port}/"),
            |dial| dial.ca_file(authority.shown()),
            async |socket| {
                let mut tls = soon("TLS", acceptor.accept(socket)).await.unwrap();
                tls.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
                    .await
                    .unwrap();
            },
        )
        .await;
        assert_eq!(
            failure(&ending),
            OpenFailure::UpgradeRejected { status: 404 },
            "{flaw:?}: {ending}"
        );

        // Another certificate of the same name is another one.
        let other = authority.shown();
        let pinned = authority.folder().join("pinned.pem");
        std::fs::rename(other, &pinned).unwrap();
        let acceptor = authority.acceptor(flaw);
        let ending = dial_fails(
            |port| format!("wss://localhost:{port}/"),
            |dial| dial.ca_file(&pinned),
            async |socket| assert!(soon("an alert", acceptor.accept(socket)).await.is_err()),
        )
        .await;
        assert_eq!(failure(&ending), OpenFailure::Tls, "{flaw:?}: {ending}");
    }
}

#[tokio::test]
async fn a_pinned_certificate_must_have_the_name_that_is_dialled() {
    let authority = Authority::new();
    let acceptor = authority.acceptor(Flaw::SelfSignedAuthority);
    let ending = dial_fails(
        |port| format!("wss://127.0.0.1:{port}/"),
        |dial| dial.ca_file(authority.shown()),
        async |socket| assert!(soon("an alert", acceptor.accept(socket)).await.is_err()),
    )
    .await;
    assert_eq!(failure(&ending), OpenFailure::Tls);
    assert!(ending.outcome.detail.contains("not for 127.0.0.1"), "{ending}");
}

#[tokio::test]
async fn the_machine_does_not_trust_the_authority_of_a_test() {
    let authority = Authority::new();
    let acceptor = authority.acceptor(Flaw::None);
    let serve = async |socket| assert!(soon("an alert", acceptor.accept(socket)).await.is_err());
    let url = |port| format!("wss://localhost:{port}/");
    let ending = dial_fails(url, |dial| dial, serve).await;
    assert_eq!(failure(&ending), OpenFailure::Tls);
}

#[tokio::test]
async fn a_server_that_does_not_speak_tls_is_tls() {
    let authority = Authority::new();
    let ending = dial_fails(
        |port| format!("wss://127.0.0.1:{port}/"),
        |dial| dial.ca_file(authority.file()),
        async |mut socket| socket.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap(),
    )
    .await;
    assert_eq!(failure(&ending), OpenFailure::Tls);
    assert!(ending.outcome.detail.contains("ws://"), "{ending}");
}

#[tokio::test]
async fn a_file_of_authorities_that_is_none_is_tls_before_anything_is_dialled() {
    let authority = Authority::new();
    let supervisor = Supervisor::builder().start().await.unwrap();
    let empty = authority.folder().join("empty.pem");
    std::fs::write(&empty, "nothing").unwrap();
    for file in [empty, authority.folder().join("missing.pem")] {
        let dial = supervisor.dial("wss://127.0.0.1:1/").ca_file(&file);
        let Err(DialError::Failed(ending)) = dial.receive().await else { panic!("it was dialled") };
        assert_eq!(failure(&ending), OpenFailure::Tls);
        assert_eq!(ending.origin.peer, None);
        assert!(ending.outcome.detail.contains(&*file.to_string_lossy()), "{ending}");
    }
}

#[tokio::test]
async fn a_proxy_is_asked_for_the_way_and_tls_goes_through_it() {
    let authority = Authority::new();
    let acceptor = authority.acceptor(Flaw::None);
    let supervisor = Supervisor::builder().start().await.unwrap();
    let proxy = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy_url = format!("http://{}", proxy.local_addr().unwrap());
    // Only the proxy knows where this is: it serves it itself.
    let dial = supervisor
        .dial("wss://localhost:9/feed")
        .ca_file(authority.file())
        .proxy(&proxy_url)
        .proxy_credentials(SecretSource::Value(Secret::new("user:pass")));
    let (dialled, mut server) = tokio::join!(soon("the dial", dial.receive()), async {
        let (mut socket, _) = soon("TCP", proxy.accept()).await.unwrap();
        let head = http::read_request(&mut socket, &mut vec![]).await;
        assert_eq!(head.start_line, "CONNECT localhost:9 HTTP/1.1");
        assert_eq!(head.header("proxy-authorization"), Some("Basic dXNlcjpwYXNz"));
        socket.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await.unwrap();
        let stream = soon("TLS", acceptor.accept(socket)).await.unwrap();
        tokio_tungstenite::accept_async(stream).await.unwrap()
    });
    let (connection, _messages) = dialled.unwrap();
    server.send(Wire::text("hello")).await.unwrap();
    server.close(None).await.unwrap();
    while soon("the answer", server.next()).await.is_some() {}
    drop(server);
    let ending = ended(&connection).await;
    assert_eq!(ending.outcome.kind, Kind::Clean);
    assert_eq!(ending.origin.peer.as_deref(), proxy_url.strip_prefix("http://"));
    assert!(!format!("{ending:?}").contains("pass"));
}

#[tokio::test]
async fn a_proxy_that_refuses_is_told_from_a_server_that_does() {
    for (answer, expected, retry) in [
        ("HTTP/1.1 403 Forbidden", OpenFailure::ConnectRefused, Advice::Backoff),
        (
            "HTTP/1.1 407 Proxy Authentication Required",
            OpenFailure::Unauthorized,
            Advice::Reauthenticate,
        ),
    ] {
        let supervisor = Supervisor::builder().start().await.unwrap();
        let proxy = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", proxy.local_addr().unwrap());
        let dial = supervisor.dial("ws://nowhere.invalid/").proxy(&url);
        let (dialled, ()) = tokio::join!(soon("the attempt", dial.receive()), async {
            let (mut socket, _) = soon("TCP", proxy.accept()).await.unwrap();
            http::read_request(&mut socket, &mut vec![]).await;
            let answer = format!("{answer}\r\nContent-Length: 0\r\n\r\n");
            socket.write_all(answer.as_bytes()).await.unwrap();
        });
        let Err(DialError::Failed(ending)) = dialled else { panic!("it was dialled") };
        assert_eq!(failure(&ending), expected);
        assert_eq!(ending.outcome.retry.advice(), retry);
        assert!(ending.outcome.detail.contains(&url), "{ending}");
    }
}
