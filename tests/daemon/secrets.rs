//! Secrets that must not appear in logs or records, and accesses that must be refused.

use std::os::unix::fs::PermissionsExt;

use super::PROGRAM;
use super::process::echo;
use crate::support::SOON;
use crate::support::daemon::Daemon;
use crate::support::http::{exchange, upgrade_request};
use crate::support::raw_peer::RawPeer;

const SECRET: &str = "hunter2";

const ROUTES: &str =
    r#"routes=[{name="all",path="/*",backend={kind="echo"},subprotocols=["bearer.hunter2"]}]"#;

fn is_unsafe(c: char) -> bool {
    c.is_control() && c != '\n' || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[tokio::test]
async fn what_a_client_sent_in_confidence_is_in_no_record() {
    let daemon = Daemon::start(PROGRAM, &[ROUTES]).await;
    let protocol = "Sec-WebSocket-Protocol: bearer.hunter2\r\n";
    let target = "/room;jsessionid=hunter2/x?token=hunter2";
    let mut peer = RawPeer::connect_with(daemon.listener(), target, protocol, b"").await;
    echo(&mut peer, "hello").await;
    let open = daemon.get("/v1/connections").await.body;
    peer.close(1000, "bye").await;
    peer.expect_close(SOON).await;
    for (host, target) in
        [("a", "http://u:hunter2@a/echo"), ("u:hunter2@a", "/echo"), ("hunter2@a", "/echo")]
    {
        let refused = exchange(daemon.listener(), upgrade_request(host, target, ""), SOON).await;
        assert_eq!(refused.head.status(), 400);
        assert!(!refused.body.contains(SECRET), "{}", refused.body);
    }
    daemon.await_endings(4, |_| true, SOON).await;
    let told = [open, daemon.get("/v1/endings").await.body, daemon.log().join("\n")];
    for text in told {
        assert!(text.contains("bearer.***") && text.contains(";jsessionid=***/x"), "{text}");
        assert!(!text.contains(SECRET), "{text}");
    }
}

#[tokio::test]
async fn what_a_client_wrote_does_nothing_to_a_terminal() {
    for format in ["text", "json"] {
        let format = format!("log.format=\"{format}\"");
        let daemon = Daemon::start(PROGRAM, &[ROUTES, &format]).await;
        let mut peer = RawPeer::connect(daemon.listener(), "/").await;
        let reason = "\u{9b}2J \u{202e}gpj.exe \u{2066}";
        peer.close(1000, reason).await;
        peer.expect_close(SOON).await;
        daemon.await_line(|line| line.contains("gpj.exe"), SOON).await;
        let endings = daemon.get("/v1/endings").await.body;
        for text in [&endings, &daemon.log().join("\n")] {
            assert!(text.contains("gpj.exe") && !text.contains(is_unsafe), "{text:?}");
        }
        let read: serde_json::Value = serde_json::from_str(&endings).unwrap();
        assert_eq!(read["endings"][0]["close_received"]["reason"], reason, "the value stays");
    }
}

#[tokio::test]
async fn a_wrong_token_leaves_a_line_without_it() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("tokens");
    std::fs::write(&file, "ops:0123456789abcdef\n").unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    let setting = format!("control.token_file=\"{}\"", file.display());
    let daemon = Daemon::start(PROGRAM, &[&setting]).await;
    for token in ["Authorization: Bearer hunter2hunter2hunter2\r\n"; 30] {
        let request = format!(
            "GET /v1/status HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{token}\r\n"
        );
        let answer = exchange(daemon.control(), request, SOON).await;
        assert_eq!(answer.head.status(), 401);
    }
    let line = daemon.await_line(|line| line.contains("the control API refused"), SOON).await;
    assert!(line.contains("WARN") && line.contains("127.0.0.1:"), "{line}");
    let lines = daemon.log();
    let refused = lines.iter().filter(|line| line.contains("the control API refused")).count();
    assert!(refused < 15, "{refused} lines of 30 refusals");
    assert!(!lines.iter().any(|line| line.contains(SECRET)), "{lines:?}");
}

#[tokio::test]
async fn signals_that_mean_nothing_do_nothing() {
    let mut daemon = Daemon::start(PROGRAM, &[]).await;
    let mut peer = RawPeer::connect(daemon.listener(), "/echo").await;
    for signal in ["USR2", "ALRM"] {
        daemon.signal(signal).await;
        daemon.await_line(|line| line.contains(&format!("SIG{signal} ")), SOON).await;
        echo(&mut peer, signal).await;
    }
    drop(peer);
    daemon.signal("TERM").await;
    assert_eq!(daemon.await_exit(SOON).await.code(), Some(0));
}
