//! The client commands and the daemon together: what one asks, the other answers.

use std::process::Stdio;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{PROGRAM, Ran, lastword, ran};
use crate::support::SOON;
use crate::support::daemon::Daemon;
use crate::support::http::{exchange, upgrade_request};
use crate::support::raw_peer::RawPeer;

/// Runs a command that asks this daemon.
pub(super) async fn ask(daemon: &Daemon, arguments: &[&str]) -> Ran {
    let mut command = lastword(arguments);
    command.env("LASTWORD_CONTROL", format!("http://{}", daemon.control()));
    tokio::task::spawn_blocking(move || ran(command)).await.unwrap()
}

/// Runs a command that has to succeed; returns what it prints.
pub(super) async fn told(daemon: &Daemon, arguments: &[&str]) -> String {
    let ran = ask(daemon, arguments).await;
    assert_eq!(ran.code, Some(0), "{arguments:?}: {ran:?}");
    ran.stdout
}

/// The last 12 digits of the id of the only connection, once it is there: the peer's 101 comes first.
pub(super) async fn only_one(daemon: &Daemon) -> String {
    let found = async {
        loop {
            let page: Value = serde_json::from_str(&told(daemon, &["ls", "--json"]).await).unwrap();
            match page["connections"].as_array().unwrap().as_slice() {
                [] => {}
                [only] => {
                    let id = only["id"].as_str().unwrap();
                    return id[id.len() - 12..].to_owned();
                }
                several => panic!("{several:?}"),
            }
        }
    };
    timeout(SOON, found).await.expect("awaited a connection")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_is_listed_shown_told_and_closed() {
    let daemon = Daemon::start(PROGRAM, &[]).await;
    let mut peer = RawPeer::connect(daemon.listener(), "/echo?token=secret").await;
    let id = only_one(&daemon).await;
    let address = peer.local_addr().to_string();

    let listed = told(&daemon, &["ls", "--route", "echo", "--state", "open"]).await;
    assert!(listed.contains(&id) && listed.contains(&address), "{listed}");
    let shown = told(&daemon, &["show", &id]).await;
    assert!(shown.contains("/echo?token=***"), "{shown}");
    let stands = told(&daemon, &["why", &id]).await;
    assert!(stands.contains("has not ended: it is open"), "{stands}");

    assert_eq!(told(&daemon, &["send", &id, "hello"]).await, format!("queued for {id}\n"));
    peer.expect_text("hello").await;
    let report = told(&daemon, &["broadcast", "route=echo", "all of you"]).await;
    assert_eq!(report, "queued for 1 of 1 connection\n");
    peer.expect_text("all of you").await;

    let arguments = ["close", id.as_str(), "--code", "4000", "--reason", "so long"];
    let closing = ask(&daemon, &arguments);
    let answering = async {
        assert_eq!(peer.expect_close(SOON).await, (Some(4000), "so long".to_owned()));
        peer.close(4000, "").await;
        peer.fin().await;
    };
    let (closed, ()) = tokio::join!(closing, answering);
    assert!(closed.code == Some(0) && closed.stdout.contains("clean: this end"), "{closed:?}");

    for word in [id.as_str(), &address, "127.0.0.1"] {
        let story = told(&daemon, &["why", word]).await;
        assert!(story.starts_with(&format!("{id} ended ")), "{story}");
        for part in [
            "This end closed first, with 4000 (a code of the application) \"so long\"",
            "because of a request to the control API",
            "The peer answered with the same code.",
            "The control API, with the token named local.",
        ] {
            assert!(story.contains(part), "{part}\n{story}");
        }
    }
    let listed = told(&daemon, &["endings", "--since", "1h", "--kind", "clean"]).await;
    assert!(listed.contains(&id), "{listed}");
    let summary = told(&daemon, &["endings", "--summary", "--by", "cause"]).await;
    assert!(summary.contains("api") && summary.contains("100.0 %"), "{summary}");
    let status = told(&daemon, &["status"]).await;
    assert!(status.contains("1 opened = 0 open + 1 ended"), "{status}");

    let again = told(&daemon, &["abort", &id]).await;
    assert!(again.contains("clean"), "the recorded ending: {again}");
    let ran = ask(&daemon, &["show", &id]).await;
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert_eq!(ask(&daemon, &["send", &id, "too late"]).await.code, Some(1));
    assert_eq!(ask(&daemon, &["why", "nobody"]).await.code, Some(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_proxy_of_a_client_is_shown_and_told() {
    let settings = [
        r#"listeners[0].trusted_proxies=["127.0.0.1"]"#,
        "listeners[0].proxy_protocol=true",
        r#"routes=[{name="echo",path="/echo",backend={kind="echo"}}]"#,
    ];
    let daemon = Daemon::start(PROGRAM, &settings).await;
    let header = "PROXY TCP4 203.0.113.9 10.0.0.5 51342 443\r\n";
    let mut stream = TcpStream::connect(daemon.listener()).await.unwrap();
    let via = stream.local_addr().unwrap();
    stream.write_all(header.as_bytes()).await.unwrap();
    let peer = RawPeer::upgrade(stream, "/echo", "", &[]).await;
    let id = only_one(&daemon).await;
    let shown = told(&daemon, &["show", &id]).await;
    let value = |name: &str| {
        shown.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim().to_owned()
    };
    assert_eq!(value("via"), via.to_string(), "{shown}");
    assert_eq!(value("peer"), "203.0.113.9:51342", "{shown}");
    peer.reset();
    daemon.await_ending(|ending| ending["kind"] == "connection_reset", SOON).await;
    let story = told(&daemon, &["why", &id]).await;
    let by = format!("by 203.0.113.9:51342 through the proxy {via}");
    assert!(story.contains(&by), "{story}");

    let request = format!("{header}{}", upgrade_request("a", "/nowhere", ""));
    let answer = exchange(daemon.listener(), request, SOON).await;
    assert_eq!(answer.head.status(), 404);
    let refused = daemon.await_ending(|e| e["open_failure"] == "no_route", SOON).await;
    let id = refused["id"].as_str().unwrap();
    let story = told(&daemon, &["why", &id[id.len() - 12..]]).await;
    let by = format!("203.0.113.9:51342 through the proxy {}", refused["via"].as_str().unwrap());
    assert!(story.contains(&by), "{story}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn losses_attempts_and_dials_have_their_stories() {
    let daemon = Daemon::start(PROGRAM, &["control.allow_dial=true"]).await;
    let peer = RawPeer::connect(daemon.listener(), "/echo").await;
    let id = only_one(&daemon).await;
    peer.reset();
    daemon.await_ending(|ending| ending["kind"] == "connection_reset", SOON).await;
    let story = told(&daemon, &["why", &id]).await;
    assert!(story.contains("browsers report this as 1006"), "{story}");

    // Port 1 has no listener.
    let failed = ask(&daemon, &["dial", "ws://127.0.0.1:1/"]).await;
    assert_eq!(failed.code, Some(1), "{failed:?}");
    let attempt = failed.stderr.split("lastword why ").nth(1).expect("where to look");
    // The answer may come before the attempt is on record; the log comes after.
    daemon.await_ending(|ending| ending["open_failure"] == "connect_refused", SOON).await;
    let story = told(&daemon, &["why", &attempt[..12]]).await;
    assert!(story.contains("never opened") && story.contains("connect_refused"), "{story}");

    let url = daemon.url("/echo");
    let dialled = told(&daemon, &["dial", &url, "--tag", "room=7", "--header", "X-A: b"]).await;
    assert!(dialled.contains("  open to 127.0.0.1:"), "{dialled}");
    let listed = told(&daemon, &["ls", "--tag", "room:7", "--direction", "outbound"]).await;
    assert_eq!(listed.lines().count(), 2, "{listed}");

    let kept = told(&daemon, &["dial", &url, "--reconnect", "--name", "again"]).await;
    assert!(kept.starts_with("dialer again  connecting to ws://"), "{kept}");
    assert_eq!(ask(&daemon, &["dial", &url, "--reconnect", "--name", "again"]).await.code, Some(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_is_watched_and_events_tell_of_it() {
    let daemon = Daemon::start(PROGRAM, &[]).await;
    let mut peer = RawPeer::connect(daemon.listener(), "/echo").await;
    let id = only_one(&daemon).await;
    let draining = ask(&daemon, &["drain", "--within", "20s", "--rate", "100", "--code", "1001"]);
    let answering = async {
        assert_eq!(peer.expect_close(SOON).await.0, Some(1001));
        peer.close(1001, "").await;
        peer.fin().await;
    };
    let (drained, ()) = tokio::join!(draining, answering);
    assert_eq!(drained.code, Some(0), "{drained:?}");
    assert!(drained.stdout.starts_with("finished: 1 connection, 1 closed, in "), "{drained:?}");
    let story = told(&daemon, &["why", &id]).await;
    assert!(story.contains("because of a drain") && story.contains("The drain "), "{story}");

    // Followed from the start, the stream has what happened; it ends with the daemon.
    let control = format!("http://{}", daemon.control());
    let mut following = tokio::process::Command::new(PROGRAM)
        .args(["events", "--types", "opened,ended", "--since-id", "0", "--control", &control])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(following.stdout.take().unwrap()).lines();
    let ended = format!("ended        {id}  clean");
    let heard = async {
        while let Some(line) = lines.next_line().await.unwrap() {
            if line.contains(&ended) {
                return;
            }
        }
        panic!("the stream ended before the ending was told");
    };
    timeout(SOON, heard).await.expect("awaited the event of the ending");
    daemon.signal("TERM").await;
    let followed = timeout(SOON, following.wait_with_output()).await.expect("awaited the end");
    let followed = followed.unwrap();
    assert_eq!(followed.status.code(), Some(3));
    let said = String::from_utf8_lossy(&followed.stderr);
    assert!(said.contains("--since-id"), "{said}");
}
