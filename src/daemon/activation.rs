//! Socket activation: what the configuration expects of the service manager, and what it passed.

use tracing::warn;

use crate::config::{Config, ConfigError, Loaded};
use crate::transport::bind;
use crate::transport::inherited;
use crate::vocabulary::ListenAddress;

/// A key that places a socket.
struct Place<'a> {
    key: String,
    /// The listener, `control` or `health`, for messages.
    who: String,
    listen: &'a ListenAddress,
    has_tls: bool,
}

fn places(config: &Config) -> impl Iterator<Item = Place<'_>> {
    let listeners = config.listeners.iter().enumerate().map(|(index, listener)| Place {
        key: format!("listeners[{index}].listen"),
        who: format!("listener {}", listener.name),
        listen: &listener.listen,
        has_tls: listener.tls.is_some(),
    });
    let (control, health) = (&config.control, &config.health);
    let others = [
        ("control", &control.listen, control.tls.is_some()),
        ("health", &health.listen, health.tls.is_some()),
    ];
    let others = others.into_iter().filter_map(|(who, listen, has_tls)| {
        let listen = listen.as_ref()?;
        Some(Place { key: format!("{who}.listen"), who: who.to_owned(), listen, has_tls })
    });
    listeners.chain(others)
}

/// Finds what is wrong with the sockets that a configuration expects of the service manager.
pub(super) fn unusable(loaded: &Loaded) -> Vec<ConfigError> {
    let open = loaded.config.control.token_file.is_none();
    let wrong = places(&loaded.config).filter_map(|place| {
        let ListenAddress::Systemd(name) = place.listen else { return None };
        let why = match bind::passed_address(name) {
            Err(error) => error.to_string(),
            Ok(ListenAddress::Unix(_)) if place.has_tls => {
                "the socket is a Unix socket, which takes no TLS: remove tls, or write an address and a port in \
                 ListenStream="
                    .to_owned()
            }
            Ok(address) if place.key == "control.listen" && open && !address.is_local() => {
                format!(
                    "{address} is neither loopback nor a Unix socket: set control.token_file, or write \
                     127.0.0.1 in ListenStream="
                )
            }
            Ok(_) => return None,
        };
        Some(loaded.unusable(&place.key, format!("{}: {why}", place.who)))
    });
    wrong.collect()
}

/// Logs each socket that the service manager passed and nothing listens on: its clients would wait.
pub(super) fn warn_of_unused(config: &Config) {
    let used: Vec<&ListenAddress> = places(config).map(|place| place.listen).collect();
    for name in inherited::names() {
        if !used.contains(&&ListenAddress::Systemd(name.to_owned())) {
            warn!(
                socket = name,
                "the service manager passed a socket that nothing listens on: write listen = \"systemd:{name}\" \
                 for a listener, or disable its socket unit"
            );
        }
    }
}
