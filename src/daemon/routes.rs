//! Builds the routes of the listeners.

use std::collections::HashMap;
use std::sync::Arc;

use super::failure::StartupError;
use crate::auth::Auth;
use crate::config::{self, BackendChoice, Config};
use crate::manager::{Backend, Relay, Route};
use crate::settings;
use crate::settings::{ConnectionSettings, JwtKeys};

/// The routes in use, with the configuration that they were built from.
#[derive(Clone)]
pub(super) struct InUse {
    pub(super) config: Arc<Config>,
    pub(super) routes: Vec<Route>,
}

/// Builds the routes of a configuration. Reads the files of keys.
pub(super) fn build(config: &Config) -> Result<Vec<Route>, StartupError> {
    let sections = config.settings();
    config.routes.iter().map(|route| build_route(&sections, route, None)).collect()
}

/// Builds the routes of a configuration that replaces another. What has not changed is kept.
pub(super) fn rebuild(config: &Config, before: &InUse) -> Result<Vec<Route>, StartupError> {
    let sections = config.settings();
    let built = before.config.routes.iter().zip(&before.routes);
    let by_name: HashMap<&str, Before<'_>> =
        built.map(|(config, route)| (config.name.as_str(), Before { config, route })).collect();
    let build =
        |route: &config::Route| build_route(&sections, route, by_name.get(route.name.as_str()));
    config.routes.iter().map(build).collect()
}

/// A route before a reload.
struct Before<'a> {
    config: &'a config::Route,
    route: &'a Route,
}

impl Before<'_> {
    /// Returns the relay, if its settings are the same.
    fn relay(&self, backend: &BackendChoice) -> Option<&Arc<Relay>> {
        self.route.application().filter(|_| self.config.backend == *backend)
    }

    /// Returns who admits clients, if that is the same and holds what others were asked for.
    fn auth(&self, auth: &settings::Auth) -> Option<&Arc<Auth>> {
        let asks = match auth {
            settings::Auth::Jwt(jwt) => matches!(jwt.keys, JwtKeys::JwksUrl(_)),
            settings::Auth::Http(_) => true,
        };
        self.route.auth().filter(|_| asks && self.config.auth.as_ref() == Some(auth))
    }
}

fn build_route(
    sections: &ConnectionSettings,
    route: &config::Route,
    before: Option<&Before<'_>>,
) -> Result<Route, StartupError> {
    let path = route.path.clone();
    let built = match &route.backend {
        BackendChoice::Echo => Route::serve_at(path, Backend::echo),
        BackendChoice::Relay(settings) => {
            let relay = match before.and_then(|before| before.relay(&route.backend)) {
                Some(kept) => Arc::clone(kept),
                None => Relay::new((**settings).clone()).map_err(|error| {
                    let name = route.name.clone();
                    StartupError::Route { name, error }
                })?,
            };
            Route::relay(path, relay)
        }
    };
    let mut built =
        built.with_settings(route.settings(sections)).with_capacity(route.limits.capacity());
    if let Some(auth) = &route.auth {
        let kept = before.and_then(|before| before.auth(auth)).map(Arc::clone);
        let auth = kept.map_or_else(|| Auth::new(auth), Ok).map_err(|error| {
            let name = route.name.clone();
            StartupError::Auth { name, error }
        })?;
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

/// Lets routes take the places of those of the same names: their connections count, and applications
/// that stay keep their state.
pub(super) fn succeed(routes: &mut [Route], before: &[Route]) {
    let by_name: HashMap<&str, &Route> =
        before.iter().map(|route| (route.name.as_str(), route)).collect();
    for route in routes {
        if let Some(before) = by_name.get(route.name.as_str()) {
            route.succeed(before);
        }
    }
}
