//! Whether stderr is connected to the systemd journal (systemd.exec(5), `$JOURNAL_STREAM`).

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;

/// Returns whether stderr goes to the journal: then the journal notes time, unit and process of each
/// line by itself, and takes fields.
pub(super) fn is_journal() -> bool {
    let stderr = io::stderr().as_fd().try_clone_to_owned();
    let metadata = stderr.and_then(|stderr| File::from(stderr).metadata());
    let stream = std::env::var("JOURNAL_STREAM").ok();
    metadata.is_ok_and(|metadata| names(stream.as_deref(), metadata.dev(), metadata.ino()))
}

/// Returns whether `$JOURNAL_STREAM` names this file. A variable that was inherited by a process
/// whose stderr was redirected names another.
fn names(stream: Option<&str>, device: u64, inode: u64) -> bool {
    let Some((of_device, of_inode)) = stream.and_then(|stream| stream.split_once(':')) else {
        return false;
    };
    of_device.parse() == Ok(device) && of_inode.parse() == Ok(inode)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_file_that_the_variable_names_is_the_journal() {
        assert!(names(Some("8:4711"), 8, 4711));
        for other in [None, Some(""), Some("8:4712"), Some("9:4711"), Some("8"), Some("8:x")] {
            assert!(!names(other, 8, 4711), "{other:?}");
        }
    }
}
