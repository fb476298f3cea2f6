//! Notices that its owner was not run: stopped (SIGSTOP), suspended with its machine, or starved.
//!
//! A peer's silence counts only while this end could have heard it. Whoever waits for a peer looks at
//! least once a [`STEP`]; a look that is late says for how long nobody listened.

use std::time::{Duration, Instant};

/// Whoever waits looks this often.
const STEP: Duration = Duration::from_secs(1);

/// A timer of a busy machine may be this late.
const SLACK: Duration = Duration::from_millis(250);

/// How long what came meanwhile may take to be read.
const GRACE: Duration = Duration::from_millis(500);

/// Whether its owner looks when it should.
#[derive(Debug, Default)]
pub struct Attention {
    /// When the next look is due, while something is waited for.
    due: Option<Instant>,
    /// The last look was late.
    was_late: bool,
}

impl Attention {
    /// Looks; returns by how much every wait is to be put off because nobody looked in time.
    ///
    /// What is put off comes all the same: only the first of several late looks adds time to read
    /// what has come meanwhile.
    pub fn look(&mut self, now: Instant) -> Option<Duration> {
        let missed = now.saturating_duration_since(self.due.take()?);
        let late = missed > SLACK;
        let grace = if self.was_late { Duration::ZERO } else { GRACE };
        self.was_late = late;
        late.then(|| missed + grace)
    }

    /// Returns when to look next, while a wait is under way that ends at `until`.
    pub fn next(&mut self, now: Instant, until: Option<Instant>) -> Option<Instant> {
        self.due = until.map(|until| until.min(now + STEP));
        self.due
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Waits so long, run with these delays; returns how long it listened until the wait was over.
    fn listens(wait: Duration, delays: impl IntoIterator<Item = Duration>) -> (Duration, usize) {
        let start = Instant::now();
        let (mut now, mut until) = (start, start + wait);
        let (mut attention, mut missed, mut looks) = (Attention::default(), Duration::ZERO, 0);
        let mut delays = delays.into_iter();
        while now < until {
            let due = attention.next(now, Some(until)).unwrap();
            let delay = delays.next().unwrap_or_default();
            now = due + delay;
            missed += delay;
            looks += 1;
            if let Some(put_off) = attention.look(now) {
                until += put_off;
            }
        }
        (now - start - missed, looks)
    }

    #[test]
    fn who_is_run_in_time_puts_nothing_off() {
        let quick = std::iter::repeat(SLACK);
        assert_eq!(listens(20 * SECOND, []).0, 20 * SECOND);
        // Late by less than the slack: it ends up to that early.
        assert!(listens(20 * SECOND, quick).0 >= 15 * SECOND);
        assert_eq!(Attention::default().look(Instant::now()), None);
    }

    #[test]
    fn a_stop_is_not_counted_wherever_it_falls() {
        for second in 0..20 {
            let mut delays = vec![Duration::ZERO; second];
            delays.push(15 * SECOND);
            let (listened, _) = listens(20 * SECOND, delays);
            assert_eq!(listened, 20 * SECOND + GRACE, "stopped at {second} s");
        }
    }

    #[test]
    fn nothing_is_missed_while_nothing_is_waited_for() {
        let start = Instant::now();
        let mut attention = Attention::default();
        assert_eq!(attention.next(start, None), None);
        assert_eq!(attention.look(start + 60 * SECOND), None);
    }

    proptest! {
        #[test]
        fn a_wait_ends_however_often_its_owner_is_late(
            wait in 1_u64..30_000,
            delays in proptest::collection::vec(0_u64..5_000, 0..200),
        ) {
            let wait = Duration::from_millis(wait);
            let delays = delays.into_iter().map(Duration::from_millis);
            let (listened, looks) = listens(wait, delays);
            prop_assert!(listened + SLACK * looks as u32 >= wait);
            prop_assert!(looks <= 200 + 2 + wait.as_secs() as usize);
        }

        #[test]
        fn one_who_is_always_late_is_heard_of_in_the_end(wait in 1_u64..30_000, late in 251_u64..5_000) {
            let wait = Duration::from_millis(wait);
            let (_, looks) = listens(wait, std::iter::repeat(Duration::from_millis(late)));
            prop_assert!(looks <= wait.as_secs() as usize + 3);
        }
    }
}
