//! The arguments of `top`.

use std::time::Duration;

use clap::Args;

use super::{Control, duration};
use crate::surfaces::cli::top::Sort;

/// The shortest interval: the daemon looks at every connection for each answer.
const SHORTEST: Duration = Duration::from_millis(200);

/// The longest interval: an instant cannot be any time ahead.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// `lastword top`
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  lastword top --filter route=chat        only connections of one route
  lastword top --sort queued              whose outbox holds most
  lastword top --once | head -5           the figures as plain text

Press ? for the keys. The connections are sorted and filtered by the daemon, which sends only those \
that are shown.")]
pub struct Top {
    /// Print one frame as plain text, and exit
    #[arg(long)]
    pub once: bool,
    /// Ask the daemon this often
    #[arg(long, value_name = "DURATION", value_parser = every, default_value = "2s")]
    pub every: Duration,
    /// Show only connections with this text, or with route=, state=, direction=, subject=, peer=, path=,
    /// tag= or upstream=
    #[arg(long, value_name = "TEXT")]
    pub filter: Option<String>,
    /// Sort by this
    #[arg(long, value_enum, default_value_t = Sort::Opened)]
    pub sort: Sort,
    /// Begin at the other end of the order: the oldest, the fewest, the smallest
    #[arg(long)]
    pub reverse: bool,
    /// The control API.
    #[command(flatten)]
    pub control: Control,
}

fn every(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        every if every < SHORTEST => Err(format!("it is shorter than {SHORTEST:?}")),
        every if every > LONGEST => Err("it is longer than a day".to_owned()),
        every => Ok(every),
    }
}
