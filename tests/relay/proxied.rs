//! A balancer in front: who the client is, who may say so, and what an application learns of it.

use std::net::SocketAddr;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::time::timeout;

use super::front::Front;
use crate::support::SOON;
use crate::support::daemon::Daemon;
use crate::support::http::{Answer, exchange, read_request, upgrade_request};
use crate::support::raw_peer::RawPeer;
use crate::support::tls::Shared;

const TRUSTED: &str = r#"listeners[0].trusted_proxies=["127.0.0.1"]"#;
const OTHERS: &str = r#"listeners[0].trusted_proxies=["10.0.0.0/8"]"#;
const FORWARDED: &str = r#"listeners[0].forwarded="trust""#;
const PROXY: &str = "listeners[0].proxy_protocol=true";

/// A header of version 1 for this client.
fn v1(client: &str) -> Vec<u8> {
    let client: SocketAddr = client.parse().unwrap();
    let (family, own) = if client.is_ipv4() { ("TCP4", "10.0.0.5") } else { ("TCP6", "fd00::5") };
    format!("PROXY {family} {} {own} {} 443\r\n", client.ip(), client.port()).into_bytes()
}

/// A header of version 2 for 203.0.113.9:51342, with a field of no use.
const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x10\xcb\x00\x71\x09\x0a\x00\x00\x05\xc8\x8e\x1f\x90\x04\0\x01x";
/// A header of version 2 by which a balancer speaks for itself.
const LOCAL: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x00";

async fn connect(front: &Front, header: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(front.address()).await.unwrap();
    stream.write_all(header).await.unwrap();
    stream
}

/// Opens a connection behind a PROXY header: both ends.
async fn pair(front: &Front, header: &[u8], more: &str) -> (RawPeer, RawPeer) {
    let stream = connect(front, header).await;
    tokio::join!(RawPeer::upgrade(stream, "/chat", more, &[]), RawPeer::accept(&front.application))
}

/// The ending of the client's leg, once both peers are gone.
async fn ending(front: &Front, peers: (RawPeer, RawPeer), peer: &str) -> Value {
    let own = peers.0.local_addr().to_string();
    peers.0.reset();
    let of_it = |e: &Value| e["peer"] == peer && e["direction"] == "inbound";
    let ending = front.daemon.await_ending(of_it, SOON).await;
    if ending["via"] != Value::Null {
        assert_eq!(ending["via"], own);
    }
    ending
}

#[tokio::test]
async fn a_trusted_proxy_names_the_client_of_a_request() {
    let front = Front::open(&[TRUSTED, FORWARDED], "").await;
    let lines = "X-Forwarded-For: 1.2.3.4, 203.0.113.9\r\nX-Forwarded-Proto: https\r\n\
                 X-Forwarded-Host: chat.example.org\r\n";
    let mut peers = pair(&front, b"", lines).await;
    peers.0.text("hello").await;
    peers.1.expect_text("hello").await;
    let asked = peers.1.head.clone();
    for (name, value) in [
        ("x-forwarded-for", "1.2.3.4, 203.0.113.9, 127.0.0.1"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "chat.example.org"),
        (
            "forwarded",
            "for=1.2.3.4, for=203.0.113.9, for=127.0.0.1;host=\"chat.example.org\";proto=https",
        ),
    ] {
        assert_eq!(asked.header(name), Some(value), "{name}");
    }
    let shown = front.daemon.get("/v1/connections?direction=inbound").await;
    assert!(shown.body.contains(r#""peer":"203.0.113.9","via":"127.0.0.1:"#), "{}", shown.body);
    let ending = ending(&front, peers, "203.0.113.9").await;
    assert!(ending["via"].as_str().unwrap().starts_with("127.0.0.1:"));
}

#[tokio::test]
async fn a_proxy_that_writes_only_forwarded_says_how_the_client_came() {
    let front = Front::open(&[TRUSTED, FORWARDED], r#",http="proxy""#).await;
    let line = "Forwarded: for=203.0.113.9;proto=HTTPS;host=\"chat.example.org\"\r\n";
    let peers = pair(&front, b"", line).await;
    let mut proxy = connect(&front, b"").await;
    let request = format!("GET /page HTTP/1.1\r\nHost: inner\r\n{line}\r\n");
    proxy.write_all(request.as_bytes()).await.unwrap();
    let accepted = timeout(SOON, front.application.accept()).await;
    let mut application = accepted.expect("awaited the request").unwrap().0;
    let plain = read_request(&mut application, &mut Vec::new()).await;
    for head in [&peers.1.head, &plain] {
        for (name, value) in [
            ("x-forwarded-for", "203.0.113.9, 127.0.0.1"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "chat.example.org"),
            (
                "forwarded",
                "for=203.0.113.9;proto=HTTPS;host=\"chat.example.org\", \
                 for=127.0.0.1;host=\"chat.example.org\";proto=https",
            ),
        ] {
            assert_eq!(head.header(name), Some(value), "{name}: {}", head.start_line);
        }
    }
}

#[tokio::test]
async fn what_anybody_else_says_of_the_client_is_replaced() {
    let lines = "X-Forwarded-For: 203.0.113.9\r\nX-Forwarded-Proto: https\r\nX-Real-IP: 203.0.113.9\r\n\
                 X-Forwarded-Host: chat.example.org\r\nForwarded: for=203.0.113.9;proto=https\r\n";
    for settings in [&[][..], &[OTHERS, FORWARDED], &[TRUSTED]] {
        let front = Front::open(settings, "").await;
        let host = front.address().to_string();
        let peers = pair(&front, b"", lines).await;
        let asked = peers.1.head.clone();
        for (name, value) in [
            ("x-forwarded-for", Some("127.0.0.1")),
            ("x-forwarded-proto", Some("http")),
            ("x-forwarded-host", Some(&*host)),
            ("x-real-ip", None),
            ("forwarded", Some(&*format!("for=127.0.0.1;host=\"{host}\";proto=http"))),
        ] {
            assert_eq!(asked.header(name), value, "{name} with {settings:?}");
        }
        let own = peers.0.local_addr().to_string();
        assert_eq!(ending(&front, peers, &own).await["via"], Value::Null);
    }
}

#[tokio::test]
async fn lines_that_can_be_read_in_two_ways_are_refused() {
    let front = Front::open(&[TRUSTED, FORWARDED], r#",http="proxy""#).await;
    let host = front.address().to_string();
    for lines in [
        "X-Forwarded-For: 203.0.113.9\r\nForwarded: for=198.51.100.1\r\n",
        "Forwarded: for=198.51.100.1;x=\", for=203.0.113.9\r\n",
    ] {
        let request = upgrade_request(&host, "/chat", lines);
        let plain =
            format!("GET /page HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{lines}\r\n");
        for request in [request, plain] {
            let answer = exchange(front.address(), request, SOON).await;
            assert_eq!(answer.head.status(), 400, "{answer:?}");
            assert!(answer.body.contains("have the proxy in front"), "{answer:?}");
        }
    }
    let refused = front.daemon.await_endings(2, |e| e["kind"] == "open_failed", SOON).await;
    assert!(refused.iter().all(|ending| ending["open_failure"] == "bad_request"), "{refused:?}");
    // The plain requests are not recorded, but counted.
    let metrics = front.daemon.metrics().await;
    let counted = r#"lastword_http_requests_total{outcome="bad_request"} 2"#;
    assert!(metrics.contains(counted), "{metrics}");
}

#[tokio::test]
async fn each_plain_request_of_a_proxy_has_its_own_client() {
    let front = Front::open(&[TRUSTED, FORWARDED], r#",http="proxy""#).await;
    let host = front.address().to_string();
    let mut proxy = connect(&front, b"").await;
    let mut application: Option<TcpStream> = None;
    for client in ["203.0.113.9", "2001:db8::9"] {
        let request = format!(
            "GET /page HTTP/1.1\r\nHost: {host}\r\nX-Forwarded-For: {client}\r\nX-Forwarded-Proto: https\r\n\r\n"
        );
        proxy.write_all(request.as_bytes()).await.unwrap();
        let stream = match application.as_mut() {
            Some(stream) => stream,
            None => {
                let accepted = timeout(SOON, front.application.accept()).await;
                application.insert(accepted.expect("awaited the request").unwrap().0)
            }
        };
        let head = read_request(stream, &mut Vec::new()).await;
        let due = format!("{client}, 127.0.0.1");
        assert_eq!(head.header("x-forwarded-for"), Some(&*due));
        assert_eq!(head.header("x-forwarded-proto"), Some("https"));
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"ok") {
            let read = timeout(SOON, proxy.read_buf(&mut answer)).await;
            assert_ne!(read.expect("awaited the answer").unwrap(), 0);
        }
    }
}

#[tokio::test]
async fn a_proxy_header_names_the_client_of_a_connection() {
    let front = Front::open(&[TRUSTED, PROXY], "").await;
    for (header, peer) in [
        (v1("203.0.113.8:40000"), "203.0.113.8:40000"),
        (v1("[2001:db8::8]:40000"), "[2001:db8::8]:40000"),
        (V2.to_vec(), "203.0.113.9:51342"),
    ] {
        // What the client itself says is replaced.
        let peers = pair(&front, &header, "X-Forwarded-For: 1.2.3.4\r\n").await;
        let of = peer.rsplit_once(':').unwrap().0.trim_matches(['[', ']']);
        assert_eq!(peers.1.head.header("x-forwarded-for"), Some(of));
        let ending = ending(&front, peers, peer).await;
        assert_ne!(ending["via"], Value::Null);
    }
    for header in [LOCAL, b"PROXY UNKNOWN\r\n"] {
        let peers = pair(&front, header, "").await;
        let own = peers.0.local_addr().to_string();
        assert_eq!(ending(&front, peers, &own).await["via"], Value::Null);
    }
}

#[tokio::test]
async fn a_proxy_header_may_come_byte_by_byte_and_with_the_request() {
    let front = Front::open(&[TRUSTED, PROXY], "").await;
    for header in [v1("203.0.113.8:40000"), V2.to_vec()] {
        let mut stream = connect(&front, b"").await;
        stream.set_nodelay(true).unwrap();
        for byte in &header {
            stream.write_all(&[*byte]).await.unwrap();
            tokio::task::yield_now().await;
        }
        let opened = RawPeer::upgrade(stream, "/chat", "", &[]);
        let (mut client, mut application) =
            tokio::join!(opened, RawPeer::accept(&front.application));
        client.text("hello").await;
        application.expect_text("hello").await;
        // In one segment, and the first message with it.
        let host = front.address().to_string();
        let request = [header, upgrade_request(&host, "/chat", "").into_bytes()].concat();
        let stream = connect(&front, &request).await;
        RawPeer::accept(&front.application).await.reset();
        drop(stream);
    }
}

#[tokio::test]
async fn a_proxy_header_comes_before_tls() {
    let (cert, key) = &Shared::get().files;
    let tls = format!("listeners[0].tls={{cert=\"{}\",key=\"{}\"}}", cert.display(), key.display());
    let front = Front::open(&[TRUSTED, PROXY, &tls], "").await;
    let stream = Shared::get().connect(connect(&front, V2).await).await;
    let opened = RawPeer::upgrade(stream, "/chat", "", &[]);
    let (client, application) = tokio::join!(opened, RawPeer::accept(&front.application));
    assert_eq!(application.head.header("x-forwarded-for"), Some("203.0.113.9"));
    assert_eq!(application.head.header("x-forwarded-proto"), Some("https"));
    let ending = ending(&front, (client, application), "203.0.113.9:51342").await;
    assert_eq!(ending["tls"], "TLSv1.3");
    // Somebody else gets an alert, and no answer in clear.
    let front = Front::open(&[OTHERS, PROXY, &tls], "").await;
    let mut stream = connect(&front, V2).await;
    let mut answer = Vec::new();
    let _ = timeout(SOON, stream.read_to_end(&mut answer)).await.expect("awaited the end");
    assert!(answer.is_empty() || answer[0] == 21, "{}", answer.escape_ascii());
    let refused = front.daemon.await_ending(|e| e["kind"] == "open_failed", SOON).await;
    assert_eq!(refused["open_failure"], "untrusted_proxy");
}

#[tokio::test]
async fn only_trusted_proxies_may_send_a_proxy_header() {
    let front = Front::open(&[OTHERS, PROXY], "").await;
    let request = [&v1("203.0.113.9:5")[..], b"GET / HTTP/1.1\r\n\r\n"].concat();
    let Answer { head, body } = exchange(front.address(), request, SOON).await;
    assert_eq!(head.status(), 403, "{body}");
    assert!(body.starts_with("127.0.0.1 is not among the trusted_proxies"), "{body}");
    let refused = front.daemon.await_ending(|e| e["kind"] == "open_failed", SOON).await;
    assert_eq!(
        (&refused["open_failure"], &refused["retry"]),
        (&"untrusted_proxy".into(), &"never".into())
    );
    assert!(refused["peer"].as_str().unwrap().starts_with("127.0.0.1:"), "{refused}");
    assert_eq!(front.daemon.count_refused("untrusted_proxy").await, 1);

    // A listener that takes none trusts no proxy.
    let front = Front::open(&[TRUSTED, FORWARDED], "").await;
    for header in [v1("203.0.113.9:5"), V2.to_vec()] {
        let request = [&header[..], b"GET / HTTP/1.1\r\n\r\n"].concat();
        let Answer { head, body } = exchange(front.address(), request, SOON).await;
        assert_eq!(head.status(), 403, "{body}");
        assert!(body.contains("proxy_protocol = true"), "{body}");
    }
    let refused = front.daemon.await_endings(2, |e| e["kind"] == "open_failed", SOON).await;
    assert!(
        refused.iter().all(|ending| ending["open_failure"] == "untrusted_proxy"),
        "{refused:?}"
    );
}

#[tokio::test]
async fn a_connection_without_its_proxy_header_is_refused() {
    let settings = [TRUSTED, PROXY, r#"limits.handshake_timeout="500ms""#];
    let front = Front::open(&settings, "").await;
    for request in ["GET /chat HTTP/1.1\r\nHost: a\r\n\r\n", "PROXY TCP4 a b 1 2\r\n\r\n"] {
        let Answer { head, body } = exchange(front.address(), request, SOON).await;
        assert_eq!(head.status(), 400, "{body}");
        assert!(body.contains("PROXY header") && body.contains("balancer"), "{body}");
    }
    drop(connect(&front, &v1("203.0.113.9:5")[..20]).await);
    let _silent = connect(&front, b"").await;
    let stuck = connect(&front, &V2[..16]).await;
    let refused = front.daemon.await_endings(5, |e| e["kind"] == "open_failed", SOON).await;
    let count = |failure: &str| refused.iter().filter(|e| e["open_failure"] == failure).count();
    assert_eq!((count("bad_request"), count("peer_gone"), count("handshake_timeout")), (2, 1, 2));
    drop(stuck);
}

#[tokio::test]
async fn limits_per_address_count_clients_and_an_ipv6_network_as_one() {
    let forwarded = [TRUSTED, FORWARDED, "limits.max_connections_per_ip=1"];
    let proxy = [TRUSTED, PROXY, "limits.max_connections_per_ip=1"];
    for (settings, by_header) in [(forwarded, false), (proxy, true)] {
        let front = Front::open(&settings, "").await;
        let lines = |client: &str| match by_header {
            true => (v1(&format!("[{client}]:7")), String::new()),
            false => (Vec::new(), format!("X-Forwarded-For: {client}\r\n")),
        };
        let mut open = Vec::new();
        for client in ["2001:db8:0:1::1", "2001:db8:0:2::1"] {
            let (header, more) = lines(client);
            open.push(pair(&front, &header, &more).await);
        }
        let (header, more) = lines("2001:db8:0:1:ffff::9");
        let host = front.address().to_string();
        let request = [header, upgrade_request(&host, "/chat", &more).into_bytes()].concat();
        let answer = exchange(front.address(), request, SOON).await;
        assert_eq!(answer.head.status(), 503, "{answer:?}");
        assert!(answer.body.contains("max_connections_per_ip"), "{answer:?}");
        let refused = front.daemon.await_ending(|e| e["kind"] == "open_failed", SOON).await;
        assert_eq!(refused["limit"]["name"], "max_connections_per_ip");
        assert!(
            refused["peer"].as_str().unwrap().starts_with("[2001:db8:0:1:ffff::9]"),
            "{refused}"
        );
    }
}

#[tokio::test]
async fn the_last_socket_that_there_is_room_for_is_served() {
    let front = Front::open(&[TRUSTED, PROXY, "limits.max_connections=2"], "").await;
    // 128 more than max_connections have their request read.
    let mut silent = Vec::new();
    for _ in 0..129 {
        silent.push(connect(&front, b"").await);
    }
    let peers = pair(&front, &v1("203.0.113.9:5"), "").await;
    assert_eq!(peers.0.head.status(), 101);
    drop(silent);
}

#[tokio::test]
async fn clients_of_one_balancer_go_to_their_own_applications() {
    let applications = [
        TcpListener::bind("127.0.0.1:0").await.unwrap(),
        TcpListener::bind("127.0.0.1:0").await.unwrap(),
    ];
    let urls = applications.each_ref().map(|it| format!("\"ws://{}\"", it.local_addr().unwrap()));
    let backend = format!(
        r#"routes=[{{name="app",path="/*",backend={{kind="relay",urls=[{}],balance="client_address"}}}}]"#,
        urls.join(",")
    );
    let daemon =
        Daemon::start(env!("CARGO_BIN_EXE_lastword"), &[TRUSTED, FORWARDED, &backend]).await;
    let (mut chosen, mut open) = (Vec::new(), Vec::new());
    for round in 0..2 {
        for client in 0..12 {
            let more = format!("X-Forwarded-For: 203.0.113.{client}\r\n");
            let opened = RawPeer::connect_with(daemon.listener(), "/chat", &more, b"");
            let asked = async {
                tokio::select! {
                    peer = RawPeer::accept(&applications[0]) => (0, peer),
                    peer = RawPeer::accept(&applications[1]) => (1, peer),
                }
            };
            let (peer, (application, other)) = tokio::join!(opened, asked);
            match round {
                0 => chosen.push(application),
                _ => assert_eq!(chosen[client], application, "client {client}"),
            }
            // Kept, because a loss would count against the application.
            open.push((peer, other));
        }
    }
    assert!(chosen.contains(&0) && chosen.contains(&1), "{chosen:?}");
}

#[tokio::test]
async fn a_page_is_compared_with_the_host_that_a_trusted_proxy_names() {
    let front = Front::open(&[TRUSTED, FORWARDED], "").await;
    let lines = "Cookie: a=b\r\nOrigin: https://chat.example.org\r\nX-Forwarded-For: 203.0.113.9\r\n\
                 X-Forwarded-Proto: https\r\nX-Forwarded-Host: chat.example.org\r\n";
    let peers = pair(&front, b"", lines).await;
    drop(peers);
    let downgraded = lines.replace("Origin: https", "Origin: http");
    let host = front.address().to_string();
    for lines in [downgraded, lines.replace("-Host: chat", "-Host: other")] {
        let request = upgrade_request(&host, "/chat", &lines);
        let answer = exchange(front.address(), request, SOON).await;
        assert_eq!(answer.head.status(), 403, "{answer:?}");
    }
    let refused = front.daemon.await_endings(2, |e| e["kind"] == "open_failed", SOON).await;
    for refused in refused {
        assert_eq!(refused["open_failure"], "refused_origin");
        assert_eq!(refused["peer"], "203.0.113.9");
        assert!(refused["via"].as_str().unwrap().starts_with("127.0.0.1:"), "{refused}");
    }
    assert_eq!(front.daemon.count_refused("refused_origin").await, 2);
}

#[tokio::test]
async fn a_proxy_on_a_unix_socket_can_be_trusted_too() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("public.sock");
    let listen = format!("listeners[0].listen=\"unix:{}\"", path.display());
    let trusted = r#"listeners[0].trusted_proxies=["unix"]"#;
    let daemon = Daemon::start(env!("CARGO_BIN_EXE_lastword"), &[&listen, trusted, PROXY]).await;
    let mut stream = UnixStream::connect(&path).await.unwrap();
    let request = upgrade_request("localhost", "/echo", "");
    stream.write_all(&[V2, request.as_bytes()].concat()).await.unwrap();
    let mut answer = Vec::new();
    let read = async {
        while !answer.ends_with(b"\r\n\r\n") {
            assert_ne!(stream.read_buf(&mut answer).await.unwrap(), 0);
        }
    };
    timeout(SOON, read).await.unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 101 "), "{}", answer.escape_ascii());
    drop(stream);
    let ending = daemon.await_ending(|e| e["peer"] == "203.0.113.9:51342", SOON).await;
    assert_eq!(ending["via"], "unix:");
}
