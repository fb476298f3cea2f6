//! Whether the daemon may tell its service manager that it lives: only while each of its parts proves
//! that it does.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// The proofs of life, and when the next keep-alive is due.
///
/// A part that has proven nothing for half of the service manager's timeout counts as hung. Keep-alives
/// are due as often, so that the manager acts between one and one and a half timeouts after a hang.
#[derive(Debug)]
pub struct Liveness {
    timeout: Duration,
    /// When each part last proved that it lives, or was first watched.
    proofs: BTreeMap<String, Instant>,
    hung: BTreeSet<String>,
    next: Instant,
}

/// What to do now.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Verdict {
    /// A keep-alive is to be sent.
    pub keep_alive: bool,
    /// The parts that have been found to hang, and for how long they have proven nothing.
    pub hung: Vec<(String, Duration)>,
    /// The parts that hung and live again.
    pub recovered: Vec<String>,
}

impl Liveness {
    /// Begins with a keep-alive that is due at once.
    pub fn new(timeout: Duration, now: Instant) -> Self {
        Self { timeout, proofs: BTreeMap::new(), hung: BTreeSet::new(), next: now }
    }

    /// Returns how often the parts are to be asked, and the verdict is to be looked at.
    pub fn interval(&self) -> Duration {
        (self.timeout / 8).min(Duration::from_secs(2))
    }

    /// Watches a part from now on, unless it is watched already.
    pub fn watch(&mut self, part: &str, now: Instant) {
        if !self.proofs.contains_key(part) {
            self.proofs.insert(part.to_owned(), now);
        }
    }

    /// Notes that a part proved at this time that it lives.
    pub fn prove(&mut self, part: &str, at: Instant) {
        match self.proofs.get_mut(part) {
            Some(last) => *last = at.max(*last),
            None => self.watch(part, at),
        }
    }

    /// Watches only these parts, of those whose names begin with `prefix`: the others have ended.
    pub fn retain(&mut self, prefix: &str, present: &[String]) {
        let keep = |part: &String| !part.starts_with(prefix) || present.contains(part);
        self.proofs.retain(|part, _| keep(part));
        self.hung.retain(keep);
    }

    /// Decides what to do now.
    pub fn poll(&mut self, now: Instant) -> Verdict {
        let patience = self.timeout / 2;
        let mut verdict = Verdict::default();
        for (part, proof) in &self.proofs {
            let silent = now.saturating_duration_since(*proof);
            if silent > patience {
                if self.hung.insert(part.clone()) {
                    verdict.hung.push((part.clone(), silent));
                }
            } else if self.hung.remove(part) {
                verdict.recovered.push(part.clone());
            }
        }
        let due = self.next <= now || !verdict.recovered.is_empty();
        if due && self.hung.is_empty() {
            verdict.keep_alive = true;
            // Looked at in intervals: one more would be later than half of the timeout.
            self.next = now + patience.saturating_sub(self.interval());
        }
        verdict
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(16);

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn keep_alives_come_at_least_twice_per_timeout_while_every_part_lives() {
        let began = Instant::now();
        let mut liveness = Liveness::new(TIMEOUT, began);
        let mut sent = Vec::new();
        let mut at = Duration::ZERO;
        while at < seconds(160) {
            let now = began + at;
            liveness.prove("ledger", now);
            liveness.prove("runtime", now);
            if liveness.poll(now).keep_alive {
                sent.push(at);
            }
            at += liveness.interval();
        }
        assert_eq!(sent[0], Duration::ZERO);
        assert!(sent.windows(2).all(|pair| pair[1] - pair[0] <= TIMEOUT / 2), "{sent:?}");
        assert!(sent.len() < 40, "no more often than needed: {sent:?}");
    }

    #[test]
    fn a_part_that_hangs_is_named_once_and_stops_the_keep_alives() {
        let began = Instant::now();
        let mut liveness = Liveness::new(TIMEOUT, began);
        liveness.watch("ledger", began);
        for second in 0..=8 {
            liveness.prove("runtime", began + seconds(second));
            assert_eq!(liveness.poll(began + seconds(second)).hung, []);
        }
        liveness.prove("runtime", began + seconds(9));
        let verdict = liveness.poll(began + seconds(9));
        let hung = vec![("ledger".to_owned(), seconds(9))];
        assert_eq!(verdict, Verdict { keep_alive: false, hung, recovered: vec![] });
        for second in 10..60 {
            liveness.prove("runtime", began + seconds(second));
            assert_eq!(liveness.poll(began + seconds(second)), Verdict::default());
        }
        liveness.prove("ledger", began + seconds(60));
        let verdict = liveness.poll(began + seconds(60));
        assert!(verdict.keep_alive, "it is overdue");
        assert_eq!(verdict.recovered, ["ledger"]);
    }

    #[test]
    fn what_has_ended_is_not_missed() {
        let began = Instant::now();
        let mut liveness = Liveness::new(TIMEOUT, began);
        liveness.watch("listener a", began);
        liveness.watch("listener b", began);
        liveness.retain("listener ", &["listener b".to_owned()]);
        let later = began + seconds(20);
        liveness.prove("listener b", later);
        assert!(liveness.poll(later).keep_alive);
    }

    #[test]
    fn a_proof_does_not_grow_older() {
        let began = Instant::now();
        let mut liveness = Liveness::new(TIMEOUT, began);
        liveness.prove("ledger", began + seconds(5));
        liveness.prove("ledger", began);
        assert_eq!(liveness.poll(began + seconds(13)).hung, []);
    }
}
