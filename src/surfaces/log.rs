//! Logs: one line per event on stderr, as text or JSON, or the journal.
//!
//! A connection never waits for its log: lines go through a bounded queue to a separate thread (see
//! [`Lines`]), and lines that do not fit are counted and reported. The journal works the same way.

mod journal;
mod json;
mod lines;
mod stream;
mod timestamp;

use std::backtrace::{Backtrace, BacktraceStatus};
use std::fmt;
use std::fs::File;
use std::io::{self, IsTerminal};
use std::os::fd::AsFd;
use std::panic::PanicHookInfo;

use tracing::{Dispatch, Level};
use tracing_subscriber::Registry;
use tracing_subscriber::filter::{EnvFilter, LevelFilter};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::reload;

use crate::contract::EndingRecord;
use crate::surfaces::terminal::shows_colours;
use crate::vocabulary::{Ending, Fault, Kind};

pub use json::ENDING_TARGET;
pub use lines::Lines;

use journal::Journal;
use json::JsonLayer;
use timestamp::now;

/// How logs are written (CONTRACT: `log.format`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Format {
    /// Lines for a person.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
    /// Fields for the systemd journal.
    Journald,
}

impl Format {
    /// Returns the default format: the journal's if stderr is connected to it, otherwise text.
    pub fn fitting_stderr() -> Self {
        if stream::is_journal() { Self::Journald } else { Self::Text }
    }
}

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LogError {
    /// The filter cannot be understood.
    #[error(
        "log.filter = {filter:?}: {problem}; write levels (off, error, warn, info, debug, trace) \
         and target=level, separated by commas, such as \"info,ractor=off\""
    )]
    Filter {
        /// The filter.
        filter: String,
        /// What is wrong with it.
        problem: String,
    },
    /// There is no journal to write to.
    #[error(
        "log.format = \"journald\", but the journal's socket /run/systemd/journal/socket does not \
         answer ({0}); use \"text\" or \"json\" where systemd-journald does not run"
    )]
    Journal(#[source] io::Error),
    /// Stderr cannot be written to, or there is no thread to write.
    #[error("stderr cannot be used for logs ({0})")]
    Stderr(#[source] io::Error),
    /// This process already logs.
    #[error("logging is already set up in this process")]
    AlreadySetUp,
}

/// Sets up the logs of this process, including panic messages.
///
/// Dropping the second value writes the lines that are still queued. The third changes the filter; what
/// each line shows stays as it is.
///
/// # Errors
/// [`LogError`], each with its remedy.
pub fn install(format: Format, filter: &str) -> Result<(EndingLog, Lines, LogFilter), LogError> {
    let (filter, handle) = reload::Layer::new(parse_filter(filter)?);
    let colours = io::stderr().is_terminal() && shows_colours(|name| std::env::var(name).ok());
    let (dispatch, lines) = match format {
        Format::Text => {
            let lines = Lines::spawn(own_stderr()?, dropped_as_text).map_err(LogError::Stderr)?;
            (to_text(filter, &lines, colours), lines)
        }
        Format::Json => {
            let lines = Lines::spawn(own_stderr()?, dropped_as_json).map_err(LogError::Stderr)?;
            (to_json(filter, &lines), lines)
        }
        Format::Journald => to_journal(filter, journal::SOCKET)?,
    };
    tracing::dispatcher::set_global_default(dispatch).map_err(|_| LogError::AlreadySetUp)?;
    std::panic::set_hook(Box::new(log_panic));
    Ok((EndingLog { format }, lines, LogFilter(handle)))
}

/// Changes what is logged.
#[derive(Debug, Clone)]
pub struct LogFilter(reload::Handle<EnvFilter, Registry>);

impl LogFilter {
    /// Logs by another filter from now on.
    ///
    /// # Errors
    /// [`LogError::Filter`]; the filter stays as it was.
    pub fn replace(&self, filter: &str) -> Result<(), LogError> {
        let parsed = parse_filter(filter)?;
        self.0.reload(parsed).map_err(|error| LogError::Filter {
            filter: filter.to_owned(),
            problem: error.to_string(),
        })
    }
}

/// A filter that can be replaced.
type Filter = reload::Layer<EnvFilter, Registry>;

/// Reads a filter such as `info,ractor=off`.
///
/// # Errors
/// [`LogError::Filter`].
pub fn parse_filter(filter: &str) -> Result<EnvFilter, LogError> {
    let refuse = |problem| LogError::Filter { filter: filter.to_owned(), problem };
    crate::config::parse_filter(filter).map_err(refuse)
}

/// The one place that logs endings.
#[derive(Debug, Clone, Copy)]
pub struct EndingLog {
    format: Format,
}

impl EndingLog {
    /// Logs an ending, or an attempt that failed.
    ///
    /// The level depends on who should act. Faults of peers and networks, and requests of an
    /// operator, are normal: INFO. Faults of a backend or this machine, and connections that a
    /// drain had to cut off, are for the operator: WARN. A failed actor is a bug in lastword: ERROR.
    pub fn log(&self, ending: &Ending) {
        // The level of a tracing event is a constant, hence three copies of one line.
        macro_rules! at {
            ($level:expr) => {
                if tracing::enabled!(target: ENDING_TARGET, $level) {
                    match self.format {
                        Format::Text => {
                            tracing::event!(target: ENDING_TARGET, $level, "{}", Sentence(ending))
                        }
                        Format::Json => tracing::event!(
                            target: ENDING_TARGET, $level,
                            event = event_of(ending),
                            ending = EndingRecord::from(ending).to_json().as_str(),
                            "{ending}"
                        ),
                        Format::Journald => tracing::event!(
                            target: ENDING_TARGET, $level,
                            event = event_of(ending),
                            connection.id = %ending.id,
                            kind = ending.outcome.kind.as_str(),
                            cause = ending.outcome.cause.as_str(),
                            fault = ending.outcome.fault.as_str(),
                            peer = ending.origin.peer.as_deref(),
                            route = ending.origin.route.as_deref(),
                            dialer = ending.origin.dialer.as_deref(),
                            close_code = ending.outcome.close_code(),
                            ending = EndingRecord::from(ending).to_json().as_str(),
                            "{}", Sentence(ending)
                        ),
                    }
                }
            };
        }
        match level(ending) {
            Level::ERROR => at!(Level::ERROR),
            Level::WARN => at!(Level::WARN),
            _ => at!(Level::INFO),
        }
    }
}

/// The note in the line of an ending that the ledger could not store.
const UNRECORDED: &str = "not in the ledger, this line is its only record";

impl EndingLog {
    /// Logs an ending that the ledger could not store: whole, as JSON, whatever the format, at WARN
    /// or above.
    pub fn log_whole(&self, ending: &Ending) {
        let json = EndingRecord::from(ending).to_json();
        let event = event_of(ending);
        macro_rules! at {
            ($level:expr) => {
                match self.format {
                    Format::Text => {
                        tracing::event!(target: ENDING_TARGET, $level, "{event}: {UNRECORDED}: {json}")
                    }
                    Format::Json => tracing::event!(
                        target: ENDING_TARGET, $level,
                        event, recorded = false, ending = json.as_str(), "{ending}"
                    ),
                    Format::Journald => tracing::event!(
                        target: ENDING_TARGET, $level,
                        event,
                        connection.id = %ending.id,
                        kind = ending.outcome.kind.as_str(),
                        cause = ending.outcome.cause.as_str(),
                        fault = ending.outcome.fault.as_str(),
                        peer = ending.origin.peer.as_deref(),
                        route = ending.origin.route.as_deref(),
                        dialer = ending.origin.dialer.as_deref(),
                        close_code = ending.outcome.close_code(),
                        recorded = false,
                        ending = json.as_str(),
                        "{} ({UNRECORDED})", Sentence(ending)
                    ),
                }
            };
        }
        match level(ending) {
            Level::ERROR => at!(Level::ERROR),
            _ => at!(Level::WARN),
        }
    }
}

fn event_of(ending: &Ending) -> &'static str {
    match ending.outcome.kind.open_failure() {
        None => "ended",
        Some(_) => "open_failed",
    }
}

fn level(ending: &Ending) -> Level {
    match (ending.outcome.kind, ending.outcome.fault) {
        (Kind::ActorFailed, _) => Level::ERROR,
        (Kind::DrainDeadline, _) | (_, Fault::Backend | Fault::Local) => Level::WARN,
        (_, Fault::None | Fault::Peer | Fault::Network | Fault::Operator) => Level::INFO,
    }
}

/// An ending in one line for a person; the whole of it is for JSON and the journal.
struct Sentence<'a>(&'a Ending);

impl fmt::Display for Sentence<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(ending) = self;
        let outcome = &ending.outcome;
        write!(f, "{}: {} kind={}", event_of(ending), outcome.detail, outcome.kind)?;
        if let Some(failure) = outcome.kind.open_failure() {
            write!(f, " open_failure={failure}")?;
        }
        if let Some(code) = outcome.close_code() {
            write!(f, " close_code={code}")?;
        }
        write!(f, " id={}", ending.id.short())?;
        if let Some(peer) = &ending.origin.peer {
            write!(f, " peer={peer}")?;
        }
        if let Some(via) = &ending.origin.via {
            write!(f, " via={via}")?;
        }
        if let Some(route) = &ending.origin.route {
            write!(f, " route={route}")?;
        }
        if let Some(dialer) = &ending.origin.dialer {
            write!(f, " dialer={dialer}")?;
        }
        Ok(())
    }
}

/// Returns a descriptor of our own: a panic message that holds std's lock on stderr must not wait
/// for our thread, nor we for it.
fn own_stderr() -> Result<File, LogError> {
    io::stderr().as_fd().try_clone_to_owned().map(File::from).map_err(LogError::Stderr)
}

fn to_text(filter: Filter, lines: &Lines, colours: bool) -> Dispatch {
    // Targets are for those who look for one to filter by; a reader of sentences has no use for
    // them.
    let targets = filter.max_level_hint().is_none_or(|level| level > LevelFilter::INFO);
    let layer = tracing_subscriber::fmt::layer()
        .with_ansi(colours)
        .with_timer(Rfc3339Millis)
        .with_target(targets)
        .with_writer(lines.text_writer(colours));
    Dispatch::new(Registry::default().with(filter).with(layer))
}

fn to_json(filter: Filter, lines: &Lines) -> Dispatch {
    Dispatch::new(Registry::default().with(filter).with(JsonLayer::new(lines)))
}

fn to_journal(filter: Filter, socket: &str) -> Result<(Dispatch, Lines), LogError> {
    let journal = Journal::connect(socket).map_err(LogError::Journal)?;
    let lines = Lines::spawn(journal, dropped_as_json).map_err(LogError::Stderr)?;
    let layer = JsonLayer::new(&lines).with_place();
    Ok((Dispatch::new(Registry::default().with(filter).with(layer)), lines))
}

fn dropped_as_text(dropped: u64) -> String {
    format!("{}  WARN {DROPPED} dropped={dropped}\n", now())
}

fn dropped_as_json(dropped: u64) -> String {
    format!(
        "{{\"timestamp\":\"{}\",\"level\":\"WARN\",\"target\":\"lastword::log\",\
         \"message\":\"{DROPPED}\",\"dropped\":{dropped}}}\n",
        now()
    )
}

const DROPPED: &str = "log lines are missing before this one: their reader was too slow or gone";

/// Puts a panic into the log like any other event: std's own message would break a JSON line, and
/// wait for a stderr that does not move.
fn log_panic(panic: &PanicHookInfo<'_>) {
    let thread = std::thread::current();
    let backtrace = Backtrace::capture();
    let captured = backtrace.status() == BacktraceStatus::Captured;
    tracing::error!(
        target: "lastword::panic",
        place = panic.location().map(tracing::field::display),
        thread = thread.name(),
        backtrace = captured.then(|| tracing::field::display(&backtrace)),
        "panicked: {}",
        panic.payload_as_str().unwrap_or("(no message)")
    );
}

struct Rfc3339Millis;

impl FormatTime for Rfc3339Millis {
    fn format_time(&self, w: &mut Writer<'_>) -> fmt::Result {
        write!(w, "{}", now())
    }
}

#[cfg(test)]
mod tests;
