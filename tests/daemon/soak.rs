//! Many clients that end in every way at once: each has one ending, and nothing is left behind.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::PROGRAM;
use super::process::{cpu_time, descriptors, echo, resident_kib, until};
use crate::support::SOON;
use crate::support::daemon::Daemon;
use crate::support::frame::Frame;
use crate::support::raw_peer::RawPeer;

const CLIENTS: usize = 200;

/// The ways to end, and the kind that each is.
#[derive(Debug, Clone, Copy)]
enum Way {
    Close,
    CloseEmpty,
    CloseThenReset,
    Fin,
    Reset,
    CutInPayload,
    CutInHeader,
    ResetInPayload,
    ReservedBit,
    BadText,
    IllegalCode,
    TooBig,
}

const WAYS: [(Way, &str); 12] = [
    (Way::Close, "clean"),
    (Way::CloseEmpty, "clean"),
    (Way::CloseThenReset, "clean"),
    (Way::Fin, "closed_prematurely"),
    (Way::Reset, "connection_reset"),
    (Way::CutInPayload, "closed_prematurely"),
    (Way::CutInHeader, "closed_prematurely"),
    (Way::ResetInPayload, "connection_reset"),
    (Way::ReservedBit, "protocol_violation"),
    (Way::BadText, "invalid_payload"),
    (Way::IllegalCode, "protocol_violation"),
    (Way::TooBig, "message_too_big"),
];

async fn end(mut peer: RawPeer, way: Way) {
    match way {
        Way::Close => {
            peer.close(1000, "bye").await;
            assert_eq!(peer.expect_close(2 * SOON).await.0, Some(1000));
        }
        Way::CloseEmpty => {
            peer.close_empty().await;
            assert_eq!(peer.expect_close(2 * SOON).await.0, None);
        }
        Way::CloseThenReset => {
            peer.close(1001, "").await;
            peer.expect_close(2 * SOON).await;
            peer.reset();
        }
        Way::Fin => peer.fin().await,
        Way::Reset => peer.reset(),
        Way::CutInPayload => {
            peer.send_part_of_payload(Frame::binary(vec![0; 4096]), 1000).await;
            peer.fin().await;
        }
        Way::CutInHeader => {
            peer.send_start(Frame::text("cut"), 3).await;
            peer.fin().await;
        }
        Way::ResetInPayload => {
            peer.send_part_of_payload(Frame::binary(vec![0; 4096]), 1000).await;
            peer.reset();
        }
        Way::ReservedBit => violate(&mut peer, Frame::text("x").rsv(2), 1002).await,
        Way::BadText => violate(&mut peer, Frame::new(1, [0xC3, 0x28]), 1007).await,
        Way::IllegalCode => violate(&mut peer, Frame::close(1005, ""), 1002).await,
        Way::TooBig => {
            peer.send_header(Frame::binary([]), 1 << 21).await;
            assert_eq!(peer.expect_close(2 * SOON).await.0, Some(1009));
        }
    }
}

async fn violate(peer: &mut RawPeer, frame: Frame, code: u16) {
    peer.send_frame(frame).await;
    assert_eq!(peer.expect_close(2 * SOON).await.0, Some(code));
}

/// One round: all come, have something echoed and end at once. Returns the kind due to each peer.
async fn round(daemon: &Daemon) -> HashMap<String, &'static str> {
    let mut clients = JoinSet::new();
    for n in 0..CLIENTS {
        let address = daemon.listener();
        let (way, kind) = WAYS[n % WAYS.len()];
        clients.spawn(async move {
            let mut peer = RawPeer::connect(address, "/echo").await;
            let local = peer.local_addr().to_string();
            for text in ["one", &"two".repeat(500)] {
                echo(&mut peer, text).await;
            }
            end(peer, way).await;
            (local, kind)
        });
    }
    clients.join_all().await.into_iter().collect()
}

#[tokio::test]
async fn clients_that_end_in_every_way_leave_one_ending_each_and_nothing_else() {
    let settings = ["limits.handshakes_per_second=0", "close.linger=\"500ms\""];
    let mut daemon = Daemon::start(PROGRAM, &settings).await;
    let pid = daemon.pid();
    let idle = descriptors(pid);

    let mut due = HashMap::new();
    let mut resident = Vec::new();
    for n in 1..=4 {
        // The kernel may give a peer the port of an earlier one: rounds distinguish them.
        due.extend(round(&daemon).await.into_iter().map(|(peer, kind)| ((n, peer), kind)));
        daemon.await_line(|line| line.contains("\"ended\""), SOON).await;
        let all = n * CLIENTS;
        until("every ending is told", 4 * SOON, || ended_lines(&daemon) >= all).await;
        resident.push(resident_kib(pid));
    }
    // The first round fills pools and the ledger in memory; the third and fourth may add little.
    let grown = resident[3].saturating_sub(resident[1]);
    assert!(grown < 16 * 1024, "resident KiB after each round: {resident:?}");
    // The ledger's checkpoints have opened its file once more by now, and keep that.
    until("every descriptor is back", SOON, || descriptors(pid) <= idle + 2).await;

    // Without connections, the daemon must be idle.
    let (before, began) = (cpu_time(pid), Instant::now());
    tokio::time::sleep(Duration::from_secs(1)).await;
    let used = cpu_time(pid) - before;
    assert!(used <= Duration::from_millis(30), "{used:?} of CPU in {:?} idle", began.elapsed());

    daemon.signal("TERM").await;
    assert_eq!(daemon.await_exit(2 * SOON).await.code(), Some(0));
    let endings = daemon.endings();
    assert_eq!(endings.len(), 4 * CLIENTS);
    let ids: HashSet<&str> = endings.iter().map(|ending| ending["id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), endings.len(), "an id was used twice");
    for (n, ending) in endings.iter().enumerate() {
        let peer = ending["peer"].as_str().unwrap().to_owned();
        let kind = due.remove(&(n / CLIENTS + 1, peer)).unwrap_or_else(|| panic!("{ending}"));
        assert_eq!(ending["kind"], kind, "{ending}");
        assert_eq!((&ending["messages_in"], &ending["messages_out"]), (&2.into(), &2.into()));
    }
    assert!(due.is_empty(), "without an ending: {due:?}");
    let last = daemon.events("the daemon stopped").remove(0);
    let accounting = (last["opened"].as_u64(), last["ended"].as_u64());
    let all = Some(4 * CLIENTS as u64);
    assert_eq!(accounting, (all, all));
}

#[tokio::test]
async fn clients_that_say_nothing_cost_nothing() {
    let daemon = Daemon::start(PROGRAM, &["limits.handshakes_per_second=0"]).await;
    let pid = daemon.pid();
    let mut peers = Vec::new();
    for _ in 0..CLIENTS {
        let mut peer = RawPeer::connect(daemon.listener(), "/echo").await;
        echo(&mut peer, "here").await;
        peers.push(peer);
    }
    let (before, began) = (cpu_time(pid), Instant::now());
    tokio::time::sleep(Duration::from_secs(1)).await;
    let used = cpu_time(pid) - before;
    assert!(used <= Duration::from_millis(30), "{used:?} of CPU in {:?}", began.elapsed());
    for peer in &mut peers {
        echo(peer, "still here").await;
    }
}

fn ended_lines(daemon: &Daemon) -> usize {
    daemon.log().iter().filter(|line| line.contains(r#""event":"ended""#)).count()
}
