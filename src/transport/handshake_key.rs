//! The key of the opening handshake and the answer that proves it was read (RFC 6455 section 1.3).
//!
//! With `websocket`, the only other module that names tungstenite: its SHA-1 and base64 are
//! compiled in already.

use tokio_tungstenite::tungstenite::handshake;

/// Makes the `Sec-WebSocket-Key` of a new attempt: 16 random bytes in base64.
pub(super) fn generate_key() -> String {
    handshake::client::generate_key()
}

/// Derives the `Sec-WebSocket-Accept` that answers a `Sec-WebSocket-Key`.
pub(super) fn derive_accept_key(key: &str) -> String {
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
