//! The sections and keys that CONTRACT.md section 6 names and this version does not build.
//!
//! They are parsed, so that a typing error in them is found today.

use serde::Deserialize;

/// How peers prove who they are. Not in this version.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Auth {
    /// Chooses the way. Required. Cost: one signature, or one request, per handshake.
    pub kind: RouteAuth,
}

/// The words that `auth.kind` knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RouteAuth {
    /// A signed token.
    Jwt,
    /// An HTTP endpoint decides.
    Http,
}
