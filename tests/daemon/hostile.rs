//! Peers that send garbage, too much, too slowly or too often, and what others notice: nothing.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::PROGRAM;
use super::process::{Bystander, cpu_time, descriptors, echo, until};
use crate::support::SOON;
use crate::support::daemon::{Daemon, arguments, command_with_descriptors};
use crate::support::http::{Answer, exchange, upgrade_request};
use crate::support::raw_peer::RawPeer;

/// A request, and what has to come of it.
struct Case {
    what: &'static str,
    request: Vec<u8>,
    status: u16,
    failure: &'static str,
    /// A header line that the answer needs.
    header: Option<(&'static str, &'static str)>,
}

fn case(what: &'static str, request: impl Into<Vec<u8>>, status: u16) -> Case {
    let failure = match status {
        403 => "refused_origin",
        404 => "no_route",
        _ => "bad_request",
    };
    let failure = if what == "a PROXY header" { "untrusted_proxy" } else { failure };
    Case { what, request: request.into(), status, failure, header: None }
}

fn upgrade(without: &str, more: &str) -> Vec<u8> {
    let request = upgrade_request("example.org", "/echo", more);
    let lines = request.split_inclusive("\r\n");
    let lines: String =
        lines.filter(|line| without.is_empty() || !line.starts_with(without)).collect();
    lines.into_bytes()
}

fn bad_requests() -> Vec<Case> {
    let tls_hello =
        [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".as_slice(), &[7; 506]].concat();
    let proxy = [b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n".as_slice(), &upgrade("", "")].concat();
    let http_1_0 = String::from_utf8(upgrade("", "")).unwrap().replace("HTTP/1.1", "HTTP/1.0");
    let post = String::from_utf8(upgrade("", "")).unwrap().replace("GET ", "POST ");
    let many: String = (0..200).map(|n| format!("X-{n}: x\r\n")).collect();
    let cookie = format!("Cookie: {}\r\n", "x".repeat(20_000));
    let needs_13 = Some(("sec-websocket-version", "13"));
    vec![
        case("garbage", b"\x00\x01\xfe garbage\r\n\r\n", 400),
        case("text", "EHLO example.org\r\n\r\n", 400),
        case("a TLS hello", tls_hello, 400),
        case("HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
        case("a PROXY header", proxy, 403),
        case("two Hosts", upgrade("", "Host: b\r\n"), 400),
        case("no Host", upgrade("Host", ""), 400),
        case("a Host with a path", upgrade_request("example.org/x", "/echo", ""), 400),
        case("credentials in the Host", upgrade_request("u:hunter2@a", "/echo", ""), 400),
        case("credentials in the target", upgrade_request("a", "http://u:hunter2@a/echo", ""), 400),
        case("large headers", upgrade("", &cookie), 431),
        case("many headers", upgrade("", &many), 431),
        case("a long target", upgrade_request("x", &format!("/{}", "x".repeat(9_000)), ""), 414),
        case(
            "a target without an end",
            vec![b'G'; 64]
                .into_iter()
                .chain(b" /".iter().copied())
                .chain(vec![b'x'; 40_000])
                .collect::<Vec<_>>(),
            414,
        ),
        case("no route", upgrade_request("x", "/none", ""), 404),
        // The route is looked for before the method.
        case("POST to no route", "POST /none HTTP/1.1\r\nHost: x\r\n\r\n", 404),
        Case { header: Some(("allow", "GET")), ..case("POST", post, 405) },
        Case { header: needs_13, ..case("no Upgrade", upgrade("Upgrade", ""), 426) },
        Case {
            header: needs_13,
            ..case("plain GET", "GET /echo HTTP/1.1\r\nHost: x\r\n\r\n", 426)
        },
        Case {
            header: needs_13,
            ..case(
                "another version",
                String::from_utf8(upgrade("", "")).unwrap().replace("Version: 13", "Version: 8"),
                426,
            )
        },
        Case { header: needs_13, ..case("plain HTTP/1.0", "GET /echo HTTP/1.0\r\n\r\n", 426) },
        case("HTTP/1.0", http_1_0, 400),
        case("no key", upgrade("Sec-WebSocket-Key", ""), 400),
        case("a short key", bad_key("dG9vIHNob3J0"), 400),
        case("a body", upgrade("", "Content-Length: 5\r\n"), 400),
        case("another origin", upgrade("", "Origin: https://evil.example\r\n"), 403),
    ]
}

fn bad_key(key: &str) -> Vec<u8> {
    upgrade("Sec-WebSocket-Key", &format!("Sec-WebSocket-Key: {key}\r\n"))
}

fn attempts(daemon: &Daemon) -> Vec<Value> {
    let mut endings = daemon.endings();
    endings.retain(|ending| ending["kind"] == "open_failed");
    endings
}

async fn await_attempts(daemon: &Daemon, count: usize) -> Vec<Value> {
    daemon.await_endings(count, |ending| ending["kind"] == "open_failed", 2 * SOON).await
}

#[tokio::test]
async fn what_is_no_handshake_gets_its_answer_and_its_record() {
    let origins = r#"routes[0].origins=["https://example.org"]"#;
    let daemon = Daemon::start(PROGRAM, &[origins]).await;
    let bystander = Bystander::at(daemon.listener()).await;
    for (n, case) in bad_requests().into_iter().enumerate() {
        let Case { what, request, status, failure, header } = case;
        let Answer { head, body } = exchange(daemon.listener(), request, SOON).await;
        assert_eq!(head.status(), status, "{what}: {body}");
        assert_eq!(head.header("connection"), Some("close"), "{what}");
        assert!((10..300).contains(&body.trim().len()), "{what}: {body:?}");
        if let Some((name, value)) = header {
            assert_eq!(head.header(name), Some(value), "{what}");
        }
        let record = await_attempts(&daemon, n + 1).await.pop().unwrap();
        assert_eq!(record["open_failure"], failure, "{what}: {record}");
        let detail = record["detail"].as_str().unwrap();
        assert!(detail.contains(body.trim()) && detail.ends_with(&format!("answered {status}")));
        for key in ["state", "close_code", "close_sent", "messages_in", "tcp"] {
            assert_eq!(record[key], Value::Null, "{what}: {key}");
        }
    }
    // One that is welcome, for comparison.
    let origin = "Origin: https://example.org\r\n";
    let mut peer = RawPeer::connect_with(daemon.listener(), "/echo", origin, &[]).await;
    echo(&mut peer, "welcome").await;
    bystander.was_not_disturbed().await;
    assert_eq!(attempts(&daemon).len(), bad_requests().len());
}

#[tokio::test]
async fn who_is_too_slow_or_goes_away_is_recorded() {
    let daemon = Daemon::start(PROGRAM, &["limits.handshake_timeout=\"1s\""]).await;
    let address = daemon.listener();
    let bystander = Bystander::at(address).await;

    // A byte at a time does not make it last longer: all of them take 200 s.
    let slowloris = tokio::spawn(async move {
        let stream = TcpStream::connect(address).unwrap();
        let request = upgrade_request("x", &format!("/echo?{}", "x".repeat(4_000)), "");
        for byte in request.as_bytes() {
            if (&stream).write_all(&[*byte]).is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    let silent = exchange(address, "", SOON).await;
    assert_eq!((silent.head.status(), silent.head.header("connection")), (408, Some("close")));
    let timeouts = |ending: &Value| ending["open_failure"] == "handshake_timeout";
    let slow = daemon.await_endings(2, timeouts, SOON).await;
    for record in slow {
        assert!(record["detail"].as_str().unwrap().ends_with("answered 408"), "{record}");
    }
    slowloris.await.unwrap();

    // Gone before there was a request.
    drop(TcpStream::connect(address).unwrap());
    let half = TcpStream::connect(address).unwrap();
    (&half).write_all(b"GET /echo HTT").unwrap();
    drop(half);
    let reset = TcpStream::connect(address).unwrap();
    (&reset).write_all(b"GET /echo HTT").unwrap();
    socket2::SockRef::from(&reset).set_linger(Some(Duration::ZERO)).unwrap();
    drop(reset);
    let gone = |ending: &Value| ending["open_failure"] == "peer_gone";
    let mut ends: Vec<String> = Vec::new();
    for record in daemon.await_endings(3, gone, SOON).await {
        ends.push(record["transport_end"].as_str().unwrap().to_owned());
    }
    ends.sort();
    assert_eq!(ends, ["fin", "fin", "reset"]);
    bystander.was_not_disturbed().await;
}

/// Every refusal that may pass says when to come back.
fn assert_come_back(answer: &Answer, status: u16) {
    assert_eq!(answer.head.status(), status, "{answer:?}");
    let seconds = answer.head.header("retry-after").expect("Retry-After");
    assert!((1..=60).contains(&seconds.parse::<u32>().unwrap()), "{seconds}");
    assert_eq!(answer.head.header("connection"), Some("close"));
}

async fn refused(address: SocketAddr) -> Answer {
    exchange(address, upgrade_request("x", "/echo", ""), SOON).await
}

#[tokio::test]
async fn one_too_many_is_told_so_until_somebody_leaves() {
    for key in ["max_connections", "max_connections_per_ip"] {
        let daemon = Daemon::start(PROGRAM, &[&format!("limits.{key}=2")]).await;
        let bystander = Bystander::at(daemon.listener()).await;
        let mut second = RawPeer::connect(daemon.listener(), "/echo").await;
        assert_come_back(&refused(daemon.listener()).await, 503);
        let record = await_attempts(&daemon, 1).await.remove(0);
        assert_eq!(record["open_failure"], "refused_limit");
        assert_eq!(record["retry"], "backoff");
        let limit = &record["limit"];
        assert_eq!(
            (&limit["name"], &limit["limit"], &limit["observed"]),
            (&key.into(), &2.into(), &3.into())
        );

        second.close(1000, "").await;
        second.expect_close(SOON).await;
        drop(second);
        daemon.await_ending(|ending| ending["kind"] == "clean", SOON).await;
        let mut third = comes_in(&daemon).await;
        echo(&mut third, "in at last").await;
        bystander.was_not_disturbed().await;
    }
}

/// The place is free a moment after the ending is published.
async fn comes_in(daemon: &Daemon) -> RawPeer {
    let deadline = Instant::now() + 2 * SOON;
    loop {
        let stream = tokio::net::TcpStream::connect(daemon.listener()).await.unwrap();
        if let Some(peer) = upgraded(stream).await {
            return peer;
        }
        assert!(Instant::now() < deadline, "awaited a place");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn upgraded(mut stream: tokio::net::TcpStream) -> Option<RawPeer> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    stream.write_all(upgrade_request("x", "/echo", "").as_bytes()).await.ok()?;
    let mut answer = Vec::new();
    while !answer.windows(4).any(|four| four == b"\r\n\r\n") {
        let read = tokio::time::timeout(2 * SOON, stream.read_buf(&mut answer)).await;
        if read.expect("awaited an answer").ok()? == 0 {
            return None;
        }
    }
    let client = crate::support::frame::Side::Client;
    answer.starts_with(b"HTTP/1.1 101 ").then(|| RawPeer::over(stream, client))
}

#[tokio::test]
async fn too_many_a_second_are_told_to_slow_down() {
    for key in ["handshakes_per_second", "accept_rate_per_ip"] {
        let daemon = Daemon::start(PROGRAM, &[&format!("limits.{key}=2")]).await;
        let bystander = Bystander::at(daemon.listener()).await;
        // Rates are judged before keys; 50 in a row are too fast, whatever the pace of this
        // machine.
        let request = upgrade("Sec-WebSocket-Key", "");
        let mut answer = exchange(daemon.listener(), &request, SOON).await;
        for _ in 0..50 {
            if answer.head.status() == 429 {
                break;
            }
            assert_eq!(answer.head.status(), 400, "{answer:?}");
            answer = exchange(daemon.listener(), &request, SOON).await;
        }
        assert_come_back(&answer, 429);
        let too_fast = |ending: &Value| ending["open_failure"] == "refused_rate";
        let record = daemon.await_ending(too_fast, SOON).await;
        assert_eq!((&record["limit"]["name"], &record["limit"]["limit"]), (&key.into(), &2.into()));
        assert_eq!(record["retry"], "backoff");
        assert!(record["detail"].as_str().unwrap().ends_with("answered 429"), "{record}");
        // A second later there is room again.
        let mut later = comes_in(&daemon).await;
        echo(&mut later, "later").await;
        bystander.was_not_disturbed().await;
    }
}

fn half_open(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    (&stream).write_all(b"GET /echo HTTP/1.1\r\nHost: x\r\n").unwrap();
    stream
}

#[tokio::test]
async fn hundreds_of_half_open_handshakes_stop_no_other_client() {
    let settings = [
        "limits.handshake_timeout=\"3s\"",
        "limits.half_open_per_ip=0",
        "ledger.open_failed_per_second=1000",
    ];
    let daemon = Daemon::start(PROGRAM, &settings).await;
    let bystander = Bystander::at(daemon.listener()).await;
    let half: Vec<TcpStream> = (0..300).map(|_| half_open(daemon.listener())).collect();
    for n in 0..10 {
        let mut peer = RawPeer::connect(daemon.listener(), "/echo").await;
        echo(&mut peer, &n.to_string()).await;
    }
    bystander.was_not_disturbed().await;
    let late = |ending: &Value| ending["open_failure"] == "handshake_timeout";
    daemon.await_endings(300, late, 4 * SOON).await;
    drop(half);
}

/// 128 attempts beyond `max_connections` are read; more get 503 without being read.
#[tokio::test]
async fn a_crowd_at_the_door_is_turned_away_and_counted() {
    let settings = ["limits.max_connections=1", "limits.half_open_per_ip=0"];
    let daemon = Daemon::start(PROGRAM, &settings).await;
    let bystander = Bystander::at(daemon.listener()).await;
    let mut half: Vec<TcpStream> = (0..140).map(|_| half_open(daemon.listener())).collect();
    let turned_away = |ending: &Value| ending["open_failure"] == "refused_limit";
    let records = daemon.await_endings(5, turned_away, SOON).await;
    assert_eq!(records[0]["limit"]["name"], "max_connections");
    for _ in 0..5 {
        // It is not read, so an answer that a reset follows is all there is.
        let answer = answer_before_the_end(daemon.listener()).await;
        assert!(answer.starts_with("HTTP/1.1 503 "), "{answer:?}");
        assert!(answer.contains("\r\nRetry-After: "), "{answer:?}");
        assert!(answer.ends_with("too many connections here\n"), "{answer:?}");
    }
    half.clear();
    bystander.was_not_disturbed().await;
    let mut peer = comes_in(&daemon).await;
    echo(&mut peer, "in at last").await;
}

/// Connects from another address of this machine.
async fn connect_from(ip: [u8; 4], to: SocketAddr) -> tokio::net::TcpStream {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind((ip, 0).into()).unwrap();
    socket.connect(to).await.unwrap()
}

#[tokio::test]
async fn silent_sockets_of_one_host_keep_no_other_host_out() {
    let settings = ["limits.max_connections=4", "ledger.open_failed_per_second=1000"];
    let daemon = Daemon::start(PROGRAM, &settings).await;
    // More than are read beyond `max_connections`.
    let mut silent: Vec<TcpStream> =
        (0..300).map(|_| TcpStream::connect(daemon.listener()).unwrap()).collect();
    let refused = |ending: &Value| ending["open_failure"] == "refused_limit";
    let records = daemon.await_endings(300 - 66, refused, 4 * SOON).await;
    for record in &records {
        let limit = (&record["limit"]["name"], &record["limit"]["limit"]);
        assert_eq!(limit, (&"half_open_per_ip".into(), &64.into()), "{record}");
    }
    for n in 0..2 {
        let stream = connect_from([127, 0, 0, 2], daemon.listener()).await;
        let mut peer = upgraded(stream).await.expect("another host is let in");
        echo(&mut peer, &n.to_string()).await;
    }
    silent.clear();
    let mut peer = comes_in(&daemon).await;
    echo(&mut peer, "in at last").await;
}

#[tokio::test]
async fn a_burst_from_one_address_is_no_crowd_of_silent_sockets() {
    let daemon = Daemon::start(PROGRAM, &["limits.half_open_per_ip=4"]).await;
    let mut burst: Vec<tokio::net::TcpStream> = Vec::new();
    for _ in 0..100 {
        burst.push(tokio::net::TcpStream::connect(daemon.listener()).await.unwrap());
    }
    for stream in burst {
        // On a slow machine the last are overdue.
        let _ = upgraded(stream).await;
    }
    let mut peer = comes_in(&daemon).await;
    echo(&mut peer, "hello").await;
}

async fn answer_before_the_end(address: SocketAddr) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let _ = stream.write_all(upgrade_request("x", "/echo", "").as_bytes()).await;
    let mut answer = Vec::new();
    let read = tokio::time::timeout(SOON, stream.read_to_end(&mut answer)).await;
    let _ = read.expect("awaited an answer and the end");
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn more_connections_than_descriptors_are_not_promised() {
    for (settings, warned) in [(&[][..], 0), (&["limits.max_connections=1000"][..], 1)] {
        let command = command_with_descriptors(300, PROGRAM, &arguments(settings));
        let daemon = Daemon::start_command(command).await;
        daemon.await_line(|line| line.contains(r#""message":"the daemon is ready""#), SOON).await;
        assert_eq!(daemon.events("the daemon is ready")[0]["max_connections"], 44);
        let lines = daemon.log();
        let few = lines.iter().filter(|line| line.contains("few connections: raise LimitNOFILE"));
        assert_eq!(few.count(), 1 - warned, "no warning about a limit that was set");
        let warnings = lines.iter().filter(|line| line.contains("limits.max_connections exceeds"));
        assert_eq!(warnings.count(), warned);
    }
}

#[tokio::test]
async fn without_descriptors_it_waits_and_refuses_and_recovers() {
    // 64 descriptors, less what the daemon needs for itself: room for one connection, and some
    // handshakes.
    let arguments = arguments(&[r#"limits.handshake_timeout="60s""#]);
    let command = command_with_descriptors(64, PROGRAM, &arguments);
    let mut daemon = Daemon::start_command(command).await;
    let pid = daemon.pid();
    let idle = descriptors(pid);
    let bystander = Bystander::at(daemon.listener()).await;
    let mut half: Vec<TcpStream> = (0..80).map(|_| half_open(daemon.listener())).collect();
    until("the descriptors are out", SOON, || descriptors(pid) >= 62).await;
    daemon.await_line(|line| line.contains("descriptor limit (LimitNOFILE"), SOON).await;
    let refused_unread = |ending: &Value| ending["open_failure"] == "refused_limit";
    daemon.await_endings(10, refused_unread, 4 * SOON).await;

    // The backlog may hold more; either way the daemon must be idle.
    let (before, began) = (cpu_time(pid), Instant::now());
    let answer = exchange(daemon.listener(), upgrade_request("x", "/echo", ""), 4 * SOON).await;
    assert_come_back(&answer, 503);
    while began.elapsed() < Duration::from_secs(1) {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let used = cpu_time(pid) - before;
    assert!(used < began.elapsed() / 2, "{used:?} of CPU in {:?}", began.elapsed());
    let warnings = daemon.log().iter().filter(|line| line.contains("LimitNOFILE=")).count();
    assert_eq!(warnings, 1, "an outage is said once");

    half.clear();
    bystander.was_not_disturbed().await;
    until("the descriptors are back", 2 * SOON, || descriptors(pid) <= idle + 2).await;
    let mut peer = comes_in(&daemon).await;
    echo(&mut peer, "back").await;
    drop(peer);
    daemon.signal("TERM").await;
    assert_eq!(daemon.await_exit(SOON).await.code(), Some(0));
}
