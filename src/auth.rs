//! Admission: whether a client may connect, by a signed token or by what an HTTP endpoint says.
//!
//! Checks of tokens ([`verifier`]), key sets ([`key_set`]) and the search for a token ([`token`]) are
//! pure; files and fetches of keys are at the edge.

mod answer;
mod ask;
mod http;
mod jwks_url;
mod jwt;
mod key_file;
mod key_set;
#[cfg(test)]
pub(crate) mod testing;
mod token;
mod verifier;

use std::sync::Arc;

use crate::settings;
use crate::settings::TokenSource;
use crate::vocabulary::Secret;
pub(crate) use answer::{Admitted, Denied, INVALID_TOKEN};
pub(crate) use ask::Ask;
use http::Endpoint;
use jwt::Jwt;
pub use key_file::BadKeys;
use token::Carrier;

/// Decides whether clients may connect; several routes can share one.
#[derive(Debug)]
pub struct Auth {
    way: Way,
}

#[derive(Debug)]
enum Way {
    Jwt(Box<Jwt>),
    Http(Box<Endpoint>),
}

/// A route admits by other means than a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TakesNoToken;

impl Auth {
    /// Makes an admission; reads the keys of tokens, unless they are fetched from a URL.
    ///
    /// # Errors
    /// The keys cannot be used.
    pub fn new(settings: &settings::Auth) -> Result<Arc<Self>, BadKeys> {
        let way = match settings {
            settings::Auth::Jwt(jwt) => Way::Jwt(Box::new(Jwt::new(jwt)?)),
            settings::Auth::Http(http) => Way::Http(Box::new(Endpoint::new(http))),
        };
        Ok(Arc::new(Self { way }))
    }

    /// Reads the key file again. Without a call that happens within seconds of a change, when a token is
    /// checked. Blocks on the disk.
    ///
    /// # Errors
    /// The file cannot be used: the old keys stay.
    pub fn reload(&self) -> Result<(), BadKeys> {
        match &self.way {
            Way::Jwt(jwt) => jwt.reload(),
            Way::Http(_) => Ok(()),
        }
    }

    /// Returns whether a token would let its bearer in now; an endpoint is not asked.
    pub async fn accepts(&self, token: &Secret) -> bool {
        matches!(self.check_token(token.expose()).await, Ok(Ok(_)))
    }

    /// Begins to fetch the keys of a URL, so that the first client need not wait.
    pub(crate) fn warm(&self) {
        match &self.way {
            Way::Jwt(jwt) => jwt.warm(),
            Way::Http(_) => {}
        }
    }

    /// Returns whether the token may be an entry of `Sec-WebSocket-Protocol`.
    pub(crate) fn takes_subprotocol(&self) -> bool {
        self.sources().contains(&TokenSource::Subprotocol)
    }

    /// Returns the parameters of the query that hold tokens.
    pub(crate) fn query_parameters(&self) -> impl Iterator<Item = &str> {
        self.sources().iter().filter_map(|source| match source {
            TokenSource::Query(name) => Some(name.as_str()),
            TokenSource::Header | TokenSource::Cookie(_) | TokenSource::Subprotocol => None,
        })
    }

    fn sources(&self) -> &[TokenSource] {
        match &self.way {
            Way::Jwt(jwt) => jwt.sources(),
            Way::Http(_) => &[],
        }
    }

    /// Decides about a client.
    ///
    /// # Cancel safety
    /// Dropping the future drops a request to an endpoint.
    pub(crate) async fn admit(&self, ask: Ask<'_>) -> Result<Admitted, Denied> {
        match &self.way {
            Way::Jwt(jwt) => {
                let query = ask.target.split_once('?').map(|(_, query)| query);
                let (headers, bearers) = (ask.headers, ask.bearers);
                jwt.admit(Carrier { headers, query, bearers }).await
            }
            Way::Http(endpoint) => endpoint.admit(ask).await,
        }
    }

    /// Checks a token of a client that is connected.
    pub(crate) async fn check_token(
        &self,
        token: &str,
    ) -> Result<Result<Admitted, Denied>, TakesNoToken> {
        match &self.way {
            Way::Jwt(jwt) => Ok(jwt.check(token).await),
            Way::Http(_) => Err(TakesNoToken),
        }
    }
}
