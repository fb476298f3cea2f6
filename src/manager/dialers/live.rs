//! An open connection of a dialer, with its readiness, freshness and age.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::plan::{Opening, Plan};
use crate::connection::handle::ConnectionHandle;
use crate::connection::watch::Watch;
use crate::vocabulary::{Cause, CloseCode, Ending, Limit, Message};

/// How often the message counter is sampled within `stale_after`.
const LOOKS: u32 = 8;

/// An open connection of a dialer.
pub(super) struct Live {
    pub(super) connection: ConnectionHandle,
    watch: Option<Arc<Watch>>,
    readiness: Readiness,
    freshness: Option<Freshness>,
    heartbeat: Option<Heartbeat>,
    rotate_at: Option<Instant>,
    /// The renewal of the options that it was dialled with.
    pub(super) renewal: u64,
}

enum Readiness {
    /// Messages are still to be sent or received before it is ready, with the deadline for them.
    Awaited {
        opening: Arc<Opening>,
        /// How many of the messages after a wait were sent.
        said: usize,
        by: Instant,
        within: Duration,
    },
    Ready,
    /// It is being closed.
    Closing,
}

/// When messages were last received, found by sampling a counter.
struct Freshness {
    stale_after: Duration,
    messages: u64,
    /// When the counter was first found at `messages`.
    since: Instant,
    look_at: Instant,
}

struct Heartbeat {
    message: Message,
    every: Duration,
    next: Instant,
}

/// A change of an open connection.
pub(super) enum LiveNews {
    Ended(Arc<Ending>),
    Ready,
}

/// What the keeper has to do after a deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    Nothing,
    /// The connection was not ready in time or stale, and is being closed.
    Closed,
    /// The connection is due for rotation.
    Rotate,
}

impl Live {
    /// `jitter`, from 0 to 1, spreads the rotations of many.
    pub(super) fn new(
        connection: ConnectionHandle,
        watch: Option<Arc<Watch>>,
        plan: &Plan,
        now: Instant,
        jitter: f64,
    ) -> Self {
        let (opening, within) = (Arc::clone(&plan.opening), plan.ready_within);
        let readiness = match opening.is_awaited() {
            true => Readiness::Awaited { opening, said: 0, by: now + within, within },
            false => Readiness::Ready,
        };
        let freshness = plan.stale_after.map(|stale_after| Freshness {
            stale_after,
            messages: 0,
            since: now,
            look_at: now + stale_after / LOOKS,
        });
        let heartbeat = plan.heartbeat.clone();
        let heartbeat =
            heartbeat.map(|(message, every)| Heartbeat { message, every, next: now + every });
        let early = 0.1 * jitter.clamp(0.0, 1.0);
        let rotate_at = plan.rotate_after.map(|age| now + age - age.mul_f64(early));
        let renewal = plan.renewal;
        Self { connection, watch, readiness, freshness, heartbeat, rotate_at, renewal }
    }

    pub(super) fn is_ready(&self) -> bool {
        matches!(self.readiness, Readiness::Ready)
    }

    pub(super) fn is_closing(&self) -> bool {
        matches!(self.readiness, Readiness::Closing)
    }

    /// Marks the connection as ready.
    pub(super) fn set_ready(&mut self) {
        self.readiness = Readiness::Ready;
    }

    /// Marks the connection as closing.
    pub(super) fn set_closing(&mut self) {
        self.readiness = Readiness::Closing;
    }

    /// Sets the time of the next rotation.
    pub(super) fn rotate_at(&mut self, at: Option<Instant>) {
        self.rotate_at = at;
    }

    /// Waits until the connection is ready, sending the opening messages, or until it ends. Cancel
    /// safe.
    pub(super) async fn news(&mut self) -> LiveNews {
        let Self { connection, watch, readiness, .. } = self;
        let ready = async {
            match (readiness, watch) {
                (Readiness::Awaited { opening, said, .. }, Some(watch)) => {
                    open(connection, opening, said, watch).await;
                }
                _ => std::future::pending().await,
            }
        };
        tokio::select! {
            // Readiness first, also if the connection has ended meanwhile.
            biased;
            () = ready => LiveNews::Ready,
            ending = connection.ended() => LiveNews::Ended(ending),
        }
    }

    /// Returns when [`Live::handle_deadline`] has something to do.
    pub(super) fn poll_deadline(&self) -> Option<Instant> {
        let ready_by = match self.readiness {
            Readiness::Awaited { by, .. } => Some(by),
            Readiness::Ready => None,
            // Only its ending is left to wait for.
            Readiness::Closing => return None,
        };
        let look_at = self.freshness.as_ref().map(|freshness| freshness.look_at);
        let beat_at = self.heartbeat.as_ref().map(|heartbeat| heartbeat.next);
        [ready_by, look_at, beat_at, self.rotate_at].into_iter().flatten().min()
    }

    /// Handles the deadlines that have passed.
    pub(super) fn handle_deadline(&mut self, now: Instant) -> Due {
        if self.is_closing() {
            return Due::Nothing;
        }
        if let Readiness::Awaited { by, within, .. } = self.readiness
            && by <= now
        {
            self.close("not ready", "ready_within", within, within + (now - by));
            return Due::Closed;
        }
        if let Some((stale_after, silent)) = self.look(now) {
            self.close("stale", "stale_after", stale_after, silent);
            return Due::Closed;
        }
        if let Some(heartbeat) = &mut self.heartbeat
            && heartbeat.next <= now
        {
            heartbeat.next = now + heartbeat.every;
            // With a full outbox, the queued messages serve as heartbeat.
            let _ = self.connection.try_send_kept(&heartbeat.message);
        }
        match self.rotate_at {
            Some(at) if at <= now && self.is_ready() => {
                self.rotate_at = None;
                Due::Rotate
            }
            // Not ready: checks again in a second.
            Some(at) if at <= now => {
                self.rotate_at = Some(now + Duration::from_secs(1));
                Due::Nothing
            }
            Some(_) | None => Due::Nothing,
        }
    }

    /// Samples the message counter; returns the time without messages if it is too long.
    fn look(&mut self, now: Instant) -> Option<(Duration, Duration)> {
        let freshness = self.freshness.as_mut().filter(|freshness| freshness.look_at <= now)?;
        // Messages with a configured reply do not count, like Pings.
        let answered = self.watch.as_ref().map_or(0, |watch| watch.answered());
        let messages = self.connection.status().traffic.messages_in.saturating_sub(answered);
        // While this end does not read, silence is not evidence of a stale feed.
        if messages != freshness.messages || self.connection.has_backlog() {
            (freshness.messages, freshness.since) = (messages, now);
        }
        freshness.look_at = now + freshness.stale_after / LOOKS;
        let silent = now - freshness.since;
        (silent >= freshness.stale_after).then_some((freshness.stale_after, silent))
    }

    fn close(&mut self, reason: &str, name: &'static str, limit: Duration, observed: Duration) {
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let limit = Limit { name, limit: millis(limit), observed: millis(observed) };
        self.connection.close_for(CloseCode::GOING_AWAY, reason, Cause::Stale, Some(limit));
        self.readiness = Readiness::Closing;
    }
}

/// Sends each opening message after its waits, and returns when the connection is ready. Cancel
/// safe: `said` counts the messages sent.
async fn open(connection: &ConnectionHandle, opening: &Opening, said: &mut usize, watch: &Watch) {
    while let Some((waits, message)) = opening.later.get(*said) {
        watch.met(*waits).await;
        if connection.send_kept(message).await.is_err() {
            // The connection is closing: its ending comes next.
            return std::future::pending().await;
        }
        *said += 1;
    }
    watch.met(opening.waits()).await;
    watch.ready().await;
}
