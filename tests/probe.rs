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
use std::time::Duration;

use lastword::probe::{self, Options, Report, Target, TargetOptions, Unreachable, Verdict};
use lastword::{Route, Supervisor};

/// How long the probe waits for what is due at once, and what a wrong server never does.
const WAIT: Duration = Duration::from_millis(250);

fn options() -> Options {
    Options { full: true, only: vec![], wait: WAIT, idle: None }
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
    let wait = Duration::from_secs(5);
    let options = Options { idle: Some(Duration::from_millis(100)), wait, ..options() };
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
async fn a_safe_run_opens_ten_connections_and_sends_no_message() {
    let right = Right::start().await;
    for idle in [None, Some(Duration::from_millis(50))] {
        let options = Options { full: false, idle, ..options() };
        let before = right.supervisor.accounting().opened;
        let report = run(target(right.url()), &options).await.unwrap();
        assert_eq!(report.connections, 10);
        assert!(right.supervisor.accounting().opened - before <= 10);
        assert_eq!(report.count(Verdict::Fail) + report.count(Verdict::Warn), 0);
        assert!(report.outcomes.len() >= 25, "{}", report.outcomes.len());
    }
    right.stop().await;
}

#[tokio::test]
async fn one_case_takes_the_connection_that_it_needs() {
    let right = Right::start().await;
    let options = Options { only: vec!["frame-rsv2".to_owned()], ..options() };
    let report = run(target(right.url()), &options).await.unwrap();
    assert_eq!((report.outcomes.len(), report.connections), (1, 2));
    assert_eq!(report.count(Verdict::Pass), 1);
    right.stop().await;
}
