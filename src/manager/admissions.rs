//! Who admits clients, by the names of the routes, and tokens that are renewed.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use http::StatusCode;
use parking_lot::Mutex;

use crate::auth::{Admitted, Auth, Denied, TakesNoToken};
use crate::connection::handle::ConnectionHandle;
use crate::listening::route::Route;
use crate::node::Node;
use crate::node::revoking::ACCESS_REVOKED;
use crate::vocabulary::CloseState;

/// The admissions of a supervisor; one is removed with the last listener that uses it.
#[derive(Default)]
pub(crate) struct Admissions {
    by_route: Mutex<BTreeMap<String, Weak<Auth>>>,
}

/// Why the token of a connection was not renewed: nothing has changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RenewError {
    /// The connection was not admitted by a token.
    #[error("the connection was not admitted by a token: its route has no auth of kind jwt")]
    NoToken,
    /// The connection is closing or has ended.
    #[error("invalid state: the connection is {0}, and its expiry is not moved any more")]
    InvalidState(CloseState),
    /// The token is good, and somebody else's.
    #[error("the token is for another subject than the connection")]
    OtherSubject,
    /// The token failed a check.
    #[error("{0}")]
    Refused(String),
    /// The keys are not known, so that the token cannot be checked.
    #[error("{0}")]
    Unavailable(String),
}

impl Admissions {
    /// Adds the admission of a route, if it has one. A route replaces an earlier one with the same name.
    pub(crate) fn enter(&self, route: &Route) {
        let mut by_route = self.by_route.lock();
        by_route.retain(|_, auth| auth.strong_count() > 0);
        match route.auth() {
            Some(auth) => {
                auth.warm();
                by_route.insert(route.name.clone(), Arc::downgrade(auth));
            }
            None => drop(by_route.remove(&route.name)),
        }
    }

    /// Checks a token as at the opening, and lets a connection of the same subject live as long as it.
    pub(crate) async fn renew(
        &self,
        node: &Node,
        connection: &ConnectionHandle,
        token: &str,
    ) -> Result<(), RenewError> {
        let origin = connection.origin();
        let auth = origin.route.as_ref().filter(|_| origin.listener.is_some());
        let auth = auth.and_then(|route| self.by_route.lock().get(route)?.upgrade());
        let auth = auth.ok_or(RenewError::NoToken)?;
        let checked = auth.check_token(token).await;
        let admitted = checked.map_err(|TakesNoToken| RenewError::NoToken)?.map_err(refused)?;
        let Admitted { subject, grant, .. } = admitted;
        if subject != origin.subject {
            return Err(RenewError::OtherSubject);
        }
        match connection.state() {
            CloseState::Open => {}
            state => return Err(RenewError::InvalidState(state)),
        }
        let (connection, grant) = (connection.connection(), grant.unwrap_or_default());
        if node.revocations.refusal(subject.as_deref(), Some(&grant)).is_some() {
            return Err(RenewError::Refused(ACCESS_REVOKED.to_owned()));
        }
        connection.set_grant(grant);
        // A revocation that was made meanwhile has looked at the old grant.
        node.revocations.close_if_revoked(connection);
        Ok(())
    }
}

fn refused(denied: Denied) -> RenewError {
    let Denied { status, text, detail, .. } = denied;
    let text = detail.unwrap_or(text);
    match status {
        StatusCode::SERVICE_UNAVAILABLE => RenewError::Unavailable(text),
        _ => RenewError::Refused(text),
    }
}
