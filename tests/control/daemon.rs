//! The API of the daemon as its users have it.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use tokio::net::TcpListener;

use super::PROGRAM;
use super::client::Client;
use crate::support::SOON;
use crate::support::daemon::Daemon;
use crate::support::raw_peer::RawPeer;

#[tokio::test]
async fn it_serves_until_the_very_end_of_a_drain() {
    let mut daemon =
        Daemon::start(PROGRAM, &["drain.within=\"20s\"", "close.timeout=\"10s\""]).await;
    let client = Client::new(daemon.control());
    let mut events = client.follow("").await;
    let mut peer = RawPeer::connect(daemon.listener(), "/echo").await;
    assert_eq!(events.next().await.unwrap().word, "opened");
    daemon.signal("TERM").await;
    assert_eq!(peer.expect_close(SOON).await.0, Some(1012));
    // It waits for the peer, and says so.
    assert_eq!(client.get("/readyz").await.body, "draining");
    assert_eq!(client.get("/v1/status").await.expect(200)["phase"], "draining");
    let page = client.get("/v1/connections?state=close_sent").await.expect(200);
    assert_eq!(page["connections"].as_array().unwrap().len(), 1);
    peer.close(1012, "service restart").await;
    peer.fin().await;
    let told = events.rest().await;
    let last = told.iter().find(|told| told.word == "ended").expect("its ending is told");
    assert_eq!(
        (&last.data["ending"]["kind"], &last.data["ending"]["cause"]),
        (&"clean".into(), &"drain".into())
    );
    assert_eq!(daemon.await_exit(SOON).await.code(), Some(0));
}

#[tokio::test]
async fn a_second_signal_ends_streams_and_commands_too() {
    let mut daemon = Daemon::start(PROGRAM, &["close.timeout=\"30s\""]).await;
    let client = Client::new(daemon.control());
    let mut events = client.follow("?types=ended").await;
    let mut peer = RawPeer::connect(daemon.listener(), "/echo").await;
    daemon.signal("TERM").await;
    peer.expect_close(SOON).await;
    daemon.signal("TERM").await;
    let told = events.rest().await;
    assert_eq!(told[0].data["ending"]["kind"], "aborted");
    assert_eq!(daemon.await_exit(SOON).await.code(), Some(1));
}

#[tokio::test]
async fn it_is_a_unix_socket_if_asked_or_not_there_at_all() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("control.sock");
    let listen = format!("control.listen=\"unix:{}\"", path.display());
    let mut daemon = Daemon::start(PROGRAM, &[&listen]).await;
    assert!(daemon.printed.contains(&format!("control unix:{}", path.display())));
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
    let status = Client::new(&*path).with("Host: any").get("/v1/status").await.expect(200);
    assert_eq!(status["ledger"]["state"], "good");
    daemon.signal("TERM").await;
    assert_eq!(daemon.await_exit(SOON).await.code(), Some(0));
    assert!(!path.exists());

    let daemon = Daemon::start(PROGRAM, &["control.listen=\"\""]).await;
    assert!(
        daemon.printed.iter().all(|line| line.starts_with("listener ")),
        "{:?}",
        daemon.printed
    );
}

#[tokio::test]
async fn tokens_come_from_their_file_and_probes_go_without() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("tokens");
    std::fs::write(&path, "# who may\nops:0123456789abcdef\n").unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    let file = format!("control.token_file=\"{}\"", path.display());
    let everywhere = ["control.listen=\"0.0.0.0:0\"", "health.listen=\"127.0.0.1:0\"", &file];
    let daemon = Daemon::start(PROGRAM, &everywhere).await;
    daemon.await_line(|line| line.contains("chmod o-rwx"), SOON).await;
    let port = daemon.control().port();
    let client = Client::new(std::net::SocketAddr::from(([127, 0, 0, 1], port)));
    client.get("/readyz").await.refused(401, "unauthorized");
    client.with("Authorization: Bearer 0123456789abcdef").get("/v1/status").await.expect(200);
    let probes = Client::new(daemon.address("health"));
    for target in ["/livez", "/readyz", "/metrics"] {
        assert_eq!(probes.get(target).await.status, 200, "{target}");
    }
    assert_eq!(probes.get("/v1/status").await.status, 404);
    assert!(daemon.log().iter().all(|line| !line.contains("0123456789abcdef")));
}

#[tokio::test]
async fn the_token_file_is_followed_and_a_bad_one_is_told_without_a_token() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("tokens");
    let (old, new) = ("0123456789abcdef", "fedcba9876543210");
    let write = |text: String| {
        let next = directory.path().join("next");
        std::fs::write(&next, text).unwrap();
        std::fs::rename(next, &path).unwrap();
    };
    write(format!("ops:{old}\n"));
    let file = format!("control.token_file=\"{}\"", path.display());
    let daemon = Daemon::start(PROGRAM, &[&file]).await;
    let client =
        |token: &str| Client::new(daemon.control()).with(&format!("Authorization: Bearer {token}"));
    write(format!("ops:{new}\nbad line:{old}\n"));
    daemon.await_line(|line| line.contains("the tokens from before stay"), SOON).await;
    client(new).get("/v1/status").await.refused(401, "unauthorized");
    let metrics = client(old).get("/metrics").await.body;
    assert!(metrics.contains("lastword_token_file_failed_total 1\n"), "{metrics}");
    write(format!("dash:read:{new}\n"));
    daemon.await_line(|line| line.contains("the control API has new tokens"), SOON).await;
    client(old).get("/v1/status").await.refused(401, "unauthorized");
    client(new).get("/v1/status").await.expect(200);
    client(new).post("/v1/drain", "{}").await.refused(403, "scope");
    let log = daemon.log().join("\n");
    assert!(!log.contains(old) && !log.contains(new), "{log}");
}

#[tokio::test]
async fn it_dials_with_the_limits_of_the_configuration() {
    let daemon = Daemon::start(
        PROGRAM,
        &[
            "control.allow_dial=true",
            "limits.max_message_size=\"1KiB\"",
            "keepalive.ping_interval=\"0s\"",
        ],
    )
    .await;
    let client = Client::new(daemon.control());
    let body = serde_json::json!({"url": daemon.url("/echo"), "backend": "none"}).to_string();
    let dialled = client.post("/v1/connections", &body).await.expect(201);
    let id = dialled["id"].as_str().unwrap();
    let large = serde_json::json!({"text": "x".repeat(2000)}).to_string();
    client.post(&format!("/v1/connections/{id}/messages"), &large).await.expect(202);
    let inbound = |ending: &serde_json::Value| ending["direction"] == "inbound";
    let ending = daemon.await_ending(inbound, Duration::from_secs(10)).await;
    assert_eq!(ending["kind"], "message_too_big");
}

#[tokio::test]
async fn it_passes_feeds_on_and_lets_messages_in_as_the_configuration_says() {
    let (feeds, applications) = (listener().await, listener().await);
    let url = |listener: &TcpListener| format!("ws://{}/", listener.local_addr().unwrap());
    let routes = format!(
        "routes=[{{name=\"app\",path=\"/app\",inject=true,backend={{kind=\"relay\",url=\"{0}\"}}}}]",
        url(&applications)
    );
    let dialers = format!(
        "dialers=[{{name=\"feed\",url=\"{}\",on_open=[\"hello\"],backend={{kind=\"relay\",url=\"{}\"}}}}]",
        url(&feeds),
        url(&applications)
    );
    let daemon = Daemon::start(PROGRAM, &[&routes, &dialers]).await;
    let client = Client::new(daemon.control());
    let mut application = RawPeer::accept(&applications).await;
    let mut feed = RawPeer::accept(&feeds).await;
    feed.expect_text("hello").await;
    feed.text("tick").await;
    application.expect_text("tick").await;
    client.delete("/v1/dialers/feed").await.refused(409, "invalid_state");
    let (mut peer, mut application) =
        tokio::join!(RawPeer::connect(daemon.listener(), "/app"), RawPeer::accept(&applications));

    for leg in client.selected("", 4).await {
        let target = format!("/v1/connections/{}/messages", leg["id"].as_str().unwrap());
        let answer = client.post(&target, r#"{"text":"psst"}"#).await;
        match leg["dialer"].as_str() {
            Some("feed") => drop(answer.refused(403, "forbidden")),
            None => drop(answer.expect(202)),
            Some(other) => panic!("{other}"),
        }
    }
    peer.expect_text("psst").await;
    application.expect_text("psst").await;
}

async fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.unwrap()
}
