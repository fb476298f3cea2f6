//! What can be wrong with a store, said in one plain sentence with its remedy.

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
        "{}: the ledger has schema version {found}, and this lastword knows {known}: start the \
         newer lastword again, or set ledger.path to another file (this one was not touched)",
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
        "{}: another process holds this lock, so its ledger is in use: stop that process, or set \
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
    /// The operating system gives no thread.
    #[error("the ledger's threads could not be started: {0}")]
    Threads(#[source] io::Error),
}

/// What went wrong with the store, or is about to.
#[derive(Debug)]
pub(super) enum Trouble {
    Newer {
        found: i64,
        known: i64,
    },
    Locked,
    Foreign,
    /// The file is no database, or not a whole one.
    Damaged,
    /// Somebody else wrote to the file, or cut it off.
    Overwritten,
    Sqlite(rusqlite::Error),
    Io(&'static str, io::Error),
    /// The file is no longer where it was.
    Gone,
    /// A write takes longer than this.
    Stalled(Duration),
    /// More waits than this many bytes.
    Overflow(usize),
    /// The writer panicked.
    WriterGone,
}

impl From<rusqlite::Error> for Trouble {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl Trouble {
    /// Tells whether to go on without a store would be wrong at start, whatever `on_failure` says.
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

    /// Says it in one sentence that names the file and the remedy.
    pub(super) fn sentence(&self, path: &Path) -> String {
        if let Some(fatal) = self.fatal(path) {
            return fatal.to_string();
        }
        let (what, remedy) = self.parts(path);
        format!("{}: {what}: {remedy}", path.display())
    }

    fn parts(&self, path: &Path) -> (String, String) {
        let (what, remedy) = match self {
            Self::Foreign => (
                "this is no ledger of lastword".to_owned(),
                "set ledger.path to another file (this one was not touched)",
            ),
            Self::Damaged => ("the ledger cannot be read".to_owned(), DAMAGED),
            Self::Overwritten => (
                "another program wrote to the ledger or cut it off".to_owned(),
                "what is there now is left as it is, or used if it is a ledger; stop the daemon \
                 before its ledger is replaced",
            ),
            Self::Gone => (
                "the ledger is no longer there".to_owned(),
                "a new one is begun; stop the daemon before its ledger is moved or removed",
            ),
            Self::Stalled(timeout) => (
                format!(
                    "a write to the ledger has taken longer than ledger.stall_timeout ({})",
                    humantime::format_duration(*timeout)
                ),
                "look after the disk (storing goes on once it answers)",
            ),
            Self::Overflow(bound) => (
                format!("more waits for the ledger than ledger.queue_bytes allow ({bound} bytes)"),
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
                        "make sure that the path is a file in a directory which the daemon may \
                         write to"
                    }
                    Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => DAMAGED,
                    Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
                        "another program has it locked: end its transaction"
                    }
                    Some(ErrorCode::SystemIoFailure) => "look after the disk and its free space",
                    _ => "look after the file, or set ledger.path to another one",
                },
            ),
            // Said by `fatal`, before.
            Self::Newer { .. } | Self::Locked => {
                ("the ledger cannot be opened".to_owned(), "set ledger.path to another file")
            }
        };
        (what, remedy.to_owned())
    }
}

/// What helps where the file is no ledger that can be used.
const DAMAGED: &str =
    "it is damaged or no ledger: move it away, and a new one is begun (this one is left as it is)";

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
            format!("{folder} is no directory: set ledger.path to another place")
        }
        _ => format!("look after {folder}, or set ledger.path to another place"),
    }
}

/// Returns the lock file of a ledger.
pub(super) fn lock_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    name.into()
}
