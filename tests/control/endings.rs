//! The ledger over HTTP: filters, pages, sums.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use serde_json::Value;

use super::stage::House;
use crate::support::SOON;
use crate::support::http::exchange;

fn ids(page: &Value) -> Vec<String> {
    let endings = page["endings"].as_array().unwrap();
    endings.iter().map(|ending| ending["id"].as_str().unwrap().to_owned()).collect()
}

/// Three that were lost, one that closed, one attempt; oldest first.
async fn with_endings() -> (House, Vec<String>) {
    let house = House::new().await;
    let mut all = Vec::new();
    for _ in 0..3 {
        all.push(house.ended().await);
    }
    let (mut peer, id) = house.peer("/echo").await;
    let address = peer.local_addr().to_string();
    peer.close(1001, "bye").await;
    peer.expect_close(SOON).await;
    peer.fin().await;
    if let Some(connection) = house.supervisor.connection(id.parse().unwrap()) {
        connection.ended().await;
    }
    all.push(id);
    let request = "GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n";
    assert_eq!(exchange(house.listener, request, SOON).await.head.status(), 404);
    // It is answered first, and recorded then.
    let attempt = async {
        loop {
            let newest = house.ledger.kept().remove(0);
            if newest.outcome.kind.open_failure().is_some() {
                return newest.id.to_string();
            }
            tokio::task::yield_now().await;
        }
    };
    all.push(tokio::time::timeout(SOON, attempt).await.expect("awaited the attempt"));
    all.push(address);
    (house, all)
}

#[tokio::test]
async fn endings_are_found_by_what_they_are_newest_first() {
    let (house, mut all) = with_endings().await;
    let address = all.pop().unwrap();
    let list = async |query: &str| {
        ids(&house.client.get(&format!("/v1/endings?{query}")).await.expect(200))
    };
    let newest_first: Vec<String> = all.iter().rev().cloned().collect();
    assert_eq!(list("").await, newest_first);
    let closed = [all[3].clone()];
    for query in [
        "kind=clean".to_owned(),
        "code=1001".to_owned(),
        "route=/echo".to_owned(),
        "path=/echo".to_owned(),
        format!("peer={address}"),
        "kind=clean&fault=none&cause=peer&since=1h".to_owned(),
    ] {
        assert_eq!(list(&query).await, closed, "{query}");
    }
    assert_eq!(list("kind=open_failed").await, [all[4].clone()]);
    assert_eq!(list("kind=closed_prematurely").await.len(), 3);
    assert_eq!(list("peer=127.0.0.1").await.len(), 2);
    let now = SystemTime::now() + Duration::from_secs(5);
    let now = humantime::format_rfc3339_millis(now).to_string();
    for none in ["subject=ann", "until=1h", "kind=aborted", &format!("since={now}")] {
        assert_eq!(list(none).await, [""; 0], "{none}");
    }
    assert_eq!(list(&format!("until={now}&since=1d")).await.len(), 5);

    let mut paged = Vec::new();
    let mut query = "limit=2".to_owned();
    loop {
        let page = house.client.get(&format!("/v1/endings?{query}")).await.expect(200);
        assert!(ids(&page).len() <= 2);
        paged.extend(ids(&page));
        match page["next"].as_str() {
            Some(next) => query = format!("limit=2&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(paged, newest_first);
}

#[tokio::test]
async fn endings_are_counted_by_their_properties() {
    let (house, _) = with_endings().await;
    let summary = async |query: &str| {
        house.client.get(&format!("/v1/endings/summary?{query}")).await.expect(200)
    };
    let kinds = summary("").await;
    assert_eq!((&kinds["by"], &kinds["total"]), (&"kind".into(), &5.into()));
    let first = serde_json::json!({"value": "closed_prematurely", "count": 3});
    assert_eq!(kinds["counts"][0], first);
    for by in ["kind", "fault", "cause", "code", "route", "user_agent"] {
        let counted = summary(&format!("by={by}&since=1h")).await;
        let counts = counted["counts"].as_array().unwrap().iter();
        assert_eq!(counts.map(|count| count["count"].as_u64().unwrap()).sum::<u64>(), 5, "{by}");
        assert_eq!(counted["by"], by);
    }
    assert_eq!(summary("until=1h").await["total"], 0);
    let codes = summary("by=code").await;
    let codes: BTreeSet<String> = codes["counts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|count| count["value"].to_string())
        .collect();
    assert_eq!(codes, ["null", "\"1001\"", "\"1006\""].map(str::to_owned).into());
}

#[tokio::test]
async fn filters_that_mean_nothing_are_refused_by_name() {
    let house = House::new().await;
    for (query, name) in [
        ("kind=cleen", "kind"),
        ("kind=", "kind"),
        ("fault=mine", "fault"),
        ("cause=mine", "cause"),
        ("code=x", "code"),
        ("code=70000", "code"),
        ("since=yesterday", "since"),
        ("until=", "until"),
        ("since=1h&until=2h", "until"),
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("cursor=x", "cursor"),
        ("cursor=-1", "cursor"),
        ("colour=red", "colour"),
        ("kind=clean&kind=aborted", "kind"),
    ] {
        let answer = house.client.get(&format!("/v1/endings?{query}")).await;
        let problem = answer.refused(400, "invalid_request");
        assert!(problem["detail"].as_str().unwrap().contains(name), "{query}: {problem}");
    }
    for (query, name) in [("by=weather", "by"), ("since=x", "since"), ("limit=5", "limit")] {
        let answer = house.client.get(&format!("/v1/endings/summary?{query}")).await;
        let problem = answer.refused(400, "invalid_request");
        assert!(problem["detail"].as_str().unwrap().contains(name), "{query}: {problem}");
    }
}
