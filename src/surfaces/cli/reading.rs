//! Files that a user names, such as one with a token.

use std::fs::File;
use std::path::Path;

use super::failure::Failure;
use crate::runtime::read_bounded::{read_at_most, text};

/// The maximum size of such a file, in bytes.
const LONGEST: u64 = 1 << 20;

/// Reads a file whole. It may be a pipe: the user waits for the command.
///
/// # Errors
/// It cannot be read, is too large, or is not UTF-8.
pub(super) fn read_text(path: &Path) -> Result<String, Failure> {
    let wrap = |error| Failure::File { path: path.to_owned(), error };
    let file = File::open(path).map_err(wrap)?;
    let bytes = read_at_most(file, LONGEST).map_err(|why| wrap(why.into()))?;
    text(bytes).map_err(wrap)
}
