//! `Sec-WebSocket-Key` and `Sec-WebSocket-Accept` (RFC 6455 section 1.3).
//!
//! Besides `websocket` the only module that uses tungstenite, whose SHA-1 and base64 are compiled in
//! anyway.

use tokio_tungstenite::tungstenite::handshake;

/// Makes the `Sec-WebSocket-Key` of a new attempt: 16 random bytes in base64.
pub(crate) fn generate_key() -> String {
    handshake::client::generate_key()
}

/// Derives the `Sec-WebSocket-Accept` that answers a `Sec-WebSocket-Key`.
pub(crate) fn derive_accept_key(key: &str) -> String {
    handshake::derive_accept_key(key.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_rfc_is_answered() {
        assert_eq!(derive_accept_key("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn keys_are_16_bytes_and_differ() {
        assert_eq!(generate_key().len(), 24);
        assert_ne!(generate_key(), generate_key());
    }
}
