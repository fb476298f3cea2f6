//! The errors of a configuration, each with the source, the key, the problem and the remedy.

use std::fmt;
use std::io;
use std::path::PathBuf;

use super::validation::Violation;

/// Why a configuration was refused: one sentence with place, key and remedy.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A file cannot be read.
    #[error("{}: cannot be read: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
    /// A file is not TOML.
    #[error("{place}: not TOML: {why}")]
    Syntax {
        /// Where the parser stopped.
        place: Place,
        /// What it stumbled over.
        why: String,
    },
    /// A `--set` argument or a variable does not say which key it sets.
    #[error("{place}: {why}")]
    Assignment {
        /// The argument or variable.
        place: Place,
        /// What is wrong, and what to write instead.
        why: String,
    },
    /// An array has no such element.
    #[error("{place}: {key}: there is no such element: {array} has {len}, counted from 0")]
    NoSuchElement {
        /// The argument.
        place: Place,
        /// The element.
        key: String,
        /// The array.
        array: String,
        /// How many elements the earlier layers gave it.
        len: usize,
    },
    /// The schema has no such key.
    #[error("{place}: {key}: unknown key; {remedy}")]
    UnknownKey {
        /// Where it is set.
        place: Place,
        /// The key.
        key: String,
        /// What to write instead.
        remedy: Remedy,
    },
    /// A key that must be set is not.
    #[error("{place}: {key}: missing; add it")]
    MissingKey {
        /// Where its table is.
        place: Place,
        /// The key.
        key: String,
    },
    /// A value is of the wrong type or out of its range.
    #[error("{place}: {key}: {why}")]
    InvalidValue {
        /// Where it is set.
        place: Place,
        /// The key.
        key: String,
        /// What is wrong, and what to write instead.
        why: String,
    },
    /// The key is part of the contract and not built yet.
    #[error("{place}: {key}: {what} not in this version; remove it")]
    NotInThisVersion {
        /// Where it is set.
        place: Place,
        /// The key.
        key: String,
        /// What was asked for, with its verb.
        what: &'static str,
    },
    /// What a value names cannot be used on this machine.
    #[error("{place}: {key}: {why}")]
    Unusable {
        /// Where the key is set.
        place: Place,
        /// The key.
        key: String,
        /// What is wrong with what it names, and the remedy.
        why: String,
    },
    /// Values that are each valid do not go together.
    #[error("{place}: {key}: {violation}")]
    Contradiction {
        /// Where the key is set.
        place: Place,
        /// The key.
        key: String,
        /// What does not go together, and the remedy.
        violation: Violation,
    },
}

impl ConfigError {
    /// Returns where the mistake is; a file that cannot be read has no place in it.
    pub fn place(&self) -> Option<&Place> {
        match self {
            Self::Unreadable { .. } => None,
            Self::Syntax { place, .. }
            | Self::Assignment { place, .. }
            | Self::NoSuchElement { place, .. }
            | Self::UnknownKey { place, .. }
            | Self::MissingKey { place, .. }
            | Self::InvalidValue { place, .. }
            | Self::NotInThisVersion { place, .. }
            | Self::Unusable { place, .. }
            | Self::Contradiction { place, .. } => Some(place),
        }
    }
}

/// Where a value was set.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Place {
    /// In the defaults of this program.
    BuiltIn,
    /// In a file, at a line that counts from 1.
    File {
        /// The file.
        path: PathBuf,
        /// The line.
        line: usize,
    },
    /// In an environment variable.
    Variable(String),
    /// In a `--set` argument.
    Argument(String),
    /// In the argument of `--relay`, which is not repeated: it may hold a secret.
    Relay,
    /// The arguments `--tls-cert` and `--tls-key`.
    TlsFiles,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BuiltIn => f.write_str("built-in defaults"),
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Variable(name) => write!(f, "environment variable {name}"),
            Self::Argument(argument) => write!(f, "--set {}", shown(argument)),
            Self::Relay => f.write_str("--relay"),
            Self::TlsFiles => f.write_str("--tls-cert"),
        }
    }
}

/// Returns a `--set` argument as it may be shown: a value that may hold a secret is left out.
fn shown(argument: &str) -> String {
    let plain = |text: &str, more: &[u8]| {
        text.bytes().all(|byte| byte.is_ascii_alphanumeric() || more.contains(&byte))
    };
    let (key, value) = match argument.split_once('=') {
        Some((key, value)) => (key.trim(), Some(value.trim())),
        None => (argument, None),
    };
    let key_is_plain = plain(key, b"._-[]");
    let secret = key.contains("headers") || key.contains("credentials");
    match value {
        _ if !key_is_plain => "…".to_owned(),
        None => key.to_owned(),
        Some(value) if !secret && plain(value, b"._-:/%") => format!("{key}={value}"),
        Some(_) => format!("{key}=…"),
    }
}

/// What to write instead of an unknown key.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Remedy {
    /// The key is known under a name that is close.
    DidYouMean(&'static str),
    /// The key is known, and holds for the whole node.
    WholeNode,
    /// Nothing is close; these are the keys.
    Known(&'static [&'static str]),
}

impl Remedy {
    /// Finds what is closest to `key`.
    pub(super) fn closest(key: &str, known: &'static [&'static str]) -> Self {
        closest(key, known).map_or(Self::Known(known), Self::DidYouMean)
    }
}

impl fmt::Display for Remedy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DidYouMean(name) => write!(f, "did you mean {name}?"),
            Self::WholeNode => f.write_str("it holds for the whole node: set it in [limits]"),
            Self::Known([]) => f.write_str("no keys are known here: remove it"),
            Self::Known(names) => write!(f, "known here: {}", names.join(", ")),
        }
    }
}

/// Finds the word that a typing error made `written` of: at most a third of it differs.
pub(super) fn closest(written: &str, words: &'static [&'static str]) -> Option<&'static str> {
    // Longer texts are no typing errors, and the distance is quadratic.
    if written.len() > 64 {
        return None;
    }
    let written = written.to_ascii_lowercase().replace('-', "_");
    let farthest = (written.chars().count() / 3).clamp(1, 3);
    words
        .iter()
        .map(|word| (edit_distance(&written, word), *word))
        .filter(|(distance, _)| *distance <= farthest)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, word)| word)
}

/// Counts the insertions, deletions and replacements that make `b` of `a`.
fn edit_distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, a) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typing_error_finds_its_word() {
        let known = &["max_message_size", "max_frame_size", "memory"];
        assert_eq!(closest("max_mesage_size", known), Some("max_message_size"));
        assert_eq!(closest("max-frame-size", known), Some("max_frame_size"));
        assert_eq!(closest("Memory", known), Some("memory"));
        assert_eq!(closest("colour", known), None);
        assert_eq!(closest("", known), None);
    }

    #[test]
    fn the_edit_distance_counts_edits() {
        assert_eq!(edit_distance("", "abc"), 3);
        assert_eq!(edit_distance("kitten", "sitting"), 3);
        assert_eq!(edit_distance("same", "same"), 0);
    }
}
