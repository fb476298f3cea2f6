//! Names, labels and values of a scrape.

use super::parser::Scraped;
use super::*;
use crate::vocabulary::OpenFailure;

const CHAT: (&str, &str) = ("route", "chat");

#[test]
fn the_contract_names_are_there_with_their_labels() {
    let scraped = Scraped::parse(&scrape(Observations::default()));
    let contract: [(&str, &[&str]); 12] = [
        ("lastword_connections_opened_total", &["direction", "route"]),
        ("lastword_connections_open", &["direction", "route", "state"]),
        ("lastword_endings_total", &["cause", "direction", "fault", "kind", "route"]),
        ("lastword_open_failed_total", &["failure", "route"]),
        ("lastword_recovered_endings_total", &[]),
        ("lastword_closing_handshake_seconds_bucket", &["le"]),
        ("lastword_connection_seconds_bucket", &["le"]),
        ("lastword_messages_total", &["direction"]),
        ("lastword_outbox_bytes", &[]),
        ("lastword_ledger_lag_seconds", &[]),
        ("lastword_ledger_unrecorded_total", &[]),
        ("lastword_drain_left", &[]),
    ];
    for (name, labels) in contract {
        let all = scraped.all(name);
        assert!(!all.is_empty(), "{name} is missing");
        assert!(all[0].labels.keys().eq(labels.iter()), "{:?}", all[0]);
    }
    for (name, family) in &scraped.families {
        assert!(family.help.ends_with('.'), "{name} is not explained");
    }
}

#[test]
fn a_census_is_told_as_it_is() {
    let scraped = Scraped::parse(&scrape(Observations::default()));
    let inbound = ("direction", "inbound");
    let opened = "lastword_connections_opened_total";
    assert_eq!(scraped.sum(opened, &[inbound, CHAT]), 5.0);
    assert_eq!(scraped.sum(opened, &[("direction", "outbound"), ("route", "")]), 2.0);
    assert_eq!(scraped.sum(opened, &[("route", ODD)]), 2.0, "a name is escaped, and nothing more");
    let open = "lastword_connections_open";
    for (state, count) in
        [("open", 1.0), ("close_sent", 1.0), ("close_received", 0.0), ("closed", 0.0)]
    {
        assert_eq!(scraped.sum(open, &[inbound, CHAT, ("state", state)]), count);
    }
    let endings = "lastword_endings_total";
    let reset = [("kind", "connection_reset"), ("fault", "peer"), ("cause", "none")];
    assert_eq!(scraped.sum(endings, &[&reset[..], &[inbound, CHAT]].concat()), 2.0);
    let asked = [("kind", "clean"), ("fault", "operator"), ("cause", "api")];
    assert_eq!(scraped.sum(endings, &[&asked[..], &[inbound, CHAT]].concat()), 1.0);
    assert_eq!(scraped.sum("lastword_messages_total", &[("direction", "in")]), 10.0);
    assert_eq!(scraped.sum("lastword_messages_total", &[("direction", "out")]), 9.0);
    for (state, count) in
        [("serving", 2.0), ("ejected", 1.0), ("unhealthy", 0.0), ("draining", 0.0)]
    {
        assert_eq!(scraped.sum("lastword_backends", &[CHAT, ("state", state)]), count);
    }
    assert_eq!(scraped.sum("lastword_backend_clients", &[CHAT, ("number", "2")]), 4.0);
    let refused = ("outcome", "refused_limit");
    assert_eq!(scraped.sum("lastword_http_requests_total", &[refused]), 3.0);
    for (name, value) in [
        ("lastword_outbox_bytes", 4096.0),
        ("lastword_queue_memory_bytes", 5000.0),
        ("lastword_queue_memory_limit_bytes", f64::from(1 << 30)),
        ("lastword_ledger_lag_seconds", 0.25),
        ("lastword_ledger_degraded", 1.0),
        ("lastword_recovered_endings_total", 3.0),
        ("lastword_revocations", 5.0),
        ("lastword_revoked_connections_total", 6.0),
        ("lastword_revoked_attempts_total", 8.0),
        ("lastword_draining", 1.0),
        ("lastword_drain_left", 7.0),
        ("lastword_drain_http_left", 2.0),
        ("lastword_http_connections", 2.0),
        ("lastword_max_connections", 19_744.0),
    ] {
        assert_eq!(scraped.sum(name, &[]), value, "{name}");
    }
    assert_eq!(scraped.sum("lastword_build_info", &[("version", Ending::VERSION)]), 1.0);
}

#[test]
fn what_may_come_is_there_at_zero_before_it_comes() {
    let scraped = Scraped::parse(&scrape(Observations::default()));
    for kind in Kind::OF_CONNECTIONS {
        let here = scraped
            .all("lastword_endings_total")
            .into_iter()
            .any(|sample| sample.label("kind") == kind.as_str() && sample.label("route") == "idle");
        assert_eq!(here, kind != Kind::ProcessDied, "{kind}");
    }
    assert_eq!(scraped.sum("lastword_connections_opened_total", &[("route", "idle")]), 0.0);
    assert_eq!(scraped.all("lastword_open_failed_total").len(), OpenFailure::WORDS.len());
    assert_eq!(scraped.sum("lastword_open_failed_total", &[]), 0.0);
    assert_eq!(scraped.sum("lastword_closing_handshake_seconds_count", &[]), 0.0);
}

#[test]
fn what_is_published_is_counted_whether_it_was_recorded_or_not() {
    let observations = Observations::default();
    observations.observe(&ended(Kind::Clean, Record::Durable(1)));
    observations.observe(&ended(Kind::ConnectionReset, Record::Failed));
    // An earlier process had it.
    observations.observe(&ended(Kind::ProcessDied, Record::Durable(2)));
    let rejected = |status| Kind::OpenFailed(OpenFailure::UpgradeRejected { status });
    observations.observe(&failed(rejected(404), None, Record::Durable(3)));
    observations.observe(&failed(rejected(500), None, Record::Counted));
    let gone = Kind::OpenFailed(OpenFailure::PeerGone);
    observations.observe(&failed(gone, Some("chat"), Record::Failed));

    let scraped = Scraped::parse(&scrape(observations));
    assert_eq!(scraped.sum("lastword_connection_seconds_count", &[]), 2.0);
    assert_eq!(scraped.sum("lastword_connection_seconds_sum", &[]), 180.0);
    assert_eq!(scraped.sum("lastword_connection_seconds_bucket", &[("le", "60.0")]), 0.0);
    assert_eq!(scraped.sum("lastword_connection_seconds_bucket", &[("le", "300.0")]), 2.0);
    assert_eq!(scraped.sum("lastword_closing_handshake_seconds_count", &[]), 2.0);
    assert_eq!(scraped.sum("lastword_ledger_unrecorded_total", &[]), 2.0);
    let failed = "lastword_open_failed_total";
    assert_eq!(scraped.sum(failed, &[("failure", "upgrade_rejected"), ("route", "")]), 2.0);
    assert_eq!(scraped.sum(failed, &[("failure", "peer_gone"), CHAT]), 1.0);
    assert_eq!(scraped.sum(failed, &[]), 3.0);
}

#[test]
fn the_process_is_described() {
    let before = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let scraped = Scraped::parse(&scrape(Observations::default()));
    let started = scraped.sum("process_start_time_seconds", &[]);
    assert!((started - before.as_secs_f64()).abs() < 60.0, "{started}");
    assert!(scraped.sum("process_resident_memory_bytes", &[]) > f64::from(1 << 20));
    let open = scraped.sum("process_open_fds", &[]);
    assert!(open >= 3.0 && open <= scraped.sum("process_max_fds", &[]), "{open}");
}
