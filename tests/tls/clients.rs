//! Clients that get in.

use std::sync::Arc;

use futures_util::{SinkExt, StreamExt};
use lastword::settings::{ClientAuth, Tls, TlsVersion};
use lastword::vocabulary::Kind;
use lastword::{ListenError, ListenOptions, Route, Supervisor};
use rcgen::{DnType, SanType};
use rustls::version::{TLS12, TLS13};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_tungstenite::tungstenite::Message;

use super::stage::{PROGRAM, Stage, echo_and_close, request, soon, tls};
use crate::support::daemon::Daemon;
use crate::support::tls::Authority;

#[tokio::test]
async fn both_versions_are_spoken_and_recorded() {
    let stage = Stage::open("", &[]).await;
    let url = format!("listener public wss://{}", stage.daemon.listener());
    assert!(stage.daemon.printed.contains(&url), "{:?}", stage.daemon.printed);
    for (version, recorded) in [(&TLS12, "TLSv1.2"), (&TLS13, "TLSv1.3")] {
        let client = stage.websocket(stage.authority.client(None, &[version])).await;
        echo_and_close(client).await;
        let ending = stage.record(|ending| ending["tls"] == recorded).await;
        assert_eq!(ending["kind"], "clean");
        assert_eq!(ending["transport_end"], "fin");
        assert_eq!(ending["messages_out"], 1);
    }
}

#[tokio::test]
async fn alpn_is_http_1_1_whatever_else_is_offered() {
    let stage = Stage::open("", &[]).await;
    let mut config = stage.client();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let stream = stage.tls(config).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
}

#[tokio::test]
async fn sessions_are_resumed_in_both_versions() {
    let stage = Stage::open("", &[]).await;
    for version in [&TLS12, &TLS13] {
        let config = stage.authority.client(None, &[version]);
        let mut kinds = Vec::new();
        for _ in 0..3 {
            let mut client = stage.websocket(config.clone()).await;
            // A ticket of TLS 1.3 comes behind the handshake.
            client.send(Message::text("x")).await.unwrap();
            soon(client.next()).await.unwrap().unwrap();
            kinds.push(client.get_ref().get_ref().1.handshake_kind().unwrap());
        }
        use rustls::HandshakeKind::{Full, Resumed};
        assert_eq!(kinds, [Full, Resumed, Resumed], "{version:?}");
    }
}

#[tokio::test]
async fn the_certificate_is_chosen_by_the_name_and_the_first_is_the_default() {
    let authority = Authority::new();
    let [first, second] =
        [("first", "localhost"), ("second", "*.example.org")].map(|(file, name)| {
            let (cert, key) = authority.issue(file, &[name]);
            format!("{{cert={cert:?},key={key:?}}}")
        });
    let setting = format!("listeners[0].tls={{certs=[{first},{second}]}}");
    let daemon = Daemon::start(PROGRAM, &[&setting]).await;
    let config = || authority.client(None, rustls::ALL_VERSIONS);
    for name in ["localhost", "a.example.org"] {
        tls(daemon.listener(), config(), name).await.unwrap();
    }
    // The default is shown, and the client refuses it.
    let error = tls(daemon.listener(), config(), "example.net").await.unwrap_err();
    assert!(error.to_string().contains("localhost"), "{error}");
}

#[tokio::test]
async fn a_client_certificate_gives_the_connection_its_subject() {
    let stage = Stage::open("", &[]).await;
    let ca = stage.authority.file();
    let clients = format!(", client_ca={ca:?}, client_auth=\"optional\"");
    let authority = &stage.authority;
    let uri = SanType::URI("spiffe://example.org/ann".try_into().unwrap());
    let named = authority.issue_with("named", &[], |params| {
        params.distinguished_name.push(DnType::CommonName, "not this");
        params.subject_alt_names = vec![uri, SanType::DnsName("ann.example".try_into().unwrap())];
    });
    let common = authority.issue_with("common", &[], |params| {
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "ann");
    });
    let own = authority.folder().join("own.pem");
    let key = authority.folder().join("own-key.pem");
    let tls = format!("listeners[0].tls={{cert={own:?},key={key:?}{clients}}}");
    let daemon = Daemon::start(PROGRAM, &[&tls]).await;
    for (shown, subject) in [
        (Some(&named), Some("spiffe://example.org/ann")),
        (Some(&common), Some("ann")),
        (None, None),
    ] {
        let config = authority.client(shown, rustls::ALL_VERSIONS);
        let stream = super::stage::tls(daemon.listener(), config, "localhost").await.unwrap();
        let opened = tokio_tungstenite::client_async("ws://localhost/echo", stream).await;
        echo_and_close(opened.unwrap().0).await;
        let fits = |ending: &serde_json::Value| {
            ending["subject"].as_str() == subject && ending["kind"] == "clean"
        };
        daemon.await_ending(fits, std::time::Duration::from_secs(10)).await;
    }
}

#[tokio::test]
async fn the_control_api_and_the_probes_speak_tls() {
    let authority = Authority::new();
    let (cert, key) = authority.issue("own", &["localhost"]);
    let keys = format!("{{cert={cert:?},key={key:?}}}");
    let [control, health] = ["control", "health"].map(|section| format!("{section}.tls={keys}"));
    let settings = [&*control, &*health, r#"health.listen="127.0.0.1:0""#];
    let daemon = Daemon::start(PROGRAM, &settings).await;
    let config = || authority.client(None, rustls::ALL_VERSIONS);
    for words in ["control", "health"] {
        let printed = format!("{words} https://{}", daemon.address(words));
        assert!(daemon.printed.contains(&printed), "{:?}", daemon.printed);
        let stream = tls(daemon.address(words), config(), "localhost").await.unwrap();
        let get = "GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        let answer = request(stream, get).await;
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("ready"), "{answer}");
        let plain = crate::support::http::exchange(daemon.address(words), get, super::stage::WAIT);
        let plain = plain.await;
        assert_eq!(plain.head.status(), 400);
        assert!(plain.body.contains("this port speaks TLS"), "{}", plain.body);
    }
    let get = "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let metrics = tls(daemon.address("health"), config(), "localhost").await.unwrap();
    let metrics = request(metrics, get).await;
    let series = "lastword_tls_reload_failed_total{listener=\"health\"} 0";
    assert!(metrics.contains(series), "{metrics}");
    assert!(
        metrics.contains("lastword_tls_certificate_expiry_timestamp_seconds{listener=\"control\"")
    );
}

#[tokio::test]
async fn an_embedder_listens_with_tls() {
    let authority = Authority::new();
    let (cert, key) = authority.issue("own", &["localhost"]);
    let supervisor = Supervisor::builder().start().await.unwrap();
    let mut endings = supervisor.endings();
    let settings = Tls::new(cert, key)
        .client_ca(authority.file(), ClientAuth::Optional)
        .min_version(TlsVersion::V1_3);
    let options = ListenOptions::default().tls(settings.clone());
    let address = "127.0.0.1:0".parse().unwrap();
    let routes = vec![Route::echo("/echo").unwrap()];
    let listener = supervisor.listen_with("public", &address, options, routes).await.unwrap();
    assert!(listener.has_tls());
    let lastword::vocabulary::ListenAddress::Tcp(address) = *listener.address() else { panic!() };
    let url = format!("wss://localhost:{}/echo", address.port());
    let dial = supervisor.dial(&url).ca_file(authority.file());
    let (connection, mut messages) = soon(dial.receive()).await.unwrap();
    connection.send("hello").await.unwrap();
    soon(messages.receive()).await.unwrap();
    soon(connection.close(1000, "bye").unwrap()).await;
    for _ in 0..2 {
        let ending = soon(endings.next()).await.unwrap().unwrap();
        assert_eq!(ending.outcome.kind, Kind::Clean, "{ending}");
        assert_eq!(ending.origin.tls.as_deref(), Some("TLSv1.3"));
    }

    let folder = tempfile::tempdir().unwrap();
    let unix = lastword::vocabulary::ListenAddress::Unix(folder.path().join("x.sock"));
    let options = ListenOptions::default().tls(settings);
    let refused = supervisor.listen_with("unix", &unix, options, Vec::new()).await;
    assert!(matches!(refused, Err(ListenError::Tls(_))), "{refused:?}");
    let missing = ListenOptions::default().tls(Tls::new("/nonexistent/a", "/nonexistent/b"));
    let address = "127.0.0.1:0".parse().unwrap();
    let refused = supervisor.listen_with("missing", &address, missing, Vec::new()).await;
    assert!(refused.unwrap_err().to_string().contains("/nonexistent/a cannot be read"));
}

#[tokio::test]
async fn a_proxy_header_comes_before_tls() {
    let authority = Authority::new();
    let (cert, key) = authority.issue("own", &["localhost"]);
    let tls = format!("listeners[0].tls={{cert={cert:?},key={key:?}}}");
    let settings = [
        &*tls,
        "listeners[0].proxy_protocol=true",
        r#"listeners[0].trusted_proxies=["127.0.0.1"]"#,
    ];
    let daemon = Daemon::start(PROGRAM, &settings).await;
    let config = Arc::new(authority.client(None, rustls::ALL_VERSIONS));
    let mut socket = TcpStream::connect(daemon.listener()).await.unwrap();
    socket.write_all(b"PROXY TCP4 203.0.113.9 10.0.0.5 51342 8443\r\n").await.unwrap();
    let name = rustls::pki_types::ServerName::try_from("localhost").unwrap();
    let stream = soon(TlsConnector::from(config).connect(name, socket)).await.unwrap();
    let opened = tokio_tungstenite::client_async("ws://localhost/echo", stream).await;
    echo_and_close(opened.unwrap().0).await;
    let clean = |ending: &serde_json::Value| ending["kind"] == "clean";
    let ending = daemon.await_ending(clean, super::stage::WAIT).await;
    assert_eq!(ending["peer"], "203.0.113.9:51342");
    assert_eq!(ending["tls"], "TLSv1.3");
    assert!(ending["via"].as_str().unwrap().starts_with("127.0.0.1"), "{ending}");
}
