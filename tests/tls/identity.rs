//! What holds for the subject of a client's certificate: revocations and `replace`.

use std::path::PathBuf;

use futures_util::StreamExt;
use rustls::ALL_VERSIONS;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::tungstenite::Error;

use super::stage::{Client, PROGRAM, WAIT, echo_and_close, request, soon, tls};
use crate::support::daemon::Daemon;
use crate::support::http::exchange;
use crate::support::tls::Authority;

/// The files of a client's certificate and key.
type Files = (PathBuf, PathBuf);

/// A daemon that demands certificates, with `ann` and `bob`, who have one.
struct House {
    authority: Authority,
    daemon: Daemon,
    ann: Files,
    bob: Files,
}

impl House {
    /// Opens one with this route.
    async fn open(route: &str) -> Self {
        let authority = Authority::new();
        let (cert, key) = authority.issue("own", &["localhost"]);
        let ca = authority.file();
        let tls = format!("listeners[0].tls={{cert={cert:?},key={key:?},client_ca={ca:?}}}");
        let route = format!("routes=[{{name=\"a\",path=\"/*\",{route}}}]");
        let daemon = Daemon::start(PROGRAM, &[&tls, &route]).await;
        let [ann, bob] = ["ann", "bob"].map(|name| authority.issue(name, &[name]));
        Self { authority, daemon, ann, bob }
    }

    async fn tls(&self, who: &Files) -> TlsStream<tokio::net::TcpStream> {
        let config = self.authority.client(Some(who), ALL_VERSIONS);
        tls(self.daemon.listener(), config, "localhost").await.unwrap()
    }

    async fn websocket(&self, who: &Files) -> Result<Client, Error> {
        let stream = self.tls(who).await;
        let opened = soon(tokio_tungstenite::client_async("ws://localhost/echo", stream)).await;
        opened.map(|(client, _)| client)
    }

    /// Asks for a page.
    async fn page(&self, who: &Files) -> String {
        let get = "GET /page HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        request(self.tls(who).await, get).await
    }

    async fn revoke(&self, subject: &str) {
        let body = format!("{{\"subject\":\"{subject}\"}}");
        let post = format!(
            "POST /v1/revocations HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let answer = exchange(self.daemon.control(), post, WAIT).await;
        assert_eq!(answer.head.status(), 201, "{answer:?}");
    }
}

/// Waits for a Close; returns its code and reason.
async fn closed(client: &mut Client) -> (u16, String) {
    let frame = soon(client.next()).await.unwrap().unwrap();
    let tokio_tungstenite::tungstenite::Message::Close(Some(close)) = frame else {
        panic!("awaited a Close, received {frame:?}")
    };
    (close.code.into(), close.reason.to_string())
}

#[tokio::test]
async fn a_revoked_certificate_is_closed_and_refused() {
    let house = House::open("backend={kind=\"echo\"}").await;
    let mut ann = house.websocket(&house.ann).await.unwrap();
    let bob = house.websocket(&house.bob).await.unwrap();
    house.revoke("ann").await;
    assert_eq!(closed(&mut ann).await, (3000, "access revoked".to_owned()));
    let Err(Error::Http(refused)) = house.websocket(&house.ann).await else {
        panic!("a revoked client got in")
    };
    assert_eq!(refused.status(), 401);
    assert_eq!(refused.headers()["www-authenticate"], "Bearer error=\"invalid_token\"");
    let refused = house.daemon.await_ending(|e| e["kind"] == "open_failed", WAIT).await;
    assert_eq!(refused["open_failure"], "unauthorized");
    assert_eq!(refused["subject"], "ann");
    assert_eq!(refused["route"], "a");
    echo_and_close(bob).await;
}

#[tokio::test]
async fn a_refused_client_is_recorded_with_its_certificate_s_subject() {
    let house = House::open("backend={kind=\"echo\"}").await;
    let refused = house.page(&house.ann).await;
    assert!(refused.starts_with("HTTP/1.1 426 "), "{refused}");
    let refused = house.daemon.await_ending(|e| e["kind"] == "open_failed", WAIT).await;
    assert_eq!(refused["open_failure"], "bad_request");
    assert_eq!(refused["subject"], "ann");
}

#[tokio::test]
async fn plain_http_with_a_revoked_certificate_is_refused() {
    let application = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = application.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut socket, _) = application.accept().await.unwrap();
            let mut asked = [0; 4096];
            assert_ne!(socket.read(&mut asked).await.unwrap(), 0);
            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\npage";
            socket.write_all(answer).await.unwrap();
        }
    });
    let backend = format!("backend={{kind=\"relay\",url=\"ws://{url}\",http=\"proxy\"}}");
    let house = House::open(&backend).await;
    assert!(house.page(&house.ann).await.ends_with("page"));
    house.revoke("ann").await;
    let refused = house.page(&house.ann).await;
    assert!(
        refused.starts_with("HTTP/1.1 401 ") && refused.contains("access revoked"),
        "{refused}"
    );
    let challenge = "www-authenticate: bearer error=\"invalid_token\"";
    assert!(refused.to_ascii_lowercase().contains(challenge), "{refused}");
    assert!(house.page(&house.bob).await.ends_with("page"));
    let metrics = house.daemon.metrics().await;
    for line in [
        "lastword_http_requests_total{outcome=\"unauthorized\"} 1",
        "lastword_revoked_attempts_total 1",
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line}: {metrics}");
    }
}

#[tokio::test]
async fn a_second_connection_with_one_certificate_replaces_the_first() {
    let house = House::open("replace=\"oldest\",backend={kind=\"echo\"}").await;
    let mut first = house.websocket(&house.ann).await.unwrap();
    let bob = house.websocket(&house.bob).await.unwrap();
    let second = house.websocket(&house.ann).await.unwrap();
    assert_eq!(closed(&mut first).await, (4409, "replaced".to_owned()));
    let replaced = |e: &Value| e["cause"] == "replaced";
    drop(first);
    assert_eq!(house.daemon.await_ending(replaced, WAIT).await["subject"], "ann");
    echo_and_close(second).await;
    echo_and_close(bob).await;
}
