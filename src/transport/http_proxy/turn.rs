//! Whose turn it is on a client's connection: what its stream, the exchange under way and whoever
//! bounds or ends it know of one another.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::task::Waker;
use std::time::Duration;

use futures_util::task::AtomicWaker;
use http::{HeaderMap, HeaderName, StatusCode, header};
use tokio::time::Instant;

use super::SILENCE;

/// How many bytes of interim answers (103) wait for one client at most.
const INTERIM: usize = 16 * 1024;

/// A client's connection, as others see it.
#[derive(Debug)]
pub struct Turn {
    began: Instant,
    /// How long nothing may move.
    idle: Duration,
    /// When bytes last moved, in milliseconds since it began.
    last: AtomicU64,
    /// Nobody is answered, and nothing of a request has come.
    waits: AtomicBool,
    /// An answer is under way, or awaited.
    answering: AtomicBool,
    /// An application has not begun to answer.
    awaited: AtomicBool,
    /// It has not for too long.
    expired: AtomicBool,
    /// The answer is a stream of events, which has no end of its own.
    events: AtomicBool,
    /// The client has ended its side.
    client_ended: AtomicBool,
    /// The request breaks off in a chunk that is none.
    malformed: AtomicBool,
    /// No request is to follow.
    ending: AtomicBool,
    cut: AtomicBool,
    /// Whether a request's body may be read that its client announces only.
    wanted: AtomicBool,
    /// What is told before the answer.
    interim: Mutex<Vec<u8>>,
    has_interim: AtomicBool,
    waker: AtomicWaker,
}

impl Turn {
    /// Begins, for a client on whose connection nothing may move for `idle`.
    pub fn new(idle: Duration) -> Self {
        Self {
            began: Instant::now(),
            idle,
            last: AtomicU64::default(),
            waits: AtomicBool::default(),
            answering: AtomicBool::default(),
            awaited: AtomicBool::default(),
            expired: AtomicBool::default(),
            events: AtomicBool::default(),
            client_ended: AtomicBool::default(),
            malformed: AtomicBool::default(),
            ending: AtomicBool::default(),
            cut: AtomicBool::default(),
            wanted: AtomicBool::default(),
            interim: Mutex::default(),
            has_interim: AtomicBool::default(),
            waker: AtomicWaker::new(),
        }
    }

    /// Lets no request follow: a client that waits is let go at once, what waits for an application
    /// is given up after a few seconds of silence, and streams of events end.
    pub fn end(&self) {
        self.ending.store(true, Ordering::Relaxed);
        self.waker.wake();
    }

    /// Ends it, whatever is under way.
    pub fn cut(&self) {
        self.cut.store(true, Ordering::Relaxed);
        self.waker.wake();
    }

    /// Ends it if no request is under way; tells whether that is so.
    pub fn end_if_idle(&self) -> bool {
        let waits = self.waits.load(Ordering::Relaxed);
        if waits {
            self.end();
        }
        waits
    }

    /// Whoever drives it is gone: it can make way for nobody.
    pub(super) fn leave(&self) {
        self.waits.store(false, Ordering::Relaxed);
    }

    pub(super) fn register(&self, waker: &Waker) {
        self.waker.register(waker);
    }

    pub(super) fn is_ending(&self) -> bool {
        self.ending.load(Ordering::Relaxed)
    }

    pub(super) fn is_cut(&self) -> bool {
        let events_end = self.is_ending() && self.events.load(Ordering::Relaxed);
        self.cut.load(Ordering::Relaxed) || events_end
    }

    /// Something moved.
    pub(super) fn note(&self) {
        let millis = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last.store(millis, Ordering::Relaxed);
    }

    pub(super) fn last_moved(&self) -> Instant {
        self.began + Duration::from_millis(self.last.load(Ordering::Relaxed))
    }

    /// Returns how long nothing may move from now on.
    pub(super) fn patience(&self) -> Duration {
        let hurries = self.is_ending() || self.client_ended.load(Ordering::Relaxed);
        if hurries { self.idle.min(SILENCE) } else { self.idle }
    }

    pub(super) fn set_waiting(&self, waits: bool) {
        self.waits.store(waits, Ordering::Relaxed);
    }

    pub(super) fn set_client_ended(&self) {
        self.client_ended.store(true, Ordering::Relaxed);
    }

    pub(super) fn set_malformed(&self) {
        self.malformed.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_malformed(&self) -> bool {
        self.malformed.load(Ordering::Relaxed)
    }

    /// A request goes to its exchange.
    pub(super) fn begin(&self) {
        self.waits.store(false, Ordering::Relaxed);
        self.answering.store(true, Ordering::Relaxed);
        self.awaited.store(true, Ordering::Relaxed);
        self.expired.store(false, Ordering::Relaxed);
        self.wanted.store(false, Ordering::Relaxed);
        self.note();
    }

    /// The answer's head is there.
    pub(super) fn answer_begins(&self, is_events: bool) {
        self.awaited.store(false, Ordering::Relaxed);
        self.events.store(is_events, Ordering::Relaxed);
    }

    /// All of the answer was handed to hyper, or is given up.
    pub(super) fn answered(&self) {
        self.events.store(false, Ordering::Relaxed);
        self.answering.store(false, Ordering::Relaxed);
    }

    pub(super) fn is_answering(&self) -> bool {
        self.answering.load(Ordering::Relaxed)
    }

    /// Gives up waiting for an application; `false` if nobody waits, or it was given up before.
    pub(super) fn expire(&self) -> bool {
        self.awaited.load(Ordering::Relaxed) && !self.expired.swap(true, Ordering::Relaxed)
    }

    pub(super) fn is_expired(&self) -> bool {
        self.expired.load(Ordering::Relaxed)
    }

    /// The application wants the body (100).
    pub(super) fn want_body(&self) {
        self.wanted.store(true, Ordering::Relaxed);
    }

    pub(super) fn wants_body(&self) -> bool {
        self.wanted.load(Ordering::Relaxed)
    }

    /// Puts an interim answer before what the client is told next; one too many is left out.
    pub(super) fn tell(&self, status: StatusCode, headers: &HeaderMap) {
        let mut interim = self.interim.lock().unwrap_or_else(PoisonError::into_inner);
        if interim.len() > INTERIM {
            return;
        }
        let reason = status.canonical_reason().unwrap_or("Interim");
        interim.extend_from_slice(format!("HTTP/1.1 {} {reason}\r\n", status.as_str()).as_bytes());
        for (name, value) in headers.iter().filter(|(name, _)| passes(name)) {
            for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
                interim.extend_from_slice(part);
            }
        }
        interim.extend_from_slice(b"\r\n");
        self.has_interim.store(true, Ordering::Relaxed);
    }

    /// Takes the interim answers that are to be written.
    pub(super) fn take_interim(&self) -> Option<Vec<u8>> {
        if !self.has_interim.swap(false, Ordering::Relaxed) {
            return None;
        }
        Some(std::mem::take(&mut *self.interim.lock().unwrap_or_else(PoisonError::into_inner)))
    }
}

/// An interim answer has no body, and its connection is each hop's own.
fn passes(name: &HeaderName) -> bool {
    ![
        header::CONNECTION,
        header::CONTENT_LENGTH,
        header::TRANSFER_ENCODING,
        header::UPGRADE,
        HeaderName::from_static("keep-alive"),
    ]
    .contains(name)
}
