//! The cases that are served to clients: a right client passes them, and for each there is a wrong one.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use lastword::Supervisor;
use lastword::probe::{CLIENT_CASES, Results, ServeOptions, Tested, Verdict, serve};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::WAIT;
use crate::support::SOON;
use crate::support::frame::{CLOSE, Frame, PING, Side, take_any_frame};
use crate::support::http;

/// A server of the cases, and its results as they come.
struct Served {
    address: SocketAddr,
    results: Arc<Mutex<Results>>,
    told: mpsc::UnboundedReceiver<Tested>,
    server: tokio::task::JoinHandle<()>,
}

impl Served {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let results = Arc::<Mutex<Results>>::default();
        let (tell, told) = mpsc::unbounded_channel();
        let tell = move |tested: &Tested| tell.send(tested.clone()).unwrap();
        let options = ServeOptions { wait: WAIT };
        let server = tokio::spawn(serve(listener, options, Arc::clone(&results), tell));
        Self { address, results, told, server }
    }

    async fn next(&mut self) -> Tested {
        timeout(Duration::from_secs(20), self.told.recv()).await.unwrap().unwrap()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// What is wrong with a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Habit {
    /// It sends a Close back as it came, answers no Ping, and takes everything else.
    Careless,
    /// It does nothing, and keeps TCP open.
    Mute,
    /// It answers with another code.
    OtherCode,
    /// It sends a Close at once, and nothing more.
    ClosesAndStays,
    /// It sends a message at once, whatever the opening handshake says.
    Talks,
}

use Habit::*;

/// For each case a client that is wrong in it. Of a reset, only the client itself can tell.
const WRONG: &[(&str, Habit, Verdict)] = &[
    ("close-1000", Mute, Verdict::Fail),
    ("close-empty", OtherCode, Verdict::Warn),
    ("close-1001", Mute, Verdict::Fail),
    ("close-1011", OtherCode, Verdict::Warn),
    ("close-1012", Mute, Verdict::Fail),
    ("close-3000", Mute, Verdict::Fail),
    ("close-longest-reason", Mute, Verdict::Fail),
    ("close-late", Mute, Verdict::Fail),
    ("close-bytewise", Mute, Verdict::Fail),
    ("close-after-data", Mute, Verdict::Fail),
    ("close-with-data-behind", Mute, Verdict::Fail),
    ("close-with-fin", Mute, Verdict::Fail),
    ("close-keeps-tcp", Mute, Verdict::Fail),
    ("client-closes", ClosesAndStays, Verdict::Fail),
    ("client-is-not-answered", ClosesAndStays, Verdict::Warn),
    ("fin-without-close", Mute, Verdict::Fail),
    ("reset", Mute, Verdict::Skipped),
    ("close-1005", Careless, Verdict::Fail),
    ("close-999", Careless, Verdict::Fail),
    ("close-one-byte", Mute, Verdict::Fail),
    ("close-bad-utf8", Careless, Verdict::Warn),
    ("frame-masked", Mute, Verdict::Fail),
    ("frame-reserved-bit", Mute, Verdict::Fail),
    ("frame-opcode-3", Mute, Verdict::Fail),
    ("frame-continuation", Mute, Verdict::Fail),
    ("frame-ping-126", Mute, Verdict::Fail),
    ("text-bad-utf8", Mute, Verdict::Fail),
    ("ping", Careless, Verdict::Fail),
    ("pong-unsolicited", Mute, Verdict::Fail),
    ("ping-between-fragments", Careless, Verdict::Fail),
    ("message-1-mib", Mute, Verdict::Fail),
    ("open-wrong-accept", Talks, Verdict::Fail),
    ("open-subprotocol", Mute, Verdict::Fail),
    ("open-extension", Talks, Verdict::Fail),
];

/// Those for which lastword, as a client, takes longer than this test.
const LONG: [&str; 2] = ["close-keeps-tcp", "client-is-not-answered"];

#[test]
fn each_case_has_a_wrong_client() {
    let cases: BTreeSet<_> = CLIENT_CASES.iter().map(|case| case.id).collect();
    let held: BTreeSet<_> = WRONG.iter().map(|(id, ..)| *id).collect();
    assert_eq!(held, cases);
    assert_eq!((WRONG.len(), CLIENT_CASES.len()), (cases.len(), cases.len()));
}

async fn play(address: SocketAddr, id: &str, habit: Habit) {
    let mut socket = TcpStream::connect(address).await.unwrap();
    let request =
        http::upgrade_request("a", &format!("/case/{id}"), &format!("User-Agent: {id}\r\n"));
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut buffer = Vec::new();
    while !buffer.windows(4).any(|window| window == b"\r\n\r\n") {
        assert!(socket.read_buf(&mut buffer).await.unwrap() > 0);
    }
    let end = buffer.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
    buffer.drain(..end + 4);
    let frame = |frame: Frame| frame.encode(Side::Client);
    let first = match habit {
        ClosesAndStays => frame(Frame::close(1000, "")),
        Talks => frame(Frame::text("hello")),
        Careless | Mute | OtherCode => Vec::new(),
    };
    socket.write_all(&first).await.unwrap();
    loop {
        while let Some(received) = take_any_frame(&mut buffer) {
            let answer = match (habit, received.opcode) {
                (Careless, CLOSE) => frame(Frame::new(CLOSE, received.payload)),
                (OtherCode, CLOSE) => frame(Frame::close(4321, "")),
                (OtherCode, PING) => frame(Frame::pong(received.payload)),
                _ => continue,
            };
            let _ = socket.write_all(&answer).await;
        }
        match socket.read_buf(&mut buffer).await {
            Ok(0) if matches!(habit, Mute | ClosesAndStays) => {
                return tokio::time::sleep(Duration::from_secs(60)).await;
            }
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
    }
}

#[tokio::test]
async fn a_wrong_client_fails_its_case() {
    let mut served = Served::start().await;
    let mut clients = tokio::task::JoinSet::new();
    let address = served.address;
    for (id, habit, _) in WRONG {
        clients.spawn(play(address, id, *habit));
    }
    for _ in WRONG {
        let tested = served.next().await;
        let (_, habit, due) = WRONG.iter().find(|(id, ..)| *id == tested.id).unwrap();
        assert_eq!(tested.agent, tested.id);
        assert_eq!(tested.judgement.verdict, *due, "{habit:?}: {tested:?}");
    }
    assert!(served.results.lock().has_failure());
}

#[tokio::test]
async fn lastword_is_a_right_client() {
    let mut served = Served::start().await;
    let supervisor = Supervisor::builder().start().await.unwrap();
    for case in CLIENT_CASES.iter().filter(|case| !LONG.contains(&case.id)) {
        let url = format!("ws://{}/case/{}", served.address, case.id);
        let dialled = supervisor.dial(&url).receive().await;
        if case.id.starts_with("open-") {
            assert!(dialled.is_err(), "{}", case.id);
        } else {
            let (connection, mut messages) = dialled.unwrap();
            if case.client_closes {
                connection.close(1000, "bye").unwrap().await;
            }
            while let Ok(lastword::Incoming::Message(_)) = messages.receive().await {}
        }
        let tested = served.next().await;
        let due = if case.id == "reset" { Verdict::Skipped } else { Verdict::Pass };
        assert_eq!(tested.judgement.verdict, due, "{tested:?}");
    }
    supervisor.shutdown(Default::default()).await;
}

#[tokio::test]
async fn the_page_and_the_report_are_served_with_a_strict_policy() {
    let mut served = Served::start().await;
    let address = served.address;
    let get = async |request: &str| {
        let request = format!("{request}Host: a\r\nConnection: close\r\n\r\n");
        http::exchange(address, request, SOON).await
    };
    for (path, kind) in
        [("/", "text/html"), ("/page.js", "text/javascript"), ("/page.css", "text/css")]
    {
        let answer = get(&format!("GET {path} HTTP/1.1\r\n")).await;
        assert_eq!(answer.head.status(), 200);
        assert!(answer.head.header("content-type").unwrap().starts_with(kind));
        let policy = answer.head.header("content-security-policy").unwrap();
        assert!(policy.starts_with("default-src 'none'; script-src 'self'"), "{policy}");
        assert!(!answer.body.contains("http://") && !answer.body.contains("https://"));
    }
    let cases: serde_json::Value =
        serde_json::from_str(&get("GET /cases.json HTTP/1.1\r\n").await.body).unwrap();
    assert_eq!(cases.as_array().unwrap().len(), CLIENT_CASES.len());
    let statuses = [
        ("GET /case/reset HTTP/1.1\r\n", 426),
        ("GET /case/none HTTP/1.1\r\n", 404),
        ("GET /else HTTP/1.1\r\n", 404),
        ("POST / HTTP/1.1\r\nContent-Length: 0\r\n", 405),
    ];
    for (request, status) in statuses {
        assert_eq!(get(request).await.head.status(), status, "{request}");
    }

    tokio::spawn(play(address, "close-1000", Careless));
    assert_eq!(served.next().await.judgement.verdict, Verdict::Pass);
    let text = get("GET /report HTTP/1.1\r\n").await.body;
    assert!(text.starts_with("close-1000: 1 passed, 0 warned"), "{text}");
    for request in
        ["GET /report.json HTTP/1.1\r\n", "GET /report HTTP/1.1\r\nAccept: application/json\r\n"]
    {
        let report: serde_json::Value = serde_json::from_str(&get(request).await.body).unwrap();
        let result = &report["results"][0];
        assert_eq!((&result["id"], &result["verdict"]), (&"close-1000".into(), &"pass".into()));
        assert_eq!(result["number"], 1);
    }
}

#[tokio::test]
async fn an_upgrade_that_breaks_the_rfc_is_refused() {
    let served = Served::start().await;
    let right = http::upgrade_request("a", "/case/close-1000", "");
    let key = right.lines().find(|line| line.starts_with("Sec-WebSocket-Key")).unwrap();
    let twice = format!("{key}\r\n{key}");
    for (request, status) in [
        (right.replace(key, "Sec-WebSocket-Key: dG9vIHNob3J0"), 400),
        (right.replace(key, &twice), 400),
        (right.replace("HTTP/1.1", "HTTP/1.0"), 400),
        (right.replace("Version: 13", "Version: 12"), 426),
    ] {
        let request = request.replace("Connection: Upgrade", "Connection: Upgrade, close");
        let answer = http::exchange(served.address, &request, SOON).await;
        assert_eq!(answer.head.status(), status, "{request}");
        assert!(answer.head.header("content-security-policy").is_some());
    }
}

#[test]
fn the_guide_lists_the_cases() {
    let page = include_str!("../../src/guide/probe.md");
    let rows = page.lines().skip_while(|line| !line.starts_with("| id |")).skip(2);
    let rows: Vec<_> = rows.take_while(|line| line.starts_with('|')).collect();
    let due = CLIENT_CASES.iter().map(|case| {
        let clean = if case.clean { "clean" } else { "not clean" };
        let (id, does, rfc, due, code) = (case.id, case.does, case.rfc, case.due, case.code);
        format!("| `{id}` | {rfc} | {does} | {due} | {code}, {clean} |")
    });
    assert_eq!(rows, due.collect::<Vec<_>>());
}
