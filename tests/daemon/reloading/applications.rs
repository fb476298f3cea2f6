//! Applications of a relay, and dialers.

use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::time::timeout;

use super::stage::Stage;
use crate::daemon::process::echo;
use crate::support::raw_peer::{End, RawPeer};
use crate::support::{A_WHILE, SOON};

/// A route to applications, with more keys of its backend.
fn relay(applications: &[&TcpListener], more: &str) -> String {
    let url = |at: &&TcpListener| format!("\"ws://{}\"", at.local_addr().unwrap());
    let urls = applications.iter().map(url).collect::<Vec<_>>().join(", ");
    format!(
        "[[routes]]\nname = \"app\"\npath = \"/app\"\nbackend.kind = \"relay\"\n\
         backend.urls = [{urls}]\n{more}\n"
    )
}

async fn application() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.unwrap()
}

/// Connects a client to an application, which is the next in turn.
async fn pair(stage: &Stage, application: &TcpListener) -> (RawPeer, RawPeer) {
    let client = RawPeer::connect(stage.listener(), "/app");
    let both = async { tokio::join!(client, RawPeer::accept(application)) };
    timeout(SOON, both).await.expect("awaited a relayed connection")
}

async fn pass(client: &mut RawPeer, application: &mut RawPeer) {
    client.text("ping").await;
    application.expect_text("ping").await;
    application.text("pong").await;
    client.expect_text("pong").await;
}

async fn backends(stage: &Stage) -> Vec<Value> {
    stage.get("/v1/backends").await.expect(200)["backends"].as_array().unwrap().clone()
}

#[tokio::test]
async fn an_application_that_leaves_is_drained_and_one_that_stays_keeps_its_clients() {
    let (first, second, third) = (application().await, application().await, application().await);
    let stage = Stage::start(&relay(&[&first, &second], "")).await;
    let (mut staying, mut app_of_staying) = pair(&stage, &first).await;
    let (mut leaving, mut app_of_leaving) = pair(&stage, &second).await;
    pass(&mut leaving, &mut app_of_leaving).await;

    let text = relay(&[&third, &first], "backend.tries = 3");
    let answer = stage.reload_with(&text).await.expect(200);
    assert_eq!(answer["changed"], json!(["routes.app"]));
    // That of the second application is drained.
    assert_eq!(leaving.expect_close(SOON).await, (Some(1012), "service restart".to_owned()));
    leaving.close(1012, "").await;
    assert_eq!(app_of_leaving.expect_close(SOON).await.0, Some(1012));
    app_of_leaving.close(1012, "").await;
    assert_eq!(leaving.expect_end(SOON).await, End::Fin);
    pass(&mut staying, &mut app_of_staying).await;
    let shown = backends(&stage).await;
    assert_eq!((&shown[1]["connections"], &shown[1]["chosen"]), (&json!(1), &json!(1)));
    assert_eq!((&shown[0]["connections"], shown.len()), (&json!(0), 2));
    // The new one is chosen for the next, and the first one's load counts when it ends.
    let (mut new, mut app_of_new) = pair(&stage, &third).await;
    pass(&mut new, &mut app_of_new).await;
    staying.close(1000, "").await;
    assert_eq!(app_of_staying.expect_close(SOON).await.0, Some(1000));
    app_of_staying.close(1000, "").await;
    stage.until_backend(1, |backend| backend["connections"] == 0).await;
    let drain = stage.get("/v1/drain").await.expect(200);
    assert_eq!((&drain["select"]["route"], &drain["total"]), (&json!("app"), &json!(1)));
}

#[tokio::test]
async fn a_drained_application_stays_drained_whatever_else_changes() {
    let (first, second) = (application().await, application().await);
    let stage = Stage::start(&relay(&[&first, &second], "")).await;
    stage.post("/v1/backends/app/0/drain").await.expect(202);
    stage.reload_with(&relay(&[&first, &second], "[close]\nreason_id = true")).await.expect(200);
    assert_eq!(backends(&stage).await[0]["state"], "draining");
    stage.reload_with(&relay(&[&second, &first], "backend.tries = 1")).await.expect(200);
    let shown = backends(&stage).await;
    assert_eq!((&shown[0]["state"], &shown[1]["state"]), (&json!("serving"), &json!("draining")));
    for _ in 0..2 {
        drop(pair(&stage, &second).await);
    }
}

fn dialer(name: &str, server: &TcpListener, more: &str) -> String {
    format!(
        "[[dialers]]\nname = \"{name}\"\nurl = \"ws://{}/feed\"\nbackend.kind = \"none\"\n{more}\n",
        server.local_addr().unwrap()
    )
}

async fn accepted(server: &TcpListener) -> RawPeer {
    timeout(SOON, RawPeer::accept(server)).await.expect("awaited a dial")
}

async fn is_left_alone(peer: &mut RawPeer, server: &TcpListener) {
    peer.expect_silence().await;
    assert!(timeout(A_WHILE, server.accept()).await.is_err(), "it was dialled again");
}

#[tokio::test]
async fn dialers_come_and_go_are_renewed_or_left_alone() {
    let (kept, changed, other) = (application().await, application().await, application().await);
    let text = dialer("kept", &kept, "") + &dialer("changed", &changed, "");
    let stage = Stage::start(&text).await;
    let (mut of_kept, mut of_changed) = (accepted(&kept).await, accepted(&changed).await);

    // A dial under way would be given up for one with the new options.
    stage.until_ready(2).await;
    let text = dialer("kept", &kept, "")
        + &dialer("changed", &changed, "on_open = [\"hello\"]")
        + &dialer("new", &other, "");
    let answer = stage.reload_with(&text).await.expect(200);
    assert_eq!(answer["changed"], json!(["dialers.changed", "dialers.new"]));
    // The changed one is rotated: the new connection comes before the old one goes.
    let mut renewed = accepted(&changed).await;
    renewed.expect_text("hello").await;
    assert_eq!(of_changed.expect_close(SOON).await, (Some(1000), "rotated".to_owned()));
    of_changed.close(1000, "").await;
    let mut of_new = accepted(&other).await;
    stage.until_ready(3).await;
    is_left_alone(&mut of_kept, &kept).await;

    // A limit holds for the next connection.
    let text = text + "[limits]\nmax_message_size = \"1KiB\"\n";
    stage.reload_with(&text).await.expect(200);
    is_left_alone(&mut of_kept, &kept).await;
    let without = dialer("kept", &kept, "") + "[limits]\nmax_message_size = \"1KiB\"\n";
    let answer = stage.reload_with(&without).await.expect(200);
    assert_eq!(answer["changed"], json!(["dialers.changed", "dialers.new"]));
    assert_eq!(renewed.expect_close(SOON).await, (Some(1000), "removed".to_owned()));
    assert_eq!(of_new.expect_close(SOON).await.0, Some(1000));
    echo_nothing(&mut of_kept).await;
    let dialers = stage.get("/v1/dialers").await.expect(200);
    assert_eq!(dialers["dialers"].as_array().unwrap().len(), 1);
    // A URL that moves.
    let answer = stage.reload_with(&dialer("kept", &other, "")).await.expect(200);
    assert_eq!(answer["changed"][0], "limits.max_message_size");
    let _moved = accepted(&other).await;
    assert_eq!(of_kept.expect_close(SOON).await, (Some(1000), "rotated".to_owned()));
    let shown = stage.get("/v1/dialers/kept").await.expect(200);
    let url = shown["url"].as_str().unwrap();
    assert!(url.contains(&other.local_addr().unwrap().to_string()), "{shown}");
}

/// A connection of a dialer that is open takes messages.
async fn echo_nothing(peer: &mut RawPeer) {
    peer.ping("still").await;
    assert_eq!(peer.read_frame(SOON).await.payload, b"still");
}

#[tokio::test]
async fn an_echo_route_may_become_a_relay_and_its_old_clients_keep_their_echo() {
    let application = application().await;
    let echoes = "[[routes]]\nname = \"app\"\npath = \"/app\"\nbackend.kind = \"echo\"\n";
    let stage = Stage::start(echoes).await;
    let mut old = RawPeer::connect(stage.listener(), "/app").await;
    stage.reload_with(&relay(&[&application], "")).await.expect(200);
    let (mut new, mut app) = pair(&stage, &application).await;
    pass(&mut new, &mut app).await;
    echo(&mut old, "echoed").await;
}
