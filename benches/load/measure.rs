//! CPU time and memory of a process, from /proc.

use std::fs;
use std::time::Duration;

use crate::Result;

/// The unit of CPU time in /proc (USER_HZ).
const TICKS_PER_SECOND: u64 = 100;

/// Returns the user and system CPU time of a process and its children, running or reaped.
pub(crate) fn cpu(pid: u32) -> Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name, in parentheses, may contain anything, so fields are counted after it.
    let (_, fields) = stat.rsplit_once(')').ok_or("stat without a name")?;
    let fields: Vec<&str> = fields.split_whitespace().collect();
    let mut ticks = 0;
    // utime, stime, cutime and cstime are fields 14 to 17.
    for field in fields.get(11..15).ok_or("stat is too short")? {
        ticks += field.parse::<u64>()?;
    }
    let mut used = Duration::from_millis(ticks * (1000 / TICKS_PER_SECOND));
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    for child in children.unwrap_or_default().split_whitespace() {
        // A child that has exited meanwhile is counted as reaped next time.
        used += cpu(child.parse()?).unwrap_or_default();
    }
    Ok(used)
}

/// Returns the resident memory of a process in KiB.
///
/// Not the proportional share (PSS): our own servers share the client's executable, and would be
/// charged less the more of them there are.
pub(crate) fn memory(pid: u32) -> Result<f64> {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let line = rollup.lines().find_map(|line| line.strip_prefix("Rss:"));
    let value = line.and_then(|line| line.trim().strip_suffix("kB"));
    Ok(value.ok_or("smaps_rollup has no Rss")?.trim().parse()?)
}

/// Raises the descriptor limit of this process to its hard limit.
pub(crate) fn raise_descriptor_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    // If this fails, the modes with many connections report errors.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}

/// A histogram of durations with buckets of 3 percent.
#[derive(Debug, Clone)]
pub(crate) struct Histogram {
    buckets: Vec<u64>,
}

/// The number of buckets for each power of two.
const STEPS: u64 = 32;

impl Histogram {
    pub(crate) fn new() -> Self {
        Self { buckets: vec![0; 64 * STEPS as usize] }
    }

    pub(crate) fn add(&mut self, duration: Duration) {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX).max(STEPS);
        let power = u64::from(nanos.ilog2());
        let step = (nanos >> (power - u64::from(STEPS.ilog2()))) - STEPS;
        self.buckets[(power * STEPS + step) as usize] += 1;
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        for (ours, theirs) in self.buckets.iter_mut().zip(&other.buckets) {
            *ours += theirs;
        }
    }

    /// Returns a quantile in microseconds.
    pub(crate) fn quantile(&self, share: f64) -> f64 {
        let all: u64 = self.buckets.iter().sum();
        let wanted = (all as f64 * share).ceil() as u64;
        let mut seen = 0;
        for (bucket, count) in (0..).zip(&self.buckets) {
            seen += count;
            if *count > 0 && seen >= wanted {
                let (power, step) = (bucket / STEPS, bucket % STEPS);
                let nanos = (STEPS + step + 1) << (power - u64::from(STEPS.ilog2()));
                return nanos as f64 / 1000.0;
            }
        }
        0.0
    }
}

/// Returns the median; of an even number, the lower of the two middle ones.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len().saturating_sub(1) / 2).copied().unwrap_or(f64::NAN)
}
