//! Subjects and tags: from paths and queries, and from an application's answer.

use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::time::timeout;

use super::daemon::told;
use super::{PROGRAM, lastword, ran};
use crate::support::SOON;
use crate::support::daemon::Daemon;
use crate::support::http::{exchange, upgrade_request};
use crate::support::raw_peer::RawPeer;

async fn rooms() -> Daemon {
    let route = "routes=[{ name = 'rooms', path = '/rooms/{room}', backend = { kind = 'echo' }, \
                 tags = { room = '{room}', app = '{query.app}', plan = 'gold' } }]";
    Daemon::start(PROGRAM, &[route]).await
}

async fn connections(daemon: &Daemon, arguments: &[&str], wanted: usize) -> Vec<Value> {
    let found = async {
        loop {
            let arguments = [&["ls", "--json"], arguments].concat();
            let page: Value = serde_json::from_str(&told(daemon, &arguments).await).unwrap();
            let page = page["connections"].as_array().unwrap().clone();
            if page.len() == wanted {
                return page;
            }
        }
    };
    timeout(SOON, found).await.expect("awaited connections")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_route_labels_its_connections_by_path_and_query() {
    let daemon = rooms().await;
    let mut seven = RawPeer::connect(daemon.listener(), "/rooms/7?app=web&token=x").await;
    let mut eight = RawPeer::connect(daemon.listener(), "/rooms/8").await;
    connections(&daemon, &[], 2).await;
    let found = connections(&daemon, &["--tag", "room:7"], 1).await;
    assert_eq!(found[0]["tags"], json!({"app": "web", "plan": "gold", "room": "7"}));
    assert_eq!(found[0]["path"], "/rooms/7?app=***&token=***");

    let report = told(&daemon, &["broadcast", "route=rooms,tag=room:7", "to room 7"]).await;
    assert_eq!(report, "queued for 1 of 1 connection\n");
    seven.expect_text("to room 7").await;
    told(&daemon, &["broadcast", "tag=plan:gold", "to all"]).await;
    seven.expect_text("to all").await;
    eight.expect_text("to all").await;

    seven.reset();
    let ending = daemon.await_ending(|ending| ending["kind"] == "connection_reset", SOON).await;
    assert_eq!(ending["tags"], json!({"app": "web", "plan": "gold", "room": "7"}));

    let long = format!("/rooms/{}", "x".repeat(257));
    let request = upgrade_request("a", &long, "");
    assert_eq!(exchange(daemon.listener(), request, SOON).await.head.status(), 400);
    let refused = daemon.await_ending(|ending| ending["open_failure"] == "bad_request", SOON).await;
    let detail = refused["detail"].as_str().unwrap();
    assert!(detail.contains("no value for room: the value of a tag has 256"), "{detail}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_application_tells_who_its_client_is() {
    let application = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = application.local_addr().unwrap();
    let route = format!(
        "routes=[{{ name = 'chat', path = '/chat/{{room}}', inject = true, \
         tags = {{ room = '{{room}}', from = 'path' }}, \
         backend = {{ kind = 'relay', url = 'ws://{url}' }} }}]"
    );
    let daemon = Daemon::start(PROGRAM, &[&route]).await;
    let lines = "Lastword-Subject: ann\r\nLastword-Tags: room=7, plan=gold\r\nX-Other: passes\r\n";
    let asked = RawPeer::accept_with(&application, lines, &[]);
    let more = "Lastword-Subject: root\r\nLastword-Tags: plan=free\r\n";
    let opening = RawPeer::connect_with(daemon.listener(), "/chat/lobby", more, &[]);
    let (mut app, mut client) = tokio::join!(asked, opening);
    // What a client says of itself is not passed on, and what is said of it is not shown to it.
    for name in ["lastword-subject", "lastword-tags"] {
        assert_eq!((app.head.header(name), client.head.header(name)), (None, None));
    }
    assert_eq!(client.head.header("x-other"), Some("passes"));

    connections(&daemon, &[], 2).await;
    let found = connections(&daemon, &["--subject", "ann"], 1).await;
    assert_eq!(found[0]["tags"], json!({"from": "path", "plan": "gold", "room": "7"}));
    assert_eq!(found[0]["direction"], "inbound");
    let report = told(&daemon, &["broadcast", "route=chat,tag=room:7", "hello"]).await;
    assert_eq!(report, "queued for 1 of 1 connection\n");
    client.expect_text("hello").await;
    let listed = told(&daemon, &["ls", "--subject", "ann"]).await;
    assert!(listed.contains("ann"), "{listed}");

    client.close(1000, "bye").await;
    app.expect_close(SOON).await;
    app.close(1000, "bye").await;
    let ending = daemon.await_ending(|ending| ending["subject"] == "ann", SOON).await;
    assert_eq!((&ending["direction"], &ending["kind"]), (&json!("inbound"), &json!("clean")));
    let story = told(&daemon, &["why", "ann"]).await;
    assert!(story.contains("ann") && story.contains("room"), "{story}");

    // What cannot be used turns the client away, with a reason for the operator.
    let asked = RawPeer::accept_with(&application, "Lastword-Tags: room\r\n", &[]);
    let request = upgrade_request("a", "/chat/lobby", "");
    let (mut app, refused) = tokio::join!(asked, exchange(daemon.listener(), request, SOON));
    assert_eq!(refused.head.status(), 502);
    assert_eq!(app.expect_close(SOON).await.0, Some(1001));
    let failed = daemon.await_ending(|ending| ending["kind"] == "open_failed", SOON).await;
    assert_eq!(failed["open_failure"], "backend_refused");
    let detail = failed["detail"].as_str().unwrap();
    assert!(detail.contains("Lastword-Tags cannot be used: write name=value"), "{detail}");
}

/// Two clients of one subject, one after the other, and their connections to the application.
async fn two_of_ann(daemon: &Daemon, application: &TcpListener) -> [(RawPeer, RawPeer); 2] {
    let mut both = Vec::new();
    for wanted in [2, 4] {
        let asked = RawPeer::accept_with(application, "Lastword-Subject: ann\r\n", &[]);
        let (app, client) = tokio::join!(asked, RawPeer::connect(daemon.listener(), "/chat"));
        both.push((client, app));
        connections(daemon, &[], wanted).await;
    }
    both.try_into().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subject_has_one_connection_where_the_route_says_so() {
    let application = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = application.local_addr().unwrap();
    for replace in ["oldest", "newest"] {
        let route = format!(
            "routes=[{{ name = 'chat', path = '/chat', replace = '{replace}', \
             backend = {{ kind = 'relay', url = 'ws://{url}' }} }}]"
        );
        let daemon = Daemon::start(PROGRAM, &[&route]).await;
        let [mut first, mut second] = two_of_ann(&daemon, &application).await;
        let (goes, stays) = match replace {
            "oldest" => (&mut first, &mut second),
            _ => (&mut second, &mut first),
        };
        assert_eq!(goes.0.expect_close(SOON).await, (Some(4409), "replaced".to_owned()));
        goes.0.close(4409, "").await;
        assert_eq!(goes.1.expect_close(SOON).await.0, Some(4409));
        goes.1.close(4409, "").await;
        let ending = daemon.await_ending(|ending| ending["subject"] == "ann", SOON).await;
        assert_eq!((&ending["cause"], &ending["retry"]), (&json!("replaced"), &json!("never")));
        assert_eq!((&ending["fault"], &ending["kind"]), (&json!("none"), &json!("clean")));
        stays.0.text("still here").await;
        stays.1.expect_text("still here").await;
        let story = told(&daemon, &["why", "ann"]).await;
        assert!(story.contains("another connection of its subject is open"), "{story}");
    }
}

#[test]
fn a_replacement_that_is_none_is_refused() {
    let route =
        "routes=[{ name = 'a', path = '/a', replace = 'all', backend = { kind = 'echo' } }]";
    let ran = ran(lastword(&["check", "--set", route]));
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert!(ran.stderr.contains("\"all\" is not one of none, oldest, newest"), "{}", ran.stderr);
}

#[test]
fn a_tag_of_a_segment_that_the_path_lacks_is_refused() {
    let route = "routes=[{ name = 'a', path = '/a/{room}', backend = { kind = 'echo' }, \
                 tags = { room = '{rom}' } }]";
    let ran = ran(lastword(&["check", "--set", route]));
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert!(ran.stderr.contains("{rom} is not in the route's path"), "{}", ran.stderr);
}
