//! Clients of a route whose code decides: it is asked first, within the time of the opening handshake.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use tokio::time::timeout_at;

use super::shared::{Decision, Listener};
use super::under_way::{Stage, UnderWay};
use super::{RETRY_AFTER, not_admitted};
use crate::listening::route::{Accept, Decide, Destination, Facts, OpeningRequest, Refuse, asked};
use crate::transport::any_socket::AnySocket;
use crate::transport::opening_handshake::{Agreement, Received, Refusal, Request};
use crate::vocabulary::{LONGEST_TAG, Limit, OpenFailure, check_tags, is_label};

impl Listener {
    /// Asks the code of a route whether it takes a client, and does as it says.
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
            local: under_way.visitor.local.clone(),
            listener: self.name.clone(),
            route: decision.route.name.clone(),
            tags: decision.tags.clone(),
        };
        let request = OpeningRequest::new(received.request(), facts);
        let deadline = received.deadline();
        let (_, client) = received.waiting();
        let decided = tokio::select! {
            biased;
            decided = timeout_at(deadline, asked(decide, request)) => decided,
            // The code is not asked any longer.
            loss = client.left() => return under_way.failed(received.peer_left(&loss)),
        };
        let decided = match decided {
            Ok(decided) => decided.map_err(Refuse::into_refusal),
            Err(_) => Err(too_slow(self.timeout)),
        };
        let Stage::Agreed(decision) = &mut under_way.stage else { return };
        let taken = decided
            .map_err(|refusal| (refusal, None))
            .and_then(|accept| self.take(accept, decision, received.request(), agreement));
        // The code had its own time.
        received.extend_deadline(self.timeout);
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

    /// Notes what the code of a route says of a client, and takes a slot for the application that it
    /// is passed on to.
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
        if let Destination::Relay(relay) = &destination {
            decision.upstream_slot = Some(self.node.admit_leg().map_err(not_admitted)?);
            decision.route.pass_on(Arc::clone(relay));
        }
        Ok((destination, agreement))
    }
}

/// Notes what the code of a route says of a client.
///
/// # Errors
/// What of it cannot be used: the code is wrong.
fn note(
    accept: Accept,
    decision: &mut Decision,
    request: &Request,
    agreement: Agreement,
) -> Result<(Destination, Agreement), String> {
    let Accept { destination, subject, tags, settings, subprotocol } = accept;
    if subject.as_deref().is_some_and(|subject| subject.is_empty() || !is_label(subject)) {
        return Err(format!(
            "the route's code named a subject that is none: it has 1 to {LONGEST_TAG} printable bytes"
        ));
    }
    decision.subject = subject;
    decision.tags.extend(tags);
    let all = decision.tags.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    check_tags(all).map_err(|(name, error)| {
        format!("the route's code set a tag that is none ({:?}): {error}", name.unwrap_or_default())
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

fn too_slow(within: Duration) -> Refusal {
    let text = format!("the route's code did not decide within {within:?}, the handshake's time");
    let busy = "the server is busy: try again in a moment";
    let refuse = Refuse::new(StatusCode::SERVICE_UNAVAILABLE, busy).detail(text);
    let refusal = refuse.retry_after(RETRY_AFTER).into_refusal();
    Refusal { failure: OpenFailure::BackendUnreachable, ..refusal }
}
