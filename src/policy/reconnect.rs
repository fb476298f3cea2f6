//! When to dial again: decided by how the last connection ended, not by a blind loop. Pure.

use std::time::{Duration, Instant};

use crate::protocol::classification::{LATER, SOON};
use crate::vocabulary::{Cause, CloseCode, CloseFrame, Outcome, Retry};

/// The longest wait that a peer may ask for (`Retry-After`): what asks for more may be a mistake.
pub const LONGEST_ASKED: Duration = Duration::from_secs(60 * 60);

/// When to dial again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReconnectPolicy {
    /// The shortest wait.
    pub min: Duration,
    /// The longest wait, but for what the peer asks for.
    pub max: Duration,
    /// How long a connection must hold before the wait starts at `min` again.
    pub stable_after: Duration,
    /// Close codes of the peer after which nobody dials again.
    pub never_on: Vec<u16>,
}

/// What to do after an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Advised {
    /// Dial again after this wait.
    Wait(Duration),
    /// Do not dial again by yourself.
    GiveUp(GiveUp),
}

/// Why nobody dials again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GiveUp {
    /// The peer closed with a code of `never_on`.
    NeverOn(u16),
    /// It would end the same way: the ending says `never`.
    Never,
}

/// The waits between the connections of one dialer.
#[derive(Debug, Clone)]
pub struct Reconnect {
    policy: ReconnectPolicy,
    /// Ends since a connection last held for `stable_after`.
    attempts: u32,
}

impl Reconnect {
    /// Starts without a history.
    pub fn new(policy: ReconnectPolicy) -> Self {
        Self { policy, attempts: 0 }
    }

    /// Returns how many ends there were since a connection last held for `stable_after`.
    pub fn attempts(&self) -> u32 {
        self.attempts
    }

    /// Forgets what was: somebody says that it is worth trying again.
    pub fn reset(&mut self) {
        self.attempts = 0;
    }

    /// Advises what to do after an end. The connection had been open for `held`, zero if it never
    /// was; `jitter` is anywhere from 0 to 1.
    ///
    /// - A code of `never_on`, or advice never to come back: give up.
    /// - New credentials are wanted: the longest wait, so that whoever replaces them has time and
    ///   the peer is not asked in vain.
    /// - Else a random wait (full jitter) between `min` and a bound that doubles with every end,
    ///   from twice `min` up to `max`. Opening alone changes nothing: only a connection that held
    ///   for `stable_after` starts the waits anew, so a peer that flaps is not hammered.
    /// - A peer that asked for more time gets it: "later" at least 5 s (but no more than `max`),
    ///   `Retry-After` as it says, up to [`LONGEST_ASKED`].
    pub fn handle_end(&mut self, outcome: &Outcome, held: Duration, jitter: f64) -> Advised {
        let ReconnectPolicy { min, max, stable_after, ref never_on } = self.policy;
        if !held.is_zero() && held >= stable_after {
            self.attempts = 0;
        }
        let bound = min.saturating_mul(2_u32.saturating_pow(self.attempts.saturating_add(1)));
        self.attempts = self.attempts.saturating_add(1);

        let code = outcome.close_received.as_ref().and_then(|close| close.code);
        // What comes back behind the Close of a relay's other leg is only its echo.
        let sent = outcome.close_sent.as_ref().and_then(CloseFrame::code).map(CloseCode::get);
        let code = code.filter(|_| outcome.cause != Cause::RelayPeer || code != sent);
        if let Some(code) = code.filter(|code| never_on.contains(code)) {
            return Advised::GiveUp(GiveUp::NeverOn(code));
        }
        let (least, most) = match outcome.retry {
            Retry::Never => return Advised::GiveUp(GiveUp::Never),
            Retry::Reauthenticate => return Advised::Wait(max),
            Retry::Backoff { min: later, .. } if outcome.retry == LATER => {
                let least = later.clamp(min, max.max(min));
                (least, least.saturating_mul(2).clamp(least, max.max(least)).max(bound.min(max)))
            }
            Retry::Backoff { min: asked, max: until } if asked > usual() => {
                let least = asked.min(LONGEST_ASKED).max(min);
                // A dialer that is told to wait for longer than anybody may ask for does so.
                (least, until.min(LONGEST_ASKED + LONGEST_ASKED / 10).max(least))
            }
            Retry::Backoff { .. } => (min, bound.min(max)),
        };
        let span = most.saturating_sub(least).mul_f64(jitter.clamp(0.0, 1.0));
        Advised::Wait(least + span)
    }
}

/// The shortest wait of advice that asks for nothing in particular.
fn usual() -> Duration {
    match SOON {
        Retry::Backoff { min, .. } => min,
        Retry::Never | Retry::Reauthenticate => Duration::ZERO,
    }
}

/// The dials that all dialers together may begin per second, evenly spaced: what was not used is
/// not saved up, so a thousand dialers that lose one server at once do not come back at once.
#[derive(Debug, Clone)]
pub struct DialBudget {
    /// From one dial to the next; zero is no limit.
    interval: Duration,
    next: Option<Instant>,
}

impl DialBudget {
    /// Allows so many dials per second; 0 is no limit.
    pub fn per_second(dials: u64) -> Self {
        let interval = match dials {
            0 => Duration::ZERO,
            dials => Duration::from_nanos(1_000_000_000_u64.div_ceil(dials)),
        };
        Self { interval, next: None }
    }

    /// Takes leave for one dial, or returns when to ask again.
    ///
    /// # Errors
    /// When there is leave again. Whoever waited longest should ask first.
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
