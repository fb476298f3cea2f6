//! The daemon is stopped for a while (SIGSTOP) and goes on.

use std::time::Duration;

use super::PROGRAM;
use super::process::echo;
use crate::support::SOON;
use crate::support::daemon::Daemon;
use crate::support::frame::PING;
use crate::support::raw_peer::RawPeer;

#[tokio::test]
async fn silence_counts_only_while_the_daemon_could_listen() {
    let settings = [r#"keepalive.ping_interval="500ms""#, r#"keepalive.pong_timeout="1s""#];
    let daemon = Daemon::start(PROGRAM, &settings).await;
    let mut peer = RawPeer::connect(daemon.listener(), "/echo").await;
    let ping = peer.read_frame(SOON).await;
    assert_eq!(ping.opcode, PING);
    daemon.signal("STOP").await;
    // As if the whole machine was suspended, peers included.
    tokio::time::sleep(Duration::from_secs(3)).await;
    daemon.signal("CONT").await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    peer.pong(ping.payload).await;
    echo(&mut peer, "still there?").await;
    assert_eq!(daemon.endings(), [] as [serde_json::Value; 0]);
}
