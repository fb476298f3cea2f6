//! Routes whose code decides: it is called within the timeout of the opening handshake.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use tokio::time::timeout_at;

use super::shared::{Decision, Listener};
use super::under_way::{Stage, UnderWay};
use super::{RETRY_AFTER, not_admitted};
use crate::auth::INVALID_TOKEN;
use crate::listening::route::{Accept, Decide, Destination, Facts, OpeningRequest, Refuse, asked};
use crate::runtime::wall_clock;
use crate::transport::any_socket::AnySocket;
use crate::transport::opening_handshake::{Agreement, Received, Refusal, Request};
use crate::vocabulary::{Grant, LONGEST_TAG, Limit, OpenFailure, check_tags, is_label};

impl Listener {
    /// Calls the code of a route, and accepts or refuses the client accordingly.
    pub(super) async fn consult(
        &self,
        decide: &Decide,
        mut received: Received<AnySocket>,
        agreement: Agreement,
        mut under_way: UnderWay<'_>,
    ) {
        let Stage::Agreed(decision) = &under_way.stage else { return };
        let facts = Facts {
            peer: under_way.visitor.peer.clone(),
            via: under_way.visitor.via.clone(),
            local: under_way.visitor.local.clone(),
            listener: self.name.clone(),
            route: decision.route.name.clone(),
            subject: decision.subject.clone(),
            tags: decision.tags.clone(),
            tls: under_way.visitor.tls,
            certificate_subject: under_way.visitor.subject.clone(),
        };
        let request = OpeningRequest::new(received.request(), facts);
        let deadline = received.deadline();
        let (_, client) = received.waiting();
        let decided = tokio::select! {
            biased;
            decided = timeout_at(deadline, asked(decide, request)) => decided,
            // This drops the call.
            loss = client.left() => return under_way.failed(received.peer_left(&loss)),
        };
        let decided = match decided {
            Ok(decided) => decided.map_err(Refuse::into_refusal),
            Err(_) => Err(too_slow(self.timeout())),
        };
        let Stage::Agreed(decision) = &mut under_way.stage else { return };
        let taken = decided
            .map_err(|refusal| (refusal, None))
            .and_then(|accept| self.take(accept, decision, received.request(), agreement));
        // The time that the code took is not charged to the client.
        received.extend_deadline(self.timeout());
        match taken {
            Ok((Destination::Backend(backend), agreement)) => {
                self.open(backend, received, agreement, under_way).await;
            }
            Ok((Destination::Relay(relay), agreement)) => {
                Box::pin(self.relay(&relay, received, agreement, under_way)).await;
            }
            Err(refused) => self.refuse(refused, received, under_way).await,
        }
    }

    /// Applies the answer of a route's code, and takes a slot for the leg of a relay.
    fn take(
        &self,
        accept: Accept,
        decision: &mut Decision,
        request: &Request,
        agreement: Agreement,
    ) -> Result<(Destination, Agreement), (Refusal, Option<Limit>)> {
        let noted = note(accept, decision, request, agreement);
        let (destination, agreement) =
            noted.map_err(|wrong| (Refuse::failed(wrong).into_refusal(), None))?;
        if decision.grant.as_ref().is_some_and(|grant| grant.has_expired(wall_clock::now())) {
            return Err((expired().into_refusal(), None));
        }
        self.check_revoked(decision).map_err(|refusal| (refusal, None))?;
        self.admit_subject(decision)?;
        if let Destination::Relay(relay) = &destination {
            decision.upstream_slot = Some(self.node.admit_leg().map_err(not_admitted)?);
            decision.route.pass_on(Arc::clone(relay));
        }
        Ok((destination, agreement))
    }
}

/// Applies the answer of a route's code to `decision` and `agreement`.
///
/// # Errors
/// The answer is invalid: the route's code has a bug.
fn note(
    accept: Accept,
    decision: &mut Decision,
    request: &Request,
    agreement: Agreement,
) -> Result<(Destination, Agreement), String> {
    let Accept { destination, subject, tags, settings, subprotocol, expires_at } = accept;
    if subject.as_deref().is_some_and(|subject| subject.is_empty() || !is_label(subject)) {
        return Err(format!(
            "the route's code set an invalid subject: use 1 to {LONGEST_TAG} printable bytes"
        ));
    }
    // Without one, that of the route's `auth` or of the client's certificate stays.
    decision.subject = subject.or(decision.subject.take());
    if let Some(expires_at) = expires_at {
        let grant = decision.grant.take().unwrap_or_default();
        decision.grant = Some(Grant { expires_at: Some(expires_at), ..grant });
    }
    decision.tags.extend(tags);
    let all = decision.tags.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    check_tags(all).map_err(|(name, error)| {
        format!("the route's code set an invalid tag ({:?}): {error}", name.unwrap_or_default())
    })?;
    if let Some(settings) = settings {
        decision.route.settings = settings;
    }
    let agreement = match subprotocol {
        Some(name) => {
            let mut offered = request.subprotocols().into_iter();
            let chosen = offered.find(|offered| offered.as_str() == name).ok_or_else(|| {
                format!("the route's code chose the subprotocol {name:?}, which was not offered")
            })?;
            agreement.subprotocol(Some(chosen))
        }
        None => agreement,
    };
    Ok((destination, agreement))
}

fn expired() -> Refuse {
    let text = "the credentials have expired: renew them";
    Refuse::unauthorized(INVALID_TOKEN, text)
}

fn too_slow(within: Duration) -> Refusal {
    let text = format!("the route's code did not decide within {within:?}, the handshake timeout");
    let busy = "the server is busy: try again in a moment";
    let refuse = Refuse::new(StatusCode::SERVICE_UNAVAILABLE, busy).detail(text);
    let refusal = refuse.retry_after(RETRY_AFTER).into_refusal();
    Refusal { failure: OpenFailure::BackendUnreachable, ..refusal }
}
