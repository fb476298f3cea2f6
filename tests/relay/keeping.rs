//! Connections of plain HTTP are kept, on either side, and what passes is left as it is.

use std::time::Duration;

use lastword::settings::{PlainHttp, RelayBackend};
use lastword::vocabulary::{HttpOutcome, Kind};
use tokio::net::TcpListener;
use tokio::time::timeout;

use super::plain_end::End;
use super::stage::{House, settings};
use crate::support::frame::Side;
use crate::support::http::upgrade_request;
use crate::support::raw_peer::RawPeer;
use crate::support::{A_WHILE, SOON};

async fn house(change: impl FnOnce(&mut RelayBackend)) -> (House, TcpListener) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}", listener.local_addr().unwrap());
    let house = House::open(&url, settings(|_| {}), |relay| {
        relay.http = PlainHttp::Proxy;
        change(relay);
    })
    .await;
    (house, listener)
}

#[tokio::test]
async fn requests_follow_one_another_over_one_connection_on_either_side() {
    let (house, listener) = house(|_| {}).await;
    let mut client = End::connect(&house).await;
    client.write("GET /1 HTTP/1.1\r\nHOST: a\r\nx-LoWer: 1\r\n\r\n").await;
    let mut application = End::accept(&listener).await;
    for n in 1..=3 {
        let head = application.head().await;
        assert!(head.starts_with(&format!("GET /{n} HTTP/1.1\r\n")), "{head}");
        for line in ["\r\nHOST: a\r\n", "\r\nx-LoWer: 1\r\n", "\r\nX-Forwarded-For: 127.0.0.1\r\n"]
        {
            assert!(head.contains(line), "{line:?}: {head}");
        }
        application.write("HTTP/1.1 200 OK\r\neTaG: x\r\nContent-Length: 2\r\n\r\nok").await;
        let answer = client.until("\r\n\r\nok").await;
        assert!(answer.contains("\r\neTaG: x\r\n"), "{answer}");
        assert!(!answer.to_ascii_lowercase().contains("connection: close"), "{answer}");
        if n < 3 {
            client
                .write(&format!("GET /{} HTTP/1.1\r\nHOST: a\r\nx-LoWer: 1\r\n\r\n", n + 1))
                .await;
        }
    }
    assert!(timeout(A_WHILE, listener.accept()).await.is_err(), "another connection");
}

#[tokio::test]
async fn an_answer_may_have_hundreds_of_header_lines() {
    let (house, listener) = house(|_| {}).await;
    let lines: String = (0..300).map(|n| format!("x-{n}: {n}\r\n")).collect();
    let mut client = End::connect(&house).await;
    client.write("GET /1 HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let mut application = End::accept(&listener).await;
    application.head().await;
    application.write(&format!("HTTP/1.1 200 OK\r\n{lines}Content-Length: 2\r\n\r\nok")).await;
    let answer = client.until("\r\n\r\nok").await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.contains("\r\nx-299: 299\r\n"), "{answer}");
}

#[tokio::test]
async fn every_request_of_a_connection_must_name_one_host_without_credentials() {
    let (house, listener) = house(|_| {}).await;
    for second in [
        "GET http://user:hunter2@a/2 HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /2 HTTP/1.1\r\nHost: user:hunter2@a\r\n\r\n",
        "GET /2 HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    ] {
        let mut client = End::connect(&house).await;
        client.write("GET /1 HTTP/1.1\r\nHost: a\r\n\r\n").await;
        let mut application = End::accept(&listener).await;
        application.head().await;
        application.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
        client.until("\r\n\r\nok").await;
        client.write(second).await;
        let answer = client.until("\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{second}: {answer}");
        assert!(!answer.contains("hunter2"), "{answer}");
        drop(application);
    }
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order_bodies_and_chunks_among_them() {
    let (house, listener) = house(|_| {}).await;
    let mut client = End::connect(&house).await;
    client
        .write(
            "POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\none\
             POST /2 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\ntwo\r\n0\r\n\r\n\
             GET /3 HTTP/1.1\r\nHost: a\r\n\r\n\
             GET /4 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        )
        .await;
    let mut application = End::accept(&listener).await;
    for (n, body) in [(1, "one"), (2, "3\r\ntwo\r\n0\r\n\r\n"), (3, ""), (4, "")] {
        let head = application.head().await;
        assert!(head.contains(&format!(" /{n} ")), "{head}");
        application.until(body).await;
        application.write(&format!("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n{n}")).await;
    }
    for n in 1..=4 {
        let answer = client.until(&format!("\r\n\r\n{n}")).await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{n}: {answer}");
    }
    client.end().await;
}

#[tokio::test]
async fn an_upgrade_may_follow_a_page_even_in_one_segment() {
    for glued in [false, true] {
        let (mut house, listener) = house(|_| {}).await;
        let mut client = End::connect(&house).await;
        let page = "GET /page HTTP/1.1\r\nHost: house\r\n\r\n";
        let upgrade = upgrade_request("house", "/socket", "");
        client.write(&if glued { format!("{page}{upgrade}") } else { page.to_owned() }).await;
        let mut first = End::accept(&listener).await;
        first.head().await;
        // Larger than what fits into the kernel's buffers at once.
        let body = "x".repeat(8 << 20);
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        let answered = tokio::spawn(async move {
            first.write(&answer).await;
            first
        });
        client.head().await;
        client.until(&body).await;
        let _kept = answered.await.unwrap();
        if !glued {
            client.write(&upgrade).await;
        }
        let mut application = RawPeer::accept(&listener).await;
        let head = client.head().await;
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        assert!(client.read.is_empty());
        let mut client = RawPeer::over(client.stream, Side::Client);
        client.text("through").await;
        application.expect_text("through").await;
        client.close(1000, "").await;
        application.expect_close(SOON).await;
        application.close(1000, "").await;
        client.expect_close(SOON).await;
        client.fin().await;
        application.fin().await;
        for _ in 0..2 {
            assert_eq!(house.next_ending().await.outcome.kind, Kind::Clean);
        }
    }
}

#[tokio::test]
async fn what_is_told_before_and_behind_an_answer_passes() {
    let (house, listener) = house(|_| {}).await;
    let mut client = End::connect(&house).await;
    client.write("GET / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nConnection: TE\r\n\r\n").await;
    let mut application = End::accept(&listener).await;
    let head = application.head().await;
    assert!(head.contains("\r\nTE: trailers\r\n"), "{head}");
    application.write("HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n").await;
    let hints = client.head().await;
    assert!(hints.starts_with("HTTP/1.1 103 Early Hints\r\n"), "{hints}");
    assert!(hints.to_ascii_lowercase().contains("\r\nlink: </a.css>\r\n"), "{hints}");
    let answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n\
                  3\r\none\r\n0\r\nX-Sum: 7\r\n\r\n";
    application.write(answer).await;
    let head = client.head().await;
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n") && head.contains("Trailer: X-Sum"), "{head}");
    let body = client.head().await;
    assert!(body.to_ascii_lowercase().ends_with("0\r\nx-sum: 7\r\n\r\n"), "{body}");
    // And of a request.
    client
        .write(
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n\
             1\r\na\r\n0\r\nX-Sum: 8\r\n\r\n",
        )
        .await;
    application.head().await;
    let body = application.head().await;
    assert!(body.to_ascii_lowercase().ends_with("0\r\nx-sum: 8\r\n\r\n"), "{body}");
}

#[tokio::test]
async fn the_application_says_whether_a_body_is_to_be_sent() {
    let (house, listener) = house(|_| {}).await;
    let request = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n";
    let mut client = End::connect(&house).await;
    client.write(request).await;
    let mut application = End::accept(&listener).await;
    let head = application.head().await;
    assert!(head.contains("\r\nExpect: 100-continue\r\n"), "{head}");
    client.silence().await;
    application.write("HTTP/1.1 100 Continue\r\n\r\n").await;
    assert!(client.head().await.starts_with("HTTP/1.1 100 "));
    client.write("abc").await;
    application.until("abc").await;
    application.write("HTTP/1.1 204 No Content\r\n\r\n").await;
    assert!(client.head().await.starts_with("HTTP/1.1 204 "));
    // Another client is told that its body is refused.
    client.write(request).await;
    application.head().await;
    application.write("HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\n\r\n").await;
    assert!(client.head().await.starts_with("HTTP/1.1 413 "));
    // One that knows no such question gets the body all the same.
    let mut client = End::connect(&house).await;
    client.write(request).await;
    let mut application = End::accept(&listener).await;
    application.head().await;
    client.write("abc").await;
    application.until("abc").await;
}

#[tokio::test]
async fn lengths_pass_as_they_came() {
    let (house, listener) = house(|_| {}).await;
    let mut client = End::connect(&house).await;
    client.write("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n").await;
    let mut application = End::accept(&listener).await;
    let head = application.head().await;
    assert!(head.contains("\r\nContent-Length: 0\r\n"), "{head}");
    application.write("HTTP/1.1 304 Not Modified\r\nETag: x\r\n\r\n").await;
    client.head().await;
    client.write("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let head = application.head().await;
    assert!(!head.to_ascii_lowercase().contains("content-length"), "{head}");
    application.write("HTTP/1.1 200 OK\r\nContent-Length: 77\r\n\r\n").await;
    let head = client.head().await;
    assert!(head.contains("\r\nContent-Length: 77\r\n"), "{head}");
    // A body in chunks passes with any method.
    client
        .write("GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n")
        .await;
    application.until("1\r\nx\r\n0\r\n\r\n").await;
}

#[tokio::test]
async fn a_request_may_be_about_the_server() {
    let (house, listener) = house(|_| {}).await;
    let mut client = End::connect(&house).await;
    for _ in 0..2 {
        client.write("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n").await;
        let mut application = End::accept(&listener).await;
        let head = application.head().await;
        assert!(head.starts_with("OPTIONS * HTTP/1.1\r\n"), "{head}");
        application
            .write("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            .await;
        client.head().await;
    }
}

#[tokio::test]
async fn what_can_be_read_in_two_ways_is_refused_and_never_passed() {
    let (house, listener) = house(|_| {}).await;
    for bad in [
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\na",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        "GET / HTTP/1.1\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\n\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n c\r\n\r\n",
    ] {
        for first in ["", "GET /first HTTP/1.1\r\nHost: a\r\n\r\n"] {
            let mut client = End::connect(&house).await;
            client.write(&format!("{first}{bad}")).await;
            if !first.is_empty() {
                let mut application = End::accept(&listener).await;
                application.head().await;
                application.write("HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n").await;
                client.head().await;
            }
            let answer = client.head().await;
            assert!(answer.starts_with("HTTP/1.1 400 "), "{bad:?}: {answer}");
            assert!(answer.contains("Connection: close"), "{answer}");
        }
    }
    assert!(timeout(A_WHILE, listener.accept()).await.is_err(), "it was passed on");
    // An invalid chunk ends the request, too.
    let mut client = End::connect(&house).await;
    client.write("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\nabc").await;
    let mut application = End::accept(&listener).await;
    let answer = client.head().await;
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    client.until("\n").await;
    client.end().await;
    application.end().await;
    assert!(!String::from_utf8_lossy(&application.read).contains("abc"));
    let census = house.supervisor.http();
    assert!(census.outcomes.contains(&(HttpOutcome::BadRequest, 1)), "{census:?}");
}

#[tokio::test]
async fn a_connection_that_the_application_has_closed_meanwhile_costs_no_request() {
    let (house, listener) = house(|_| {}).await;
    let mut client = End::connect(&house).await;
    for wait in [Duration::ZERO, Duration::from_millis(20)] {
        for request in ["GET / HTTP/1.1\r\nHost: a\r\n\r\n"; 10] {
            client.write(request).await;
            let mut application = End::accept(&listener).await;
            application.head().await;
            application.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
            drop(application);
            let answer = client.until("\r\n\r\nok").await;
            assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
            tokio::time::sleep(wait).await;
        }
    }
}

#[tokio::test]
async fn a_connection_without_requests_ends_in_time_and_so_does_a_slow_head() {
    let (house, listener) = house(|relay| relay.http_timeout = Duration::from_millis(300)).await;
    let mut client = End::connect(&house).await;
    client.write("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let mut application = End::accept(&listener).await;
    application.head().await;
    application.write("HTTP/1.1 204 No Content\r\n\r\n").await;
    client.head().await;
    client.end().await;
}

#[tokio::test]
async fn an_answer_without_an_end_of_its_own_ends_with_its_connection() {
    let (house, listener) = house(|_| {}).await;
    let mut client = End::connect(&house).await;
    client.write("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let mut application = End::accept(&listener).await;
    application.head().await;
    application.write("HTTP/1.0 200 OK\r\n\r\nold").await;
    drop(application);
    client.until("old").await;
    client.until("0\r\n\r\n").await;
    // Its client's goes on.
    client.write("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    End::accept(&listener).await.head().await;
    // HTTP/1.0 knows no chunks.
    let mut client = End::connect(&house).await;
    client.write("GET / HTTP/1.0\r\nHost: a\r\n\r\n").await;
    let mut application = End::accept(&listener).await;
    application.head().await;
    application
        .write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nnew\r\n0\r\n\r\n")
        .await;
    let head = client.head().await;
    assert!(!head.to_ascii_lowercase().contains("transfer-encoding"), "{head}");
    client.until("new").await;
    client.end().await;
}
