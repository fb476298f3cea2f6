//! When to return freed memory to the system (malloc_trim): once much of it was freed. Pure.

/// The approximate size of an idle connection, in bytes.
const CONNECTION: u64 = 12 * 1024;

/// The drop from the peak that is worth a walk through the heap, in bytes; for a large heap it is a
/// sixteenth of the heap.
const MIN_FREED: u64 = 4 << 20;

/// This many attempts leave about as much freed memory behind, whether they succeeded or not.
const ATTEMPTS: u64 = 1000;

/// More attempts than this between two samples mean that a storm of them is still under way.
const STORM: u64 = 100;

/// The fewest samples between two trims, so that a busy heap is not walked all the time.
const MIN_APART: u32 = 3;

/// A trim that was put off this many times is done even while connections come and go.
const MAX_PUT_OFF: u32 = 15;

/// So much resident memory beside what is used is returned at once; for a large heap it is an eighth of
/// what is used. Bytes.
const MIN_HOLES: u64 = 24 << 20;

/// A trim for that reason which returns less was in vain.
const MIN_RETURNED: u64 = 4 << 20;

/// One sample of what connections and attempts use.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sample {
    /// Connections that are open.
    pub open: u64,
    /// Bytes charged to the memory budget.
    pub charged: u64,
    /// The most bytes charged since the last sample.
    pub peak: u64,
    /// Attempts begun since the process started.
    pub attempts: u64,
    /// The resident memory of the process; 0 if that is not known.
    pub resident: u64,
}

/// Decides from samples when a trim is worthwhile.
#[derive(Debug, Default)]
pub struct Trimming {
    /// The most memory in use since the last trim.
    peak: u64,
    /// The memory in use at the last sample.
    last: u64,
    last_attempts: u64,
    /// Attempts that had begun at the last trim.
    trimmed_attempts: u64,
    /// Samples since the last trim.
    since: u32,
    /// Samples at which a trim was due and put off.
    put_off: u32,
    /// Trims in a row that returned little, although much was resident.
    in_vain: u32,
}

impl Trimming {
    /// Returns whether to trim now: much was freed since the peak, and connections have stopped
    /// leaving, so that a storm is followed by one trim and not interrupted by many. It is not put off
    /// when the process holds much more than is used.
    pub fn is_due(&mut self, sample: Sample) -> bool {
        let used = sample.open * CONNECTION + sample.charged;
        self.peak = self.peak.max(used).max(sample.open * CONNECTION + sample.peak);
        self.since = self.since.saturating_add(1);
        let is_busy = used < self.last || sample.attempts - self.last_attempts > STORM;
        (self.last, self.last_attempts) = (used, sample.attempts);
        if self.has_holes(used, sample.resident) {
            self.restart(used, sample.attempts);
            return true;
        }
        let freed = self.peak - used >= MIN_FREED.max(used / 16);
        let due = freed || sample.attempts - self.trimmed_attempts >= ATTEMPTS;
        if !due {
            self.put_off = 0;
            return false;
        }
        if self.since < MIN_APART || is_busy && self.put_off < MAX_PUT_OFF {
            self.put_off += 1;
            return false;
        }
        self.restart(used, sample.attempts);
        true
    }

    /// Returns whether much more is resident than is used, and a trim may change that: after trims in
    /// vain it waits twice as long each time.
    fn has_holes(&self, used: u64, resident: u64) -> bool {
        let holes = resident.saturating_sub(used);
        holes >= MIN_HOLES.max(used / 8) && self.since >> self.in_vain.min(31) > 0
    }

    fn restart(&mut self, used: u64, attempts: u64) {
        (self.peak, self.trimmed_attempts) = (used, attempts);
        (self.since, self.put_off) = (0, 0);
    }

    /// Learns how many bytes the last trim returned to the system.
    pub fn returned(&mut self, bytes: u64) {
        self.in_vain = if bytes < MIN_RETURNED { self.in_vain.saturating_add(1) } else { 0 };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn trims(samples: impl IntoIterator<Item = Sample>) -> Vec<bool> {
        let mut trimming = Trimming::default();
        samples.into_iter().map(|sample| trimming.is_due(sample)).collect()
    }

    fn open(open: &[u64]) -> Vec<bool> {
        trims(open.iter().map(|open| Sample { open: *open, ..Sample::default() }))
    }

    fn charged(charged: &[u64]) -> Vec<bool> {
        trims(charged.iter().map(|mib| Sample { charged: mib * MIB, ..Sample::default() }))
    }

    fn count(trims: &[bool]) -> usize {
        trims.iter().filter(|trim| **trim).count()
    }

    #[test]
    fn a_storm_is_followed_by_one_trim() {
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
    fn queues_that_were_emptied_are_trimmed_even_if_no_sample_saw_them_full() {
        assert_eq!(count(&charged(&[1, 30, 1, 1, 1])), 1);
        let mut unseen = vec![Sample::default(); 5];
        unseen[2].peak = 30 * MIB;
        assert_eq!(trims(unseen), [false, false, true, false, false]);
    }

    #[test]
    fn many_short_attempts_are_followed_by_one_trim() {
        let attempts = [0, 2000, 9000, 10_000, 10_001, 10_001, 10_001];
        let trims = trims(attempts.map(|attempts| Sample { attempts, ..Sample::default() }));
        assert_eq!(trims, [false, false, false, false, true, false, false]);
    }

    #[test]
    fn what_swings_all_the_time_is_trimmed_rarely() {
        let swings: Vec<u64> = (0..120).map(|n| if n % 2 == 0 { 100 } else { 50 }).collect();
        assert!(count(&charged(&swings)) <= 120 / MIN_APART as usize);
        let flood = (0..120).map(|n| Sample { attempts: n * 5000, ..Sample::default() });
        let trims = count(&trims(flood));
        assert!((5..=8).contains(&trims), "{trims}");
    }

    #[test]
    fn holes_are_returned_at_once_even_amid_a_storm() {
        let mut trimming = Trimming::default();
        let storm = |n: u64| Sample {
            charged: 30 * MIB,
            attempts: 5000 * n,
            resident: (30 + 24) * MIB,
            ..Sample::default()
        };
        for n in 0..10 {
            assert!(trimming.is_due(storm(n)), "{n}");
            trimming.returned(10 * MIB);
        }
        assert!(!trimming.is_due(Sample { resident: 53 * MIB, ..storm(10) }));
        let large = Sample { charged: 800 * MIB, resident: 890 * MIB, ..storm(11) };
        assert!(!trimming.is_due(large), "less than an eighth");
    }

    #[test]
    fn what_a_trim_does_not_return_is_tried_ever_less_often() {
        let mut trimming = Trimming::default();
        let base = Sample { resident: 100 * MIB, ..Sample::default() };
        let mut trims = Vec::new();
        for n in 1..=600 {
            if trimming.is_due(base) {
                trims.push(n);
                trimming.returned(0);
            }
        }
        assert_eq!(trims, [1, 3, 7, 15, 31, 63, 127, 255, 511]);
    }
}
