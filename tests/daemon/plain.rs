//! Plain HTTP through the daemon: an unreachable application is logged, and no request holds a
//! stop.

use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

use super::PROGRAM;
use crate::support::SOON;
use crate::support::daemon::Daemon;
use crate::support::http::{exchange, read_request};

const PAGE: &str = "GET /page?token=secret HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

async fn in_front_of(listener: &TcpListener, settings: &[&str]) -> Daemon {
    let url = format!("ws://{}", listener.local_addr().unwrap());
    let backend = format!(r#"routes[0].backend={{kind="relay",url="{url}",http="proxy"}}"#);
    let ours = [r#"routes[0].path="/*""#, &backend, r#"health.listen="127.0.0.1:0""#];
    Daemon::start(PROGRAM, &[&ours[..], settings].concat()).await
}

#[tokio::test]
async fn an_application_that_is_not_there_is_one_warning_and_counted() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let daemon = in_front_of(&listener, &[]).await;
    drop(listener);
    for _ in 0..3 {
        assert_eq!(exchange(daemon.listener(), PAGE, SOON).await.head.status(), 502);
    }
    let warning = "plain HTTP: the application did not answer";
    daemon.await_line(|line| line.contains(warning), SOON).await;
    let metrics =
        exchange(daemon.address("health"), "GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n", SOON);
    let metrics = metrics.await.body;
    let counted = r#"lastword_http_requests_total{outcome="unreachable"} 3"#;
    assert!(metrics.contains(counted), "{metrics}");
    let log = daemon.log();
    assert_eq!(log.iter().filter(|line| line.contains(warning)).count(), 1, "{log:#?}");
    assert!(!log.iter().any(|line| line.contains("secret") || line.contains("open_failed")));
}

#[tokio::test]
async fn a_request_under_way_holds_a_stop_for_within_and_no_longer() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut daemon = in_front_of(&listener, &[r#"drain.within="1s""#]).await;
    let mut client = TcpStream::connect(daemon.listener()).await.unwrap();
    client.write_all(PAGE.as_bytes()).await.unwrap();
    let (mut application, _) = listener.accept().await.unwrap();
    read_request(&mut application, &mut Vec::new()).await;
    let began = Instant::now();
    daemon.signal("TERM").await;
    assert_eq!(daemon.await_exit(SOON).await.code(), Some(0));
    // It was `within` and 5 s.
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
}
