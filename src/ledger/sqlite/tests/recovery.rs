//! Connections that a process left open have exactly one ending.

use super::*;

fn read(json: &str) -> serde_json::Value {
    serde_json::from_str(json).unwrap()
}

#[test]
fn what_was_open_has_died_once() {
    let bench = Bench::new();
    let ledger = bench.open();
    let ids: Vec<ConnectionId> = (0..10).map(|_| ConnectionId::new()).collect();
    let records = bench.store(&ledger, ids.iter().map(|id| opened(*id)).collect());
    bench.store(&ledger, ids[..4].iter().map(|id| clean(*id)).collect());
    assert_eq!(bench.number("SELECT count(*) FROM open_connections"), 6);

    let died = bench.after_death();
    let before = SystemTime::now();
    let (recovered, count) = died.recover();
    assert_eq!((count, recovered.recovered()), (6, 6));
    let ids: std::collections::HashSet<String> = ids[4..].iter().map(|id| id.to_string()).collect();
    let found = died.texts("SELECT id FROM endings WHERE kind = 'process_died'");
    assert_eq!(found.into_iter().collect::<std::collections::HashSet<_>>(), ids);
    assert_eq!(died.number("SELECT count(*) FROM open_connections"), 0);

    let page = recovered
        .endings(&EndingFilter {
            kind: Some("process_died".into()),
            limit: 1,
            ..EndingFilter::default()
        })
        .unwrap();
    let record = read(&page.endings[0].json);
    assert_eq!(record["fault"], "local");
    assert_eq!(record["cause"], "none");
    assert_eq!(record["first_close"], "none");
    assert_eq!(record["transport_end"], "unknown");
    assert_eq!(record["retry"], "backoff");
    assert_eq!(record["retry_after_ms"], serde_json::json!([1000, 30_000]));
    assert_eq!(record["node"], "a1");
    assert_eq!(record["peer"], "203.0.113.9:51342");
    for unknown in ["state", "close_code", "close_sent", "messages_in", "bytes_out", "tcp"] {
        assert!(record[unknown].is_null(), "{unknown}");
    }
    let ended_at = humantime::parse_rfc3339(record["ended_at"].as_str().unwrap()).unwrap();
    assert!(ended_at <= before, "the last sign of life was before the start");
    assert!(record["detail"].as_str().unwrap().contains(record["ended_at"].as_str().unwrap()));
    // Numbers continue behind everything that was reported before.
    let highest = records.iter().filter_map(|record| record.sequence()).max().unwrap();
    assert!(page.endings[0].sequence > highest);

    recovered.close();
    let (again, count) = died.recover();
    assert_eq!(count, 0, "once");
    assert_eq!(died.number("SELECT count(*) FROM endings"), 10);
    again.close();
}

#[test]
fn legs_of_a_relay_that_died_name_each_other() {
    let bench = Bench::new();
    let ledger = bench.open();
    let (client, application) = (ConnectionId::new(), ConnectionId::new());
    let legs = [(client, application), (application, client)];
    let leg = |(id, other)| {
        let Entry::Opened(opened) = opened(id) else { unreachable!("it is one") };
        let opened = ConnectionOpened { relay_peer: Some(other), ..(*opened).clone() };
        Entry::Opened(Arc::new(opened))
    };
    bench.store(&ledger, legs.map(leg).into());
    let died = bench.after_death();
    let (recovered, _) = died.recover();
    let page = recovered.endings(&EndingFilter { limit: 10, ..EndingFilter::default() }).unwrap();
    let found = page.endings.iter().map(|ending| read(&ending.json));
    let found: Vec<_> = found.map(|it| (it["id"].clone(), it["relay_peer"].clone())).collect();
    for (id, other) in legs {
        assert!(found.contains(&(id.to_string().into(), other.to_string().into())), "{found:?}");
    }
    recovered.close();
}

#[test]
fn a_process_that_stopped_in_order_left_nothing() {
    let bench = Bench::new();
    let ledger = bench.open();
    let id = ConnectionId::new();
    bench.store(&ledger, vec![opened(id), clean(id)]);
    ledger.close();
    assert_eq!(bench.recover().1, 0);
}

#[test]
fn opened_and_ended_at_once_is_one_row() {
    let bench = Bench::new();
    let ledger = bench.open();
    let cycles = (0..500).map(|_| ConnectionId::new()).flat_map(|id| [opened(id), clean(id)]);
    let records = bench.store(&ledger, cycles.collect());
    let numbers: Vec<u64> = records.iter().filter_map(|record| record.sequence()).collect();
    assert_eq!(numbers.len(), 1000, "both are reported");
    assert_eq!(bench.number("SELECT count(*) FROM endings"), 500);
    assert_eq!(bench.number("SELECT count(*) FROM open_connections"), 0);
}

#[test]
fn the_sign_of_life_is_renewed_while_connections_are_open() {
    let bench = Bench::new();
    let ledger = bench.open();
    bench.store(&ledger, vec![opened(ConnectionId::new())]);
    let sign = || bench.texts("SELECT alive_at FROM ledger").remove(0);
    let first = sign();
    until("there is another sign of life", || sign() > first);
}

#[test]
fn a_row_that_cannot_be_read_still_has_an_ending() {
    let bench = Bench::new();
    let ledger = bench.open();
    let id = ConnectionId::new();
    bench.store(&ledger, vec![opened(id)]);
    bench.look().execute("UPDATE open_connections SET record = 'x'", []).unwrap();
    let died = bench.after_death();
    assert_eq!(died.recover().1, 1);
    assert_eq!(died.texts("SELECT id FROM endings"), [id.to_string()]);
}
