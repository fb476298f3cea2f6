//! Why the daemon did not start.

use super::exit_code::{BAD_USAGE, FAILED};
use super::ledger::LedgerError;

use crate::auth::BadKeys;
use crate::config::ConfigError;
use crate::manager::{KeepError, ListenError, StartError};
use crate::surfaces::log::LogError;
use crate::transport::bind::BindError;
use crate::transport::dial::InvalidUrl;

/// Why the daemon did not start.
#[derive(Debug, thiserror::Error)]
pub(super) enum StartupError {
    #[error("{}", lines(.0))]
    Config(Vec<ConfigError>),
    #[error("log: {0}")]
    Log(#[from] LogError),
    #[error("the runtime could not be started: {0}")]
    Runtime(#[source] std::io::Error),
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    #[error(transparent)]
    Supervisor(#[from] StartError),
    #[error("listener {name}: {error}")]
    Listener { name: String, error: ListenError },
    #[error("control: {0}")]
    Control(BindError),
    #[error("route {name}: {error}")]
    Route { name: String, error: InvalidUrl },
    #[error("route {name}: auth: {error}")]
    Auth { name: String, error: BadKeys },
    #[error("health: {0}")]
    Health(BindError),
    #[error("dialers: {0}")]
    Dialer(#[from] KeepError),
}

impl StartupError {
    /// Returns everything wrong, a sentence for each.
    pub(super) fn sentences(&self) -> Vec<String> {
        match self {
            Self::Config(errors) => errors.iter().map(ToString::to_string).collect(),
            error => vec![error.to_string()],
        }
    }

    /// Returns the exit code of a process that does not start for this reason.
    pub(super) fn exit_code(&self) -> u8 {
        match self {
            Self::Config(_)
            | Self::Log(_)
            | Self::Route { .. }
            | Self::Auth { .. }
            | Self::Ledger(LedgerError::NoPath) => BAD_USAGE,
            Self::Runtime(_)
            | Self::Ledger(LedgerError::Open(_))
            | Self::Supervisor(_)
            | Self::Listener { .. }
            | Self::Control(_)
            | Self::Health(_)
            | Self::Dialer(_) => FAILED,
        }
    }
}

/// Joins errors, one per line, with the prefix that [`print_error`] gives the first.
fn lines(errors: &[ConfigError]) -> String {
    let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
    lines.join("\nlastword: ")
}
