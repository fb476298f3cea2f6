//! Counts of endings over time.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The number of values that are counted apart. The sets are closed, so only a damaged file has
/// more; they are counted together.
const MOST_VALUES: usize = 64;

/// The value under which the others are counted.
const OTHER: &str = "other";

/// A period, divided into slots of equal length.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slots {
    since: SystemTime,
    until: SystemTime,
    step: Duration,
    count: usize,
}

impl Slots {
    /// Divides a period into this many slots, each a whole number of milliseconds; the last one may
    /// reach beyond the period. `None` if there are no slots or the period is empty.
    pub fn new(since: SystemTime, until: SystemTime, count: usize) -> Option<Self> {
        // The ledger keeps milliseconds.
        let (since, until) = (whole_millis(since), whole_millis(until));
        let period = until.duration_since(since).ok()?.as_millis();
        let step = period.div_ceil((count as u128).max(1));
        let step = Duration::from_millis(u64::try_from(step).ok()?);
        (count > 0 && !step.is_zero()).then_some(Self { since, until, step, count })
    }

    /// Returns the beginning of the period.
    pub fn since(&self) -> SystemTime {
        self.since
    }

    /// Returns the end of the period.
    pub fn until(&self) -> SystemTime {
        self.until
    }

    /// Returns the length of a slot.
    pub fn step(&self) -> Duration {
        self.step
    }

    /// Returns the slot of a time, unless it is outside of the period.
    pub(super) fn find(&self, time: SystemTime) -> Option<usize> {
        if time >= self.until {
            return None;
        }
        let since = time.duration_since(self.since).ok()?;
        let slot = usize::try_from(since.as_millis() / self.step.as_millis()).ok()?;
        (slot < self.count).then_some(slot)
    }

    /// Returns where each slot begins.
    #[cfg(feature = "ledger-sqlite")]
    pub(super) fn beginnings(&self) -> impl Iterator<Item = SystemTime> {
        (0_u32..).take(self.count).map_while(|slot| self.since.checked_add(self.step * slot))
    }
}

/// The number of endings in each slot of a period, by one property.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Timeline {
    /// The values, the most frequent first.
    pub values: Vec<TimelineValue>,
}

/// The number of endings with one value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimelineValue {
    /// The value.
    pub value: String,
    /// The number in each slot.
    pub counts: Vec<u64>,
    /// The number in all slots.
    pub total: u64,
}

/// Counts endings as they are found.
pub(super) struct Counting {
    slots: usize,
    timeline: Timeline,
}

impl Counting {
    pub(super) fn new(slots: &Slots) -> Self {
        Self { slots: slots.count, timeline: Timeline::default() }
    }

    pub(super) fn add(&mut self, slot: usize, value: &str, count: u64) {
        let values = &mut self.timeline.values;
        let known = values.iter().position(|known| known.value == value);
        let at = known.unwrap_or_else(|| {
            let value = if values.len() < MOST_VALUES { value } else { OTHER };
            values.iter().position(|known| known.value == value).unwrap_or_else(|| {
                let counts = vec![0; self.slots];
                values.push(TimelineValue { value: value.to_owned(), counts, total: 0 });
                values.len() - 1
            })
        });
        let counted = &mut values[at];
        counted.total += count;
        if let Some(slot) = counted.counts.get_mut(slot) {
            *slot += count;
        }
    }

    pub(super) fn finish(mut self) -> Timeline {
        let order = |a: &TimelineValue, b: &TimelineValue| {
            b.total.cmp(&a.total).then_with(|| a.value.cmp(&b.value))
        };
        self.timeline.values.sort_by(order);
        self.timeline
    }
}

fn whole_millis(time: SystemTime) -> SystemTime {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let millis = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
    UNIX_EPOCH.checked_add(Duration::from_millis(millis)).unwrap_or(UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(millis)
    }

    #[test]
    fn each_time_of_a_period_has_one_slot() {
        let slots = Slots::new(at(1000), at(2000), 3).unwrap();
        assert_eq!(slots.step(), Duration::from_millis(334));
        for (time, slot) in [
            (999, None),
            (1000, Some(0)),
            (1333, Some(0)),
            (1334, Some(1)),
            (1668, Some(2)),
            (1999, Some(2)),
            (2000, None),
        ] {
            assert_eq!(slots.find(at(time)), slot, "{time}");
        }
    }

    #[test]
    fn an_empty_period_has_no_slots() {
        assert_eq!(Slots::new(at(1000), at(1000), 3), None);
        assert_eq!(Slots::new(at(2000), at(1000), 3), None);
        assert_eq!(Slots::new(at(1000), at(2000), 0), None);
        // Shorter than its slots: each is a millisecond.
        let slots = Slots::new(at(1000), at(1001), 9).unwrap();
        assert_eq!((slots.step(), slots.find(at(1000))), (Duration::from_millis(1), Some(0)));
    }

    #[test]
    fn values_beyond_the_bound_are_counted_together() {
        let mut counting = Counting::new(&Slots::new(at(0), at(2), 2).unwrap());
        for value in 0..100 {
            counting.add(1, &format!("value {value}"), 1);
        }
        let timeline = counting.finish();
        assert_eq!(timeline.values.len(), MOST_VALUES + 1);
        assert_eq!((&*timeline.values[0].value, timeline.values[0].total), (OTHER, 36));
        assert_eq!(timeline.values[0].counts, [0, 36]);
    }
}
