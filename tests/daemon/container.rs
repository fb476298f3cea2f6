//! The daemon as PID 1, as in a container: signals reach it, and orphans leave no zombies.

use std::process::Command;
use std::time::Duration;

use super::PROGRAM;
use super::process::until;
use crate::support::daemon::{Daemon, arguments, command_in_shell};
use crate::support::raw_peer::RawPeer;
use crate::support::{SOON, skip};

/// Runs a program as PID 1 of its own namespace.
const NAMESPACE: [&str; 5] = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"];

/// Checks that this user may make one; else says why not.
fn may_be_pid_1() -> Result<(), String> {
    let tried = Command::new(NAMESPACE[0]).args(&NAMESPACE[1..]).arg("true").output();
    match tried {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => {
            Err(format!("no PID namespace: {}", String::from_utf8_lossy(&output.stderr).trim()))
        }
        Err(error) => Err(format!("unshare cannot be run: {error}")),
    }
}

/// The children of a process, and of its other threads.
fn children(pid: u32) -> Vec<u32> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let children = tasks
        .filter_map(|task| std::fs::read_to_string(task.unwrap().path().join("children")).ok());
    let children: Vec<String> = children.collect();
    children
        .iter()
        .flat_map(|list| list.split_whitespace())
        .map(|pid| pid.parse().unwrap())
        .collect()
}

fn send(signal: &str, pid: u32) {
    let kill = format!("kill -{signal} {pid}");
    assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
}

#[tokio::test]
async fn as_pid_1_it_stops_at_a_signal_and_leaves_no_zombies() {
    if let Err(why) = may_be_pid_1() {
        return skip("the daemon as PID 1", &why);
    }
    for signal in ["TERM", "INT"] {
        // The orphans: a child of the shell that becomes the daemon, and the child of one that has ended.
        let script = format!(
            r#"exec {} sh -c '(sleep 1 &); sleep 1 & exec "$0" "$@"' "$0" "$@""#,
            NAMESPACE.join(" ")
        );
        let arguments = arguments(&[r#"log.filter="info,lastword::daemon::orphans=debug""#]);
        let command = command_in_shell(&script, PROGRAM, &arguments);
        let mut daemon = Daemon::start_command(command).await;
        let reaped = || daemon.events("reaped an orphan").len() == 2;
        until("both are reaped", 2 * SOON, reaped).await;
        let init = children(daemon.pid())[0];
        assert!(children(init).is_empty());

        let mut peer = RawPeer::connect(daemon.listener(), "/echo").await;
        send(signal, init);
        assert_eq!(peer.expect_close(SOON).await.0, Some(1012));
        peer.close(1012, "").await;
        assert_eq!(daemon.await_exit(SOON + Duration::from_secs(2)).await.code(), Some(0));
    }
}
