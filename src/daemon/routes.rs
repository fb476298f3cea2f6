//! Builds the routes of the listeners.

use super::failure::StartupError;
use crate::auth::Auth;
use crate::config::{self, BackendChoice, Config};
use crate::manager::{Backend, Relay, Route};
use crate::settings::ConnectionSettings;

/// Builds the routes of a configuration. Reads the files of keys.
pub(super) fn build(config: &Config) -> Result<Vec<Route>, StartupError> {
    let sections = config.settings();
    config.routes.iter().map(|route| build_route(&sections, route)).collect()
}

fn build_route(
    sections: &ConnectionSettings,
    route: &config::Route,
) -> Result<Route, StartupError> {
    let path = route.path.clone();
    let built = match &route.backend {
        BackendChoice::Echo => Route::serve_at(path, Backend::echo),
        BackendChoice::Relay(settings) => {
            let relay = Relay::new((**settings).clone());
            let name = route.name.clone();
            Route::relay(path, relay.map_err(|error| StartupError::Route { name, error })?)
        }
    };
    let mut built =
        built.with_settings(route.settings(sections)).with_capacity(route.limits.capacity());
    if let Some(auth) = &route.auth {
        let name = route.name.clone();
        let auth = Auth::new(auth).map_err(|error| StartupError::Auth { name, error })?;
        built = built.with_auth(auth);
    }
    built.name = route.name.clone();
    built.host = route.host.clone();
    built.origins = route.origins.clone();
    built.subprotocols = route.subprotocols.clone();
    built.tags = route.tags.clone();
    built.inject = route.inject;
    built.replace = route.replace;
    Ok(built)
}
