//! The accounting identity as series: in every single scrape, and after a restart.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use super::parser::Scraped;
use super::*;
use crate::manager::{Adopt, Backend, Supervisor};
use crate::surfaces::reloads::Reloads;
use crate::vocabulary::Role;

const EACH: usize = 300;

/// A daemon's metrics over a supervisor of its own.
async fn node(recovered: u64) -> (Supervisor, Metrics) {
    let observations = Arc::new(Observations::default());
    let observed = Arc::clone(&observations);
    let observer = move |published: &Published| observed.observe(published);
    let supervisor = Supervisor::builder().observer(observer).start().await.unwrap();
    let counted = supervisor.clone();
    let metrics = Metrics::new(
        observations,
        MetricsSources {
            routes: Box::new(|| vec!["chat".to_owned()]),
            max_connections: Box::new(|| 0),
            census: Box::new(move || counted.census()),
            backends: Box::new(Vec::new),
            http: Box::new({
                let passing = supervisor.clone();
                move || passing.http()
            }),
            ledger: Box::new(move || LedgerFacts { recovered, ..LedgerFacts::default() }),
            revocations: Box::new(RevocationCounts::default),
            drain: Box::new(DrainFacts::default),
            reloads: Box::new(|| Reloads::new().0.facts()),
            token_file_failed: Box::new(|| 0),
            tls: Box::new(Vec::new),
        },
    );
    (supervisor, metrics)
}

/// Opened, open and ended, by direction and route.
fn books(scraped: &Scraped) -> BTreeMap<(String, String), (f64, f64, f64)> {
    let mut books: BTreeMap<_, (f64, f64, f64)> = BTreeMap::new();
    for family in scraped.families.values() {
        for sample in &family.samples {
            let place: fn(&mut (f64, f64, f64)) -> &mut f64 = match sample.name.as_str() {
                "lastword_connections_opened_total" => |line| &mut line.0,
                "lastword_connections_open" => |line| &mut line.1,
                "lastword_endings_total" => |line| &mut line.2,
                _ => continue,
            };
            let key = (sample.label("direction").to_owned(), sample.label("route").to_owned());
            *place(books.entry(key).or_default()) += sample.value;
        }
    }
    books
}

/// Opens connections, and ends each in one way or another.
async fn come_and_go(supervisor: Supervisor, role: Role, route: Option<&'static str>) {
    for n in 0..EACH {
        let (peer, transport) = tokio::io::duplex(1024);
        let mut adopt = Adopt::new(role, transport);
        adopt.origin.route = route.map(str::to_owned);
        let connection = supervisor.adopt(adopt, Backend::echo()).await.unwrap();
        if n % 2 == 0 {
            drop(peer)
        } else {
            connection.abort()
        }
        if n % 3 == 0 {
            connection.ended().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn opened_is_open_and_endings_in_every_single_scrape() {
    let (supervisor, metrics) = node(0).await;
    let done = Arc::new(AtomicBool::new(false));
    let finished = Arc::clone(&done);
    let scraper = std::thread::spawn(move || {
        let mut scrapes = 0;
        let mut seen_open = 0.0_f64;
        let mut last = BTreeMap::new();
        loop {
            let last_one = finished.load(Ordering::SeqCst);
            let books = books(&Scraped::parse(&metrics.render()));
            for (line, (opened, open, ended)) in &books {
                assert_eq!(*opened, open + ended, "{line:?}");
                let (opened_before, _, ended_before) =
                    last.get(line).copied().unwrap_or((0.0, 0.0, 0.0));
                assert!(*opened >= opened_before && *ended >= ended_before, "{line:?} fell");
                seen_open = seen_open.max(*open);
            }
            last = books;
            scrapes += 1;
            if last_one {
                return (scrapes, seen_open, last);
            }
        }
    });
    let all = [
        tokio::spawn(come_and_go(supervisor.clone(), Role::Server, Some("chat"))),
        tokio::spawn(come_and_go(supervisor.clone(), Role::Server, Some("feed"))),
        tokio::spawn(come_and_go(supervisor.clone(), Role::Client, None)),
    ];
    for one in all {
        one.await.unwrap();
    }
    supervisor.shutdown(Default::default()).await;
    done.store(true, Ordering::SeqCst);
    let (scrapes, seen_open, books) = scraper.join().unwrap();
    assert!(scrapes > 1 && seen_open > 0.0, "nothing was scraped while it happened");
    let each = EACH as f64;
    let line = |direction: &str, route: &str| books[&(direction.to_owned(), route.to_owned())];
    assert_eq!(books.len(), 3);
    assert_eq!(line("inbound", "chat"), (each, 0.0, each));
    assert_eq!(line("inbound", "feed"), (each, 0.0, each));
    assert_eq!(line("outbound", ""), (each, 0.0, each));
}

#[tokio::test]
async fn a_restart_starts_at_zero_and_what_was_left_open_is_counted_by_itself() {
    let (before, metrics) = node(0).await;
    let (_peer, transport) = tokio::io::duplex(1024);
    before.adopt(Adopt::new(Role::Server, transport), Backend::echo()).await.unwrap();
    let scraped = Scraped::parse(&metrics.render());
    assert_eq!(scraped.sum("lastword_connections_opened_total", &[]), 1.0);
    assert_eq!(scraped.sum("lastword_recovered_endings_total", &[]), 0.0);
    drop((before, metrics));

    let (_after, metrics) = node(1).await;
    let scraped = Scraped::parse(&metrics.render());
    assert_eq!(scraped.sum("lastword_connections_opened_total", &[]), 0.0);
    assert_eq!(scraped.sum("lastword_endings_total", &[]), 0.0);
    assert_eq!(scraped.sum("lastword_recovered_endings_total", &[]), 1.0);
}
