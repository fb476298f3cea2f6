//! Opens the configured ledger, and closes it at the end.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tracing::info;

use crate::ledger::{Archive, InMemory, Ledger, OpenError, Recovery, Sqlite, SqliteOptions};
use crate::settings;
use crate::surfaces::control::LedgerFigures;

/// The number of endings kept in memory when there is no ledger file.
const KEPT: usize = 1000;

/// Why the ledger could not be opened.
#[derive(Debug, thiserror::Error)]
pub(super) enum LedgerError {
    #[error(
        "ledger.path: no default is available, because none of STATE_DIRECTORY, XDG_STATE_HOME and \
         HOME names a directory: set ledger.path to a file, or to \"\" for no ledger"
    )]
    NoPath,
    #[error("ledger.path: {0}")]
    Open(#[from] OpenError),
}

/// The ledger of the daemon.
#[derive(Clone)]
pub(super) enum DaemonLedger {
    /// A file.
    Durable(Arc<Sqlite>),
    /// Memory only: `ledger.path = ""`.
    InMemory(Arc<InMemory>),
}

impl DaemonLedger {
    /// Opens the ledger, and logs what it recovered.
    pub(super) fn open(config: &settings::Ledger) -> Result<Self, LedgerError> {
        let Some(path) = ledger_path(config.path.as_deref(), |name| std::env::var_os(name))? else {
            return Ok(Self::InMemory(Arc::new(InMemory::new(KEPT))));
        };
        let (ledger, Recovery { died }) = Sqlite::open(SqliteOptions::new(path, config))?;
        if died > 0 {
            info!(
                died,
                ledger = %ledger.path().display(),
                "the previous process died; recorded endings for its open connections"
            );
        }
        Ok(Self::Durable(ledger))
    }

    /// Changes how long endings are kept, and how much space they take.
    pub(super) fn set_bounds(&self, config: &settings::Ledger) {
        match self {
            Self::Durable(ledger) => ledger.set_bounds(config.retention, config.max_size),
            Self::InMemory(_) => {}
        }
    }

    /// Returns the side that writes.
    pub(super) fn writer(&self) -> Arc<dyn Ledger> {
        match self {
            Self::Durable(ledger) => Arc::clone(ledger) as Arc<dyn Ledger>,
            Self::InMemory(ledger) => Arc::clone(ledger) as Arc<dyn Ledger>,
        }
    }

    /// Returns where endings are kept, for the log.
    pub(super) fn location(&self) -> String {
        match self {
            Self::Durable(ledger) => ledger.path().display().to_string(),
            Self::InMemory(_) => "memory".to_owned(),
        }
    }

    /// Returns the side that reads.
    pub(super) fn archive(&self) -> Arc<dyn Archive> {
        match self {
            Self::Durable(ledger) => Arc::clone(ledger) as Arc<dyn Archive>,
            Self::InMemory(ledger) => Arc::clone(ledger) as Arc<dyn Archive>,
        }
    }

    /// Returns the source of the control API's figures on the ledger.
    pub(super) fn figures(&self) -> Arc<dyn Fn() -> LedgerFigures + Send + Sync> {
        match self.clone() {
            Self::Durable(ledger) => Arc::new(move || LedgerFigures {
                durable: true,
                unrecorded: ledger.unrecorded(),
                recovered: ledger.recovered(),
            }),
            Self::InMemory(_) => {
                Arc::new(|| LedgerFigures { durable: false, unrecorded: 0, recovered: 0 })
            }
        }
    }

    /// Returns how many connections the previous process left open.
    pub(super) fn recovered(&self) -> u64 {
        match self {
            Self::Durable(ledger) => ledger.recovered(),
            Self::InMemory(_) => 0,
        }
    }

    /// Stores the queued entries; nothing may be appended afterwards.
    pub(super) fn close(&self) {
        match self {
            Self::Durable(ledger) => ledger.close(),
            Self::InMemory(_) => {}
        }
    }
}

/// Returns the path of the ledger; `None` if it is disabled.
pub(super) fn ledger_path(
    configured: Option<&Path>,
    variable: impl Fn(&str) -> Option<OsString>,
) -> Result<Option<PathBuf>, LedgerError> {
    if let Some(path) = configured {
        return Ok(Some(path.to_owned()).filter(|path| !path.as_os_str().is_empty()));
    }
    // The XDG Base Directory Specification says to ignore relative paths.
    let folder = |name: &str| variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
    // systemd separates several directories with colons.
    let state = variable("STATE_DIRECTORY")
        .and_then(|list| std::env::split_paths(&list).next())
        .filter(|path| path.is_absolute());
    state
        .or_else(|| folder("XDG_STATE_HOME").map(|state| state.join("lastword")))
        .or_else(|| folder("HOME").map(|home| home.join(".local/state/lastword")))
        .map(|folder| Some(folder.join("ledger.db")))
        .ok_or(LedgerError::NoPath)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path_with(variables: &[(&str, &str)]) -> Option<PathBuf> {
        let variable = |name: &str| {
            let found = variables.iter().find(|(other, _)| *other == name);
            found.map(|(_, value)| OsString::from(value))
        };
        ledger_path(None, variable).ok().flatten()
    }

    #[test]
    fn the_ledger_is_where_state_is_kept() {
        let home = ("HOME", "/home/x");
        let xdg = ("XDG_STATE_HOME", "/state");
        for (variables, expected) in [
            (
                &[("STATE_DIRECTORY", "/var/lib/a:/var/lib/b"), xdg, home][..],
                "/var/lib/a/ledger.db",
            ),
            (&[("STATE_DIRECTORY", ""), xdg, home], "/state/lastword/ledger.db"),
            (
                &[("XDG_STATE_HOME", "not/absolute"), home],
                "/home/x/.local/state/lastword/ledger.db",
            ),
            (&[home], "/home/x/.local/state/lastword/ledger.db"),
        ] {
            assert_eq!(path_with(variables).as_deref(), Some(Path::new(expected)));
        }
        assert!(matches!(ledger_path(None, |_| None), Err(LedgerError::NoPath)));
    }

    #[test]
    fn the_configured_path_wins_and_an_empty_one_means_none() {
        let state = |_: &str| Some(OsString::from("/var/lib/lastword"));
        let set = ledger_path(Some(Path::new("x/y.db")), state);
        assert_eq!(set.ok().flatten().as_deref(), Some(Path::new("x/y.db")));
        assert!(matches!(ledger_path(Some(Path::new("")), state), Ok(None)));
    }
}
