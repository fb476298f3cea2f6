//! What the log says of requests without a token that counts.

use std::time::Instant;

use parking_lot::Mutex;

use axum::extract::Request;

use crate::policy::rate::TokenBucket;
use crate::surfaces::serving::Client;

/// Logs refusals for a missing or wrong token, at a limited rate: guessing must be visible, but must
/// not fill the log.
#[derive(Debug, Default)]
pub(super) struct Strangers(Mutex<Unsaid>);

#[derive(Debug, Default)]
struct Unsaid {
    lines: Option<TokenBucket>,
    /// The number of refusals since the last one logged.
    count: u64,
}

impl Strangers {
    /// The maximum number of lines per second.
    const LINES: u64 = 1;

    pub(super) fn refused(&self, client: Option<&Client>, request: &Request, with_token: bool) {
        let now = Instant::now();
        let unsaid = {
            let mut unsaid = self.0.lock();
            if unsaid.lines.is_none() {
                unsaid.lines = TokenBucket::per_second(Self::LINES, now);
            }
            if !unsaid.lines.as_mut().is_none_or(|lines| lines.take(now)) {
                unsaid.count += 1;
                return;
            }
            std::mem::take(&mut unsaid.count)
        };
        tracing::warn!(
            peer = client.map(|client| tracing::field::display(&client.peer)),
            method = %request.method(),
            path = %request.uri().path(),
            refused_before = unsaid,
            "the control API refused a request: {}",
            if with_token { "its token is not in the token file" } else { "it has no token" }
        );
    }
}
