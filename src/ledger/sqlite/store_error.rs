//! The errors of a store, each as one plain sentence with its remedy.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::ErrorCode;

/// Why a ledger was not opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// A newer version of lastword wrote it.
    #[error(
        "{}: the ledger has schema version {found}, but this version of lastword supports only \
         {known}: start the newer version again, or set ledger.path to another file (this file was \
         not touched)",
        path.display()
    )]
    Newer {
        /// The ledger.
        path: PathBuf,
        /// The version of the file.
        found: i64,
        /// The version of this program.
        known: i64,
    },
    /// Another process writes it.
    #[error(
        "{}: another process holds this lock, so the ledger is in use: stop that process, or set \
         ledger.path to another file",
        lock.display()
    )]
    Locked {
        /// The lock file.
        lock: PathBuf,
    },
    /// It cannot be used, and `on_failure = "refuse"`.
    #[error("{0}")]
    Unusable(String),
    /// The operating system refused to start a thread.
    #[error("the ledger's threads could not be started: {0}")]
    Threads(#[source] io::Error),
}

/// Why the store cannot be used, or is about to become unusable.
#[derive(Debug)]
pub(super) enum StoreError {
    Newer {
        found: i64,
        known: i64,
    },
    Locked,
    Foreign,
    /// The file is not a database, or not a complete one.
    Damaged,
    /// Another program wrote to the file or truncated it.
    Overwritten,
    Sqlite(rusqlite::Error),
    Io(&'static str, io::Error),
    /// The file is no longer where it was.
    Gone,
    /// A write has taken longer than this.
    Stalled(Duration),
    /// The queue would exceed this many bytes.
    Overflow(usize),
    /// The writer panicked.
    WriterGone,
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl StoreError {
    /// Returns the error that prevents a start whatever `on_failure` says; `None` for the others.
    pub(super) fn fatal(&self, path: &Path) -> Option<OpenError> {
        let path = path.to_owned();
        match self {
            Self::Newer { found, known } => {
                Some(OpenError::Newer { path, found: *found, known: *known })
            }
            Self::Locked => Some(OpenError::Locked { lock: lock_path(&path) }),
            _ => None,
        }
    }

    /// Returns one sentence that names the file and the remedy.
    pub(super) fn message(&self, path: &Path) -> String {
        if let Some(fatal) = self.fatal(path) {
            return fatal.to_string();
        }
        let (what, remedy) = self.parts(path);
        format!("{}: {what}: {remedy}", path.display())
    }

    fn parts(&self, path: &Path) -> (String, String) {
        let (what, remedy) = match self {
            Self::Foreign => (
                "this is not a ledger of lastword".to_owned(),
                "set ledger.path to another file (this file was not touched)",
            ),
            Self::Damaged => ("the ledger cannot be read".to_owned(), DAMAGED),
            Self::Overwritten => (
                "another program wrote to the ledger or truncated it".to_owned(),
                "the file is left as it is, or used if it is a ledger; stop the daemon before its \
                 ledger is replaced",
            ),
            Self::Gone => (
                "the ledger no longer exists".to_owned(),
                "a new one is created; stop the daemon before its ledger is moved or removed",
            ),
            Self::Stalled(timeout) => (
                format!(
                    "a write to the ledger has taken longer than ledger.stall_timeout ({})",
                    humantime::format_duration(*timeout)
                ),
                "check the disk (storing resumes once it answers)",
            ),
            Self::Overflow(bound) => (
                format!(
                    "the entries waiting for the ledger exceed ledger.queue_bytes ({bound} bytes)"
                ),
                "raise it, or use a faster disk",
            ),
            Self::WriterGone => (
                "the ledger's writer panicked".to_owned(),
                "restart the daemon, and please report this",
            ),
            Self::Io(what, error) => {
                return (format!("{what} ({error})"), remedy_of(error, path));
            }
            Self::Sqlite(error) => (
                format!("the ledger cannot be written ({error})"),
                match error.sqlite_error_code() {
                    Some(ErrorCode::DiskFull) => {
                        "the disk is full: free space, or lower ledger.max_size"
                    }
                    Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => {
                        "make the file and its directory writable for the daemon"
                    }
                    Some(ErrorCode::CannotOpen) => {
                        "make sure that the path is a file in a directory that the daemon can \
                         write to"
                    }
                    Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => DAMAGED,
                    Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
                        "another program has locked it: end that program's transaction"
                    }
                    Some(ErrorCode::SystemIoFailure) => "check the disk and its free space",
                    _ => "check the file, or set ledger.path to another one",
                },
            ),
            // Covered by `fatal`.
            Self::Newer { .. } | Self::Locked => {
                ("the ledger cannot be opened".to_owned(), "set ledger.path to another file")
            }
        };
        (what, remedy.to_owned())
    }
}

/// The remedy for a file that is not a usable ledger.
const DAMAGED: &str = "it is damaged or not a ledger: move it away, and a new one is created (this \
                       file is left as it is)";

fn remedy_of(error: &io::Error, path: &Path) -> String {
    let folder = path.parent().unwrap_or(Path::new(".")).display();
    match error.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            format!("make {folder} writable for the daemon, or set ledger.path to another place")
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "the disk is full: free space, or lower ledger.max_size".to_owned()
        }
        io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => {
            format!("{folder} is not a directory: set ledger.path to another place")
        }
        _ => format!("check {folder}, or set ledger.path to another place"),
    }
}

/// Returns the path of a ledger's lock file.
pub(super) fn lock_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    name.into()
}
