//! What the kernel says of a process, and clients that only have to be there.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::support::SOON;
use crate::support::frame::{Frame, Side, take_frame};
use crate::support::http::upgrade_request;
use crate::support::raw_peer::RawPeer;

/// The processor time a process has used so far.
pub(super) fn cpu_time(pid: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process is there");
    // The name, which may hold anything, is in parentheses; behind it come state, ppid, …
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    // USER_HZ is 100 on every architecture that Linux still has.
    Duration::from_millis(ticks * 10)
}

/// The resident memory of a process, in KiB.
pub(super) fn resident_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the process");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// The sizes of the parts of its memory that a process may write to, in bytes.
pub(super) fn writable(pid: u32) -> Vec<u64> {
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).expect("the process is there");
    let address = |text: &str| u64::from_str_radix(text, 16).unwrap();
    let size = |line: &str| {
        let (range, rest) = line.split_once(' ').unwrap();
        let (begin, end) = range.split_once('-').unwrap();
        rest.starts_with("rw").then(|| address(end) - address(begin))
    };
    maps.lines().filter_map(size).collect()
}

/// How many descriptors a process has open.
pub(super) fn descriptors(pid: u32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd")).expect("the process is there").count()
}

/// Waits until a condition holds that nothing announces.
pub(super) async fn until(what: &str, within: Duration, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + within;
    while !holds() {
        assert!(Instant::now() < deadline, "awaited for {within:?} that {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

pub(super) async fn echo(peer: &mut RawPeer, text: &str) {
    peer.text(text).await;
    peer.expect_text(text).await;
}

/// Opens a WebSocket over a Unix socket and has one message echoed.
pub(super) async fn echo_over_unix(path: &Path) -> UnixStream {
    let whole = timeout(SOON, async {
        let mut stream = UnixStream::connect(path).await.expect("connect");
        stream.write_all(upgrade_request("localhost", "/echo", "").as_bytes()).await.unwrap();
        stream.write_all(&Frame::text("over unix").encode(Side::Client)).await.unwrap();
        let mut bytes = Vec::new();
        loop {
            assert_ne!(stream.read_buf(&mut bytes).await.unwrap(), 0, "{}", bytes.escape_ascii());
            let end = bytes.windows(4).position(|four| four == b"\r\n\r\n");
            let frame = end.and_then(|end| take_frame(&mut bytes[end + 4..].to_vec()));
            if let Some(frame) = frame {
                assert!(bytes.starts_with(b"HTTP/1.1 101 "), "{}", bytes.escape_ascii());
                assert_eq!(frame.payload, b"over unix");
                return stream;
            }
        }
    });
    whole.await.expect("awaited an echo over a Unix socket")
}

/// A client that has messages echoed for as long as it is left alone.
pub(super) struct Bystander {
    leave: Arc<AtomicBool>,
    task: JoinHandle<(u64, Duration)>,
}

impl Bystander {
    pub(super) async fn at(address: std::net::SocketAddr) -> Self {
        let mut peer = RawPeer::connect(address, "/echo").await;
        let leave = Arc::new(AtomicBool::new(false));
        let asked = Arc::clone(&leave);
        let task = tokio::spawn(async move {
            let (mut count, mut slowest) = (0, Duration::ZERO);
            while !asked.load(Ordering::Relaxed) || count == 0 {
                let began = Instant::now();
                echo(&mut peer, &format!("message {count}")).await;
                slowest = slowest.max(began.elapsed());
                count += 1;
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            peer.close(1000, "").await;
            assert_eq!(peer.expect_close(SOON).await.0, Some(1000));
            (count, slowest)
        });
        Self { leave, task }
    }

    /// Lets it go, and asserts that every one of its messages came back soon.
    pub(super) async fn was_not_disturbed(self) {
        self.leave.store(true, Ordering::Relaxed);
        let (count, slowest) = self.task.await.expect("the bystander was disturbed");
        assert!(count > 0 && slowest < Duration::from_secs(3), "{count} echoes, {slowest:?}");
    }
}
