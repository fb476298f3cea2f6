//! Data messages.

use std::fmt;

use bytes::Bytes;

/// A data message: text or binary, whole.
///
/// Cloning shares the payload.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Message {
    /// A text message (opcode 1); its payload is UTF-8.
    Text(Text),
    /// A binary message (opcode 2).
    Binary(Bytes),
}

impl Message {
    /// Makes a text message.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text(Text(Bytes::from(text.into())))
    }

    /// Makes a binary message.
    pub fn binary(payload: impl Into<Bytes>) -> Self {
        Self::Binary(payload.into())
    }

    /// Returns the payload.
    pub fn payload(&self) -> &Bytes {
        match self {
            Self::Text(text) => &text.0,
            Self::Binary(payload) => payload,
        }
    }

    /// Returns the text of a text message.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text.as_str()),
            Self::Binary(_) => None,
        }
    }

    /// Returns the length of the payload, in bytes.
    pub fn len(&self) -> usize {
        self.payload().len()
    }

    /// Returns whether the payload is empty.
    pub fn is_empty(&self) -> bool {
        self.payload().is_empty()
    }

    /// Returns the payload, consuming the message.
    pub fn into_payload(self) -> Bytes {
        match self {
            Self::Text(text) => text.0,
            Self::Binary(payload) => payload,
        }
    }
}

/// The payload of a text message, which is valid UTF-8.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Text(Bytes);

impl Text {
    /// Wraps bytes that the caller has found to be valid UTF-8, which [`Text::as_str`] relies on.
    pub(crate) fn from_checked(bytes: Bytes) -> Self {
        debug_assert!(std::str::from_utf8(&bytes).is_ok());
        Self(bytes)
    }

    /// Returns the length, in bytes.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns whether the text is empty.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Copies the text, so that it no longer keeps a shared buffer alive.
    pub(crate) fn unpinned(&self) -> Self {
        Self(Bytes::copy_from_slice(&self.0))
    }

    /// Returns the text.
    pub fn as_str(&self) -> &str {
        // Every constructor takes valid UTF-8, so the default is never used. The second check is the
        // price of avoiding `unsafe`.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().fmt(f)
    }
}

impl From<&str> for Message {
    fn from(text: &str) -> Self {
        Self::text(text)
    }
}

impl From<String> for Message {
    fn from(text: String) -> Self {
        Self::text(text)
    }
}

impl From<Bytes> for Message {
    fn from(payload: Bytes) -> Self {
        Self::Binary(payload)
    }
}

impl From<Vec<u8>> for Message {
    fn from(payload: Vec<u8>) -> Self {
        Self::Binary(payload.into())
    }
}
