//! The certificates of all that listens: read before anything starts, so that a mistake costs nothing.

use std::sync::Arc;

use crate::config::{ConfigError, Loaded};
use crate::settings::{Tls, TlsKeys};
use crate::surfaces::metrics::TlsFacts;
use crate::transport::tls::ServerTls;

/// The certificates of all that listens.
#[derive(Clone)]
pub(super) struct Certificates {
    listeners: Vec<Certificate>,
    control: Option<Certificate>,
    health: Option<Certificate>,
}

/// The certificates of one listener.
#[derive(Clone)]
struct Certificate {
    /// The name of the listener.
    name: String,
    keys: TlsKeys,
    tls: Arc<ServerTls>,
}

impl Certificates {
    /// Reads the files that the configuration names. Blocks.
    ///
    /// # Errors
    /// What is wrong with each.
    pub(super) fn read(loaded: &Loaded) -> Result<Self, Vec<ConfigError>> {
        let config = &loaded.config;
        let mut errors = Vec::new();
        let mut read = |name: &str, section: &str, keys: Option<&TlsKeys>| {
            // What does not go together was refused before.
            let settings = keys.and_then(|keys| Tls::try_from(keys).ok())?;
            match ServerTls::load(&settings) {
                Ok(tls) => Some(Certificate {
                    name: name.to_owned(),
                    keys: keys.cloned().unwrap_or_default(),
                    tls: Arc::new(tls),
                }),
                Err(error) => {
                    errors.push(loaded.unusable(&format!("{section}.tls"), error));
                    None
                }
            }
        };
        let mut listeners = Vec::new();
        for (index, listener) in config.listeners.iter().enumerate() {
            let section = format!("listeners[{index}]");
            listeners.extend(read(&listener.name, &section, listener.tls.as_ref()));
        }
        let without = |off: bool, keys| if off { None } else { keys };
        let control = &config.control;
        let keys = without(control.listen.is_none(), control.tls.as_ref());
        let control = read("control", "control", keys);
        let health = &config.health;
        let keys = without(health.listen.is_none(), health.tls.as_ref());
        let health = read("health", "health", keys);
        if errors.is_empty() { Ok(Self { listeners, control, health }) } else { Err(errors) }
    }

    /// Keeps those that were read before by the same keys, with the sessions of their clients, and
    /// looks at their files again. Blocks.
    pub(super) fn keep(&mut self, before: &Self) {
        for certificate in self.all_mut() {
            let is_it =
                |one: &&Certificate| one.name == certificate.name && one.keys == certificate.keys;
            if let Some(kept) = before.all().find(is_it) {
                // The files were just read, so only a change at this very moment is refused.
                let _ = kept.tls.look_again();
                certificate.tls = Arc::clone(&kept.tls);
            }
        }
    }

    /// Returns those of a listener.
    pub(super) fn of_listener(&self, name: &str) -> Option<Arc<ServerTls>> {
        let found = self.listeners.iter().find(|certificate| certificate.name == name);
        found.map(|certificate| Arc::clone(&certificate.tls))
    }

    /// Returns those of the control API.
    pub(super) fn of_control(&self) -> Option<Arc<ServerTls>> {
        self.control.as_ref().map(|certificate| Arc::clone(&certificate.tls))
    }

    /// Returns those of `[health]`.
    pub(super) fn of_health(&self) -> Option<Arc<ServerTls>> {
        self.health.as_ref().map(|certificate| Arc::clone(&certificate.tls))
    }

    fn all(&self) -> impl Iterator<Item = &Certificate> {
        self.listeners.iter().chain(&self.control).chain(&self.health)
    }

    fn all_mut(&mut self) -> impl Iterator<Item = &mut Certificate> {
        self.listeners.iter_mut().chain(&mut self.control).chain(&mut self.health)
    }

    /// Returns the warnings about all of them, each with the name of its listener.
    pub(super) fn warnings(&self) -> impl Iterator<Item = (&str, String)> {
        self.all().flat_map(|Certificate { name, tls, .. }| {
            tls.warnings().into_iter().map(|warning| (name.as_str(), warning))
        })
    }

    /// Returns what the metrics show.
    pub(super) fn facts(&self) -> Vec<TlsFacts> {
        let facts = |Certificate { name, tls, .. }: &Certificate| TlsFacts {
            listener: name.clone(),
            certificates: tls
                .certificates()
                .into_iter()
                .map(|facts| (facts.file.display().to_string(), facts.not_after))
                .collect(),
            refused: tls.refused(),
        };
        self.all().map(facts).collect()
    }
}
