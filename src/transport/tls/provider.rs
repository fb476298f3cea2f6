//! The cryptography of rustls: aws-lc-rs, always named, so that no default of the process counts.

use std::sync::{Arc, OnceLock};

use rustls::crypto::CryptoProvider;

/// ALPN: RFC 6455 needs HTTP/1.1, even if the other end prefers HTTP/2.
pub(super) const ALPN: &[u8] = b"http/1.1";

pub(super) fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    Arc::clone(PROVIDER.get_or_init(|| Arc::new(rustls::crypto::aws_lc_rs::default_provider())))
}
