//! Hostile applications at the opening, and what their clients are answered.

use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::SETTINGS;
use crate::relay::front::Front;
use crate::support::SOON;
use crate::support::frame::Side;
use crate::support::http::{Answer, exchange, read_request, upgrade_request};
use crate::support::raw_peer::{End, RawPeer};

/// How long an application may take to answer.
const BACKEND: &str = r#",response_timeout="1s",tries=1"#;

/// What an application does instead of answering right.
#[derive(Debug, Clone)]
enum Deed {
    /// It says this, and stays.
    Says(String),
    SaysAndGoes(String),
    SaysAndResets(String),
    /// It says the first once, and the second again and again.
    GoesOn(String, String),
}

/// What is to come of it: the client's answer, the attempt's word, and the application's status.
type Due = (u16, &'static str, Option<u16>);

const REFUSED: &str = "backend_refused";
const UNREACHABLE: &str = "backend_unreachable";

/// A right 101, but for what is replaced in it.
fn switching(from: &str, to: &str) -> Deed {
    let right = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                 Sec-WebSocket-Accept: {accept}\r\n\r\n";
    assert!(right.contains(from), "{from}");
    Deed::Says(right.replace(from, to))
}

fn says(text: impl Into<String>) -> Deed {
    Deed::Says(text.into())
}

fn deeds() -> Vec<(&'static str, Deed, Due)> {
    let wrong = (502, REFUSED, Some(101));
    let unreadable = (502, REFUSED, None);
    let gone = (502, UNREACHABLE, None);
    let slow = (504, UNREACHABLE, None);
    let end = "\r\n\r\n";
    let more = |line: &str| switching(end, &format!("\r\n{line}{end}"));
    let large = "x".repeat(200_000);
    let with_body = |head: &str| says(format!("{head}\r\nContent-Length: 200000{end}{large}"));
    vec![
        ("another accept", switching("{accept}", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), wrong),
        ("no accept", switching("Sec-WebSocket-Accept", "X-Accept"), wrong),
        ("two accepts", more("Sec-WebSocket-Accept: {accept}"), wrong),
        ("no Upgrade", switching("Upgrade: websocket\r\n", ""), wrong),
        ("another Upgrade", switching("websocket", "h2c"), wrong),
        ("no Connection", switching("Connection: Upgrade\r\n", ""), wrong),
        ("HTTP/1.0", switching("HTTP/1.1", "HTTP/1.0"), wrong),
        ("a subprotocol that was not offered", more("Sec-WebSocket-Protocol: v9"), wrong),
        ("an extension that was not offered", more("Sec-WebSocket-Extensions: x-other"), wrong),
        ("compression", more("Sec-WebSocket-Extensions: permessage-deflate"), wrong),
        ("another protocol", says("SSH-2.0-OpenSSH_9.2p1\r\n"), unreadable),
        ("a TLS alert", says("\u{15}\u{3}\u{1}\0\u{2}\u{2}P"), unreadable),
        ("a frame", says("\u{1}\u{5}hello\r\n\r\n"), unreadable),
        ("a wrong status", says(format!("HTTP/1.1 1 One{end}")), unreadable),
        ("a header that is none", says(format!("HTTP/1.1 101 OK\r\nno colon{end}")), unreadable),
        (
            "headers without end",
            Deed::GoesOn("HTTP/1.1 101 OK\r\n".into(), format!("A: {}\r\n", &large[..8000])),
            unreadable,
        ),
        (
            "a header without end",
            Deed::GoesOn("HTTP/1.1 101 OK\r\nA: ".into(), large[..8000].into()),
            unreadable,
        ),
        ("nothing", says(""), slow),
        ("half a status line", says("HTTP/1.1 10"), slow),
        ("half of the headers", says("HTTP/1.1 101 OK\r\nUpgrade: web"), slow),
        ("slow headers", Deed::GoesOn("HTTP/1.1 101 OK\r\n".into(), "A: b\r\n".into()), slow),
        (
            "a 100 again and again",
            Deed::GoesOn(String::new(), format!("HTTP/1.1 100 Continue{end}")),
            slow,
        ),
        ("its FIN", Deed::SaysAndGoes(String::new()), gone),
        ("a reset", Deed::SaysAndResets(String::new()), gone),
        ("FIN amid the headers", Deed::SaysAndGoes("HTTP/1.1 101 OK\r\nUpgr".into()), gone),
        (
            "a page",
            says(format!("HTTP/1.1 200 OK\r\nContent-Length: 2{end}hi")),
            (200, REFUSED, Some(200)),
        ),
        (
            "nothing to say",
            says(format!("HTTP/1.1 204 No Content{end}")),
            (204, REFUSED, Some(204)),
        ),
        (
            "a large 301",
            with_body("HTTP/1.1 301 Moved\r\nLocation: /there"),
            (301, REFUSED, Some(301)),
        ),
        (
            "a large 401",
            with_body("HTTP/1.1 401 Who\r\nWWW-Authenticate: Basic"),
            (401, REFUSED, Some(401)),
        ),
        (
            "a large 503",
            with_body("HTTP/1.1 503 Busy\r\nRetry-After: 7"),
            (503, REFUSED, Some(503)),
        ),
        (
            "a 403 whose body is cut",
            Deed::SaysAndGoes(format!("HTTP/1.1 403 No\r\nContent-Length: 9{end}half")),
            (403, REFUSED, Some(403)),
        ),
        (
            "a 403 whose body does not come",
            says(format!("HTTP/1.1 403 No\r\nContent-Length: 9{end}half")),
            (403, REFUSED, Some(403)),
        ),
        (
            "a 403 whose body is endless",
            Deed::GoesOn(format!("HTTP/1.1 403 No{end}"), "and on".into()),
            (403, REFUSED, Some(403)),
        ),
        (
            "a 403 in bad chunks",
            says(format!("HTTP/1.1 403 No\r\nTransfer-Encoding: chunked{end}zz\r\n")),
            (403, REFUSED, Some(403)),
        ),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_an_application_answers_its_client_is_answered_right() {
    let front = Front::open(SETTINGS, BACKEND).await;
    let (before, _) = front.memory();
    let mut acts = Vec::new();
    for (n, (what, deed, due)) in deeds().into_iter().enumerate() {
        let path = format!("/opening/{n}");
        let asked = exchange_later(&front, &path);
        let (socket, _) = front.application.accept().await.unwrap();
        acts.push((what, path, due, asked, tokio::spawn(act(socket, deed))));
    }
    for (what, path, (status, failure, of_application), asked, act) in acts {
        let answer = asked.await.unwrap_or_else(|_| panic!("in the case of: {what}"));
        assert_eq!(answer.head.status(), status, "{what}: {answer:?}");
        framed_right(what, &answer);
        act.await.unwrap();
        let attempt = front.daemon.await_ending(|e| e["path"] == path.as_str(), SOON).await;
        assert_eq!(attempt["kind"], "open_failed", "{what}: {attempt}");
        assert_eq!(attempt["open_failure"], failure, "{what}: {attempt}");
        let of_the_client = of_application.is_some_and(|status| (200..500).contains(&status));
        let fault = if of_the_client { "peer" } else { "backend" };
        assert_eq!(attempt["fault"], fault, "{what}: {attempt}");
        assert_eq!(attempt["upstream"]["status"], Value::from(of_application), "{what}");
    }
    let (_, peak) = front.memory();
    let held = peak.saturating_sub(before);
    assert!(held < 8 * 1024, "{held} KiB are held");
}

/// What came may be cut, but what is sent is an answer that is whole.
fn framed_right(what: &str, answer: &Answer) {
    let head = &answer.head;
    assert_eq!(head.header("connection"), Some("close"), "{what}: {head:?}");
    assert_eq!(head.header("transfer-encoding"), None, "{what}: {head:?}");
    match head.status() {
        204 => assert!(answer.body.is_empty(), "{what}: {answer:?}"),
        // How long it is only its end tells, and it has none: it is cut after `response_timeout`.
        403 if head.header("content-length").is_none() => {
            assert_eq!(what, "a 403 whose body is endless");
        }
        _ => {
            let length = answer.body.len().to_string();
            assert_eq!(head.header("content-length"), Some(&*length), "{what}: {head:?}");
        }
    }
    let passed = match head.status() {
        301 => Some(("location", "/there")),
        401 => Some(("www-authenticate", "Basic")),
        503 => Some(("retry-after", "7")),
        _ => None,
    };
    if let Some((name, value)) = passed {
        assert_eq!(head.header(name), Some(value), "{what}: {head:?}");
    }
}

fn exchange_later(front: &Front, path: &str) -> tokio::task::JoinHandle<Answer> {
    let (address, request) = (front.address(), upgrade_request("here", path, ""));
    tokio::spawn(async move { exchange(address, request, SOON).await })
}

/// Plays the application until the daemon has had enough.
async fn act(mut socket: TcpStream, deed: Deed) {
    let head = read_request(&mut socket, &mut Vec::new()).await;
    let key = head.header("sec-websocket-key").unwrap();
    let accept = tokio_tungstenite::tungstenite::handshake::derive_accept_key(key.as_bytes());
    let mut say =
        async |text: &str| socket.write_all(text.replace("{accept}", &accept).as_bytes()).await;
    match deed {
        Deed::Says(text) => {
            // The daemon may have gone before it has read all of a large body.
            let _ = say(&text).await;
        }
        Deed::SaysAndGoes(text) => return say(&text).await.unwrap(),
        Deed::SaysAndResets(text) => {
            say(&text).await.unwrap();
            RawPeer::over(socket, Side::Server).reset();
            return;
        }
        Deed::GoesOn(first, again) => {
            say(&first).await.unwrap();
            while say(&again).await.is_ok() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    }
    let gone =
        timeout(SOON, async { while socket.read(&mut [0; 64]).await.is_ok_and(|n| n > 0) {} });
    gone.await.expect("awaited that the daemon lets go");
}

#[tokio::test]
async fn what_comes_before_a_101_is_passed_over() {
    let front = Front::open(SETTINGS, BACKEND).await;
    for before in [
        "HTTP/1.1 100 Continue\r\n\r\n",
        "HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\n",
    ] {
        let opened = async {
            let (mut socket, _) = front.application.accept().await.unwrap();
            socket.write_all(before.as_bytes()).await.unwrap();
            RawPeer::answer(socket, "", &[]).await
        };
        let (mut client, mut application) =
            tokio::join!(RawPeer::connect(front.address(), "/"), opened);
        assert_eq!(client.head.header("link"), None);
        client.text("open").await;
        application.expect_text("open").await;
    }
}

#[tokio::test]
async fn an_application_that_is_lost_with_its_101_is_a_lost_application() {
    let front = Front::open(SETTINGS, BACKEND).await;
    for end in [End::Fin, End::Reset] {
        let (mut client, application) = front.pair("/").await;
        match end {
            End::Fin => drop(application),
            _ => application.reset(),
        }
        assert_eq!(client.expect_close(SOON).await.0, Some(1012));
    }
}

#[tokio::test]
async fn a_client_that_left_meanwhile_is_gone_at_once() {
    let front = Front::open(SETTINGS, r#",response_timeout="1h""#).await;
    for end in [End::Fin, End::Reset] {
        let path = format!("/impatient/{end:?}");
        let mut client = TcpStream::connect(front.address()).await.unwrap();
        client.write_all(upgrade_request("here", &path, "").as_bytes()).await.unwrap();
        let (mut socket, _) = front.application.accept().await.unwrap();
        read_request(&mut socket, &mut Vec::new()).await;
        let client = RawPeer::over(client, Side::Client);
        match end {
            End::Fin => drop(client),
            _ => client.reset(),
        }
        let record = |e: &Value| e["path"] == path.as_str() && e["direction"] == "inbound";
        let record = front.daemon.await_ending(record, SOON).await;
        assert_eq!(record["open_failure"], "peer_gone", "{record}");
        assert_eq!(record["fault"], "peer", "{record}");
        let mut application = RawPeer::over(socket, Side::Server);
        assert_ne!(application.read_to_end(SOON).await.end, End::Timeout, "{end:?}");
    }
}
