//! The state of a client's HTTP connection that its stream, the exchange under way, the idle timer and
//! the drain share.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::Waker;
use std::time::Duration;

use futures_util::task::AtomicWaker;
use http::{HeaderMap, HeaderName, StatusCode, header};
use parking_lot::Mutex;
use tokio::time::Instant;

/// The idle timeout once the node drains or the client has sent FIN. Active transfers are finished,
/// and idle ones (a long poll, an event stream) are ended.
const ENDING_IDLE_TIMEOUT: Duration = Duration::from_secs(5);

/// The most bytes of interim answers (103) that are queued for one client.
const INTERIM: usize = 16 * 1024;

/// The shared state of a client's HTTP connection.
#[derive(Debug)]
pub struct ClientSession {
    began: Instant,
    /// The idle timeout.
    idle: Duration,
    /// The last activity, in milliseconds since the beginning.
    last: AtomicU64,
    /// Whether the connection is still driven: everything it has to say is not written yet.
    is_driven: AtomicBool,
    /// No request is under way.
    is_idle: AtomicBool,
    /// An answer is under way or awaited.
    answering: AtomicBool,
    /// The application has not begun to answer.
    awaited: AtomicBool,
    /// It took too long to begin.
    expired: AtomicBool,
    /// The answer is an event stream, which does not end by itself.
    events: AtomicBool,
    /// The client has sent FIN.
    client_ended: AtomicBool,
    /// The chunked body of the request is malformed.
    malformed: AtomicBool,
    /// No further request is accepted.
    ending: AtomicBool,
    cut: AtomicBool,
    /// A body that the client holds back (`Expect: 100-continue`) may be read.
    body_requested: AtomicBool,
    /// Interim answers to send before the answer.
    interim: Mutex<Vec<u8>>,
    has_interim: AtomicBool,
    waker: AtomicWaker,
}

impl ClientSession {
    /// Starts a session with an idle timeout.
    pub fn new(idle: Duration) -> Self {
        Self {
            began: Instant::now(),
            idle,
            last: AtomicU64::default(),
            is_driven: AtomicBool::new(true),
            is_idle: AtomicBool::default(),
            answering: AtomicBool::default(),
            awaited: AtomicBool::default(),
            expired: AtomicBool::default(),
            events: AtomicBool::default(),
            client_ended: AtomicBool::default(),
            malformed: AtomicBool::default(),
            ending: AtomicBool::default(),
            cut: AtomicBool::default(),
            body_requested: AtomicBool::default(),
            interim: Mutex::default(),
            has_interim: AtomicBool::default(),
            waker: AtomicWaker::new(),
        }
    }

    /// Accepts no further request: an idle connection ends at once, a wait for an application after a
    /// few seconds without activity, and an event stream now.
    pub fn end(&self) {
        self.ending.store(true, Ordering::Relaxed);
        self.waker.wake();
    }

    /// Ends the session, even with a request under way.
    pub fn cut(&self) {
        self.cut.store(true, Ordering::Relaxed);
        self.waker.wake();
    }

    /// Ends the session if no request is under way, and returns whether that was the case.
    pub fn end_if_idle(&self) -> bool {
        let is_idle = self.is_idle.load(Ordering::Relaxed);
        if is_idle {
            self.end();
        }
        is_idle
    }

    /// Marks the session as no longer driven, so that [`Self::end_if_idle`] does not count it.
    pub(super) fn detach(&self) {
        self.is_idle.store(false, Ordering::Relaxed);
        self.is_driven.store(false, Ordering::Release);
    }

    /// Returns whether something may still be written.
    pub fn is_driven(&self) -> bool {
        self.is_driven.load(Ordering::Acquire)
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

    /// Records activity.
    pub(super) fn touch(&self) {
        let millis = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last.store(millis, Ordering::Relaxed);
    }

    pub(super) fn last_activity(&self) -> Instant {
        self.began + Duration::from_millis(self.last.load(Ordering::Relaxed))
    }

    /// Returns the idle timeout, which is shorter once the session is ending or the client has sent FIN.
    pub(super) fn idle_timeout(&self) -> Duration {
        let is_ending = self.is_ending() || self.client_ended.load(Ordering::Relaxed);
        if is_ending { self.idle.min(ENDING_IDLE_TIMEOUT) } else { self.idle }
    }

    pub(super) fn set_idle(&self, is_idle: bool) {
        self.is_idle.store(is_idle, Ordering::Relaxed);
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

    /// Begins the exchange of a request.
    pub(super) fn begin(&self) {
        self.is_idle.store(false, Ordering::Relaxed);
        self.answering.store(true, Ordering::Relaxed);
        self.awaited.store(true, Ordering::Relaxed);
        self.expired.store(false, Ordering::Relaxed);
        self.body_requested.store(false, Ordering::Relaxed);
        self.touch();
    }

    /// Records that the head of the answer was received.
    pub(super) fn begin_answer(&self, is_events: bool) {
        self.awaited.store(false, Ordering::Relaxed);
        self.events.store(is_events, Ordering::Relaxed);
    }

    /// Records that the answer was passed to hyper whole, or dropped.
    pub(super) fn end_answer(&self) {
        self.events.store(false, Ordering::Relaxed);
        self.answering.store(false, Ordering::Relaxed);
    }

    pub(super) fn is_answering(&self) -> bool {
        self.answering.load(Ordering::Relaxed)
    }

    /// Gives up waiting for an application, and returns whether there was such a wait.
    pub(super) fn expire(&self) -> bool {
        self.awaited.load(Ordering::Relaxed) && !self.expired.swap(true, Ordering::Relaxed)
    }

    pub(super) fn is_expired(&self) -> bool {
        self.expired.load(Ordering::Relaxed)
    }

    /// Lets the body of the request be read (100 Continue).
    pub(super) fn request_body(&self) {
        self.body_requested.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_body_requested(&self) -> bool {
        self.body_requested.load(Ordering::Relaxed)
    }

    /// Queues an interim answer before the answer; if too many are queued, it is dropped.
    pub(super) fn push_interim(&self, status: StatusCode, headers: &HeaderMap) {
        let mut interim = self.interim.lock();
        if interim.len() > INTERIM {
            return;
        }
        let reason = status.canonical_reason().unwrap_or("Interim");
        interim.extend_from_slice(format!("HTTP/1.1 {} {reason}\r\n", status.as_str()).as_bytes());
        for (name, value) in headers.iter().filter(|(name, _)| is_forwarded(name)) {
            for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
                interim.extend_from_slice(part);
            }
        }
        interim.extend_from_slice(b"\r\n");
        self.has_interim.store(true, Ordering::Relaxed);
    }

    /// Takes the queued interim answers.
    pub(super) fn take_interim(&self) -> Option<Vec<u8>> {
        if !self.has_interim.swap(false, Ordering::Relaxed) {
            return None;
        }
        Some(std::mem::take(&mut *self.interim.lock()))
    }
}

/// Returns whether a header of an interim answer is forwarded: neither hop-by-hop nor about a body.
fn is_forwarded(name: &HeaderName) -> bool {
    ![
        header::CONNECTION,
        header::CONTENT_LENGTH,
        header::TRANSFER_ENCODING,
        header::UPGRADE,
        HeaderName::from_static("keep-alive"),
    ]
    .contains(name)
}
