//! When to give memory back to the system: after many connections have gone. Pure.

/// So many fewer connections than at the peak are worth the walk through the heap.
const WORTHWHILE: u64 = 500;

/// Watches the number of open connections, look by look.
#[derive(Debug, Default)]
pub struct Trimming {
    /// The most that were open since memory was last given back.
    peak: u64,
    /// What the last look saw.
    last: u64,
}

impl Trimming {
    /// Takes note of how many are open; tells whether to give memory back now.
    ///
    /// That is when many are gone since the peak, and the going has ceased: a storm is trimmed
    /// once, behind it, not in its midst.
    pub fn look(&mut self, open: u64) -> bool {
        self.peak = self.peak.max(open);
        let going = open < self.last;
        self.last = open;
        let due = !going && self.peak - open >= WORTHWHILE;
        if due {
            self.peak = open;
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn looks(open: &[u64]) -> Vec<bool> {
        let mut trimming = Trimming::default();
        open.iter().map(|open| trimming.look(*open)).collect()
    }

    #[test]
    fn a_storm_is_trimmed_once_and_behind_it() {
        let trims = looks(&[0, 10_000, 7_000, 2_000, 3, 3, 3]);
        assert_eq!(trims, [false, false, false, false, false, true, false]);
    }

    #[test]
    fn small_changes_are_left_alone() {
        assert!(!looks(&[10_000, 9_700, 9_800, 9_600, 9_900, 9_900]).contains(&true));
    }

    #[test]
    fn a_slow_decline_is_trimmed_now_and_then() {
        let open: Vec<u64> = (0..20).map(|step| 2_000 - step / 2 * 100).collect();
        assert_eq!(looks(&open).iter().filter(|trim| **trim).count(), 1);
    }
}
