//! A client that has small messages echoed all the while, on a thread of its own.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::support::frame::{Frame, Side};
use crate::support::http::upgrade_request;

/// How long it waits for an echo before it gives up.
const PATIENCE: Duration = Duration::from_secs(40);

/// What is going on around it.
#[derive(Debug, Clone, Copy)]
pub(super) enum Phase {
    Nothing,
    Without,
    During,
    Leave,
}

pub(super) struct Bystander {
    phase: Arc<AtomicUsize>,
    thread: JoinHandle<Noticed>,
}

/// How long its echoes took.
#[derive(Debug, Default)]
pub(super) struct Noticed {
    pub(super) without: Vec<Duration>,
    pub(super) during: Vec<Duration>,
}

impl Bystander {
    pub(super) fn at(address: SocketAddr) -> Self {
        let phase = Arc::new(AtomicUsize::new(Phase::Nothing as usize));
        let asked = Arc::clone(&phase);
        let mut stream = open(address);
        let thread = thread::spawn(move || {
            let frame = Frame::text("bystander");
            let (sent, due) = (frame.encode(Side::Client), frame.encode(Side::Server));
            let mut echoed = vec![0; due.len()];
            let mut noticed = Noticed::default();
            loop {
                let phase = asked.load(Ordering::Relaxed);
                let began = Instant::now();
                stream.write_all(&sent).expect("send as a bystander");
                stream.read_exact(&mut echoed).expect("an echo for the bystander");
                assert_eq!(echoed, due);
                match phase {
                    1 => noticed.without.push(began.elapsed()),
                    2 => noticed.during.push(began.elapsed()),
                    3 => break,
                    _ => {}
                }
                thread::sleep(Duration::from_millis(5));
            }
            let close = Frame::close(1000, "");
            stream.write_all(&close.encode(Side::Client)).expect("say goodbye");
            let mut rest = Vec::new();
            stream.read_to_end(&mut rest).expect("the bystander's Close");
            assert_eq!(rest, close.encode(Side::Server));
            noticed.without.sort_unstable();
            noticed.during.sort_unstable();
            noticed
        });
        Self { phase, thread }
    }

    pub(super) fn enter(&self, phase: Phase) {
        self.phase.store(phase as usize, Ordering::Relaxed);
    }

    /// Closes in order, and returns what it noticed.
    ///
    /// # Panics
    /// If one of its messages did not come back.
    pub(super) fn leave(self) -> Noticed {
        self.enter(Phase::Leave);
        self.thread.join().expect("the bystander was disturbed")
    }
}

/// Returns the 99th percentile of what is sorted.
pub(super) fn p99(sorted: &[Duration]) -> Duration {
    sorted.get(sorted.len().saturating_sub(1) * 99 / 100).copied().unwrap_or_default()
}

/// Opens a WebSocket at the echo, with blocking sockets.
pub(super) fn open(address: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(address).expect("connect");
    stream.set_nodelay(true).expect("set TCP_NODELAY");
    stream.set_read_timeout(Some(PATIENCE)).expect("set a timeout");
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
