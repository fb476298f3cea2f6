//! Peers that send more than their share of frames, and what others notice of it: little.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::PROGRAM;
use crate::support::SOON;
use crate::support::daemon::Daemon;
use crate::support::frame::{Frame, Side};
use crate::support::http::upgrade_request;

const SENDERS: usize = 10;
const MEASURED_FOR: Duration = Duration::from_secs(3);
const P99_WITHIN: Duration = Duration::from_millis(50);
const HANDSHAKE_WITHIN: Duration = Duration::from_millis(250);

fn open(address: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(address).expect("connect");
    stream.set_nodelay(true).expect("set TCP_NODELAY");
    stream.set_read_timeout(Some(SOON)).expect("set a timeout");
    stream.write_all(upgrade_request("localhost", "/echo", "").as_bytes()).expect("ask");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("an answer");
        head.push(byte[0]);
    }
    assert!(head.starts_with(b"HTTP/1.1 101 "), "{}", head.escape_ascii());
    stream
}

/// Senders that never stop, and take what comes back.
struct Flood {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Flood {
    fn start(address: SocketAddr, senders: usize, begin: &Frame, frame: &Frame) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let frames = frame.encode(Side::Client).repeat(4096);
        let mut threads = Vec::new();
        for _ in 0..senders {
            let mut sender = open(address);
            let mut receiver = sender.try_clone().expect("clone");
            let (asked, frames) = (Arc::clone(&stop), frames.clone());
            sender.write_all(&begin.encode(Side::Client)).expect("begin");
            threads.push(thread::spawn(move || {
                while !asked.load(Ordering::Relaxed) && sender.write_all(&frames).is_ok() {}
                // The receiver learns of it.
                let _ = sender.shutdown(Shutdown::Both);
            }));
            threads.push(thread::spawn(move || {
                let mut buffer = vec![0; 65_536];
                loop {
                    match receiver.read(&mut buffer) {
                        Ok(1..) => {}
                        Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                        Ok(0) | Err(_) => return,
                    }
                }
            }));
        }
        Self { stop, threads }
    }

    fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().expect("a sender");
        }
    }
}

/// Has small messages echoed; returns how long each took.
fn echoes(address: SocketAddr) -> Vec<Duration> {
    let mut stream = open(address);
    let frame = Frame::text("bystander");
    let (sent, mut echoed) = (frame.encode(Side::Client), frame.encode(Side::Server));
    let ends = Instant::now() + MEASURED_FOR;
    let mut took = Vec::new();
    while Instant::now() < ends {
        let began = Instant::now();
        stream.write_all(&sent).expect("send");
        stream.read_exact(&mut echoed).expect("an echo");
        took.push(began.elapsed());
        thread::sleep(Duration::from_millis(5));
    }
    took
}

fn handshakes(address: SocketAddr) -> Vec<Duration> {
    let ends = Instant::now() + MEASURED_FOR;
    let mut took = Vec::new();
    while Instant::now() < ends {
        let began = Instant::now();
        drop(open(address));
        took.push(began.elapsed());
        thread::sleep(Duration::from_millis(20));
    }
    took
}

fn quantile(took: &mut [Duration], share: f64) -> Duration {
    took.sort_unstable();
    took[((took.len() - 1) as f64 * share) as usize]
}

/// Measures until the goals are met, at most six times: what else the machine does only adds.
async fn others_are_served_beside(what: &str, begin: Frame, frame: Frame) {
    let daemon = Daemon::start(PROGRAM, &[]).await;
    let mut measured = Vec::new();
    while measured.len() < 6 {
        let (p99, slowest) = beside(daemon.listener(), begin.clone(), frame.clone()).await;
        if p99 <= P99_WITHIN && slowest <= HANDSHAKE_WITHIN {
            return;
        }
        measured.push((p99, slowest));
    }
    panic!("{what}: p99 of echoes, and the slowest handshake: {measured:?}");
}

/// Returns the p99 of a bystander's echoes and the slowest handshake beside senders of a frame.
async fn beside(address: SocketAddr, begin: Frame, frame: Frame) -> (Duration, Duration) {
    let measured = tokio::task::spawn_blocking(move || {
        let flood = Flood::start(address, SENDERS, &begin, &frame);
        let opening = thread::spawn(move || handshakes(address));
        let echoes = echoes(address);
        let opening = opening.join().expect("handshakes");
        flood.stop();
        (echoes, opening)
    });
    let (mut echoes, mut opening) = measured.await.expect("a measurement");
    (quantile(&mut echoes, 0.99), quantile(&mut opening, 1.0))
}

#[tokio::test]
async fn ten_senders_of_empty_frames_leave_others_their_turn() {
    let empty = Frame::binary([]);
    others_are_served_beside("empty frames", empty.clone(), empty).await;
}

#[tokio::test]
async fn ten_senders_of_fragments_leave_others_their_turn() {
    let begin = Frame::binary([]).unfinished();
    let fragment = Frame::continuation([]).unfinished();
    others_are_served_beside("fragments", begin, fragment).await;
}

#[tokio::test]
async fn ten_senders_of_pings_leave_others_their_turn() {
    let ping = Frame::ping([]);
    others_are_served_beside("Pings", ping.clone(), ping).await;
}
