//! Keys in a file, which is read again when it changes.

use std::fs::Metadata;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jsonwebtoken::Algorithm;
use parking_lot::Mutex;
use tokio::time::timeout;

use super::key_set::{KeySet, NoKeys};
use crate::runtime::now;
use crate::runtime::read_bounded::{NotRead, read_bounded};
use crate::runtime::watched_file::{Stamp, is_world_readable};
use crate::settings::SecretSource;

/// How often the file is looked at, at most; it is looked at when a token is checked.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// How long a token waits for a disk that hangs, before the keys that are known are used.
const PATIENCE: Duration = Duration::from_secs(1);

/// The longest PEM file or secret, in bytes.
const LONGEST: u64 = 64 * 1024;

/// Keys in a file, or in the environment, which does not change.
#[derive(Debug)]
pub(super) struct KeyFile {
    source: Source,
    /// The algorithms that the keys must fit, if the route lists any.
    algorithms: Vec<Algorithm>,
    state: Mutex<State>,
    /// Held while the file is read, so that what is read last is what counts.
    reading: Mutex<()>,
}

#[derive(Debug)]
enum Source {
    Pem(PathBuf),
    Jwks {
        path: PathBuf,
        max_size: u64,
    },
    SecretFile(PathBuf),
    /// It was read once.
    Memory,
}

#[derive(Debug)]
struct State {
    keys: Arc<KeySet>,
    /// What the file was like when its content was read last, whether or not it held keys.
    seen: Option<Stamp>,
    /// The state of the file that was told last, if it was unusable: it is told once.
    told: Option<Trouble>,
    looked_at: Instant,
    /// Whether a look is under way, perhaps for long on a disk that hangs.
    is_looking: bool,
}

/// A file that cannot be used, as it was at a look.
#[derive(Debug, PartialEq, Eq)]
struct Trouble {
    /// `None` if the file could not be read.
    stamp: Option<Stamp>,
    why: String,
}

/// What a look found that was not known before.
#[derive(Debug)]
enum News {
    /// New keys, or the old ones in a file that is back.
    ReadAgain,
    Unusable(BadKeys),
}

/// Why there are no keys. No message repeats one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BadKeys {
    /// The file cannot be read.
    #[error("{} cannot be read ({error}): name a readable file", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The file is larger than is read.
    #[error("{} is larger than {limit} bytes: name another file, or raise the limit", path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
        /// The limit.
        limit: u64,
    },
    /// The file holds something else.
    #[error("{} cannot be used: {why}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// The secret cannot be used.
    #[error("the secret cannot be used: {0}")]
    Secret(String),
    /// The environment variable has no secret.
    #[error("the environment variable {0} is not set to text: set it, or name another")]
    Variable(String),
}

impl KeyFile {
    /// Reads a PEM file with a public key.
    pub(super) fn pem(path: &Path, algorithms: &[Algorithm]) -> Result<Self, BadKeys> {
        Self::of_file(Source::Pem(path.to_owned()), algorithms)
    }

    /// Reads a file with a JSON Web Key Set.
    pub(super) fn jwks(
        path: &Path,
        max_size: u64,
        algorithms: &[Algorithm],
    ) -> Result<Self, BadKeys> {
        Self::of_file(Source::Jwks { path: path.to_owned(), max_size }, algorithms)
    }

    /// Reads a secret.
    pub(super) fn secret(source: &SecretSource, algorithms: &[Algorithm]) -> Result<Self, BadKeys> {
        let secret = match source {
            SecretSource::File(path) => {
                return Self::of_file(Source::SecretFile(path.clone()), algorithms);
            }
            SecretSource::Value(secret) => secret.expose().to_owned(),
            SecretSource::Env(name) => {
                std::env::var(name).map_err(|_| BadKeys::Variable(name.clone()))?
            }
        };
        let keys = KeySet::from_secret(secret.as_bytes());
        let keys = keys.map_err(|why| BadKeys::Secret(why.to_string()))?;
        Ok(Self::with(Source::Memory, algorithms, keys, None))
    }

    fn of_file(source: Source, algorithms: &[Algorithm]) -> Result<Self, BadKeys> {
        let (keys, facts) = source.read(algorithms)?;
        if let Source::SecretFile(path) = &source
            && is_world_readable(&facts)
        {
            let file = path.display();
            tracing::warn!(%file, "the secret of tokens is world-readable: run chmod o-rwx on it");
        }
        Ok(Self::with(source, algorithms, keys, Some(Stamp::of(&facts))))
    }

    fn with(source: Source, algorithms: &[Algorithm], keys: KeySet, seen: Option<Stamp>) -> Self {
        let keys = Arc::new(keys);
        let state = State { keys, seen, told: None, looked_at: now(), is_looking: false };
        let (algorithms, state) = (algorithms.to_vec(), Mutex::new(state));
        Self { source, algorithms, state, reading: Mutex::default() }
    }

    /// Returns the keys, after a look at the file if the last one is a while ago and has ended.
    pub(super) async fn current(self: &Arc<Self>) -> Arc<KeySet> {
        if self.begin_look() {
            let looking = Looking(Arc::clone(self));
            // It logs what it finds itself: a caller that has gone does not.
            let look = tokio::task::spawn_blocking(move || looking.0.look());
            if timeout(PATIENCE, look).await.is_err() {
                let file = self.shown();
                tracing::warn!(file, "reading the keys of tokens takes long: the old ones stay");
            }
        }
        Arc::clone(&self.state.lock().keys)
    }

    /// Returns whether a look is due, which the caller then makes.
    fn begin_look(&self) -> bool {
        let mut state = self.state.lock();
        let is_due = self.source.path().is_some()
            && !state.is_looking
            && now().saturating_duration_since(state.looked_at) >= LOOK_EVERY;
        if is_due {
            (state.looked_at, state.is_looking) = (now(), true);
        }
        is_due
    }

    /// Reads the file again if it has changed, and logs what is new. Blocks on the disk.
    fn look(&self) {
        match self.news() {
            None => {}
            Some(News::ReadAgain) => {
                tracing::info!(file = self.shown(), "the keys of tokens were read again");
            }
            Some(News::Unusable(error)) => {
                tracing::warn!(%error, "new keys of tokens cannot be used: the old ones stay");
            }
        }
    }

    /// Reads the file again if it has changed. One that cannot be used is told once.
    fn news(&self) -> Option<News> {
        let path = self.source.path()?;
        let _reading = self.reading.lock();
        let stamp = Stamp::at(path);
        if stamp.is_some() && self.state.lock().seen == stamp {
            return None;
        }
        let Err(error) = self.read_again(stamp) else { return Some(News::ReadAgain) };
        let trouble = Trouble { stamp, why: error.to_string() };
        let mut state = self.state.lock();
        if state.told.as_ref() == Some(&trouble) {
            return None;
        }
        state.told = Some(trouble);
        Some(News::Unusable(error))
    }

    /// Reads the file again, whether or not it has changed. Blocks on the disk.
    ///
    /// # Errors
    /// The file cannot be used: the old keys stay.
    pub(super) fn reload(&self) -> Result<(), BadKeys> {
        let Some(path) = self.source.path() else { return Ok(()) };
        let _reading = self.reading.lock();
        self.read_again(Stamp::at(path))
    }

    fn read_again(&self, stamp: Option<Stamp>) -> Result<(), BadKeys> {
        let read = self.source.read(&self.algorithms);
        let mut state = self.state.lock();
        match read {
            Ok((keys, facts)) => {
                (state.keys, state.seen) = (Arc::new(keys), Some(Stamp::of(&facts)));
                state.told = None;
                Ok(())
            }
            Err(error) => {
                // What could not be read may be readable later without a change.
                state.seen = stamp.filter(|_| !matches!(error, BadKeys::Unreadable { .. }));
                Err(error)
            }
        }
    }

    fn shown(&self) -> String {
        self.source.path().unwrap_or(Path::new("")).display().to_string()
    }
}

/// A look that is under way.
struct Looking(Arc<KeyFile>);

impl Drop for Looking {
    fn drop(&mut self) {
        self.0.state.lock().is_looking = false;
    }
}

impl Source {
    fn path(&self) -> Option<&Path> {
        match self {
            Self::Pem(path) | Self::Jwks { path, .. } | Self::SecretFile(path) => Some(path),
            Self::Memory => None,
        }
    }

    fn read(&self, algorithms: &[Algorithm]) -> Result<(KeySet, Metadata), BadKeys> {
        let (path, limit) = match self {
            Self::Pem(path) | Self::SecretFile(path) => (path.clone(), LONGEST),
            Self::Jwks { path, max_size } => (path.clone(), *max_size),
            Self::Memory => return Err(BadKeys::Secret("it is not in a file".to_owned())),
        };
        let (bytes, facts) = match read_bounded(&path, limit) {
            Ok(read) => read,
            Err(NotRead::Io(error)) => return Err(BadKeys::Unreadable { path, error }),
            Err(NotRead::TooLarge(limit)) => return Err(BadKeys::TooLong { path, limit }),
            Err(why @ NotRead::NotAFile) => {
                return Err(BadKeys::File { path, why: why.to_string() });
            }
        };
        let keys = match self {
            Self::Pem(_) => KeySet::from_pem(&bytes),
            Self::Jwks { .. } => KeySet::from_jwks(&bytes),
            Self::SecretFile(_) | Self::Memory => KeySet::from_secret(without_line_end(&bytes)),
        };
        let fits = |keys: &KeySet| algorithms.is_empty() || keys.fits_any(algorithms);
        let keys = keys.and_then(|keys| match fits(&keys) {
            true => Ok(keys),
            false => Err(NoKeys::OtherAlgorithm),
        });
        match keys {
            Ok(keys) => Ok((keys, facts)),
            Err(why) => Err(BadKeys::File { path, why: why.to_string() }),
        }
    }
}

/// Removes the line end that editors append.
fn without_line_end(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().rposition(|byte| !matches!(byte, b'\r' | b'\n'));
    &bytes[..end.map_or(0, |last| last + 1)]
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tempfile::TempDir;

    use super::*;
    use crate::auth::testing::{Issuer, jwks};

    fn folder_with(name: &str, content: &str) -> (TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        fs::write(&path, content).unwrap();
        (folder, path)
    }

    fn replace(path: &Path, content: &str) {
        // As programs do that rotate keys: a new file under the old name.
        let new = path.with_extension("new");
        fs::write(&new, content).unwrap();
        fs::rename(new, path).unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_file_that_changes_is_read_again_and_a_bad_one_changes_nothing() {
        let (old, new) = (Issuer::p256(), Issuer::ed25519());
        let (_folder, path) = folder_with("public.pem", old.public_pem());
        let file = Arc::new(KeyFile::pem(&path, &[]).unwrap());
        let algorithms = async || {
            tokio::time::advance(LOOK_EVERY).await;
            file.current().await.algorithms()
        };
        assert_eq!(algorithms().await, [Algorithm::ES256]);
        for bad in ["", "nonsense", &new.private_pem()] {
            replace(&path, bad);
            assert_eq!(algorithms().await, [Algorithm::ES256]);
        }
        fs::remove_file(&path).unwrap();
        assert_eq!(algorithms().await, [Algorithm::ES256]);
        replace(&path, new.public_pem());
        assert_eq!(algorithms().await, [Algorithm::EdDSA]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_reload_reads_at_once_and_says_what_is_wrong() {
        let (_folder, path) = folder_with("public.pem", Issuer::p256().public_pem());
        let file = Arc::new(KeyFile::pem(&path, &[Algorithm::ES256]).unwrap());
        replace(&path, Issuer::ed25519().public_pem());
        let error = file.reload().unwrap_err();
        assert!(matches!(&error, BadKeys::File { .. }), "{error}");
        assert!(error.to_string().contains("does not fit the algorithms"), "{error}");
        assert_eq!(file.current().await.algorithms(), [Algorithm::ES256]);
        // It has not changed since, and still cannot be used.
        assert!(matches!(file.reload(), Err(BadKeys::File { .. })));
        tokio::time::advance(LOOK_EVERY).await;
        file.current().await;
        assert!(matches!(file.reload(), Err(BadKeys::File { .. })));
        fs::remove_file(&path).unwrap();
        for _ in 0..2 {
            assert!(matches!(file.reload(), Err(BadKeys::Unreadable { .. })));
        }
    }

    #[test]
    fn an_unusable_file_is_told_once_per_state() {
        let (good, other) = (Issuer::p256(), Issuer::ed25519());
        let (_folder, path) = folder_with("public.pem", good.public_pem());
        let file = KeyFile::pem(&path, &[]).unwrap();
        let told = || -> Vec<bool> {
            let news = (0..3).filter_map(|_| file.news());
            news.map(|news| matches!(news, News::Unusable(_))).collect()
        };
        assert!(told().is_empty());
        fs::remove_file(&path).unwrap();
        assert_eq!(told(), [true]);
        for bad in ["nonsense", "other nonsense"] {
            replace(&path, bad);
            assert_eq!(told(), [true], "{bad}");
        }
        fs::remove_file(&path).unwrap();
        assert_eq!(told(), [true]);
        replace(&path, other.public_pem());
        assert_eq!(told(), [false]);
        assert_eq!(file.state.lock().keys.algorithms(), [Algorithm::EdDSA]);
        fs::remove_file(&path).unwrap();
        assert_eq!(told(), [true], "it was good meanwhile");
    }

    #[tokio::test(start_paused = true)]
    #[expect(clippy::await_holding_lock, reason = "the disk hangs while the test waits")]
    async fn a_disk_that_hangs_holds_up_one_thread_and_one_client() {
        let (_folder, path) = folder_with("public.pem", Issuer::p256().public_pem());
        let file = Arc::new(KeyFile::pem(&path, &[]).unwrap());
        let disk = file.reading.lock();
        for turn in 0..10 {
            tokio::time::advance(LOOK_EVERY).await;
            let asked = file.current();
            tokio::pin!(asked);
            let at_once = futures_util::poll!(asked.as_mut()).is_ready();
            assert_eq!(at_once, turn > 0, "{turn}");
            if !at_once {
                tokio::time::advance(PATIENCE).await;
                asked.await;
            }
            // That of the look, beside ours.
            assert_eq!(Arc::strong_count(&file), 2);
        }
        drop(disk);
        while file.state.lock().is_looking {
            tokio::task::yield_now().await;
        }
        replace(&path, Issuer::ed25519().public_pem());
        tokio::time::advance(LOOK_EVERY).await;
        assert_eq!(file.current().await.algorithms(), [Algorithm::EdDSA]);
    }

    #[test]
    fn files_that_cannot_be_keys_are_refused_by_name() {
        let missing = KeyFile::pem(Path::new("/nonexistent/key.pem"), &[]).unwrap_err();
        assert!(matches!(missing, BadKeys::Unreadable { .. }));
        let device = KeyFile::pem(Path::new("/dev/null"), &[]).unwrap_err();
        assert!(matches!(device, BadKeys::File { .. }));
        let set = jwks(&[Issuer::p256().jwk(None)]);
        let (_folder, path) = folder_with("jwks.json", &set);
        assert!(KeyFile::jwks(&path, set.len() as u64, &[]).is_ok());
        let long = KeyFile::jwks(&path, set.len() as u64 - 1, &[]).unwrap_err();
        assert!(matches!(long, BadKeys::TooLong { .. }));
        let other = KeyFile::jwks(&path, 1 << 20, &[Algorithm::RS256]).unwrap_err();
        assert!(matches!(other, BadKeys::File { .. }));
    }

    #[test]
    fn a_secret_comes_from_a_file_or_the_environment() {
        let secret = "0123456789abcdef0123456789abcdef";
        let (_folder, path) = folder_with("secret", &format!("{secret}\n"));
        assert!(KeyFile::secret(&SecretSource::File(path.clone()), &[]).is_ok());
        fs::write(&path, format!("{}\n\r\n", &secret[1..])).unwrap();
        let short = KeyFile::secret(&SecretSource::File(path), &[]).unwrap_err();
        assert!(!short.to_string().contains(&secret[1..]), "{short}");
        let unset = SecretSource::Env("LASTWORD_TEST_NO_SUCH_VARIABLE".to_owned());
        assert!(matches!(KeyFile::secret(&unset, &[]), Err(BadKeys::Variable(_))));
    }
}
