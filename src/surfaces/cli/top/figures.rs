//! What a daemon counts, read from its metrics, and how fast it grows.

use std::collections::BTreeMap;
use std::time::Duration;

/// The figures of a daemon at one moment.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Figures {
    pub(super) opened: u64,
    pub(super) open: u64,
    /// The endings by fault.
    pub(super) ended: BTreeMap<String, u64>,
    /// Attempts that never became a connection.
    pub(super) open_failed: u64,
    pub(super) messages_in: u64,
    pub(super) messages_out: u64,
    pub(super) queue_bytes: u64,
    pub(super) queue_limit: u64,
    pub(super) resident_bytes: Option<u64>,
    /// How long the oldest entry of the ledger waits to be durable, in seconds.
    pub(super) ledger_lag: f64,
}

impl Figures {
    /// Reads them from OpenMetrics text; what is missing counts as 0.
    pub(super) fn read(metrics: &str) -> Self {
        let mut figures = Self::default();
        for line in metrics.lines().filter(|line| !line.starts_with('#')) {
            let Some(sample) = Sample::read(line) else { continue };
            let whole = sample.value.max(0.0) as u64;
            match sample.name {
                "lastword_connections_opened_total" => figures.opened += whole,
                "lastword_connections_open" => figures.open += whole,
                "lastword_endings_total" => {
                    let fault = sample.label("fault").unwrap_or("unknown").to_owned();
                    *figures.ended.entry(fault).or_default() += whole;
                }
                "lastword_open_failed_total" => figures.open_failed += whole,
                "lastword_messages_total" => match sample.label("direction") {
                    Some("in") => figures.messages_in += whole,
                    _ => figures.messages_out += whole,
                },
                "lastword_queue_memory_bytes" => figures.queue_bytes = whole,
                "lastword_queue_memory_limit_bytes" => figures.queue_limit = whole,
                "process_resident_memory_bytes" => figures.resident_bytes = Some(whole),
                "lastword_ledger_lag_seconds" => figures.ledger_lag = sample.value,
                _ => {}
            }
        }
        figures
    }

    fn ended_total(&self) -> u64 {
        self.ended.values().sum()
    }
}

/// One line of the metrics.
struct Sample<'a> {
    name: &'a str,
    labels: &'a str,
    value: f64,
}

impl<'a> Sample<'a> {
    fn read(line: &'a str) -> Option<Self> {
        let end = line.find(['{', ' '])?;
        let (name, rest) = line.split_at(end);
        // A label may contain anything but an unescaped quote, so the last brace ends them.
        let (labels, value) = rest.rsplit_once('}').unwrap_or(("", rest));
        let value = value.split_whitespace().next()?.parse().ok()?;
        Some(Self { name, labels, value })
    }

    /// Returns a label whose values need no escapes.
    fn label(&self, name: &str) -> Option<&'a str> {
        let before =
            |at: usize| matches!(self.labels.as_bytes().get(at.wrapping_sub(1)), Some(b'{' | b','));
        let start = format!("{name}=\"");
        let (at, _) = self.labels.match_indices(&start).find(|(at, _)| before(*at))?;
        self.labels[at + start.len()..].split('"').next()
    }
}

/// How fast the figures grow, per second.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Rates {
    pub(super) opened: f64,
    pub(super) ended: f64,
    /// The endings by fault; only faults that ended something in this time.
    pub(super) ended_by_fault: Vec<(String, f64)>,
    pub(super) open_failed: f64,
    pub(super) messages_in: f64,
    pub(super) messages_out: f64,
}

impl Rates {
    /// Compares figures with those of some time before; `None` if the daemon was restarted meanwhile,
    /// or no time has passed.
    pub(super) fn between(before: &Figures, after: &Figures, passed: Duration) -> Option<Self> {
        let seconds = passed.as_secs_f64();
        if seconds <= 0.0 {
            return None;
        }
        let per_second =
            |before: u64, after: u64| Some(after.checked_sub(before)? as f64 / seconds);
        let mut ended_by_fault = Vec::new();
        for (fault, ended) in &after.ended {
            let rate = per_second(before.ended.get(fault).copied().unwrap_or(0), *ended)?;
            if rate > 0.0 {
                ended_by_fault.push((fault.clone(), rate));
            }
        }
        Some(Self {
            opened: per_second(before.opened, after.opened)?,
            ended: per_second(before.ended_total(), after.ended_total())?,
            ended_by_fault,
            open_failed: per_second(before.open_failed, after.open_failed)?,
            messages_in: per_second(before.messages_in, after.messages_in)?,
            messages_out: per_second(before.messages_out, after.messages_out)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const METRICS: &str = r#"# HELP lastword_endings Connections of this process that ended.
# TYPE lastword_endings counter
lastword_connections_opened_total{direction="inbound",route="chat"} 10
lastword_connections_opened_total{direction="outbound",route=""} 2
lastword_connections_open{direction="inbound",route="chat",state="open"} 3
lastword_endings_total{kind="clean",fault="none",cause="peer",route="chat",direction="inbound"} 5
lastword_endings_total{kind="aborted",fault="operator",cause="api",route="a},fault=\"peer\" 9",direction="inbound"} 1
lastword_endings_total{kind="clean",fault="none",cause="api",route="chat",direction="inbound"} 3
lastword_open_failed_total{failure="no_route",route=""} 4
lastword_messages_total{direction="in"} 100
lastword_messages_total{direction="out"} 90
lastword_queue_memory_bytes 2048
lastword_queue_memory_limit_bytes 4096
lastword_ledger_lag_seconds 0.012
process_resident_memory_bytes 1048576
odd
{} x
# EOF
"#;

    #[test]
    fn figures_are_read_and_added_up() {
        let figures = Figures::read(METRICS);
        assert_eq!((figures.opened, figures.open, figures.open_failed), (12, 3, 4));
        let faults: Vec<_> = figures.ended.iter().map(|(word, n)| (word.as_str(), *n)).collect();
        assert_eq!(faults, [("none", 8), ("operator", 1)]);
        assert_eq!((figures.messages_in, figures.messages_out), (100, 90));
        assert_eq!((figures.queue_bytes, figures.queue_limit), (2048, 4096));
        assert_eq!((figures.resident_bytes, figures.ledger_lag), (Some(1 << 20), 0.012));
        assert_eq!(Figures::read(""), Figures::default());
    }

    #[test]
    fn rates_are_per_second_and_a_restart_has_none() {
        let before = Figures::read(METRICS);
        let mut after = before.clone();
        after.opened += 10;
        after.messages_in += 5;
        after.ended.insert("network".to_owned(), 4);
        let rates = Rates::between(&before, &after, Duration::from_secs(2)).unwrap();
        assert_eq!((rates.opened, rates.messages_in, rates.messages_out), (5.0, 2.5, 0.0));
        assert_eq!((rates.ended, rates.ended_by_fault), (2.0, vec![("network".to_owned(), 2.0)]));
        assert_eq!(Rates::between(&after, &before, Duration::from_secs(2)), None);
        assert_eq!(Rates::between(&before, &after, Duration::ZERO), None);
    }
}
