//! Reads the configuration with the files of tokens and certificates that it names.

use super::activation;
use super::certificates::Certificates;
use super::control;
use crate::config::{Config, ConfigError, Sources, load_all};
use crate::surfaces::control::Tokens;

/// A configuration that is valid, with what was read from the files that guard its addresses.
pub(super) struct Loaded {
    pub(super) config: Config,
    pub(super) tokens: Tokens,
    pub(super) certificates: Certificates,
}

/// Reads everything. Blocks.
///
/// # Errors
/// Everything wrong, and at least one thing.
pub(super) fn load(sources: &Sources) -> Result<Loaded, Vec<ConfigError>> {
    let loaded = load_all(sources)?;
    let certificates = Certificates::read(&loaded);
    let sockets = activation::unusable(&loaded);
    match (control::read_tokens(&loaded.config.control), certificates) {
        (Ok(tokens), Ok(certificates)) if sockets.is_empty() => {
            Ok(Loaded { config: loaded.config, tokens, certificates })
        }
        (tokens, certificates) => {
            let tokens = tokens.err().map(|error| loaded.unusable(control::TOKEN_FILE, error));
            let certificates = certificates.err().unwrap_or_default();
            Err(sockets.into_iter().chain(certificates).chain(tokens).collect())
        }
    }
}
