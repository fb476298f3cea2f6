//! Clients to which a revocation applies: they are refused with 401.

use super::shared::{Decision, Listener};
use crate::listening::route::Refuse;
use crate::policy::revocations::Credentials;
use crate::runtime::wall_clock;
use crate::transport::opening_handshake::Refusal;

impl Listener {
    /// Refuses a client to which a revocation applies. Once it is open, the node checks again.
    pub(super) fn check_revoked(&self, decision: &Decision) -> Result<(), Refusal> {
        let (subject, grant) = (decision.subject.as_deref(), decision.grant.as_ref());
        let credentials = Credentials::new(subject, grant, wall_clock::now());
        match self.node.revocations.refusal(&credentials) {
            None => Ok(()),
            Some(revocation) => {
                let refuse =
                    Refuse::unauthorized("Bearer error=\"invalid_token\"", "access revoked");
                Err(refuse.detail(revocation.to_string()).into_refusal())
            }
        }
    }
}
