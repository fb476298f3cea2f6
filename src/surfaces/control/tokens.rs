//! The token file, and the check of a request's token.

mod store;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

use crate::runtime::read_bounded::{read_bounded, text};
use crate::runtime::watched_file::{WatchedFile, is_world_readable};
pub use store::TokenStore;

/// The minimum length of a token, in characters.
const SHORTEST: usize = 16;

/// The maximum size of a token file; a larger file is refused.
const LARGEST_FILE: u64 = 1 << 20;

/// The known tokens, each with its name. If there are none, requests need no token.
#[derive(Clone, Default)]
pub struct Tokens {
    known: Arc<[Arc<Token>]>,
    /// The file that they come from.
    file: Option<WatchedFile>,
    /// Whether the file is world-readable.
    is_exposed: bool,
}

/// A token: a name for the record, what it allows, and the secret.
#[derive(PartialEq, Eq)]
pub(super) struct Token {
    pub(super) name: Arc<str>,
    pub(super) scope: Scope,
    secret: Box<[u8]>,
}

/// What a token allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    /// To look at everything.
    Read,
    /// To change things, too.
    Operate,
}

/// Why a token file cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenFileError {
    /// It cannot be read.
    #[error("{}: cannot be read: {error}: name a readable file of tokens", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The error of the operating system.
        error: io::Error,
    },
    /// A line is invalid.
    #[error("{}:{line}: {why}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line number, from 1.
        line: usize,
        /// What is wrong with it, and the remedy.
        why: &'static str,
    },
    /// It contains no token.
    #[error("{}: it contains no token: write one name:scope:token per line", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
}

impl Tokens {
    /// Reads a token file.
    ///
    /// # Errors
    /// [`TokenFileError`], with file, line and remedy; never with a token.
    pub fn read(path: &Path) -> Result<Self, TokenFileError> {
        let unreadable = |error| TokenFileError::Unreadable { path: path.to_owned(), error };
        // Before the file is read, so that no change is missed.
        let watched = WatchedFile::new(path);
        let (bytes, facts) =
            read_bounded(path, LARGEST_FILE).map_err(|why| unreadable(why.into()))?;
        let text = text(bytes).map_err(unreadable)?;
        let mut tokens: Vec<Arc<Token>> = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let refuse = |why| TokenFileError::Line { path: path.to_owned(), line: index + 1, why };
            let Some(token) = Token::read(line).map_err(refuse)? else { continue };
            if tokens.iter().any(|earlier| earlier.secret == token.secret) {
                return Err(refuse("this token is already in the file: remove one"));
            }
            tokens.push(Arc::new(token));
        }
        if tokens.is_empty() {
            return Err(TokenFileError::Empty { path: path.to_owned() });
        }
        let is_exposed = is_world_readable(&facts);
        Ok(Self { known: tokens.into(), file: Some(watched), is_exposed })
    }

    /// Logs a warning if the file is world-readable.
    pub(super) fn warn_if_exposed(&self) {
        if let (Some(file), true) = (&self.file, self.is_exposed) {
            let file = file.path().display();
            tracing::warn!(%file, "the token file is world-readable: run chmod o-rwx on it");
        }
    }

    /// Returns whether a request needs a token.
    pub(super) fn are_required(&self) -> bool {
        !self.known.is_empty()
    }

    /// Returns the token with this secret, in constant time.
    pub(super) fn find(&self, secret: &[u8]) -> Option<&Arc<Token>> {
        let mut found = 0_u32;
        for (index, token) in (1_u32..).zip(&*self.known) {
            let same: Choice = token.secret.ct_eq(secret);
            found.conditional_assign(&index, same);
        }
        self.known.get(usize::try_from(found.checked_sub(1)?).ok()?)
    }

    /// Returns whether a token that was found before still holds.
    pub(super) fn still_hold(&self, token: &Token) -> bool {
        self.known.iter().any(|known| known.secret == token.secret)
    }
}

/// Tokens are the same if they allow the same: their file does not count.
impl PartialEq for Tokens {
    fn eq(&self, other: &Self) -> bool {
        self.known == other.known
    }
}

impl Token {
    /// Parses a line; `None` for an empty line or a comment.
    fn read(line: &str) -> Result<Option<Self>, &'static str> {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            return Ok(None);
        }
        let (name, rest) = line.split_once(':').unwrap_or(("default", line));
        let (scope, secret) = match rest.split_once(':') {
            None => (Scope::Operate, rest),
            Some((scope, secret)) => (Scope::read(scope.trim())?, secret),
        };
        let (name, secret) = (name.trim(), secret.trim());
        let printable = |text: &str| text.chars().all(|c| c.is_ascii_graphic());
        if name.is_empty() || name.len() > 64 || !printable(name) {
            return Err("the name is not 1 to 64 printable characters without spaces: change it");
        }
        if secret.len() < SHORTEST {
            return Err("the token has fewer than 16 characters: use a longer one");
        }
        if !printable(secret) {
            return Err("the token has characters that a header cannot contain: use ASCII");
        }
        Ok(Some(Self { name: name.into(), scope, secret: secret.as_bytes().into() }))
    }
}

impl Scope {
    /// Returns its word in the token file.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Operate => "operate",
        }
    }

    fn read(word: &str) -> Result<Self, &'static str> {
        match word {
            "read" => Ok(Self::Read),
            "operate" => Ok(Self::Operate),
            // Not taken for a part of the token: a misspelt `read` would allow everything.
            _ => Err("the scope is neither read nor operate: write name:scope:token"),
        }
    }
}

/// Shows the names alone.
impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.known.iter().map(|token| &token.name)).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn read(text: &str) -> Result<Tokens, TokenFileError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), text).unwrap();
        Tokens::read(file.path())
    }

    fn bad_line(text: &str) -> usize {
        match read(text).unwrap_err() {
            TokenFileError::Line { line, .. } => line,
            error => panic!("{error}"),
        }
    }

    #[test]
    fn tokens_have_names() {
        let tokens = read("# who\n\nops: 0123456789abcdef \nfedcba9876543210\n").unwrap();
        let name = |secret: &[u8]| tokens.find(secret).map(|token| token.name.to_string());
        assert_eq!(name(b"0123456789abcdef").as_deref(), Some("ops"));
        assert_eq!(name(b"fedcba9876543210").as_deref(), Some("default"));
        for wrong in [&b""[..], b"0123456789abcde", b"0123456789abcdeg", b"ops"] {
            assert_eq!(name(wrong), None);
        }
        assert!(tokens.are_required() && !Tokens::default().are_required());
        assert!(Tokens::default().find(b"").is_none());
        assert_eq!(format!("{tokens:?}"), r#"["ops", "default"]"#);
        assert!(!tokens.is_exposed, "temporary files are private");
    }

    #[test]
    fn a_large_file_is_refused_and_not_cut() {
        // The token at its end would be missing.
        let mut text = "#".repeat(1 << 20) + "\n";
        text.push_str("ops:0123456789abcdef");
        let error = read(&format!("a:fedcba9876543210\n{text}")).unwrap_err();
        assert!(error.to_string().contains("it is larger than 1048576 bytes"), "{error}");
    }

    #[test]
    fn tokens_have_scopes() {
        let text = "a:read:0123456789abcdef\nb: operate : 123456789abcdef0\nc:23456789abcdef01\n\
                    d:operate:3456789:abcdef012";
        let tokens = read(text).unwrap();
        let scope = |secret: &[u8]| tokens.find(secret).map(|token| token.scope);
        assert_eq!(scope(b"0123456789abcdef"), Some(Scope::Read));
        assert_eq!(scope(b"123456789abcdef0"), Some(Scope::Operate));
        assert_eq!(scope(b"23456789abcdef01"), Some(Scope::Operate));
        assert_eq!(scope(b"3456789:abcdef012"), Some(Scope::Operate));
        for bad in ["raed", "", "READ", "0123456789abcdef"] {
            assert_eq!(bad_line(&format!("a:{bad}:0123456789abcdef")), 1, "{bad}");
        }
    }

    #[test]
    fn what_is_wrong_is_named_by_its_line() {
        assert_eq!(bad_line("ops:0123456789abcdef\nx:short\n"), 2);
        assert_eq!(bad_line("\n:0123456789abcdef"), 2);
        assert_eq!(bad_line("a b:0123456789abcdef"), 1);
        assert_eq!(bad_line("a:0123456789äbcdef"), 1);
        assert_eq!(bad_line("a:0123456789abcdef\n\nb:0123456789abcdef"), 3);
        assert!(matches!(read("# none\n"), Err(TokenFileError::Empty { .. })));
        for path in ["/nowhere/tokens", "/dev/zero", "/"] {
            let unreadable = Tokens::read(Path::new(path));
            assert!(matches!(unreadable, Err(TokenFileError::Unreadable { .. })), "{path}");
        }
    }
}
