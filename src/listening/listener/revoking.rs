//! Clients to which a revocation applies: they are refused with 401.

use super::shared::{Decision, Listener};
use crate::auth::INVALID_TOKEN;
use crate::listening::route::Refuse;
use crate::node::revoking::ACCESS_REVOKED;
use crate::transport::opening_handshake::Refusal;

impl Listener {
    /// Refuses a client to which a revocation applies. Once it is open, the node checks again.
    pub(super) fn check_revoked(&self, decision: &Decision) -> Result<(), Refusal> {
        let (subject, grant) = (decision.subject.as_deref(), decision.grant.as_ref());
        match self.node.revocations.refusal(subject, grant) {
            None => Ok(()),
            Some(revocation) => {
                let refuse = Refuse::unauthorized(INVALID_TOKEN, ACCESS_REVOKED);
                Err(refuse.detail(revocation.to_string()).into_refusal())
            }
        }
    }
}
