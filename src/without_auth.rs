//! Stands in for admission in a build without the feature `auth`: no value of it exists.

#[allow(dead_code, reason = "nobody is denied without the feature")]
#[path = "auth/answer.rs"]
mod answer;
#[path = "auth/ask.rs"]
mod ask;

use std::convert::Infallible;

pub(crate) use answer::{Admitted, Denied, INVALID_TOKEN};
pub(crate) use ask::Ask;

/// Decides whether clients may connect.
#[derive(Debug)]
pub(crate) struct Auth(Infallible);

pub(crate) struct TakesNoToken;

impl Auth {
    pub(crate) fn warm(&self) {
        match self.0 {}
    }

    pub(crate) fn takes_subprotocol(&self) -> bool {
        match self.0 {}
    }

    pub(crate) fn query_parameters(&self) -> std::iter::Empty<&str> {
        match self.0 {}
    }

    pub(crate) async fn admit(&self, _ask: Ask<'_>) -> Result<Admitted, Denied> {
        match self.0 {}
    }

    pub(crate) async fn check_token(
        &self,
        _token: &str,
    ) -> Result<Result<Admitted, Denied>, TakesNoToken> {
        match self.0 {}
    }
}
