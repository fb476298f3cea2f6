//! When to give memory back to the system: after much of it was freed. Pure.

/// About what an idle connection takes, in bytes.
const CONNECTION: u64 = 12 * 1024;

/// So much less than at the peak is worth the walk through the heap, in bytes; of a large heap, a
/// sixteenth.
const WORTHWHILE: u64 = 4 << 20;

/// So many attempts leave about as much behind, whatever became of them.
const ATTEMPTS: u64 = 1000;

/// So many attempts between two looks are a storm that goes on.
const STORM: u64 = 100;

/// The fewest looks between two walks: a heap in use is not walked all the time.
const APART: u32 = 3;

/// After so many looks, what is due is done amid whatever goes on.
const PATIENCE: u32 = 15;

/// What was seen at one look.
#[derive(Debug, Clone, Copy, Default)]
pub struct Look {
    /// Connections that are open.
    pub open: u64,
    /// Bytes that the memory budget is charged with.
    pub charged: u64,
    /// The most that it was charged with since the last look.
    pub peak: u64,
    /// Attempts that ever began.
    pub attempts: u64,
}

/// Watches what connections and attempts take, look by look.
#[derive(Debug, Default)]
pub struct Trimming {
    /// The most that was taken since memory was last given back.
    peak: u64,
    /// What the last look saw.
    last: u64,
    last_attempts: u64,
    /// Attempts that had begun when memory was last given back.
    trimmed_attempts: u64,
    /// Looks since then.
    since: u32,
    /// Looks at which it was due, and put off.
    put_off: u32,
}

impl Trimming {
    /// Takes note of what there is; tells whether to give memory back now.
    ///
    /// That is when much was freed since the peak, and the going has ceased: a storm is trimmed
    /// once, behind it, not in its midst.
    pub fn look(&mut self, look: Look) -> bool {
        let weight = look.open * CONNECTION + look.charged;
        self.peak = self.peak.max(weight).max(look.open * CONNECTION + look.peak);
        self.since = self.since.saturating_add(1);
        let going = weight < self.last || look.attempts - self.last_attempts > STORM;
        (self.last, self.last_attempts) = (weight, look.attempts);
        let freed = self.peak - weight >= WORTHWHILE.max(weight / 16);
        let due = freed || look.attempts - self.trimmed_attempts >= ATTEMPTS;
        if !due {
            self.put_off = 0;
            return false;
        }
        if self.since < APART || going && self.put_off < PATIENCE {
            self.put_off += 1;
            return false;
        }
        let last = (self.last, self.last_attempts);
        *self = Self {
            peak: weight,
            last: last.0,
            last_attempts: last.1,
            trimmed_attempts: look.attempts,
            ..Self::default()
        };
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn looks(looks: impl IntoIterator<Item = Look>) -> Vec<bool> {
        let mut trimming = Trimming::default();
        looks.into_iter().map(|look| trimming.look(look)).collect()
    }

    fn open(open: &[u64]) -> Vec<bool> {
        looks(open.iter().map(|open| Look { open: *open, ..Look::default() }))
    }

    fn charged(charged: &[u64]) -> Vec<bool> {
        looks(charged.iter().map(|mib| Look { charged: mib * MIB, ..Look::default() }))
    }

    fn count(trims: &[bool]) -> usize {
        trims.iter().filter(|trim| **trim).count()
    }

    #[test]
    fn a_storm_is_trimmed_once_and_behind_it() {
        let trims = open(&[0, 10_000, 7_000, 2_000, 3, 3, 3]);
        assert_eq!(trims, [false, false, false, false, false, true, false]);
    }

    #[test]
    fn small_changes_are_left_alone() {
        assert_eq!(count(&open(&[10_000, 9_700, 9_800, 9_600, 9_900, 9_900])), 0);
        assert_eq!(count(&charged(&[100, 99, 97, 100, 100, 98, 98])), 0);
    }

    #[test]
    fn a_slow_decline_is_trimmed_now_and_then() {
        let declines: Vec<u64> = (0..20).map(|step| 2_000 - step / 2 * 100).collect();
        assert_eq!(count(&open(&declines)), 2);
    }

    #[test]
    fn queues_that_were_emptied_are_trimmed_also_if_no_look_saw_them_full() {
        assert_eq!(count(&charged(&[1, 30, 1, 1, 1])), 1);
        let mut unseen = vec![Look::default(); 5];
        unseen[2].peak = 30 * MIB;
        assert_eq!(looks(unseen), [false, false, true, false, false]);
    }

    #[test]
    fn many_attempts_are_trimmed_behind_them_though_each_was_short() {
        let attempts = [0, 2000, 9000, 10_000, 10_001, 10_001, 10_001];
        let trims = looks(attempts.map(|attempts| Look { attempts, ..Look::default() }));
        assert_eq!(trims, [false, false, false, false, true, false, false]);
    }

    #[test]
    fn what_swings_all_the_time_is_trimmed_rarely() {
        let swings: Vec<u64> = (0..120).map(|n| if n % 2 == 0 { 100 } else { 50 }).collect();
        assert!(count(&charged(&swings)) <= 120 / APART as usize);
        let flood = (0..120).map(|n| Look { attempts: n * 5000, ..Look::default() });
        let trims = count(&looks(flood));
        assert!((5..=8).contains(&trims), "{trims}");
    }
}
