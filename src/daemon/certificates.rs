//! The certificates of all that listens: read before anything starts, so that a mistake costs nothing.

use std::sync::Arc;

use crate::config::{ConfigError, Loaded};
use crate::settings::{Tls, TlsKeys};
use crate::surfaces::metrics::TlsFacts;
use crate::transport::tls::ServerTls;

/// The certificates of all that listens.
pub(super) struct Certificates {
    /// Of each listener of the configuration, in its order.
    pub(super) listeners: Vec<Option<Arc<ServerTls>>>,
    pub(super) control: Option<Arc<ServerTls>>,
    pub(super) health: Option<Arc<ServerTls>>,
    /// All of them, with the names of their listeners.
    named: Vec<(String, Arc<ServerTls>)>,
}

impl Certificates {
    /// Reads the files that the configuration names.
    ///
    /// # Errors
    /// What is wrong with each.
    pub(super) fn read(loaded: &Loaded) -> Result<Self, Vec<ConfigError>> {
        let config = &loaded.config;
        let (mut named, mut errors) = (Vec::new(), Vec::new());
        let mut read = |name: &str, section: &str, keys: Option<&TlsKeys>| {
            // What does not go together was refused before.
            let settings = keys.and_then(|keys| Tls::try_from(keys).ok())?;
            match ServerTls::load(&settings) {
                Ok(tls) => {
                    let tls = Arc::new(tls);
                    named.push((name.to_owned(), Arc::clone(&tls)));
                    Some(tls)
                }
                Err(error) => {
                    errors.push(loaded.unusable(&format!("{section}.tls"), error));
                    None
                }
            }
        };
        let mut listeners = Vec::new();
        for (index, listener) in config.listeners.iter().enumerate() {
            let section = format!("listeners[{index}]");
            listeners.push(read(&listener.name, &section, listener.tls.as_ref()));
        }
        let without = |off: bool, keys| if off { None } else { keys };
        let control = &config.control;
        let keys = without(control.listen.is_none(), control.tls.as_ref());
        let control = read("control", "control", keys);
        let health = &config.health;
        let keys = without(health.listen.is_none(), health.tls.as_ref());
        let health = read("health", "health", keys);
        if errors.is_empty() { Ok(Self { listeners, control, health, named }) } else { Err(errors) }
    }

    /// Returns the warnings about all of them, each with the name of its listener.
    pub(super) fn warnings(&self) -> impl Iterator<Item = (&str, String)> {
        self.named.iter().flat_map(|(name, tls)| {
            tls.warnings().into_iter().map(|warning| (name.as_str(), warning))
        })
    }

    /// Returns a source of metrics.
    pub(super) fn metrics(&self) -> impl Fn() -> Vec<TlsFacts> + Send + Sync + 'static {
        let named = self.named.clone();
        move || {
            let facts = |(name, tls): &(String, Arc<ServerTls>)| TlsFacts {
                listener: name.clone(),
                certificates: tls
                    .certificates()
                    .into_iter()
                    .map(|facts| (facts.file.display().to_string(), facts.not_after))
                    .collect(),
                refused: tls.refused(),
            };
            named.iter().map(facts).collect()
        }
    }
}
