//! The log lines about requests of the control API without a token, or with a wrong one.

use std::time::{Duration, Instant};

use axum::extract::Request;
use parking_lot::Mutex;

use crate::policy::log_throttle::LogThrottle;
use crate::surfaces::serving::Client;

/// Logs refusals for a missing or wrong token, at a limited rate: guessing must be visible, but must
/// not fill the log.
#[derive(Debug)]
pub(super) struct Strangers(Mutex<LogThrottle>);

impl Default for Strangers {
    fn default() -> Self {
        Self(Mutex::new(LogThrottle::new(Duration::from_secs(1))))
    }
}

impl Strangers {
    pub(super) fn refused(&self, client: Option<&Client>, request: &Request, with_token: bool) {
        let Some(refused_before) = self.0.lock().check(Instant::now()) else { return };
        tracing::warn!(
            peer = client.map(|client| tracing::field::display(&client.peer)),
            method = %request.method(),
            path = %request.uri().path(),
            refused_before,
            "the control API refused a request: {}",
            if with_token { "its token is not in the token file" } else { "it has no token" }
        );
    }
}
