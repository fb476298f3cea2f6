//! How an attack was recorded: in the metrics, the log and the ledger, which have to agree.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use crate::support::daemon::Daemon;

/// What the daemon has recorded so far.
#[derive(Debug)]
pub(super) struct Account {
    /// Endings by their kinds.
    pub(super) kinds: BTreeMap<String, u64>,
    /// Attempts by their failures, those included that are only counted.
    pub(super) failures: BTreeMap<String, u64>,
    opened: u64,
    open: u64,
    /// Lines of the log about attempts, and all lines together.
    lines: (usize, usize),
    log_bytes: usize,
}

impl Account {
    /// Waits, for a while, until nothing more ends.
    pub(super) async fn settled(daemon: &Daemon) -> Self {
        let mut account = Self::of(daemon).await;
        for _ in 0..50 {
            tokio::time::sleep(Duration::from_millis(100)).await;
            let before = std::mem::replace(&mut account, Self::of(daemon).await);
            if (before.ended(), before.failed()) == (account.ended(), account.failed()) {
                break;
            }
        }
        account
    }

    async fn of(daemon: &Daemon) -> Self {
        let metrics = daemon.metrics().await;
        let log = daemon.log();
        let attempts = log.iter().filter(|line| line.contains(r#""event":"open_failed""#)).count();
        let sum = |name: &str| by_label(&metrics, name, "").values().sum();
        Self {
            kinds: by_label(&metrics, "lastword_endings_total", "kind"),
            failures: by_label(&metrics, "lastword_open_failed_total", "failure"),
            opened: sum("lastword_connections_opened_total"),
            open: sum("lastword_connections_open"),
            lines: (attempts, log.len()),
            log_bytes: log.iter().map(String::len).sum(),
        }
    }

    pub(super) fn ended(&self) -> u64 {
        self.kinds.values().sum()
    }

    pub(super) fn failed(&self) -> u64 {
        self.failures.values().sum()
    }

    /// Asserts that each connection that was opened is open or has its one ending.
    pub(super) fn is_true(&self, attack: &str) {
        assert_eq!(self.opened, self.open + self.ended(), "{attack}: {self:?}");
    }

    /// Says it in some words for the table.
    pub(super) fn words(&self) -> String {
        let all = self.kinds.iter().chain(&self.failures);
        let mut words: Vec<String> =
            all.map(|(kind, count)| format!("`{kind}` {}", thousands(*count))).collect();
        let failed = self.failed();
        if failed > self.lines.0 as u64 {
            let (lines, counted) = (self.lines.0 as u64, failed - self.lines.0 as u64);
            words.push(format!(
                "{} attempts in the log ({:.1} MiB), {} only counted",
                thousands(lines),
                self.log_bytes as f64 / f64::from(1 << 20),
                thousands(counted)
            ));
        }
        match words.is_empty() {
            true => "nothing ended".to_owned(),
            false => words.join(", "),
        }
    }
}

/// What the ledger has, once the daemon is gone.
#[derive(Debug)]
pub(super) struct Stored {
    pub(super) endings: u64,
    pub(super) attempts: u64,
    pub(super) counted: u64,
}

impl Stored {
    pub(super) fn read(path: &Path) -> Self {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE;
        let ledger = Connection::open_with_flags(path, flags).expect("open the ledger");
        let number = |sql| ledger.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap() as u64;
        Self {
            endings: number("SELECT count(*) FROM endings"),
            attempts: number("SELECT count(*) FROM attempts"),
            counted: number("SELECT coalesce(sum(count), 0) FROM counted_attempts"),
        }
    }
}

/// Adds up the series of a metric by the value of one of their labels, without those at 0.
fn by_label(metrics: &str, name: &str, label: &str) -> BTreeMap<String, u64> {
    let mut sums = BTreeMap::new();
    for line in metrics.lines() {
        let Some((labels, value)) =
            line.strip_prefix(name).and_then(|rest| rest.strip_prefix('{')?.split_once("} "))
        else {
            continue;
        };
        let value: u64 = value.parse().unwrap_or_else(|_| panic!("a number in {line}"));
        let of = labels.split(',').find_map(|pair| pair.strip_prefix(label)?.strip_prefix('='));
        if value > 0 {
            *sums.entry(of.unwrap_or_default().trim_matches('"').to_owned()).or_default() += value;
        }
    }
    sums
}

/// Writes a number with commas.
pub(super) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (n, digit) in digits.chars().enumerate() {
        if n > 0 && (digits.len() - n).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
