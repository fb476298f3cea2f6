//! The sections and keys that CONTRACT.md section 6 names and this version does not build.
//!
//! They are parsed, so that a typing error in them is found today.

use std::path::PathBuf;

use serde::Deserialize;

/// Certificate and key of a listener. Not in this version.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// Names the file with the certificate chain. Unit: path to PEM. Required. Cost: none.
    pub cert: PathBuf,
    /// Names the file with the private key. Unit: path to PEM. Required. Cost: none.
    pub key: PathBuf,
    /// Names the file with the authorities of client certificates. Unit: path to PEM. Default:
    /// none, clients need no certificate. Cost: one more signature per handshake.
    #[serde(default)]
    pub client_ca: Option<PathBuf>,
}

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
