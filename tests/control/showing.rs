//! What the API shows: status, connections, probes, and itself.

use std::collections::BTreeSet;

use lastword::surfaces::control::openapi;
use lastword::vocabulary::DialerPhase;
use serde_json::Value;

use super::stage::House;
use crate::support::SOON;

async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(SOON, future).await.unwrap_or_else(|_| panic!("awaited {what} in vain"))
}

fn ids(page: &Value) -> Vec<String> {
    let connections = page["connections"].as_array().unwrap();
    connections.iter().map(|c| c["id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn the_status_keeps_the_books() {
    let house = House::new().await;
    let (_peer, _) = house.peer("/echo").await;
    house.ended().await;
    let status = house.client.get("/v1/status").await.expect(200);
    assert_eq!((&status["node"], &status["phase"]), (&"a1".into(), &"running".into()));
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(
        status["accounting"],
        serde_json::json!({"opened": 2, "open": 1, "ended": 1, "balanced": true})
    );
    assert_eq!(status["ledger"]["state"], "good");
    assert!(status["started_at"].is_string() && status["uptime_ms"].is_u64());
    assert_eq!(status["drain"], Value::Null);
    house.supervisor.refuse_new();
    assert_eq!(house.client.get("/v1/status").await.expect(200)["phase"], "draining");
}

#[tokio::test]
async fn connections_are_listed_page_by_page_and_by_what_they_are() {
    let house = House::new().await;
    let mut peers = Vec::new();
    for target in ["/echo", "/other", "/echo?room=7", "/echo", "/other"] {
        peers.push(house.peer(target).await);
    }
    let all: Vec<&String> = peers.iter().map(|(_, id)| id).collect();
    let list = async |query: &str| {
        let target = format!("/v1/connections?{query}");
        house.client.get(&target).await.expect(200)
    };
    assert_eq!(ids(&list("").await).iter().collect::<Vec<_>>(), all);
    assert_eq!(ids(&list("route=/other").await), [all[1].clone(), all[4].clone()]);
    assert_eq!(ids(&list("path=/echo%3froom=***").await), [all[2].clone()]);
    assert_eq!(ids(&list("path=/echo&direction=inbound").await), [all[0].clone(), all[3].clone()]);
    let address = peers[1].0.local_addr();
    assert_eq!(ids(&list(&format!("peer={address}")).await), [all[1].clone()]);
    assert_eq!(ids(&list(&format!("peer=[::ffff:127.0.0.1]:{}", address.port())).await).len(), 1);
    assert_eq!(ids(&list("peer=::ffff:127.0.0.1&route=/echo").await).len(), 3);
    for none in [
        "direction=outbound",
        "state=close_sent",
        "subject=ann",
        "tag=room:7",
        "route=x",
        "peer=::1",
    ] {
        assert_eq!(ids(&list(none).await), [""; 0], "{none}");
    }

    let mut paged = Vec::new();
    let mut query = "limit=2".to_owned();
    let sizes = loop {
        let page = list(&query).await;
        paged.push(ids(&page));
        match page["next"].as_str() {
            Some(next) => query = format!("limit=2&cursor={next}"),
            None => break paged.iter().map(Vec::len).collect::<Vec<_>>(),
        }
    };
    assert_eq!(sizes, [2, 2, 1]);
    assert_eq!(paged.concat().iter().collect::<Vec<_>>(), all);
    // A page that is just full is the last one.
    assert_eq!(list("limit=5").await["next"], Value::Null);
    let later = list(&format!("limit=2&cursor={}", all[1])).await;
    assert_eq!((later["total"].as_u64(), ids(&later).len()), (Some(5), 2), "all that match count");
}

#[tokio::test]
async fn connections_are_sorted_and_searched() {
    let house = House::new().await;
    let mut peers = Vec::new();
    for target in ["/echo", "/other", "/echo?room=7"] {
        peers.push(house.peer(target).await);
    }
    for (peer, texts) in [(0, 1), (2, 3)] {
        for text in (0..texts).map(|number| format!("{number}")) {
            peers[peer].0.text(&text).await;
            peers[peer].0.expect_text(&text).await;
        }
    }
    let all: Vec<String> = peers.iter().map(|(_, id)| id.clone()).collect();
    let list =
        async |query: &str| house.client.get(&format!("/v1/connections?{query}")).await.expect(200);
    let of = |places: &[usize]| places.iter().map(|at| all[*at].clone()).collect::<Vec<_>>();
    for (sort, places) in [
        ("opened_at", [0, 1, 2]),
        ("-opened_at", [2, 1, 0]),
        ("messages_in", [1, 0, 2]),
        ("-messages_in", [2, 0, 1]),
        ("-bytes_out", [2, 0, 1]),
        // Nothing waits anywhere, so the oldest comes first.
        ("-queued_bytes", [0, 1, 2]),
    ] {
        assert_eq!(ids(&list(&format!("sort={sort}")).await), of(&places), "{sort}");
    }
    // The second has never sent a message, so it is last either way.
    for sort in ["last_activity_ms", "-last_activity_ms"] {
        assert_eq!(ids(&list(&format!("sort={sort}")).await).last(), Some(&all[1]), "{sort}");
    }
    let first = list("sort=-messages_in&limit=1").await;
    assert_eq!((ids(&first), &first["next"]), (of(&[2]), &Value::Null));
    assert_eq!(first["total"], 3);
    let newest = list("sort=-opened_at&limit=2").await;
    let cursor = newest["next"].as_str().unwrap();
    assert_eq!(ids(&list(&format!("sort=-opened_at&cursor={cursor}")).await), of(&[0]));

    assert_eq!(ids(&list("search=ROOM").await), of(&[2]));
    assert_eq!(list("search=echo&route=/echo").await["total"], 2);
    assert_eq!(list("search=nowhere").await["total"], 0);
    assert_eq!(ids(&list(&format!("search={}", &all[1][24..])).await), of(&[1]));
}

#[tokio::test]
async fn one_is_shown_by_either_name_with_its_counters_until_it_has_ended() {
    let house = House::new().await;
    let (mut peer, id) = house.peer("/echo").await;
    peer.text("hello").await;
    peer.expect_text("hello").await;
    for name in [&id, &id[id.len() - 12..]] {
        let shown = house.client.get(&format!("/v1/connections/{name}")).await.expect(200);
        assert_eq!((&shown["id"], &shown["state"]), (&(&*id).into(), &"open".into()));
        assert_eq!((&shown["messages_in"], &shown["bytes_in"]), (&1.into(), &5.into()));
        assert_eq!(shown["peer"], peer.local_addr().to_string());
    }
    // It is open, so it has no ending, and the ledger says where to look.
    let problem = house.client.get(&format!("/v1/endings/{id}")).await.refused(404, "not_found");
    assert!(problem["detail"].as_str().unwrap().contains("/v1/connections/"), "{problem}");

    peer.close(1000, "").await;
    peer.expect_close(SOON).await;
    peer.fin().await;
    let connection = house.supervisor.connection(id.parse().unwrap());
    if let Some(connection) = connection {
        connection.ended().await;
    }
    let problem =
        house.client.get(&format!("/v1/connections/{id}")).await.refused(404, "not_found");
    assert!(problem["detail"].as_str().unwrap().contains("/v1/endings/"), "{problem}");
    assert_eq!(house.client.get(&format!("/v1/endings/{id}")).await.expect(200)["kind"], "clean");
}

#[tokio::test]
async fn what_is_not_there_is_not_found_and_what_means_nothing_is_named() {
    let house = House::new().await;
    let client = &house.client;
    client.get("/v1/connections/5b8f0a6d4c17").await.refused(404, "not_found");
    client.get("/v1/endings/5b8f0a6d4c17").await.refused(404, "not_found");
    client.get("/").await.refused(404, "not_found");
    client.get("/v1/status/").await.refused(404, "not_found");
    client.get("/v2/status").await.refused(404, "not_found");
    client.post("/nowhere", "{}").await.refused(404, "not_found");
    for (target, name) in [
        ("/v1/connections/zzz", "zzz"),
        ("/v1/connections/%FF", "utf-8"),
        ("/v1/connections?limit=0", "limit"),
        ("/v1/connections?limit=1001", "limit"),
        ("/v1/connections?limit=-1", "limit"),
        ("/v1/connections?limit=x", "limit"),
        ("/v1/connections?state=opne", "state"),
        ("/v1/connections?direction=up", "direction"),
        ("/v1/connections?tag=room", "tag"),
        ("/v1/connections?cursor=x", "cursor"),
        ("/v1/connections?colour=red", "colour"),
        ("/v1/connections?sort=colour", "sort"),
        ("/v1/connections?sort=", "sort"),
        ("/v1/connections?sort=-colour", "\"-colour\" is not one of opened_at, last_activity_ms, "),
        ("/v1/connections?sort=--opened_at", "each may have - in front, for the largest first"),
        ("/v1/connections?search=", "search"),
        ("/v1/connections?sort=bytes_in&cursor=01982b7e-4f6a-7c3d-9e21-5b8f0a6d4c17", "cursor"),
        ("/v1/connections?route=a&route=b", "route"),
        ("/v1/connections/5b8f0a6d4c17?explain=yes", "explain"),
        ("/v1/connections/5b8f0a6d4c17?explain=", "explain"),
        ("/v1/connections/5b8f0a6d4c17?colour=red", "colour"),
        ("/v1/endings/5b8f0a6d4c17?explain=1", "explain"),
        ("/v1/endings/5b8f0a6d4c17?explain=true&explain=true", "explain"),
        ("/v1/endings/5b8f0a6d4c17?colour=red", "colour"),
    ] {
        let problem = client.get(target).await.refused(400, "invalid_request");
        let detail = problem["detail"].as_str().unwrap().to_lowercase();
        assert!(detail.contains(name), "{target}: {detail}");
    }
    for (line, allow) in [
        ("PUT /v1/status", "GET,HEAD"),
        ("DELETE /v1/connections", "GET,HEAD,POST"),
        ("GET /v1/broadcast", "POST"),
        ("POST /livez", "GET,HEAD"),
        ("OPTIONS /v1/connections", "GET,HEAD,POST"),
        ("PATCH /v1/drain", "GET,HEAD,POST,DELETE"),
    ] {
        let answer = client.send(line, None).await;
        answer.refused(405, "method_not_allowed");
        let methods = |list: &str| list.split(',').map(str::to_owned).collect::<BTreeSet<_>>();
        assert_eq!(methods(answer.header("allow").unwrap()), methods(allow), "{line}");
        assert_eq!(answer.header("access-control-allow-origin"), None);
    }
    let head = client.send("HEAD /v1/status", None).await;
    assert_eq!((head.status, head.body.as_str()), (200, ""));
}

#[tokio::test]
async fn probes_and_metrics_are_those_of_the_daemon() {
    let house = House::new().await;
    assert_eq!(house.client.get("/livez").await.body, "ok");
    assert_eq!(house.client.get("/readyz").await.body, "ready");
    let metrics = house.client.get("/metrics").await;
    assert_eq!((metrics.status, metrics.body.as_str()), (200, "# EOF\n"));
    let openmetrics = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    assert_eq!(metrics.header("content-type"), Some(openmetrics));
}

#[tokio::test]
async fn dialers_are_listed_paused_resumed_and_rotated() {
    let house = House::new().await;
    let list = house.client.get("/v1/dialers").await.expect(200);
    assert_eq!(list, serde_json::json!({"dialers": []}));
    for command in ["pause", "resume", "rotate"] {
        let target = format!("/v1/dialers/feed/{command}");
        house.client.post(&target, "").await.refused(404, "not_found");
    }

    let url = format!("ws://{}/echo?token=secret", house.listener);
    let dialer = house.supervisor.keep(lastword::DialerOptions::new("feed", &url)).unwrap();
    let ready = dialer.wait_for(|status| status.phase == DialerPhase::Ready);
    let connection = soon("ready", ready).await.unwrap().connection.unwrap();
    let list = house.client.get("/v1/dialers").await.expect(200);
    let shown = &list["dialers"][0];
    assert_eq!((&shown["name"], &shown["state"]), (&"feed".into(), &"ready".into()));
    assert_eq!(shown["connection"], connection.to_string());
    assert!(!list.to_string().contains("secret"), "{list}");

    house.client.post("/v1/dialers/feed/explode", "").await.refused(404, "not_found");
    house.client.post("/v1/dialers/feed/rotate", "").await.expect(202);
    let rotated = dialer.wait_for(|status| status.connection.is_some_and(|id| id != connection));
    soon("another connection", rotated).await.unwrap();
    house.client.post("/v1/dialers/feed/pause", "").await.expect(202);
    let paused = dialer.wait_for(|status| status.phase == DialerPhase::Paused);
    soon("the pause", paused).await.unwrap();
    house.client.post("/v1/dialers/feed/rotate", "").await.refused(409, "invalid_state");
    house.client.post("/v1/dialers/feed/resume", "").await.expect(202);
    let ready = dialer.wait_for(|status| status.phase == DialerPhase::Ready);
    soon("ready again", ready).await.unwrap();
}

/// Every call of CONTRACT section 5, and what backends and dialers need beside it.
const CALLS: [&str; 32] = [
    "get /v1/status",
    "get /v1/connections",
    "post /v1/connections",
    "get /v1/connections/{id}",
    "delete /v1/connections/{id}",
    "post /v1/connections/{id}/messages",
    "post /v1/connections/{id}/close",
    "post /v1/connections/{id}/token",
    "post /v1/broadcast",
    "get /v1/endings",
    "get /v1/endings/{id}",
    "get /v1/endings/summary",
    "get /v1/events",
    "post /v1/drain",
    "get /v1/drain",
    "delete /v1/drain",
    "get /v1/backends",
    "post /v1/backends/{route}/{number}/drain",
    "delete /v1/backends/{route}/{number}/drain",
    "get /v1/dialers",
    "get /v1/dialers/{name}",
    "delete /v1/dialers/{name}",
    "post /v1/dialers/{name}/{command}",
    "post /v1/reload",
    "post /v1/revocations",
    "get /v1/revocations",
    "get /v1/revocations/{n}",
    "delete /v1/revocations/{n}",
    "get /metrics",
    "get /livez",
    "get /readyz",
    "get /openapi.json",
];

#[tokio::test]
async fn the_description_has_every_call_and_every_record() {
    let house = House::new().await;
    let described = house.client.get("/openapi.json").await.expect(200);
    assert_eq!(described, serde_json::to_value(openapi()).unwrap());
    let mut calls = BTreeSet::new();
    for (path, methods) in described["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            calls.insert(format!("{method} {path}"));
            for (status, answer) in operation["responses"].as_object().unwrap() {
                let described = answer["description"].as_str().is_some_and(|text| !text.is_empty());
                assert!(described, "{method} {path} {status}");
            }
        }
    }
    let due: BTreeSet<String> = CALLS.iter().map(|call| (*call).to_owned()).collect();
    assert_eq!(calls, due);

    let schemas = &described["components"]["schemas"];
    for record in [
        "StatusRecord",
        "ReloadRecord",
        "LastReloadRecord",
        "BackendsRecord",
        "BackendRecord",
        "ConnectionPage",
        "ConnectionRecord",
        "EndingPageRecord",
        "EndingRecord",
        "SummaryRecord",
        "EventRecord",
        "OpenedRecord",
        "DrainRecord",
        "DrainRequest",
        "BroadcastRecord",
        "BroadcastRequest",
        "MessageRequest",
        "CloseRequest",
        "DialRequest",
        "AcceptedRecord",
        "ProblemRecord",
        "SelectorRecord",
    ] {
        assert!(schemas[record].is_object(), "{record}");
    }
    // Every reference leads somewhere.
    let text = described.to_string();
    let references: BTreeSet<&str> = text
        .split(r##""$ref":"#/components/schemas/"##)
        .skip(1)
        .map(|rest| rest.split('"').next().unwrap())
        .collect();
    assert!(references.len() > 15, "{references:?}");
    for reference in references {
        assert!(schemas[reference].is_object(), "{reference} is nowhere");
    }
}

#[tokio::test]
async fn a_record_has_the_fields_that_are_described() {
    let house = House::new().await;
    let (_peer, id) = house.peer("/echo").await;
    let described = house.client.get("/openapi.json").await.expect(200);
    let shown = house.client.get(&format!("/v1/connections/{id}")).await.expect(200);
    let fields: BTreeSet<&String> = shown.as_object().unwrap().keys().collect();
    let mut due = BTreeSet::new();
    for part in ["ConnectionRecord", "OriginRecord"] {
        let schema = &described["components"]["schemas"][part];
        let parts = schema["allOf"].as_array().cloned().unwrap_or_else(|| vec![schema.clone()]);
        for part in &parts {
            due.extend(
                part["properties"].as_object().into_iter().flat_map(|all| all.keys().cloned()),
            );
        }
    }
    assert_eq!(fields, due.iter().collect());
}
