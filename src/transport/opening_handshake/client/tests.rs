use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

use super::super::answer::{Agreement, Refusal};
use super::super::request::{check_upgrade, choose_subprotocol};
use super::super::server::{HandshakeLimits, accept};
use super::*;
use crate::transport::opening_handshake::names::{EXTENSIONS, KEY};

const TIMEOUT: Duration = Duration::from_secs(5);

fn request() -> ClientRequest {
    let headers = [(header::AUTHORIZATION, HeaderValue::from_static("Bearer x"))];
    ClientRequest::new(HeaderValue::from_static("example.org"), "/feed?a=b".parse().unwrap())
        .with_headers(headers.into_iter().collect())
        .unwrap()
        .with_subprotocols(vec!["v1".parse().unwrap(), "v2".parse().unwrap()])
}

/// Opens against a server that answers what `answer` makes of the key.
async fn open_against(
    answer: impl FnOnce(&str) -> String,
) -> Result<OpenedSocket<DuplexStream>, Box<FailedOpening>> {
    let (ours, mut theirs) = duplex(4096);
    let server = async {
        let mut asked = vec![0; 4096];
        let read = theirs.read(&mut asked).await.unwrap();
        let asked = String::from_utf8(asked[..read].to_vec()).unwrap();
        let (_, key) = asked.split_once("Sec-WebSocket-Key: ").unwrap();
        let answer = answer(&derive_accept_key(&key[..24]));
        theirs.write_all(answer.as_bytes()).await.unwrap();
        drop(theirs);
    };
    tokio::join!(open(ours, request(), TIMEOUT), server).0
}

async fn failure(answer: impl FnOnce(&str) -> String) -> Box<FailedOpening> {
    open_against(answer).await.unwrap_err()
}

fn good(accept: &str) -> String {
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: WebSocket\r\nConnection: upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Protocol: v2\r\n\r\n"
    )
}

#[tokio::test]
async fn our_server_and_our_client_agree() {
    let (ours, theirs) = duplex(64);
    let server = tokio::spawn(accept(theirs, HandshakeLimits::default(), |request| {
        assert_eq!(request.target(), "/feed?a=b");
        assert_eq!(request.host(), Some("example.org"));
        assert_eq!(request.headers()[header::AUTHORIZATION], "Bearer x");
        let chosen = choose_subprotocol(&request.subprotocols(), &["v2".to_owned()]);
        Ok(Agreement::new(check_upgrade(request)?).subprotocol(chosen))
    }));
    let client = tokio::spawn(open(ours, request(), TIMEOUT));
    let mut opened = client.await.unwrap().unwrap();
    let mut accepted = server.await.unwrap().unwrap();
    assert_eq!(opened.status, 101);
    assert_eq!(opened.subprotocol.unwrap().as_str(), "v2");
    opened.socket.write_all(b"ping").await.unwrap();
    let mut read = [0; 4];
    accepted.socket.read_exact(&mut read).await.unwrap();
    assert_eq!(&read, b"ping");
}

#[tokio::test]
async fn our_refusal_is_read_with_its_retry_after() {
    let (ours, theirs) = duplex(4096);
    let server = tokio::spawn(accept(theirs, HandshakeLimits::default(), |_| {
        Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, OpenFailure::RefusedDraining, "draining")
            .retry_after(Duration::from_secs(7)))
    }));
    let failed = open(ours, request(), TIMEOUT).await.unwrap_err();
    assert_eq!(failed.failure, OpenFailure::UpgradeRejected { status: 503 });
    assert_eq!(failed.status, Some(503));
    assert_eq!(failed.retry_after, Some(Duration::from_secs(7)));
    assert_eq!(server.await.unwrap().unwrap_err().transport_end, TransportEnd::Fin);
}

#[tokio::test]
async fn frames_glued_to_the_answer_are_kept() {
    for glued in ["\x01", "HTTP/1.1 200 OK\r\n\r\n", &"x".repeat(3000)] {
        let mut opened = open_against(|accept| good(accept) + glued).await.unwrap();
        let mut read = opened.read_ahead.to_vec();
        opened.socket.read_to_end(&mut read).await.unwrap();
        assert_eq!(read, glued.as_bytes());
    }
}

#[tokio::test]
async fn an_informational_answer_is_passed_over() {
    let hints = "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n";
    assert!(open_against(|accept| hints.to_owned() + &good(accept)).await.is_ok());
}

#[tokio::test]
async fn a_101_that_breaks_the_rfc_is_rejected() {
    let without = |line: &'static str| {
        move |accept: &str| {
            let answer = good(accept);
            let lines: Vec<_> = answer.split("\r\n").filter(|l| !l.starts_with(line)).collect();
            lines.join("\r\n")
        }
    };
    let rejected = OpenFailure::UpgradeRejected { status: 101 };
    assert_eq!(failure(without("Upgrade")).await.failure, rejected);
    assert_eq!(failure(without("Connection")).await.failure, rejected);
    assert_eq!(failure(without("Sec-WebSocket-Accept")).await.failure, rejected);
    assert_eq!(failure(|_| good("AAAAAAAAAAAAAAAAAAAAAAAAAAA=")).await.failure, rejected);
    let http10 = |accept: &str| good(accept).replace("HTTP/1.1", "HTTP/1.0");
    assert_eq!(failure(http10).await.failure, rejected);
    let subprotocol = |accept: &str| good(accept).replace("v2", "v3");
    assert_eq!(failure(subprotocol).await.failure, rejected);
    let extension = "Sec-WebSocket-Extensions: permessage-deflate\r\nUpgrade:";
    let extended = |accept: &str| good(accept).replace("Upgrade:", extension);
    assert_eq!(failure(extended).await.failure, rejected);
    let unchosen = without("Sec-WebSocket-Protocol");
    assert_eq!(open_against(unchosen).await.unwrap().subprotocol, None);
}

#[tokio::test]
async fn what_is_no_answer_is_told_apart() {
    let redirect = |_: &str| "HTTP/1.1 302 Found\r\nLocation: /login\r\n\r\n".to_owned();
    let failed = failure(redirect).await;
    assert_eq!(failed.failure, OpenFailure::UpgradeRejected { status: 302 });
    assert!(failed.detail.contains("/login"));
    for (location, shown) in [
        ("/login?token=hunter2#hunter2", "/login?token=***"),
        ("https://user:hunter2@a/login?hunter2#x", "https://***@a/login?***"),
        ("//user:hunter2@a/login", "//***@a/login"),
        ("#hunter2", ""),
    ] {
        let redirect = |_: &str| format!("HTTP/1.1 302 Found\r\nLocation: {location}\r\n\r\n");
        let failed = failure(redirect).await;
        assert_eq!(failed.detail, format!("the server answered 302 Found, to {shown}"));
    }
    let failed = failure(|_| "SSH-2.0-OpenSSH\r\n\r\n".to_owned()).await;
    assert_eq!(failed.failure, OpenFailure::UpgradeRejected { status: 0 });
    assert_eq!(failed.status, None);
    for partial in ["", "HTTP/1.1 101 Switch"] {
        let failed = failure(|_| partial.to_owned()).await;
        assert_eq!(failed.failure, OpenFailure::PeerGone);
        assert_eq!(failed.transport_end, TransportEnd::Fin);
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_server_is_given_up() {
    let (ours, _theirs) = duplex(4096);
    let failed = open(ours, request(), TIMEOUT).await.unwrap_err();
    assert_eq!(failed.failure, OpenFailure::HandshakeTimeout);
    // The same if it does not even read.
    let (ours, _theirs) = duplex(16);
    let failed = open(ours, request(), TIMEOUT).await.unwrap_err();
    assert_eq!(failed.failure, OpenFailure::HandshakeTimeout);
}

#[test]
fn header_lines_of_the_handshake_are_reserved() {
    let request = ClientRequest::new(HeaderValue::from_static("a"), "/".parse().unwrap());
    for name in [header::HOST, header::CONNECTION, KEY, EXTENSIONS] {
        let headers = [(name, HeaderValue::from_static("x"))].into_iter().collect();
        assert!(request.clone().with_headers(headers).is_err());
    }
}

#[tokio::test]
async fn an_answer_that_is_there_before_it_is_awaited_is_read() {
    // A busy machine: the server has answered by the time that we look for the first time.
    let (ours, mut theirs) = tokio::io::duplex(1024);
    theirs.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n").await.unwrap();
    let soon = Instant::now() + TIMEOUT;
    let read = super::read_answer(ours, 0, soon).await.unwrap().unwrap();
    let super::ReadAnswer::Head(head, ..) = read else { panic!("there is a body") };
    assert_eq!(head.status, 404);
}

/// Polls a future for the first time when the task has little of its budget left, as after other
/// work in the same poll (tokio::task::coop).
async fn with_budget_left<T>(left: usize, future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    let mut is_first = true;
    poll_fn(|cx| {
        if std::mem::take(&mut is_first) {
            for _ in left..128 {
                std::task::ready!(tokio::task::coop::poll_proceed(cx)).made_progress();
            }
        }
        future.as_mut().poll(cx)
    })
    .await
}

#[tokio::test(start_paused = true)]
async fn an_opening_goes_on_wherever_the_budget_of_its_task_ends() {
    for left in 0..16 {
        let (ours, mut theirs) = duplex(4096);
        tokio::spawn(async move {
            let mut asked = vec![0; 4096];
            let read = theirs.read(&mut asked).await.unwrap();
            let asked = String::from_utf8(asked[..read].to_vec()).unwrap();
            let (_, key) = asked.split_once("Sec-WebSocket-Key: ").unwrap();
            theirs.write_all(good(&derive_accept_key(&key[..24])).as_bytes()).await.unwrap();
            theirs.read_u8().await
        });
        let opening = with_budget_left(left, open(ours, request(), TIMEOUT));
        let began = Instant::now();
        let opened = tokio::spawn(opening).await.unwrap();
        assert!(opened.is_ok(), "{left} left: {:?}", opened.err());
        // The deadline would wake it, and the answer would be found then.
        assert_eq!(began.elapsed(), Duration::ZERO, "{left} left");
    }
}
