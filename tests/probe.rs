//! `lastword probe` against a right server, and for each case against one that is wrong in it.

// What fails in a helper of a test fails the test.
#![allow(clippy::unwrap_used)]

#[path = "probe/cases.rs"]
mod cases;
#[path = "probe/clients.rs"]
mod clients;
#[path = "probe/hostile.rs"]
mod hostile;
#[path = "probe/program.rs"]
mod program;
mod support;
#[path = "probe/wrong.rs"]
mod wrong;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use lastword::probe::{self, Options, Report, Target, TargetOptions, Unreachable, Verdict};
use lastword::settings::Tls;
use lastword::vocabulary::Secret;
use lastword::{ListenOptions, Route, Supervisor};
use support::SOON;
use support::frame::{CLOSE, PING};
use support::raw_peer::RawPeer;
use support::tls::Shared;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// How long the probe waits for what is due at once, and what a wrong server never does.
const WAIT: Duration = Duration::from_millis(400);

fn options() -> Options {
    Options { full: true, only: vec![], wait: WAIT, idle: None }
}

/// The same for a server that does what is due.
fn patient() -> Options {
    Options { wait: SOON, ..options() }
}

fn target(url: String) -> TargetOptions {
    TargetOptions { url, ..TargetOptions::default() }
}

async fn run(target: TargetOptions, options: &Options) -> Result<Report, Unreachable> {
    probe::run(&Target::new(target).unwrap(), options, |_, _| {}).await
}

/// The verdict of a case, with what was said of it.
fn verdict(report: &Report, id: &str) -> (Verdict, String) {
    let outcome = report.outcomes.iter().find(|outcome| outcome.case.id == id);
    let outcome = outcome.unwrap_or_else(|| panic!("{id} was not played"));
    let said = format!("{}: {}", outcome.observed, outcome.judgement.consequence);
    (outcome.judgement.verdict, said)
}

/// lastword's own echo.
struct Right {
    supervisor: Supervisor,
    address: SocketAddr,
}

impl Right {
    async fn start() -> Self {
        let supervisor = Supervisor::builder().start().await.unwrap();
        let routes = vec![Route::echo("/echo").unwrap()];
        let address = "127.0.0.1:0".parse().unwrap();
        let listener = supervisor.listen("public", &address, routes).await.unwrap();
        let address = listener.address().to_string().parse().unwrap();
        Self { supervisor, address }
    }

    fn url(&self) -> String {
        format!("ws://{}/echo", self.address)
    }

    async fn stop(self) {
        self.supervisor.shutdown(Default::default()).await;
    }
}

#[tokio::test]
async fn lastword_passes_every_case() {
    let right = Right::start().await;
    let mut told = 0;
    let target = Target::new(target(right.url())).unwrap();
    let options = Options { idle: Some(Duration::from_millis(100)), ..patient() };
    let report = probe::run(&target, &options, |_, _| told += 1).await.unwrap();
    let all = probe::all().flat_map(|exchange| exchange.cases).count();
    assert_eq!((told, report.outcomes.len()), (all, all));
    for outcome in &report.outcomes {
        // The only one that needs TLS.
        let due = match outcome.case.id {
            "tls-close-notify" => Verdict::Skipped,
            _ => Verdict::Pass,
        };
        assert_eq!(outcome.judgement.verdict, due, "{outcome:?}");
    }
    right.stop().await;
}

#[tokio::test]
async fn lastword_passes_every_case_over_tls() {
    let Shared { authority, files: (cert, key) } = Shared::get();
    let supervisor = Supervisor::builder().start().await.unwrap();
    let routes = vec![Route::echo("/echo").unwrap()];
    let tls = ListenOptions::default().tls(Tls::new(cert, key));
    let address = "127.0.0.1:0".parse().unwrap();
    let listener = supervisor.listen_with("public", &address, tls, routes).await.unwrap();
    let address: SocketAddr = listener.address().to_string().parse().unwrap();
    let url = format!("wss://localhost:{}/echo", address.port());
    let target = TargetOptions { ca_file: Some(authority.file()), ..target(url) };
    let report = run(target, &patient()).await.unwrap();
    assert_eq!(verdict(&report, "tls-close-notify").0, Verdict::Pass);
    assert_eq!(report.count(Verdict::Pass), report.outcomes.len() as u64, "{:?}", report.outcomes);
    supervisor.shutdown(Default::default()).await;
}

#[tokio::test]
async fn a_proxy_connects_to_the_server() {
    let right = Right::start().await;
    let proxy = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxied = proxy.local_addr().unwrap();
    let server = right.address;
    tokio::spawn(async move {
        while let Ok((mut client, _)) = proxy.accept().await {
            tokio::spawn(async move {
                let mut head = [0; 1024];
                let read = client.read(&mut head).await.unwrap();
                let head = String::from_utf8_lossy(&head[..read]).to_lowercase();
                assert!(head.starts_with("connect not.resolved.here:80 http/1.1"), "{head}");
                assert!(head.contains("proxy-authorization: basic dxnlcjpwyxnz"), "{head}");
                client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
                let mut server = TcpStream::connect(server).await.unwrap();
                // It ends as the client or the server does.
                let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
            });
        }
    });
    let proxy = Some(format!("http://{proxied}"));
    let proxy_credentials = Some(Secret::new("user:pass"));
    let url = "ws://not.resolved.here/echo".to_owned();
    let target = TargetOptions { proxy, proxy_credentials, ..target(url) };
    let report = run(target, &Options { full: false, ..patient() }).await.unwrap();
    assert_eq!(report.count(Verdict::Fail), 0, "{:?}", report.outcomes);
    assert_eq!(verdict(&report, "close-answer").0, Verdict::Pass);
    right.stop().await;
}

#[tokio::test]
async fn a_safe_run_opens_ten_connections_and_sends_no_message() {
    let right = Right::start().await;
    for idle in [None, Some(Duration::from_millis(50))] {
        let options = Options { full: false, idle, ..patient() };
        let before = right.supervisor.accounting().opened;
        let report = run(target(right.url()), &options).await.unwrap();
        assert_eq!(report.connections, 10);
        assert!(right.supervisor.accounting().opened - before <= 10);
        assert_eq!(report.count(Verdict::Fail) + report.count(Verdict::Warn), 0);
        assert!(report.outcomes.len() >= 25, "{}", report.outcomes.len());
    }
    right.stop().await;
}

/// A server that upgrades the first connections, answers Pings and Closes, and ignores messages; returns its
/// URL, and how many connections it has accepted.
async fn sink(upgraded: u64) -> (String, Arc<AtomicU64>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}/", listener.local_addr().unwrap());
    let accepted = Arc::<AtomicU64>::default();
    let counted = Arc::clone(&accepted);
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            if counted.fetch_add(1, Ordering::SeqCst) < upgraded {
                tokio::spawn(async move { take_all(RawPeer::answer(socket, "", &[]).await).await });
            }
        }
    });
    (url, accepted)
}

/// Answers Pings and a Close.
async fn take_all(mut peer: RawPeer) {
    loop {
        let frame = peer.read_frame(SOON).await;
        match frame.opcode {
            PING => peer.pong(frame.payload).await,
            CLOSE => return peer.close(1000, "").await,
            _ => {}
        }
    }
}

#[tokio::test]
async fn connections_are_counted_as_the_server_accepts_them() {
    let of_a_sink = (u64::MAX, &["echo-text", "echo-empty"][..]);
    let of_a_refusal = (1, &["reset-inside-frame"][..]);
    for (upgraded, only) in [of_a_sink, of_a_refusal] {
        let (url, accepted) = sink(upgraded).await;
        let only: Vec<_> = only.iter().map(|id| (*id).to_owned()).collect();
        // The echo that a sink does not send is awaited once, for all of it.
        let options = Options { only: only.clone(), wait: 5 * WAIT, ..options() };
        let report = run(target(url), &options).await.unwrap();
        assert_eq!(report.connections, accepted.load(Ordering::SeqCst), "{only:?}");
        assert_eq!(report.count(Verdict::Skipped), only.len() as u64, "{:?}", report.outcomes);
    }
}

#[tokio::test]
async fn a_fin_that_is_due_is_no_reason_to_guess() {
    let right = Right::start().await;
    for id in ["fin-without-close", "fin-inside-frame"] {
        let options = Options { only: vec![id.to_owned()], ..patient() };
        assert_eq!(run(target(right.url()), &options).await.unwrap().guess, None, "{id}");
    }
    right.stop().await;
}

#[tokio::test]
async fn one_case_takes_the_connection_that_it_needs() {
    let right = Right::start().await;
    let options = Options { only: vec!["frame-rsv2".to_owned()], ..patient() };
    let report = run(target(right.url()), &options).await.unwrap();
    assert_eq!((report.outcomes.len(), report.connections), (1, 2));
    assert_eq!(report.count(Verdict::Pass), 1);
    right.stop().await;
}
