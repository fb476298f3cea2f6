//! Reading secrets from their source, for each use, so that they can be replaced at any time.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::timeout;

use crate::runtime::read_bounded::{NotRead, read_in_background, text};
use crate::settings::SecretSource;
use crate::vocabulary::Secret;

/// The longest secret, in bytes: longer than any header field that servers accept.
const LONGEST: u64 = 64 * 1024;

/// How long reading a file may take, which may be on a disk that hangs.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why a secret could not be read; never contains the secret.
#[derive(Debug, thiserror::Error)]
pub(super) enum SecretError {
    #[error("the environment variable {0} is not set: set it, or name another")]
    NotSet(String),
    #[error("the environment variable {0} is not UTF-8: set it to text")]
    NotText(String),
    #[error("the file {} cannot be read ({error}): name a readable file", path.display())]
    Unreadable { path: PathBuf, error: std::io::Error },
    #[error("the file {} took longer than {PATIENCE:?}", .0.display())]
    TooSlow(PathBuf),
    #[error("the file {} is larger than {LONGEST} bytes, too large for a secret", .0.display())]
    TooLong(PathBuf),
    #[error("the secret is empty")]
    Empty,
}

/// Reads a secret, without the line end that editors append.
pub(super) async fn read(source: &SecretSource) -> Result<Secret, SecretError> {
    let secret = match source {
        SecretSource::Value(secret) => secret.clone(),
        SecretSource::Env(name) => match std::env::var(name) {
            Ok(value) => Secret::new(value),
            Err(std::env::VarError::NotPresent) => return Err(SecretError::NotSet(name.clone())),
            Err(std::env::VarError::NotUnicode(_)) => {
                return Err(SecretError::NotText(name.clone()));
            }
        },
        SecretSource::File(path) => match timeout(PATIENCE, read_file(path)).await {
            Ok(read) => read?,
            Err(_) => return Err(SecretError::TooSlow(path.clone())),
        },
    };
    if secret.expose().is_empty() { Err(SecretError::Empty) } else { Ok(secret) }
}

async fn read_file(path: &Path) -> Result<Secret, SecretError> {
    let owned = || path.to_owned();
    let unreadable = |error| SecretError::Unreadable { path: owned(), error };
    let (bytes, _) = read_in_background(path, LONGEST).await.map_err(|why| match why {
        NotRead::TooLarge(_) => SecretError::TooLong(owned()),
        why => unreadable(why.into()),
    })?;
    let text = text(bytes).map_err(unreadable)?;
    Ok(Secret::new(text.trim_end_matches(['\r', '\n'])))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn of_file(content: &[u8]) -> Result<String, SecretError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), content).unwrap();
        let secret = read(&SecretSource::File(file.path().to_owned())).await?;
        Ok(secret.expose().to_owned())
    }

    #[tokio::test]
    async fn a_file_is_read_without_its_line_end() {
        assert_eq!(of_file(b"Bearer abc\r\n").await.unwrap(), "Bearer abc");
        assert_eq!(of_file(b" kept ").await.unwrap(), " kept ");
    }

    #[tokio::test]
    async fn what_is_no_secret_is_refused() {
        assert!(matches!(of_file(b"\n").await, Err(SecretError::Empty)));
        assert!(matches!(of_file(&vec![b'x'; 70_000]).await, Err(SecretError::TooLong(_))));
        assert!(matches!(of_file(b"\xff").await, Err(SecretError::Unreadable { .. })));
        let missing = SecretSource::File("/nonexistent/secret".into());
        assert!(matches!(read(&missing).await, Err(SecretError::Unreadable { .. })));
        let unset = SecretSource::Env("LASTWORD_TEST_NO_SUCH_VARIABLE".to_owned());
        assert!(matches!(read(&unset).await, Err(SecretError::NotSet(_))));
    }

    #[tokio::test]
    async fn the_environment_is_asked() {
        let path = SecretSource::Env("PATH".to_owned());
        assert_eq!(read(&path).await.unwrap().expose(), std::env::var("PATH").unwrap());
    }
}
