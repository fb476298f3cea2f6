//! Stopping: signals, the drain, its deadline, and the accounting at the end.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::time::{Duration, Instant, SystemTime};

use serde_json::Value;
use tokio::task::JoinSet;

use super::PROGRAM;
use super::process::{echo, until};
use crate::support::SOON;
use crate::support::daemon::{Daemon, command};
use crate::support::http::{exchange, upgrade_request};
use crate::support::raw_peer::{End, RawPeer};

/// Returns the totals in the last log line after the process has ended: opened and ended.
fn accounting(daemon: &Daemon, message: &str) -> (u64, u64) {
    let last = daemon.events(message).pop().expect("the last line tells how it stopped");
    assert!(daemon.events("the accounting does not balance: please report this").is_empty());
    (last["opened"].as_u64().unwrap(), last["ended"].as_u64().unwrap())
}

fn is_ended(ending: &Value) -> bool {
    ending["kind"] != "open_failed"
}

/// Takes the Close that every client gets when the daemon stops.
async fn expect_restart(peer: &mut RawPeer) {
    assert_eq!(peer.expect_close(SOON).await, (Some(1012), "service restart".to_owned()));
}

/// Takes it, echoes it, and sees the server's FIN.
async fn leave_as_asked(peer: &mut RawPeer) {
    expect_restart(peer).await;
    peer.close(1012, "service restart").await;
    assert_eq!(peer.expect_end(SOON).await, End::Fin);
}

async fn handshake_status(daemon: &Daemon) -> u16 {
    let request = upgrade_request("x", "/echo", "");
    exchange(daemon.listener(), request, SOON).await.head.status()
}

async fn readiness(daemon: &Daemon, path: &str) -> u16 {
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
    exchange(daemon.address("health"), request, SOON).await.head.status()
}

#[tokio::test]
async fn a_signal_closes_every_client_and_exits_with_0() {
    for (signal, by) in [("TERM", "signal:TERM"), ("INT", "signal:INT")] {
        let mut daemon = Daemon::start(PROGRAM, &[]).await;
        let mut peers = Vec::new();
        for n in 0..5 {
            let mut peer = RawPeer::connect(daemon.listener(), "/echo").await;
            echo(&mut peer, &n.to_string()).await;
            peers.push(peer);
        }
        daemon.signal(signal).await;
        for peer in &mut peers {
            leave_as_asked(peer).await;
        }
        drop(peers);
        assert_eq!(daemon.await_exit(SOON).await.code(), Some(0));
        let endings = daemon.endings();
        assert_eq!(endings.len(), 5);
        for ending in endings {
            for (key, value) in [
                ("kind", "clean"),
                ("fault", "operator"),
                ("cause", "drain"),
                ("first_close", "local"),
                ("state", "closed"),
                ("transport_end", "fin"),
                ("by", by),
                ("retry", "backoff"),
            ] {
                assert_eq!(ending[key], value, "{key} of {ending}");
            }
            assert_eq!(ending["close_code"], 1012);
        }
        assert_eq!(accounting(&daemon, "the daemon stopped"), (5, 5));
    }
}

#[tokio::test]
async fn without_connections_it_stops_at_once() {
    let mut daemon = Daemon::start(PROGRAM, &["drain.within=\"60s\""]).await;
    daemon.signal("TERM").await;
    assert_eq!(daemon.await_exit(SOON).await.code(), Some(0));
    assert_eq!(accounting(&daemon, "the daemon stopped"), (0, 0));
}

#[tokio::test]
async fn code_and_reason_are_the_operator_s() {
    let settings = ["drain.code=4000", "drain.reason=\"moving\"", "close.reason_id=true"];
    let mut daemon = Daemon::start(PROGRAM, &settings).await;
    let mut peer = RawPeer::connect(daemon.listener(), "/echo").await;
    daemon.signal("TERM").await;
    let (code, reason) = peer.expect_close(SOON).await;
    peer.close(4000, "").await;
    assert_eq!(daemon.await_exit(SOON).await.code(), Some(0));
    let ending = daemon.await_ending(|_| true, SOON).await;
    let id = ending["id"].as_str().unwrap();
    assert_eq!((code, reason), (Some(4000), format!("moving [{}]", &id[id.len() - 12..])));
}

#[tokio::test]
async fn for_the_delay_it_is_not_ready_and_still_accepts_then_it_refuses() {
    let settings = ["drain.delay=\"4s\"", "drain.within=\"20s\"", "health.listen=\"127.0.0.1:0\""];
    let mut daemon = Daemon::start(PROGRAM, &settings).await;
    let mut early = RawPeer::connect(daemon.listener(), "/echo").await;
    assert_eq!(readiness(&daemon, "/readyz").await, 200);

    daemon.signal("TERM").await;
    daemon.await_line(|line| line.contains(r#""message":"the daemon is stopping""#), SOON).await;
    assert_eq!(readiness(&daemon, "/readyz").await, 503);
    assert_eq!(readiness(&daemon, "/livez").await, 200);
    let mut late = RawPeer::connect(daemon.listener(), "/echo").await;
    echo(&mut late, "still welcome").await;
    early.expect_silence().await;

    for peer in [&mut early, &mut late] {
        assert_eq!(peer.expect_close(2 * SOON).await.0, Some(1012));
    }
    let answer = exchange(daemon.listener(), upgrade_request("x", "/echo", ""), SOON).await;
    assert_eq!(answer.head.status(), 503);
    assert!(answer.head.header("retry-after").is_some(), "{answer:?}");
    assert_eq!(answer.head.header("connection"), Some("close"));
    // Whatever else is wrong with a request, that it comes too late is said first.
    let answer = exchange(daemon.listener(), "POST /none HTTP/1.1\r\nHost: x\r\n\r\n", SOON).await;
    assert_eq!(answer.head.status(), 503);
    assert_eq!(readiness(&daemon, "/readyz").await, 503);
    assert_eq!(readiness(&daemon, "/livez").await, 200);

    for peer in [&mut early, &mut late] {
        peer.close(1012, "").await;
    }
    assert_eq!(daemon.await_exit(SOON).await.code(), Some(0));
    let endings = daemon.endings();
    let refused = endings.iter().filter(|ending| ending["open_failure"] == "refused_draining");
    assert_eq!((refused.count(), endings.len()), (2, 4));
    assert_eq!(accounting(&daemon, "the daemon stopped"), (2, 2));
}

#[tokio::test]
async fn who_never_answers_is_cut_off_at_the_deadline() {
    let mut daemon = Daemon::start(PROGRAM, &["drain.within=\"500ms\""]).await;
    let mut silent = RawPeer::connect(daemon.listener(), "/echo").await;
    let mut polite = RawPeer::connect(daemon.listener(), "/echo").await;
    let asked = Instant::now();
    daemon.signal("TERM").await;
    leave_as_asked(&mut polite).await;
    expect_restart(&mut silent).await;
    assert_eq!(silent.expect_end(SOON).await, End::Reset);
    assert_eq!(daemon.await_exit(SOON).await.code(), Some(0));
    assert!(asked.elapsed() >= Duration::from_millis(500), "{:?}", asked.elapsed());

    let cut = daemon.await_ending(|ending| ending["kind"] == "drain_deadline", SOON).await;
    for (key, value) in [
        ("fault", "operator"),
        ("cause", "drain"),
        ("first_close", "local"),
        ("state", "close_sent"),
        ("transport_end", "local"),
        ("by", "signal:TERM"),
    ] {
        assert_eq!(cut[key], value, "{key} of {cut}");
    }
    assert_eq!((&cut["close_sent"]["code"], &cut["close_code"]), (&1012.into(), &1006.into()));
    assert_eq!(daemon.endings().len(), 2);
    assert_eq!(accounting(&daemon, "the daemon stopped"), (2, 2));
}

#[tokio::test]
async fn a_second_signal_aborts_what_is_left_and_exits_with_1() {
    for (first, second) in [("TERM", "TERM"), ("TERM", "INT"), ("INT", "INT")] {
        let mut daemon = Daemon::start(PROGRAM, &[]).await;
        let mut peer = RawPeer::connect(daemon.listener(), "/echo").await;
        daemon.signal(first).await;
        expect_restart(&mut peer).await;
        daemon.signal(second).await;
        assert_eq!(peer.expect_end(SOON).await, End::Reset);
        assert_eq!(daemon.await_exit(SOON).await.code(), Some(1));
        let endings = daemon.endings();
        assert_eq!(endings.len(), 1);
        let ending = &endings[0];
        let by = format!("signal:{second}");
        for (key, value) in [
            ("kind", "aborted"),
            ("fault", "operator"),
            ("cause", "drain"),
            ("first_close", "local"),
            ("state", "close_sent"),
            ("transport_end", "local"),
            ("by", &by),
        ] {
            assert_eq!(ending[key], value, "{key} of {ending}");
        }
        assert_eq!(ending["close_sent"]["code"], 1012, "{ending}");
        assert_eq!(accounting(&daemon, "the daemon was forced to stop"), (1, 1));
    }
}

#[tokio::test]
async fn a_second_signal_during_the_delay_aborts_who_was_never_asked() {
    let mut daemon = Daemon::start(PROGRAM, &["drain.delay=\"60s\""]).await;
    let mut peer = RawPeer::connect(daemon.listener(), "/echo").await;
    echo(&mut peer, "here").await;
    daemon.signal("TERM").await;
    daemon.await_line(|line| line.contains(r#""message":"the daemon is stopping""#), SOON).await;
    daemon.signal("TERM").await;
    assert_eq!(peer.expect_end(SOON).await, End::Reset);
    assert_eq!(daemon.await_exit(SOON).await.code(), Some(1));
    let ending = daemon.await_ending(is_ended, SOON).await;
    for (key, value) in
        [("kind", "aborted"), ("cause", "drain"), ("first_close", "none"), ("state", "open")]
    {
        assert_eq!(ending[key], value, "{key} of {ending}");
    }
}

/// A stdout that takes nothing holds the daemon where it listens and is not ready yet.
#[tokio::test]
async fn a_signal_before_it_is_ready_is_an_orderly_stop() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("x.sock");
    let listen = format!("listeners[0].listen=\"unix:{}\"", socket.display());
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    theirs.set_nonblocking(true).unwrap();
    while (&theirs).write(&[b'.'; 4096]).is_ok() {}
    theirs.set_nonblocking(false).unwrap();

    let mut command = command(PROGRAM, &["serve", "--set", &listen]);
    let mut child = command.stdout(OwnedFd::from(theirs)).spawn().unwrap();
    drop(command);
    until("it listens", SOON, || UnixStream::connect(&socket).is_ok()).await;
    let kill = format!("kill -TERM {}", child.id().unwrap());
    assert!(
        tokio::process::Command::new("sh").args(["-c", &kill]).status().await.unwrap().success()
    );
    let said = tokio::task::spawn_blocking(move || {
        let mut said = Vec::new();
        ours.read_to_end(&mut said).unwrap();
        said
    });
    let status = tokio::time::timeout(SOON, child.wait()).await.expect("awaited its exit").unwrap();
    assert_eq!(status.code(), Some(0));
    let said = String::from_utf8(said.await.unwrap()).unwrap();
    assert!(said.trim_start_matches('.').starts_with("listener public"), "{said}");
    assert!(!socket.exists());
}

#[tokio::test]
async fn a_signal_at_any_moment_of_the_start_ends_it() {
    for millis in [0, 1, 2, 5, 10, 20, 40, 80] {
        let mut command =
            command(PROGRAM, &["serve", "--set", r#"listeners[0].listen="127.0.0.1:0""#]);
        let mut child = command.spawn().unwrap();
        tokio::time::sleep(Duration::from_millis(millis)).await;
        let kill = format!("kill -TERM {}", child.id().unwrap());
        tokio::process::Command::new("sh").args(["-c", &kill]).status().await.unwrap();
        let status = tokio::time::timeout(SOON, child.wait()).await.expect("awaited its exit");
        let status = status.unwrap();
        // Before it could say what to do with a signal, the kernel does it.
        let ended = status.code() == Some(0) || status.signal() == Some(libc::SIGTERM);
        assert!(ended, "after {millis} ms: {status}");
    }
}

#[tokio::test]
async fn sighup_reloads_and_does_nothing_while_the_daemon_stops() {
    let mut daemon = Daemon::start(PROGRAM, &[]).await;
    let mut peer = RawPeer::connect(daemon.listener(), "/echo").await;
    daemon.signal("HUP").await;
    daemon.await_line(|line| line.contains("the configuration was reloaded"), SOON).await;
    echo(&mut peer, "still here").await;
    let mut another = RawPeer::connect(daemon.listener(), "/echo").await;
    echo(&mut another, "and here").await;
    daemon.signal("TERM").await;
    expect_restart(&mut peer).await;
    daemon.signal("HUP").await;
    for peer in [&mut peer, &mut another] {
        peer.close(1012, "").await;
    }
    assert_eq!(daemon.await_exit(SOON).await.code(), Some(0));
    assert!(daemon.endings().iter().all(|ending| ending["kind"] == "clean"));
}

#[tokio::test]
async fn a_drain_that_is_spread_closes_300_clients_over_time_and_all_clean() {
    let settings =
        ["drain.spread=\"1s\"", "drain.within=\"20s\"", "limits.handshakes_per_second=0"];
    let mut daemon = Daemon::start(PROGRAM, &settings).await;
    let mut clients = JoinSet::new();
    for _ in 0..300 {
        let mut peer = RawPeer::connect(daemon.listener(), "/echo").await;
        clients.spawn(async move {
            assert_eq!(peer.expect_close(6 * SOON).await.0, Some(1012));
            peer.close(1012, "").await;
            peer.expect_end(SOON).await
        });
    }
    daemon.signal("TERM").await;
    let ends = clients.join_all().await;
    assert!(ends.iter().all(|end| *end == End::Fin));
    assert_eq!(daemon.await_exit(4 * SOON).await.code(), Some(0));

    let endings = daemon.endings();
    assert!(endings.iter().all(|ending| ending["kind"] == "clean"));
    let times = endings
        .iter()
        .map(|ending| humantime::parse_rfc3339(ending["ended_at"].as_str().unwrap()).unwrap());
    let times: Vec<SystemTime> = times.collect();
    let (first, last) = (times.iter().min().unwrap(), times.iter().max().unwrap());
    let took = last.duration_since(*first).unwrap();
    assert!(took > Duration::from_millis(700), "closed within {took:?}");
    assert_eq!((endings.len(), accounting(&daemon, "the daemon stopped")), (300, (300, 300)));
}

/// Clients that come while it stops are refused, or they are connections with an ending.
#[tokio::test]
async fn a_client_that_gets_in_while_it_stops_gets_an_ending() {
    let mut daemon = Daemon::start(PROGRAM, &["limits.handshakes_per_second=0"]).await;
    let address = daemon.listener();
    let mut clients = JoinSet::new();
    for _ in 0..8 {
        clients.spawn(async move {
            let mut opened = Vec::new();
            // Until the address is free.
            while let Ok(stream) = tokio::net::TcpStream::connect(address).await {
                let local = stream.local_addr().unwrap();
                if was_upgraded(stream).await {
                    opened.push(local.to_string());
                }
            }
            opened
        });
    }
    daemon.await_endings(50, |_| true, 2 * SOON).await;
    daemon.signal("TERM").await;
    let opened: Vec<String> = clients.join_all().await.concat();
    assert_eq!(daemon.await_exit(2 * SOON).await.code(), Some(0));

    let mut endings: HashMap<String, Vec<Value>> = HashMap::new();
    for ending in daemon.endings().into_iter().filter(is_ended) {
        endings.entry(ending["peer"].as_str().unwrap().to_owned()).or_default().push(ending);
    }
    for peer in &opened {
        let ending = endings.remove(peer).unwrap_or_else(|| panic!("{peer} has no ending"));
        assert_eq!(ending.len(), 1, "{ending:?}");
    }
    let (opened_in_all, ended) = accounting(&daemon, "the daemon stopped");
    assert_eq!(opened_in_all, ended);
}

/// Opens a WebSocket and ends it; tells whether there was a 101.
async fn was_upgraded(stream: tokio::net::TcpStream) -> bool {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = stream;
    let mut answer = Vec::new();
    let exchange = async {
        stream.write_all(upgrade_request("x", "/echo", "").as_bytes()).await?;
        while !answer.windows(4).any(|four| four == b"\r\n\r\n") {
            if stream.read_buf(&mut answer).await? == 0 {
                break;
            }
        }
        Ok::<_, std::io::Error>(())
    };
    let _ = tokio::time::timeout(SOON, exchange).await.expect("awaited an answer or the end");
    answer.starts_with(b"HTTP/1.1 101 ")
}

#[tokio::test]
async fn an_attempt_under_way_is_recorded_when_it_is_cut_off() {
    let mut daemon = Daemon::start(PROGRAM, &[]).await;
    let half_open = std::net::TcpStream::connect(daemon.listener()).unwrap();
    (&half_open).write_all(b"GET /echo HTTP/1.1\r\n").unwrap();
    // Later clients are served once the daemon has accepted the first.
    let mut peer = RawPeer::connect(daemon.listener(), "/echo").await;
    peer.close(1000, "").await;
    peer.expect_close(SOON).await;
    daemon.signal("TERM").await;
    assert_eq!(daemon.await_exit(SOON).await.code(), Some(0));
    let failed = daemon.await_ending(|ending| ending["kind"] == "open_failed", SOON).await;
    assert_eq!(failed["open_failure"], "refused_draining");
    assert_eq!(failed["peer"], half_open.local_addr().unwrap().to_string());
    assert_eq!(failed["transport_end"], "local");
    assert_eq!(daemon.endings().len(), 2);
    assert_eq!(handshake_status_without_listener(&daemon).await, None);
}

/// Returns the status of a handshake, or `None` if connections are refused.
async fn handshake_status_without_listener(daemon: &Daemon) -> Option<u16> {
    match tokio::net::TcpStream::connect(daemon.listener()).await {
        Err(_) => None,
        Ok(_) => Some(handshake_status(daemon).await),
    }
}
