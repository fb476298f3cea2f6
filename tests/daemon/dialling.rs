//! A configured dialer: kept, shown, commanded, and closed when the daemon stops.

use tokio::net::TcpListener;
use tokio::time::timeout;

use super::PROGRAM;
use crate::support::SOON;
use crate::support::daemon::{Daemon, arguments, command};
use crate::support::http::exchange;
use crate::support::raw_peer::RawPeer;

async fn ask(daemon: &Daemon, call: &str) -> (u16, String) {
    let host = daemon.control();
    let request = format!("{call} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    let answer = exchange(host, request, SOON).await;
    (answer.head.status(), answer.body)
}

#[tokio::test]
async fn a_dialer_of_the_configuration_is_kept_until_the_daemon_stops() {
    let feed = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let dialer = format!(
        r#"dialers=[{{name="feed", url="ws://{}/stream?token=secret", backend={{kind="none"}},
            headers={{authorization={{env="FEED_TOKEN"}}}}, on_open=["subscribe"],
            reconnect={{min="10ms"}}}}]"#,
        feed.local_addr().unwrap()
    );
    let dialer = dialer.replace('\n', " ");
    let mut serve = command(PROGRAM, &arguments(&[&dialer]));
    serve.env("FEED_TOKEN", "Bearer hunter2");
    let mut daemon = Daemon::start_command(serve).await;

    let peer = timeout(SOON, RawPeer::accept(&feed)).await.unwrap();
    assert_eq!(peer.head.header("authorization"), Some("Bearer hunter2"));
    peer.reset();
    let ending = daemon.await_ending(|ending| ending["dialer"] == "feed", SOON).await;
    assert_eq!(ending["kind"], "connection_reset");
    assert_eq!(ending["retry"], "backoff");

    let mut peer = timeout(SOON, RawPeer::accept(&feed)).await.unwrap();
    peer.expect_text("subscribe").await;
    let line = daemon.await_line(|line| line.contains("\"gap_ms\""), SOON).await;
    assert!(line.contains("the dialer is ready"), "{line}");
    let (status, body) = ask(&daemon, "GET /v1/dialers").await;
    assert_eq!(status, 200);
    assert!(body.contains(r#""state":"ready""#) && body.contains(r#""gaps":1"#), "{body}");

    daemon.signal("TERM").await;
    assert_eq!(peer.expect_close(SOON).await.0, Some(1012));
    peer.close(1012, "service restart").await;
    peer.fin().await;
    assert!(daemon.await_exit(SOON).await.success());
    assert!(timeout(crate::support::A_WHILE, feed.accept()).await.is_err(), "it dialled again");
    let log = daemon.log().join("\n");
    assert!(!log.contains("hunter2") && !log.contains("secret"), "{log}");
}
