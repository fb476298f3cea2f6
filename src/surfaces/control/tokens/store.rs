//! The tokens that hold at the moment: their file is followed while the daemon runs.

use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::{MissedTickBehavior, interval};

use super::{TokenFileError, Tokens};
use crate::runtime::watched_file::WatchedFile;

/// How often the token file is looked at. A change counts at the second look.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The tokens that hold at the moment. Clones share them.
#[derive(Clone, Debug)]
pub struct TokenStore(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    current: watch::Sender<Tokens>,
    file: Mutex<Option<WatchedFile>>,
    failed: AtomicU64,
}

impl TokenStore {
    /// Holds tokens, and follows their file, if they come from one, as long as [`Self::follow`] is
    /// polled.
    pub fn new(tokens: Tokens) -> Self {
        let file = Mutex::new(tokens.file.clone());
        let current = watch::Sender::new(tokens);
        Self(Arc::new(Shared { current, file, failed: AtomicU64::new(0) }))
    }

    /// Replaces the tokens, and follows the file of the new ones. Event streams whose token is
    /// withdrawn end.
    pub fn replace(&self, tokens: Tokens) {
        self.0.file.lock().clone_from(&tokens.file);
        tokens.warn_if_exposed();
        let changed = self.0.current.send_if_modified(|current| {
            let changed = *current != tokens;
            *current = tokens;
            changed
        });
        if changed {
            tracing::info!(tokens = ?*self.0.current.borrow(), "the control API has new tokens");
        }
    }

    /// Reads the token file again, if there is one.
    ///
    /// # Errors
    /// [`TokenFileError`]: it cannot be used, so the tokens stay. It is logged and counted.
    pub fn reload(&self) -> Result<(), TokenFileError> {
        let file = self.0.file.lock().as_ref().map(|file| file.path().to_owned());
        let Some(file) = file else { return Ok(()) };
        self.read(&file)
    }

    fn read(&self, file: &Path) -> Result<(), TokenFileError> {
        match Tokens::read(file) {
            Ok(tokens) => {
                self.replace(tokens);
                Ok(())
            }
            Err(error) => {
                self.0.failed.fetch_add(1, Ordering::Relaxed);
                tracing::error!(
                    %error,
                    "the token file was changed and cannot be used, so the tokens from before stay"
                );
                Err(error)
            }
        }
    }

    /// Follows the token file; a change holds after two seconds at most.
    pub(in crate::surfaces::control) async fn follow(&self) -> Infallible {
        let mut ticks = interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let store = self.clone();
            // An error means that the look panicked: the next one may not.
            let _ = spawn_blocking(move || store.look()).await;
        }
    }

    fn look(&self) {
        let changed = {
            let mut file = self.0.file.lock();
            let Some(file) = file.as_mut() else { return };
            file.has_changed().then(|| file.path().to_owned())
        };
        if let Some(file) = changed {
            // Logged and counted there.
            let _ = self.read(&file);
        }
    }

    /// Returns how often a changed token file could not be used.
    pub fn failed(&self) -> u64 {
        self.0.failed.load(Ordering::Relaxed)
    }

    /// Returns the tokens, and whether they change.
    pub(in crate::surfaces::control) fn subscribe(&self) -> watch::Receiver<Tokens> {
        self.0.current.subscribe()
    }

    /// Returns the tokens that hold now.
    pub(in crate::surfaces::control) fn current(&self) -> Tokens {
        self.0.current.borrow().clone()
    }
}

impl Default for TokenStore {
    fn default() -> Self {
        Self::new(Tokens::default())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const OPS: &str = "ops:0123456789abcdef";
    const OTHER: &str = "other:read:fedcba9876543210";

    #[test]
    fn a_changed_file_replaces_the_tokens_and_a_bad_one_leaves_them() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("tokens");
        fs::write(&path, OPS).unwrap();
        let store = TokenStore::new(Tokens::read(&path).unwrap());
        let names = || format!("{:?}", store.current());
        let looked = || (store.look(), store.look());
        looked();
        assert_eq!(names(), r#"["ops"]"#);
        fs::write(&path, format!("{OPS}\n{OTHER}")).unwrap();
        looked();
        assert_eq!(names(), r#"["ops", "other"]"#);
        for bad in ["", "ops:short", "ops:nothing:0123456789abcdef"] {
            let before = store.failed();
            fs::write(&path, bad).unwrap();
            looked();
            looked();
            assert_eq!((names().as_str(), store.failed()), (r#"["ops", "other"]"#, before + 1));
        }
        fs::remove_file(&path).unwrap();
        looked();
        assert_eq!((names().as_str(), store.failed()), (r#"["ops", "other"]"#, 4));
        assert!(store.reload().is_err());
        fs::write(&path, OTHER).unwrap();
        looked();
        assert_eq!(names(), r#"["other"]"#);
    }

    #[test]
    fn only_a_change_of_tokens_is_told() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("tokens");
        fs::write(&path, OPS).unwrap();
        let store = TokenStore::new(Tokens::read(&path).unwrap());
        let told = store.subscribe();
        fs::write(&path, format!("# the same\n{OPS}\n")).unwrap();
        store.reload().unwrap();
        assert!(!told.has_changed().unwrap());
        fs::write(&path, OTHER).unwrap();
        store.reload().unwrap();
        assert!(told.has_changed().unwrap());
    }

    #[test]
    fn without_a_file_there_is_nothing_to_follow() {
        let store = TokenStore::default();
        store.look();
        assert!(store.reload().is_ok() && !store.current().are_required());
    }
}
