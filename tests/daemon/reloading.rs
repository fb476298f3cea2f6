//! A reload: what it changes, and what it leaves alone.

mod applications;
mod guarding;
mod listeners;
mod many;
mod stage;

use serde_json::json;

use super::process::echo;
use crate::support::SOON;
use crate::support::daemon::Daemon;
use crate::support::raw_peer::RawPeer;
use stage::{Stage, refused};

/// A second route.
const OTHER: &str = "[[routes]]\nname = \"other\"\npath = \"/other\"\nbackend.kind = \"echo\"\n";

#[tokio::test]
async fn a_changed_file_is_used_however_it_is_asked_for() {
    let stage = Stage::start("").await;
    let mut peer = RawPeer::connect(stage.listener(), "/echo").await;
    let answer = stage.reload_with(OTHER).await.expect(200);
    let listeners = json!({ "added": [], "removed": [] });
    assert_eq!(
        answer,
        json!({ "changed": ["routes.other"], "needs_restart": [], "listeners": listeners })
    );
    echo(&mut RawPeer::connect(stage.listener(), "/other").await, "by the API").await;

    stage.write(&format!("{OTHER}[limits]\nwrite_timeout = \"7s\"\n[node]\nname = \"b2\"\n"));
    let printed = stage.cli(&["reload"]).await;
    assert_eq!(printed.code, Some(0), "{printed:?}");
    assert_eq!(
        printed.stdout,
        "changed: limits.write_timeout\nunchanged until the daemon is restarted: node.name\n"
    );
    let printed = stage.cli(&["reload", "--json"]).await;
    assert_eq!(
        serde_json::from_str::<serde_json::Value>(&printed.stdout).unwrap(),
        json!({ "changed": [], "needs_restart": ["node.name"], "listeners": listeners })
    );

    stage.write("");
    stage.daemon.signal("HUP").await;
    let fits = |line: &str| line.contains("was reloaded") && line.contains("signal:HUP");
    let line = stage.daemon.await_line(fits, SOON).await;
    assert!(line.contains("limits.write_timeout, routes.other"), "{line}");
    let refused = refused(stage.listener(), "/other").await;
    assert_eq!(refused, 404);
    echo(&mut peer, "and the old connection is still here").await;

    let status = stage.get("/v1/status").await.expect(200);
    let last = &status["last_reload"];
    assert_eq!(
        (&last["by"], &last["ok"], &last["error"]),
        (&json!("signal:HUP"), &json!(true), &json!(null))
    );
    let metrics = stage.daemon.metrics().await;
    assert!(metrics.contains("\nlastword_reload_total 4\n"), "{metrics}");
    assert!(metrics.contains("\nlastword_reload_failed_total 0\n"), "{metrics}");
    assert!(metrics.contains("\nlastword_config_last_reload_successful 1\n"), "{metrics}");
}

#[tokio::test]
async fn a_bad_file_changes_nothing_and_everybody_is_told() {
    let stage = Stage::start("").await;
    let mut peer = RawPeer::connect(stage.listener(), "/echo").await;
    stage.write("[limits]\nwrite_timeout = \"soon\"\nmemroy = \"1GiB\"\n");
    let arguments = stage.arguments();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let at_the_start = Daemon::refused(super::PROGRAM, &arguments).await;
    let problem = stage.post("/v1/reload").await.expect(422);
    assert_eq!(problem["type"], "urn:lastword:invalid_configuration");
    let detail = problem["detail"].as_str().unwrap();
    assert_eq!(
        at_the_start.stderr,
        detail.replace('\n', "\nlastword: ").replacen("", "lastword: ", 1) + "\n"
    );
    assert_eq!(detail.lines().count(), 2, "{detail}");

    let printed = stage.cli(&["reload"]).await;
    assert_eq!(printed.code, Some(1), "{printed:?}");
    assert_eq!(printed.stderr, at_the_start.stderr, "it says the same");
    stage.daemon.signal("HUP").await;
    for line in detail.lines() {
        stage.daemon.await_line(|logged| logged.contains(&line.replace('"', "\\\"")), SOON).await;
    }
    stage.until_reloads(0, 3).await;
    let last = stage.get("/v1/status").await.expect(200)["last_reload"].clone();
    assert_eq!((&last["ok"], &last["error"]), (&json!(false), &json!(detail)));
    let printed = stage.cli(&["status"]).await;
    assert!(printed.stdout.contains("refused, so nothing has changed"), "{printed:?}");
    let metrics = stage.daemon.metrics().await;
    assert!(metrics.contains("\nlastword_config_last_reload_successful 0\n"), "{metrics}");
    echo(&mut peer, "unmoved").await;
    echo(&mut RawPeer::connect(stage.listener(), "/echo").await, "as before").await;

    // What was right in a file with a mistake does not count either.
    stage.write(&format!("{OTHER}[close]\ntimeout = 7\n"));
    stage.post("/v1/reload").await.expect(422);
    assert_eq!(refused(stage.listener(), "/other").await, 404);
    std::fs::remove_file(stage.file()).unwrap();
    let problem = stage.post("/v1/reload").await.expect(422);
    assert!(problem["detail"].as_str().unwrap().contains("cannot be read"), "{problem}");
    assert_eq!(stage.reload_with("").await.expect(200)["changed"], json!([]));
}

#[tokio::test]
async fn what_opens_from_then_on_has_the_new_limits() {
    let stage = Stage::start("[limits]\nmax_message_size = \"64KiB\"\n").await;
    let mut old = RawPeer::connect(stage.listener(), "/echo").await;
    let text = "[limits]\nmax_message_size = \"1KiB\"\nmax_connections = 3\n";
    let changed = &stage.reload_with(text).await.expect(200)["changed"];
    let keys =
        json!(["limits.max_connections", "limits.max_message_size", "limits.max_frame_size"]);
    assert_eq!(*changed, keys);
    old.binary(vec![0; 32 * 1024]).await;
    assert_eq!(old.read_frame(SOON).await.payload.len(), 32 * 1024);
    let mut new = RawPeer::connect(stage.listener(), "/echo").await;
    new.binary(vec![0; 2 * 1024]).await;
    assert_eq!(new.expect_close(SOON).await.0, Some(1009));
    new.close(1009, "").await;
    stage.daemon.await_ending(|ending| ending["kind"] == "message_too_big", SOON).await;
    // Those that are open count.
    let _second = RawPeer::connect(stage.listener(), "/echo").await;
    let _third = RawPeer::connect(stage.listener(), "/echo").await;
    assert_eq!(refused(stage.listener(), "/echo").await, 503);
    stage.reload_with("[limits]\nmax_connections_per_ip = 2\n").await.expect(200);
    assert_eq!(refused(stage.listener(), "/echo").await, 503);
    stage.reload_with("").await.expect(200);
    echo(&mut RawPeer::connect(stage.listener(), "/echo").await, "room again").await;
}

#[tokio::test]
async fn tokens_change_with_their_file_and_with_its_name() {
    let stage = Stage::start("").await;
    let tokens = stage.path("tokens");
    std::fs::write(&tokens, "ops:0123456789abcdef\nwatch:read:fedcba9876543210\n").unwrap();
    let control = format!("[control]\ntoken_file = {tokens:?}\n");
    let answer = stage.reload_with(&control).await.expect(200);
    assert_eq!(answer["changed"], json!(["control.token_file"]));
    assert_eq!(stage.post("/v1/reload").await.status, 401);
    let with = |token: &'static str| stage.with(format!("Authorization: Bearer {token}\r\n"));
    assert_eq!(with("fedcba9876543210").post("/v1/reload").await.status, 403);
    let allowed = with("0123456789abcdef").post("/v1/reload").await.expect(200);
    assert_eq!(allowed["changed"], json!([]));
    let status = with("fedcba9876543210").get("/v1/status").await.expect(200);
    assert_eq!(status["last_reload"]["by"], "api:ops");
    // A file that cannot be used refuses the whole reload.
    std::fs::write(&tokens, "ops:short\n").unwrap();
    let refused = with("0123456789abcdef").post("/v1/reload").await;
    assert!(refused.expect(422)["detail"].as_str().unwrap().contains("control.token_file"));
    std::fs::write(&tokens, "new:0011223344556677\n").unwrap();
    with("0123456789abcdef").post("/v1/reload").await.expect(200);
    assert_eq!(with("0123456789abcdef").get("/v1/status").await.status, 401);
    with("0011223344556677").get("/v1/status").await.expect(200);
}

#[tokio::test]
async fn the_control_api_is_served_again_without_a_refused_request() {
    let stage = Stage::start("").await;
    let answer = stage.reload_with("[control]\nmax_connections = 8\nallow_dial = true\n").await;
    assert_eq!(
        answer.expect(200)["changed"],
        json!(["control.allow_dial", "control.max_connections"])
    );
    let started = stage.get("/v1/status").await.expect(200)["started_at"].clone();
    stage.reload_with("[control]\nheader_timeout = \"3s\"\n").await.expect(200);
    assert_eq!(stage.get("/v1/status").await.expect(200)["started_at"], started);
    let directory = stage.path("control.sock");
    let health = format!("[health]\nlisten = \"unix:{}\"\n", directory.display());
    assert_eq!(
        stage.reload_with(&health).await.expect(200)["changed"],
        json!(["control.header_timeout", "health.listen"])
    );
    assert!(directory.exists());
    stage.reload_with("").await.expect(200);
    let gone = || !directory.exists();
    super::process::until("the socket is removed", SOON, gone).await;
}

#[tokio::test]
async fn the_log_filter_and_what_is_recorded_change() {
    let stage = Stage::start("").await;
    let opened = |daemon: &Daemon| daemon.events("the connection opened").len();
    let mut first = RawPeer::connect(stage.listener(), "/echo?room=7").await;
    first.close(1000, "").await;
    // Its opening was published before its ending.
    stage.daemon.await_ending(|ending| ending["kind"] == "clean", SOON).await;
    let text = "[log]\nfilter = \"info,lastword::opened=debug\"\n[records]\nquery = \"keep\"\n";
    let answer = stage.reload_with(text).await.expect(200);
    assert_eq!(answer["changed"], json!(["records.query", "log.filter"]));
    let mut second = RawPeer::connect(stage.listener(), "/echo?room=8").await;
    stage.daemon.await_line(|line| line.contains("the connection opened"), SOON).await;
    assert_eq!(opened(&stage.daemon), 1, "the first one was not logged");
    second.close(1000, "").await;
    let endings = stage.daemon.await_endings(2, |ending| ending["kind"] == "clean", SOON).await;
    assert_eq!(
        (&endings[0]["path"], &endings[1]["path"]),
        (&json!("/echo?room=***"), &json!("/echo?room=8"))
    );
    let refused = stage.reload_with("[log]\nfilter = \"inof\"\n").await;
    assert!(refused.expect(422)["detail"].as_str().unwrap().contains("log.filter"));
}

#[tokio::test]
async fn a_daemon_that_stops_says_at_once_that_it_reloads_nothing() {
    let stage = Stage::start("[drain]\ndelay = \"1m\"\n").await;
    stage.daemon.signal("TERM").await;
    stage.daemon.await_line(|line| line.contains("the daemon is stopping"), SOON).await;
    let problem = stage.post("/v1/reload").await.expect(503);
    assert_eq!(problem["type"], "urn:lastword:stopping");
}
