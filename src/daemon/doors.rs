//! What guards the addresses that accept.

use super::certificates::Certificates;
use crate::surfaces::control::TokenStore;

/// What guards the addresses that accept: tokens and certificates.
pub(super) struct Doors {
    pub(super) tokens: TokenStore,
    pub(super) certificates: Certificates,
}
