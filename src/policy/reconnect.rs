//! When to dial again, decided by how the last connection ended. Pure.

use std::time::{Duration, Instant};

use crate::protocol::classification::{LATER, SOON};
use crate::vocabulary::{Cause, CloseCode, CloseFrame, Outcome, Retry};

/// The longest `Retry-After` that is followed; a longer one is probably a mistake.
pub const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(60 * 60);

/// When to dial again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReconnectPolicy {
    /// The shortest wait.
    pub min: Duration,
    /// The longest wait, unless the peer asks for a longer one.
    pub max: Duration,
    /// How long a connection must hold before the wait starts at `min` again.
    pub stable_after: Duration,
    /// Close codes of the peer after which the dialer gives up.
    pub never_on: Vec<u16>,
}

/// What to do after a connection or an attempt has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NextStep {
    /// Dial again after this wait.
    Wait(Duration),
    /// Do not dial again until an operator resumes the dialer.
    GiveUp(GiveUp),
}

/// Why a dialer gives up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GiveUp {
    /// The peer closed with a code of `never_on`.
    NeverOn(u16),
    /// The ending says `never`: another connection would end the same way.
    Never,
}

/// Computes the waits between the connections of one dialer.
#[derive(Debug, Clone)]
pub struct Reconnect {
    policy: ReconnectPolicy,
    /// Ends since a connection last held for `stable_after`.
    attempts: u32,
}

impl Reconnect {
    /// Starts without any past failures.
    pub fn new(policy: ReconnectPolicy) -> Self {
        Self { policy, attempts: 0 }
    }

    /// Returns how many connections or attempts ended since one last held for `stable_after`.
    pub fn attempts(&self) -> u32 {
        self.attempts
    }

    /// Starts the waits over, because an operator asked to try again.
    pub fn reset(&mut self) {
        self.attempts = 0;
    }

    /// Decides what to do after a connection that was open for `held` (zero for a failed attempt);
    /// `jitter` is from 0 to 1.
    ///
    /// - A code of `never_on`, or the advice `never`: give up.
    /// - The advice `reauthenticate`: wait for `max`, which leaves time to replace the credentials.
    /// - Otherwise a random wait (full jitter) between `min` and a bound that doubles with every
    ///   end, from twice `min` up to `max`. Opening a connection does not reset the bound: only a
    ///   connection that held for `stable_after` does, so that a flapping peer is not hammered.
    /// - A peer that asked for more time gets it: 1013 or 429 waits at least 5 s (but no more than
    ///   `max`), and `Retry-After` is followed up to [`LONGEST_RETRY_AFTER`].
    pub fn handle_end(&mut self, outcome: &Outcome, held: Duration, jitter: f64) -> NextStep {
        let ReconnectPolicy { min, max, stable_after, ref never_on } = self.policy;
        if !held.is_zero() && held >= stable_after {
            self.attempts = 0;
        }
        let bound = min.saturating_mul(2_u32.saturating_pow(self.attempts.saturating_add(1)));
        self.attempts = self.attempts.saturating_add(1);

        let code = outcome.close_received.as_ref().and_then(|close| close.code);
        // The peer's Close that answers the relayed Close of the other leg only echoes its code.
        let sent = outcome.close_sent.as_ref().and_then(CloseFrame::code).map(CloseCode::get);
        let code = code.filter(|_| outcome.cause != Cause::RelayPeer || code != sent);
        if let Some(code) = code.filter(|code| never_on.contains(code)) {
            return NextStep::GiveUp(GiveUp::NeverOn(code));
        }
        let (least, most) = match outcome.retry {
            Retry::Never => return NextStep::GiveUp(GiveUp::Never),
            Retry::Reauthenticate => return NextStep::Wait(max),
            Retry::Backoff { min: later, .. } if outcome.retry == LATER => {
                let least = later.clamp(min, max.max(min));
                (least, least.saturating_mul(2).clamp(least, max.max(least)).max(bound.min(max)))
            }
            Retry::Backoff { min: asked, max: until } if asked > default_min() => {
                let least = asked.min(LONGEST_RETRY_AFTER).max(min);
                // A configured `min` above the cap on `Retry-After` still holds.
                (least, until.min(LONGEST_RETRY_AFTER + LONGEST_RETRY_AFTER / 10).max(least))
            }
            Retry::Backoff { .. } => (min, bound.min(max)),
        };
        let span = most.saturating_sub(least).mul_f64(jitter.clamp(0.0, 1.0));
        NextStep::Wait(least + span)
    }
}

/// The shortest wait of the default advice.
fn default_min() -> Duration {
    match SOON {
        Retry::Backoff { min, .. } => min,
        Retry::Never | Retry::Reauthenticate => Duration::ZERO,
    }
}

/// Spaces the dials of all dialers evenly. Unused slots are not saved up, so a thousand dialers that
/// lose one server together do not dial it together.
#[derive(Debug, Clone)]
pub struct DialBudget {
    /// The time between two dials; zero means no limit.
    interval: Duration,
    next: Option<Instant>,
}

impl DialBudget {
    /// Allows this many dials per second; 0 means no limit.
    pub fn per_second(dials: u64) -> Self {
        let interval = match dials {
            0 => Duration::ZERO,
            dials => Duration::from_nanos(1_000_000_000_u64.div_ceil(dials)),
        };
        Self { interval, next: None }
    }

    /// Allows this many dials per second from now on; 0 means no limit.
    pub fn set_rate(&mut self, dials: u64) {
        self.interval = Self::per_second(dials).interval;
    }

    /// Takes the slot for one dial.
    ///
    /// # Errors
    /// The time at which the next slot is free. The caller that has waited longest should try first.
    pub fn take(&mut self, now: Instant) -> Result<(), Instant> {
        match self.next {
            Some(next) if next > now => Err(next),
            Some(_) | None => {
                self.next = Some(now + self.interval);
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests;
