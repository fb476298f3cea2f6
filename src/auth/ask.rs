//! What is known of a client that asks for admission.

use http::HeaderMap;

use crate::transport::socket::SocketName;
use crate::vocabulary::Secret;

/// What is known of a client that asks for admission.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ask<'a> {
    pub(crate) method: &'a str,
    /// The path and the query as received.
    pub(crate) target: &'a str,
    pub(crate) host: Option<&'a str>,
    pub(crate) headers: &'a HeaderMap,
    /// The tokens that were taken from among the subprotocols.
    pub(crate) bearers: &'a [Secret],
    pub(crate) peer: &'a SocketName,
}
