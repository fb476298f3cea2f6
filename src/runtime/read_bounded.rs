//! Reading the whole of what should be small.

use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::path::Path;

/// Why a file was not read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotRead {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("it is not a regular file")]
    NotAFile,
    #[error("it is larger than {0} bytes")]
    TooLarge(u64),
}

impl From<NotRead> for io::Error {
    fn from(why: NotRead) -> Self {
        let kind = match &why {
            NotRead::Io(_) => io::ErrorKind::Other,
            NotRead::NotAFile => io::ErrorKind::InvalidInput,
            NotRead::TooLarge(_) => io::ErrorKind::FileTooLarge,
        };
        match why {
            NotRead::Io(error) => error,
            other => Self::new(kind, other.to_string()),
        }
    }
}

/// Reads a file of at most `limit` bytes; returns what is known of it, too. Blocks on the disk.
///
/// # Errors
/// [`NotRead`].
pub(crate) fn read_bounded(path: &Path, limit: u64) -> Result<(Vec<u8>, Metadata), NotRead> {
    let file = open_regular(path)?;
    let facts = file.metadata()?;
    Ok((read_at_most(file, limit)?, facts))
}

/// Does the same on a thread that may block.
pub(crate) async fn read_in_background(
    path: &Path,
    limit: u64,
) -> Result<(Vec<u8>, Metadata), NotRead> {
    let path = path.to_owned();
    let read = tokio::task::spawn_blocking(move || read_bounded(&path, limit)).await;
    read.map_err(io::Error::from)?
}

/// Opens a file, and nothing else: opening a pipe would wait for its writer.
///
/// # Errors
/// [`NotRead`].
pub(crate) fn open_regular(path: &Path) -> Result<File, NotRead> {
    match fs::metadata(path)?.is_file() {
        true => Ok(File::open(path)?),
        false => Err(NotRead::NotAFile),
    }
}

/// Reads all that comes, of at most `limit` bytes.
///
/// # Errors
/// [`NotRead`].
pub(crate) fn read_at_most(reader: impl Read, limit: u64) -> Result<Vec<u8>, NotRead> {
    let mut bytes = Vec::new();
    reader.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    match bytes.len() as u64 > limit {
        true => Err(NotRead::TooLarge(limit)),
        false => Ok(bytes),
    }
}

/// Takes what was read as text.
///
/// # Errors
/// It is not UTF-8.
pub(crate) fn text(bytes: Vec<u8>) -> io::Result<String> {
    let not_text = |_| io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8");
    String::from_utf8(bytes).map_err(not_text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, "four").unwrap();
        for limit in [4, 5, u64::MAX] {
            assert_eq!(read_bounded(&path, limit).unwrap().0, b"four");
        }
        assert!(matches!(read_bounded(&path, 3), Err(NotRead::TooLarge(3))));
        let missing = read_bounded(&folder.path().join("missing"), 4).unwrap_err();
        assert_eq!(io::Error::from(missing).kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn what_is_no_file_is_refused_without_waiting_for_it() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
        assert!(made.success());
        for path in [folder.path(), Path::new("/dev/zero"), &pipe] {
            let refused = read_bounded(path, 4).unwrap_err();
            assert!(matches!(refused, NotRead::NotAFile), "{}", path.display());
            assert_eq!(io::Error::from(refused).to_string(), "it is not a regular file");
        }
    }
}
