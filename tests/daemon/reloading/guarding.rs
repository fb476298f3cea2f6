//! What a reload does to TLS, to who may connect, to plain HTTP and to the service manager.

use std::path::Path;
use std::sync::Arc;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixDatagram};
use tokio::time::timeout;

use super::stage::{Stage, arguments, refused};
use crate::daemon::PROGRAM;
use crate::daemon::process::echo;
use crate::support::SOON;
use crate::support::daemon::{Daemon, command};
use crate::support::raw_peer::RawPeer;

/// A certificate for localhost that signs itself, in two files.
fn certificate(directory: &Path, name: &str) -> (String, Vec<u8>) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (cert, key) =
        (directory.join(format!("{name}.pem")), directory.join(format!("{name}-key.pem")));
    std::fs::write(&cert, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    (format!("tls = {{ cert = {cert:?}, key = {key:?} }}\n"), made.cert.der().to_vec())
}

fn with_listener(more: &str) -> String {
    format!(
        "[[listeners]]\nname = \"public\"\nlisten = \"127.0.0.1:0\"\n{more}\
         [[routes]]\nname = \"echo\"\npath = \"/echo\"\nbackend.kind = \"echo\"\n"
    )
}

/// The certificate that a listener shows.
async fn shown(stage: &Stage, trusted: &[&Vec<u8>]) -> Vec<u8> {
    use tokio_rustls::rustls::{ClientConfig, RootCertStore, pki_types};
    let mut roots = RootCertStore::empty();
    for der in trusted {
        roots.add(pki_types::CertificateDer::from(der.as_slice())).unwrap();
    }
    let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let stream = TcpStream::connect(stage.listener()).await.unwrap();
    let name = pki_types::ServerName::try_from("localhost").unwrap();
    let stream = timeout(SOON, connector.connect(name, stream)).await.unwrap().unwrap();
    stream.get_ref().1.peer_certificates().unwrap()[0].to_vec()
}

#[tokio::test]
async fn a_listener_gets_tls_other_certificates_and_none_again_without_being_bound_again() {
    let stage = Stage::start_with(&with_listener("")).await;
    let mut plain = RawPeer::connect(stage.listener(), "/echo").await;
    let directory = tempfile::tempdir().unwrap();
    let (first, first_der) = certificate(directory.path(), "first");
    let (second, second_der) = certificate(directory.path(), "second");
    let both = [&first_der, &second_der];

    let answer = stage.reload_whole(&with_listener(&first)).await.expect(200);
    assert_eq!(answer["changed"], json!(["listeners.public"]));
    assert_eq!(answer["listeners"], json!({ "added": [], "removed": [] }));
    assert_eq!(shown(&stage, &both).await, first_der);
    stage.reload_whole(&with_listener(&second)).await.expect(200);
    assert_eq!(shown(&stage, &both).await, second_der);
    // The same names, other files.
    let (_, third_der) = certificate(directory.path(), "second");
    stage.reload_whole(&with_listener(&second)).await.expect(200);
    assert_eq!(shown(&stage, &[&third_der]).await, third_der);
    // A key that does not fit refuses the reload, and the certificate stays.
    std::fs::copy(directory.path().join("first-key.pem"), directory.path().join("second-key.pem"))
        .unwrap();
    let problem = stage.reload_whole(&with_listener(&second)).await.expect(422);
    assert!(problem["detail"].as_str().unwrap().contains("listeners[0].tls"), "{problem}");
    assert_eq!(shown(&stage, &[&third_der]).await, third_der);
    let metrics = stage.daemon.metrics().await;
    assert!(metrics.contains("lastword_tls_certificate_expiry_timestamp_seconds{"), "{metrics}");

    stage.reload_whole(&with_listener("")).await.expect(200);
    echo(&mut RawPeer::connect(stage.listener(), "/echo").await, "plain again").await;
    echo(&mut plain, "plain all the time").await;
    assert!(!stage.daemon.metrics().await.contains("certificate_expiry"));
}

#[tokio::test]
async fn who_may_connect_changes_for_those_who_connect() {
    let stage = Stage::start("").await;
    let mut open = RawPeer::connect(stage.listener(), "/echo").await;
    let secret = stage.path("secret");
    std::fs::write(&secret, "0123456789abcdef0123456789abcdef").unwrap();
    let guarded = format!(
        "[[routes]]\nname = \"guarded\"\npath = \"/guarded\"\nbackend.kind = \"echo\"\n\
         auth = {{ kind = \"jwt\", secret = {{ file = {secret:?} }} }}\n"
    );
    stage.reload_with(&guarded).await.expect(200);
    assert_eq!(refused(stage.listener(), "/guarded").await, 401);
    stage.reload_with(&guarded.replace("auth = ", "#")).await.expect(200);
    echo(&mut RawPeer::connect(stage.listener(), "/guarded").await, "anybody").await;
    std::fs::write(&secret, "hunter2").unwrap();
    let problem = stage.reload_with(&guarded).await.expect(422);
    assert!(problem["detail"].as_str().unwrap().contains("route guarded: auth"), "{problem}");
    assert!(!problem.to_string().contains("hunter2"), "the secret is told");
    echo(&mut open, "unmoved").await;
}

#[tokio::test]
async fn what_is_secret_is_in_no_answer() {
    let stage = Stage::start("").await;
    let dialer = "[[dialers]]\nname = \"feed\"\nurl = \"ws://user:hunter2@127.0.0.1:9/x?token=hunter2\"\n\
                  headers = { authorization = \"Bearer hunter2\" }\nbackend.kind = \"none\"\n";
    let problem = stage.reload_with(dialer).await.expect(422);
    assert!(!problem.to_string().contains("hunter2"), "{problem}");
    let status = stage.get("/v1/status").await.expect(200);
    assert!(!status.to_string().contains("hunter2"), "{status}");
    let log = stage.daemon.log().join("\n");
    assert!(!log.contains("hunter2"), "{log}");
}

/// An application that answers each request of plain HTTP with this text.
async fn plain_application(text: &'static str) -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let mut request = [0; 4096];
                while stream.read(&mut request).await.is_ok_and(|read| read > 0) {
                    let answer =
                        format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}", text.len());
                    stream.write_all(answer.as_bytes()).await.unwrap();
                }
            });
        }
    });
    address
}

#[tokio::test]
async fn each_request_of_a_plain_client_goes_by_the_routes_of_its_time() {
    let route = |address| {
        format!(
            "[[routes]]\nname = \"app\"\npath = \"/app\"\n\
             backend = {{ kind = \"relay\", url = \"ws://{address}\", http = \"proxy\" }}\n"
        )
    };
    let (old, new) = (plain_application("old").await, plain_application("new").await);
    let stage = Stage::start(&route(old)).await;
    let mut client = TcpStream::connect(stage.listener()).await.unwrap();
    let mut ask = async || {
        client.write_all(b"GET /app HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
        let (mut bytes, mut buffer) = (Vec::new(), [0; 4096]);
        while !bytes.ends_with(b"old") && !bytes.ends_with(b"new") {
            let read = timeout(SOON, client.read(&mut buffer)).await.unwrap().unwrap();
            assert_ne!(read, 0, "{}", bytes.escape_ascii());
            bytes.extend_from_slice(&buffer[..read]);
        }
        String::from_utf8(bytes).unwrap()
    };
    assert!(ask().await.ends_with("old"));
    stage.reload_with(&route(new)).await.expect(200);
    assert!(ask().await.ends_with("new"), "on the same connection");
}

#[tokio::test]
async fn the_service_manager_is_told_of_a_reload() {
    let directory = tempfile::tempdir().unwrap();
    let socket = UnixDatagram::bind(directory.path().join("notify")).unwrap();
    let file = directory.path().join("lastword.toml");
    std::fs::write(&file, with_listener("")).unwrap();
    let mut serve = command(PROGRAM, &arguments(&file));
    serve.env("NOTIFY_SOCKET", directory.path().join("notify"));
    let daemon = Daemon::start_command(serve).await;
    let next = async || {
        let mut buffer = [0; 4096];
        let length =
            timeout(SOON, socket.recv(&mut buffer)).await.expect("awaited a word").unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    };
    while next().await != "READY=1\n" {}
    for bad in [false, true] {
        if bad {
            std::fs::write(&file, "nonsense").unwrap();
        }
        daemon.signal("HUP").await;
        let reloading = loop {
            let word = next().await;
            if !word.starts_with("STATUS=") {
                break word;
            }
        };
        let (first, rest) = reloading.split_once('\n').unwrap();
        assert_eq!(first, "RELOADING=1");
        assert!(rest.starts_with("MONOTONIC_USEC="), "{reloading}");
        assert_eq!(next().await, "READY=1\n");
    }
}
