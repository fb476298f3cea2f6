//! What both ends write into the header lines of the opening handshake.

use std::fmt;
use std::str::FromStr;

use http::HeaderName;

use super::cut;
use crate::protocol::header_names::is_token;

pub(super) const KEY: HeaderName = HeaderName::from_static("sec-websocket-key");
pub(super) const VERSION: HeaderName = HeaderName::from_static("sec-websocket-version");
pub(super) const ACCEPT: HeaderName = HeaderName::from_static("sec-websocket-accept");
pub(super) const PROTOCOL: HeaderName = HeaderName::from_static("sec-websocket-protocol");
pub(super) const EXTENSIONS: HeaderName = HeaderName::from_static("sec-websocket-extensions");

/// The name of a subprotocol. One that this end chooses is an HTTP token of at most 1 KiB; one that a
/// peer offers may be anything.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Subprotocol(pub(super) String);

impl Subprotocol {
    /// Returns the name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the name, cut to 1 KiB for the record.
    pub fn recorded(&self) -> String {
        cut(&self.0)
    }
}

impl FromStr for Subprotocol {
    type Err = InvalidSubprotocol;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        if name.len() > super::RECORDED || !is_token(name) {
            return Err(InvalidSubprotocol);
        }
        Ok(Self(name.to_owned()))
    }
}

impl From<Subprotocol> for String {
    fn from(name: Subprotocol) -> Self {
        name.0
    }
}

impl fmt::Display for Subprotocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// A string that is not the name of a subprotocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a subprotocol is 1 to 1024 letters, digits and any of !#$%&'*+-.^_`|~")]
pub struct InvalidSubprotocol;

/// The value of `Sec-WebSocket-Accept`, which only [`check_upgrade`](super::check_upgrade) returns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AcceptKey(pub(super) String);

impl AcceptKey {
    /// Returns the value.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}
