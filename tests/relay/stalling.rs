//! A side that does not read, and messages of any size: the memory used meanwhile, the recorded
//! fault, and that other clients do not wait.

use std::io::ErrorKind;

use futures_util::future::join_all;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::front::{Bystander, Front, assert_leg};
use crate::support::frame::{BINARY, CONTINUATION, Frame, LengthForm, Side};
use crate::support::raw_peer::{End, RawPeer};
use crate::support::{A_WHILE, SOON};

/// Pairs of which one side takes nothing.
const STALLED: usize = 10;

/// What may be held for each of them, in KiB: `outbox_bytes` and a read, and what they cost anyway.
const HELD: u64 = 256 + 64 + 64;

/// How long a side may take nothing.
const STALL: &[&str] = &[r#"limits.write_timeout="1s""#, r#"close.linger="500ms""#];

/// More than the kernel holds, in bytes.
const FLOOD: usize = 64 << 20;

/// Sends frames until nothing is taken any more; returns what is left of the one in progress.
async fn flood(peer: &mut RawPeer, side: Side) -> Vec<u8> {
    let frame = Frame::binary(vec![7; 60_000]).encode(side);
    let (stream, mut sent) = (peer.stream_mut().tcp_mut(), 0);
    while timeout(A_WHILE * 2, stream.writable()).await.is_ok() {
        match stream.try_write(&frame[sent % frame.len()..]) {
            Ok(taken) => sent += taken,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => panic!("after {sent} bytes: {error}"),
        }
        assert!(sent < FLOOD, "nothing holds back who sends");
    }
    frame[sent % frame.len()..].to_vec()
}

/// Pairs of which one side takes nothing, beside somebody who is not to notice.
struct Stalled {
    front: Front,
    bystander: Bystander,
    paths: Vec<String>,
    /// What the daemon held before, in KiB.
    before: u64,
}

impl Stalled {
    async fn begin() -> (Self, Vec<(RawPeer, RawPeer)>) {
        let front = Front::open(STALL, "").await;
        let bystander = Bystander::at(&front).await;
        let paths: Vec<String> = (0..STALLED).map(|n| format!("/slow/{n}")).collect();
        let mut pairs = Vec::new();
        for path in &paths {
            pairs.push(front.pair(path).await);
        }
        let (before, _) = front.memory();
        (Self { front, bystander, paths, before }, pairs)
    }

    /// The most that the daemon has held, in KiB.
    fn peak(&self) -> u64 {
        self.front.memory().1
    }

    /// Asserts that the peak memory was low, and that no other client has waited.
    async fn end(self, peak: u64) {
        self.bystander.was_not_disturbed().await;
        let held = peak.saturating_sub(self.before);
        assert!(held < STALLED as u64 * HELD, "{held} KiB are held");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_applications_are_blamed_and_their_clients_told() {
    let (stalled, pairs) = Stalled::begin().await;
    let clients = pairs.into_iter().map(|(mut client, application)| async move {
        let rest = flood(&mut client, Side::Client).await;
        assert_eq!(client.expect_close(SOON).await.0, Some(1012));
        // What it had begun to send it ends, and then it answers.
        client.send_raw(&rest).await;
        client.close(1012, "").await;
        assert_eq!(client.expect_end(SOON).await, End::Fin);
        drop(application);
    });
    join_all(clients).await;
    let peak = stalled.peak();
    for path in &stalled.paths {
        let (client, application) = stalled.front.legs(path).await;
        assert_leg(&client, ("backend_failed", "relay_peer", "backend"));
        assert_eq!(client["state"], "closed", "{client}");
        assert_leg(&application, ("slow_consumer", "slow_consumer", "peer"));
    }
    stalled.end(peak).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_clients_are_blamed_and_their_applications_dropped() {
    let (stalled, pairs) = Stalled::begin().await;
    let applications = pairs.into_iter().map(|(client, mut application)| async move {
        flood(&mut application, Side::Server).await;
        assert_eq!(application.expect_end(SOON).await, End::Reset);
        drop(client);
    });
    join_all(applications).await;
    let peak = stalled.peak();
    for path in &stalled.paths {
        let (client, application) = stalled.front.legs(path).await;
        assert_leg(&client, ("slow_consumer", "slow_consumer", "peer"));
        assert_leg(&application, ("aborted", "relay_peer", "none"));
    }
    stalled.end(peak).await;
}

/// One message on the wire: what is sent, and how many times in a row.
type Wire = Vec<(Vec<u8>, usize)>;

const HUNDRED_MIB: usize = 100 << 20;

/// As a single frame.
fn whole(side: Side) -> Wire {
    let header = Frame::binary("").header(side, HUNDRED_MIB as u64, LengthForm::Minimal);
    let chunk = payload(1 << 16);
    vec![(header, 1), (chunk, HUNDRED_MIB >> 16)]
}

/// In fragments of so many bytes.
fn fragments(side: Side, size: usize) -> Wire {
    let fragment = |opcode| Frame::new(opcode, payload(size)).unfinished().encode(side);
    let last = Frame::continuation(payload(size)).encode(side);
    let count = HUNDRED_MIB / size;
    vec![(fragment(BINARY), 1), (fragment(CONTINUATION), count - 2), (last, 1)]
}

fn payload(size: usize) -> Vec<u8> {
    (0..size).map(|at| (at % 251) as u8).collect()
}

async fn send(stream: &mut TcpStream, wire: &Wire) {
    for (bytes, times) in wire {
        for _ in 0..*times {
            stream.write_all(bytes).await.unwrap();
        }
    }
}

/// Reads what was sent, and nothing else. It begins late, so that everything on the way is full.
async fn receive(stream: &mut TcpStream, wire: &Wire) {
    tokio::time::sleep(A_WHILE * 2).await;
    for (bytes, times) in wire {
        let mut read = vec![0; bytes.len()];
        for n in 0..*times {
            stream.read_exact(&mut read).await.unwrap();
            assert!(read == *bytes, "part {n} of {times} came changed");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_mebibytes_pass_through_the_daemon_in_little_memory() {
    let sizes = [r#"limits.max_message_size="128MiB""#, r#"limits.max_frame_size="128MiB""#];
    let front = Front::open(&sizes, r#",max_message_size="128MiB""#).await;
    let bystander = Bystander::at(&front).await;
    let (mut client, mut application) = front.pair("/large").await;
    for (what, wire) in [
        ("a frame", whole as fn(Side) -> Wire),
        ("fragments of 1 MiB", |side| fragments(side, 1 << 20)),
        ("fragments of 10 KiB", |side| fragments(side, 10 << 10)),
    ] {
        for side in [Side::Client, Side::Server] {
            let (from, to) = match side {
                Side::Client => (&mut client, &mut application),
                Side::Server => (&mut application, &mut client),
            };
            let wire = wire(side);
            let (before, _) = front.memory();
            let passes = async {
                tokio::join!(
                    send(from.stream_mut().tcp_mut(), &wire),
                    receive(to.stream_mut().tcp_mut(), &wire)
                )
            };
            timeout(SOON * 4, passes).await.unwrap_or_else(|_| panic!("{what} from {side:?}"));
            let (_, peak) = front.memory();
            let held = peak.saturating_sub(before);
            assert!(held < 2048, "{what} from {side:?}: {held} KiB are held");
        }
    }
    client.text("and on").await;
    application.expect_text("and on").await;
    bystander.was_not_disturbed().await;
}
