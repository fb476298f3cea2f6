//! Keepalive: Pings, Pong deadlines, idle and age limits. Pure, one deadline at a time.
//!
//! A Ping verifies that the peer is responsive (RFC 6455 section 5.5.2). A Pong (section 5.5.3) proves
//! it, and so does any other byte from the peer, or an acknowledgement by its kernel of data that was
//! under way before the Ping: a peer in the middle of a long download is slow, not gone.

mod stall_detector;

use std::time::{Duration, Instant};

pub use stall_detector::StallDetector;

/// The keepalive settings of a connection; `None` turns one off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct KeepalivePolicy {
    /// The interval between Pings. Each is sent up to a tenth earlier, so that those of many
    /// connections spread out.
    pub ping_interval: Option<Duration>,
    /// How long the peer may stay silent after a Ping.
    pub pong_timeout: Option<Duration>,
    /// How long the connection may go without data in either direction.
    pub idle_timeout: Option<Duration>,
    /// How long the connection may stay open.
    pub max_age: Option<Duration>,
}

/// What is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// Send a Ping with this payload.
    SendPing([u8; 4]),
    /// The peer stayed silent for this long after our Ping.
    PongOverdue(Duration),
    /// There was no data for this long.
    Idle(Duration),
    /// The connection is this old.
    MaxAge(Duration),
}

/// The keepalive of one open connection, which is dropped when the closing handshake begins.
#[derive(Debug)]
pub struct Keepalive {
    policy: KeepalivePolicy,
    opened: Instant,
    last_data: Instant,
    next_ping: Option<Instant>,
    ping: Ping,
    /// The number of the last Ping, which is its payload.
    count: u32,
    seed: u64,
    paused: bool,
    rtt: Option<Duration>,
}

/// The state of the last Ping.
#[derive(Debug, Clone, Copy)]
enum Ping {
    /// No Ping is under way.
    None,
    /// Queued, and not handed to the kernel yet. Until then the write timeout applies.
    Queued,
    /// Handed to the kernel; the peer must show a sign of life.
    Sent { at: Instant, since: Instant, acked: u64, own: u64 },
}

impl Keepalive {
    /// Starts when the connection opens; `seed` spreads the Pings of many connections.
    pub fn new(policy: KeepalivePolicy, now: Instant, seed: u64) -> Self {
        let mut keepalive = Self {
            policy,
            opened: now,
            last_data: now,
            next_ping: None,
            ping: Ping::None,
            count: 0,
            seed,
            paused: false,
            rtt: None,
        };
        keepalive.next_ping = keepalive.after_interval(now);
        keepalive
    }

    /// Returns the last round trip of a Ping.
    pub fn rtt(&self) -> Option<Duration> {
        self.rtt
    }

    /// Records that bytes arrived from the peer.
    #[inline]
    pub fn handle_bytes(&mut self) {
        if let Ping::Sent { .. } = self.ping {
            self.ping = Ping::None;
        }
    }

    /// Records that a data message was sent or received.
    #[inline]
    pub fn handle_data(&mut self, now: Instant) {
        self.last_data = now;
    }

    /// Records that a data message was sent or received at `at`, which may lie in the past.
    pub fn handle_data_at(&mut self, at: Instant) {
        self.last_data = self.last_data.max(at);
    }

    /// Records a Pong, and returns whether it answers the Ping under way (section 5.5.3). Must be
    /// called before [`Keepalive::handle_bytes`], which clears the Ping.
    pub fn handle_pong(&mut self, now: Instant, payload: &[u8]) -> bool {
        let Ping::Sent { at, .. } = self.ping else { return false };
        let answers = payload == self.count.to_be_bytes();
        if answers {
            self.rtt = Some(now - at);
            self.ping = Ping::None;
        }
        answers
    }

    /// Records that the Ping was handed to the kernel as `own` bytes, when the peer's kernel had
    /// acknowledged `acked` bytes.
    pub fn handle_ping_sent(&mut self, now: Instant, acked: u64, own: u64) {
        if let Ping::Queued = self.ping {
            self.ping = Ping::Sent { at: now, since: now, acked, own };
        }
    }

    /// Records that reading paused, which suspends the Pong deadline.
    pub fn handle_pause(&mut self) {
        self.paused = true;
    }

    /// Records that reading resumed, which restarts the Pong deadline.
    pub fn handle_resume(&mut self, now: Instant) {
        self.paused = false;
        if let Ping::Sent { since, .. } = &mut self.ping {
            *since = now;
        }
    }

    /// Extends the Pong deadline by a time in which this process did not run.
    pub fn handle_stall(&mut self, stalled: Duration) {
        if let Ping::Sent { since, .. } = &mut self.ping {
            *since += stalled;
        }
    }

    /// Returns the Pong deadline, if a Ping is under way.
    pub fn silence_deadline(&self) -> Option<Instant> {
        self.pong_deadline()
    }

    /// Returns when [`Keepalive::handle_deadline`] must be called next.
    pub fn poll_deadline(&self) -> Option<Instant> {
        [self.pong_deadline(), self.next_ping, self.idle_deadline(), self.age_deadline()]
            .into_iter()
            .flatten()
            .min()
    }

    /// Returns one thing that is due. Must be called until it returns `None`.
    ///
    /// `acked` returns how many bytes the peer's kernel has acknowledged, and is called only when a
    /// Pong is overdue.
    pub fn handle_deadline(&mut self, now: Instant, acked: impl FnOnce() -> u64) -> Option<Due> {
        if self.pong_deadline().is_some_and(|at| at <= now)
            && let Ping::Sent { since, acked: before, own, .. } = &mut self.ping
        {
            let silent = now - *since;
            let acked = acked();
            // An acknowledgement of the Ping itself shows only that the peer's kernel is alive.
            if acked.saturating_sub(*before) <= *own {
                // The connection is about to end: no more Pings.
                self.ping = Ping::None;
                self.next_ping = None;
                return Some(Due::PongOverdue(silent));
            }
            (*before, *own, *since) = (acked, 0, now);
        }
        if self.age_deadline().is_some_and(|at| at <= now) {
            self.policy.max_age = None;
            return Some(Due::MaxAge(now - self.opened));
        }
        if self.idle_deadline().is_some_and(|at| at <= now) {
            self.policy.idle_timeout = None;
            return Some(Due::Idle(now - self.last_data));
        }
        if self.next_ping.is_some_and(|at| at <= now) {
            self.next_ping = self.after_interval(now);
            if let Ping::None = self.ping {
                self.count = self.count.wrapping_add(1);
                self.ping = Ping::Queued;
                return Some(Due::SendPing(self.count.to_be_bytes()));
            }
        }
        None
    }

    fn pong_deadline(&self) -> Option<Instant> {
        match self.ping {
            Ping::Sent { since, .. } if !self.paused => Some(since + self.policy.pong_timeout?),
            Ping::Sent { .. } | Ping::Queued | Ping::None => None,
        }
    }

    fn idle_deadline(&self) -> Option<Instant> {
        Some(self.last_data + self.policy.idle_timeout?)
    }

    fn age_deadline(&self) -> Option<Instant> {
        Some(self.opened + self.policy.max_age?)
    }

    fn after_interval(&mut self, now: Instant) -> Option<Instant> {
        let interval = self.policy.ping_interval?;
        // One step of a linear congruential generator (Knuth's constants): spread, not secrecy.
        self.seed = self.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let fraction = (self.seed >> 48) as u32; // 16 bits
        Some(now + interval - interval / 10 * fraction / 65_536)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn policy() -> KeepalivePolicy {
        KeepalivePolicy {
            ping_interval: Some(25 * SECOND),
            pong_timeout: Some(20 * SECOND),
            ..KeepalivePolicy::default()
        }
    }

    /// Runs until the first Ping is with the kernel, and returns when that is.
    fn pinged(keepalive: &mut Keepalive) -> Instant {
        let at = keepalive.poll_deadline().unwrap();
        assert!(matches!(keepalive.handle_deadline(at, || 0), Some(Due::SendPing(_))));
        keepalive.handle_ping_sent(at, 0, 6);
        at
    }

    #[test]
    fn a_silent_peer_is_overdue_after_interval_and_timeout() {
        let start = Instant::now();
        for seed in 0..1000 {
            let mut keepalive = Keepalive::new(policy(), start, seed);
            let at = pinged(&mut keepalive);
            assert!(at - start <= 25 * SECOND && at - start >= SECOND * 225 / 10);
            let overdue = keepalive.poll_deadline().unwrap();
            assert_eq!(overdue, at + 20 * SECOND);
            assert_eq!(
                keepalive.handle_deadline(overdue, || 6),
                Some(Due::PongOverdue(20 * SECOND))
            );
        }
    }

    #[test]
    fn no_ping_is_sent_after_an_overdue_pong() {
        let policy = KeepalivePolicy { pong_timeout: Some(25 * SECOND), ..policy() };
        let mut keepalive = Keepalive::new(policy, Instant::now(), 1);
        let overdue = pinged(&mut keepalive) + 25 * SECOND;
        // The next Ping is due as well by then.
        assert!(matches!(keepalive.handle_deadline(overdue, || 6), Some(Due::PongOverdue(_))));
        assert_eq!(keepalive.handle_deadline(overdue, || 6), None);
        assert_eq!(keepalive.poll_deadline(), None);
    }

    #[test]
    fn a_pong_gives_the_round_trip_and_any_byte_is_a_sign_of_life() {
        let start = Instant::now();
        let mut keepalive = Keepalive::new(policy(), start, 1);
        let at = pinged(&mut keepalive);
        assert!(!keepalive.handle_pong(at + SECOND, b"other"));
        assert_eq!(keepalive.rtt(), None);
        assert!(keepalive.handle_pong(at + SECOND, &1u32.to_be_bytes()));
        assert_eq!(keepalive.rtt(), Some(SECOND));
        let again = pinged(&mut keepalive);
        keepalive.handle_bytes();
        assert!(keepalive.poll_deadline().unwrap() > again + 20 * SECOND);
    }

    #[test]
    fn newly_acknowledged_bytes_are_a_sign_of_life_but_the_ping_itself_is_not() {
        let start = Instant::now();
        let mut keepalive = Keepalive::new(policy(), start, 1);
        let at = pinged(&mut keepalive);
        let overdue = at + 20 * SECOND;
        keepalive.next_ping = None;
        assert_eq!(keepalive.handle_deadline(overdue, || 7), None);
        let again = keepalive.poll_deadline().unwrap();
        assert_eq!(again, overdue + 20 * SECOND);
        assert_eq!(keepalive.handle_deadline(again, || 7), Some(Due::PongOverdue(20 * SECOND)));
    }

    #[test]
    fn the_pong_deadline_is_suspended_while_reading_is_paused() {
        let mut keepalive = Keepalive::new(policy(), Instant::now(), 1);
        let at = pinged(&mut keepalive);
        keepalive.next_ping = None;
        keepalive.handle_pause();
        assert_eq!(keepalive.poll_deadline(), None);
        keepalive.handle_resume(at + 60 * SECOND);
        assert_eq!(keepalive.poll_deadline(), Some(at + 80 * SECOND));
    }

    #[test]
    fn a_stall_of_this_process_does_not_count_as_silence() {
        let mut keepalive = Keepalive::new(policy(), Instant::now(), 1);
        keepalive.handle_stall(SECOND);
        let at = pinged(&mut keepalive);
        assert_eq!(keepalive.silence_deadline(), Some(at + 20 * SECOND));
        keepalive.next_ping = None;
        keepalive.handle_stall(15 * SECOND);
        assert_eq!(keepalive.handle_deadline(at + 34 * SECOND, || 0), None);
        let overdue = keepalive.handle_deadline(at + 35 * SECOND, || 0);
        assert_eq!(overdue, Some(Due::PongOverdue(20 * SECOND)));
    }

    #[test]
    fn idle_and_max_age_are_due_once() {
        let start = Instant::now();
        let policy = KeepalivePolicy {
            idle_timeout: Some(5 * SECOND),
            max_age: Some(9 * SECOND),
            ..KeepalivePolicy::default()
        };
        let mut keepalive = Keepalive::new(policy, start, 1);
        keepalive.handle_data(start + SECOND);
        assert_eq!(keepalive.handle_deadline(start + 5 * SECOND, || 0), None);
        let idle = keepalive.handle_deadline(start + 6 * SECOND, || 0);
        assert_eq!(idle, Some(Due::Idle(5 * SECOND)));
        let old = keepalive.handle_deadline(start + 9 * SECOND, || 0);
        assert_eq!(old, Some(Due::MaxAge(9 * SECOND)));
        assert_eq!(keepalive.poll_deadline(), None);
    }

    #[test]
    fn without_a_policy_nothing_is_ever_due() {
        let keepalive = Keepalive::new(KeepalivePolicy::default(), Instant::now(), 1);
        assert_eq!(keepalive.poll_deadline(), None);
    }
}
