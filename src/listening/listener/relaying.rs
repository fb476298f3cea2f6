//! Clients of a relay: the application answers first, and both legs are adopted together.

use std::sync::Arc;

use http::StatusCode;

use super::about_to_stop;
use super::shared::{Decision, Listener, RELAY};
use super::under_way::{Stage, UnderWay};
use crate::actor::backend::Backend;
use crate::node::adoption::{Adoption, Pair};
use crate::node::revoking::ACCESS_REVOKED;
use crate::node::subjects::Replacing;
use crate::relay::{Identity, Offer, OpenedRelay, Relay, Unopened};
use crate::transport::any_socket::AnySocket;
use crate::transport::opening_handshake::{
    Accepted, Agreement, Received, Refusal, Request, RequestFacts, Subprotocol,
};
use crate::vocabulary::{Direction, OpenFailure, Origin, Role};

/// What an application is told whose client has too many connections.
const TOO_MANY: &str = "too many connections of this subject";

impl Listener {
    /// Answers 101 once the application has answered 101, and hands both legs to the node.
    pub(super) async fn relay(
        &self,
        relay: &Relay,
        mut received: Received<AnySocket>,
        agreement: Agreement,
        mut under_way: UnderWay<'_>,
    ) {
        let (request, client) = received.waiting();
        let asked = tokio::select! {
            biased;
            asked = self.open_upstream(relay, &mut under_way, request, agreement) => asked,
            // This drops the request to the application and frees its slot.
            loss = client.left() => return under_way.failed(received.peer_left(&loss)),
        };
        let (mut opened, agreement) = match asked {
            Ok(asked) => asked,
            Err(refusal) => return under_way.failed(received.refuse(refusal).await),
        };
        let identity = match std::mem::replace(&mut opened.identity, Ok(Identity::default())) {
            Ok(identity) => identity,
            Err(unusable) => {
                let facts = received.facts();
                self.dismiss(opened, relay, Some(facts), &under_way, &unusable);
                let refusal = unusable_identity(unusable);
                return self.refuse((refusal, None), received, under_way).await;
            }
        };
        // A subject that was authenticated is not the application's to change: expiry and revocation
        // go by it.
        if let Stage::Agreed(decision) = &mut under_way.stage
            && decision.subject.is_none()
            && identity.subject.is_some()
        {
            decision.subject.clone_from(&identity.subject);
            let refused = match self.check_revoked(decision) {
                Err(refusal) => Some(((refusal, None), ACCESS_REVOKED)),
                Ok(()) => self.admit_subject(decision).err().map(|refused| (refused, TOO_MANY)),
            };
            if let Some((refused, reason)) = refused {
                let facts = received.facts();
                self.dismiss(opened, relay, Some(facts), &under_way, reason);
                return self.refuse(refused, received, under_way).await;
            }
        }
        // The time that the application took is not charged to the client.
        received.extend_deadline(self.timeout());
        let turn = self.node.registry.next_turn();
        let agreed = received.agree(agreement).await;
        let accepted = match agreed {
            Ok(accepted) => accepted,
            Err(failed) => {
                let request = failed.request.as_ref();
                self.dismiss(opened, relay, request, &under_way, "the client left");
                return under_way.failed(failed);
            }
        };
        let Stage::Agreed(decision) = under_way.over() else { return };
        let request = Some(&accepted.request);
        let mut origin = self.origin(under_way.visitor, request, Some(&decision.route));
        origin.upstream = under_way.upstream.take();
        // Only the client's leg gets them: messages sent to a tag go to clients.
        origin.subject.clone_from(&decision.subject);
        origin.tags.clone_from(&decision.tags);
        origin.tags.extend(identity.tags);
        self.adopt_pair(accepted, origin, decision, opened, turn);
    }

    /// Opens the connection to the application; the outcome is recorded in `under_way`.
    async fn open_upstream(
        &self,
        relay: &Relay,
        under_way: &mut UnderWay<'_>,
        request: &Request,
        agreement: Agreement,
    ) -> Result<(OpenedRelay, Agreement), Refusal> {
        let Stage::Agreed(decision) = &under_way.stage else { return Err(about_to_stop()) };
        let offer = Offer {
            id: decision.id,
            peer: &under_way.visitor.peer,
            hop: under_way.visitor.hop(),
            request,
            agreement,
            subprotocols: &decision.route.subprotocols,
            settings: &decision.route.settings,
        };
        match relay.open(offer, &mut under_way.upstream).await {
            Ok(opened) => {
                under_way.upstream = Some(opened.application.upstream.clone());
                let agreement = opened.agreement.clone();
                Ok((opened, agreement))
            }
            Err(unopened) => {
                let Unopened { refusal, limit } = *unopened;
                under_way.refuse(&refusal, limit, request);
                Err(refusal)
            }
        }
    }

    /// Closes the connection to an application whose client was refused or left before its 101.
    fn dismiss(
        &self,
        opened: OpenedRelay,
        relay: &Relay,
        request: Option<&RequestFacts>,
        under_way: &UnderWay<'_>,
        reason: &str,
    ) {
        let Stage::Agreed(decision) = &under_way.stage else { return };
        let route = &decision.route;
        let mut client = self.origin(under_way.visitor, request, Some(route));
        client.backend = Some(RELAY.to_owned());
        let settings = relay.settings_of_leg(&route.settings);
        let theirs = origin_of_leg(&client, &opened);
        let slot = Some(self.node.slot_for_dialled());
        let (leg, _lease) = opened.application.leg(theirs, settings, Backend::discarding(), slot);
        self.node.dismiss(leg, reason);
    }

    /// Hands both legs of a relay to the node.
    fn adopt_pair(
        &self,
        accepted: Accepted<AnySocket>,
        mut origin: Origin,
        decision: Decision,
        opened: OpenedRelay,
        turn: u64,
    ) {
        let Decision { slot, upstream_slot, route, id, grant, .. } = decision;
        let Some(relay) = route.application() else { return };
        origin.backend = Some(RELAY.to_owned());
        origin.subprotocol = opened.application.subprotocol.as_ref().map(Subprotocol::recorded);
        let theirs = origin_of_leg(&origin, &opened);
        let OpenedRelay { application, agreement: _, allowed_rsv, identity: _ } = opened;
        let leg = || Backend::leg(allowed_rsv, relay.checks_utf8());
        let settings = relay.settings_of_leg(&route.settings);
        let (application, lease) = application.leg(theirs, settings, leg(), upstream_slot);
        let client = Adoption {
            id,
            transport: accepted.socket.into_transport(),
            read_ahead: accepted.read_ahead,
            role: Role::Server,
            origin: Arc::new(origin),
            settings: Arc::clone(&route.settings),
            backend: leg(),
            grant,
            replacing: Replacing { rule: route.replace, turn },
            slot: Some(slot),
        };
        let (losses, lease, injects) = (relay.losses(), Box::new(lease), route.inject);
        let pair =
            Pair { client, application, losses, lease, injects, first: Vec::new(), adopted: None };
        // An error means that the supervisor was shut down: both legs go with it.
        let _ = self.node.adopt_pair(pair);
    }
}

/// Returns the origin of the application's leg, with the fields that both legs share, and the client.
fn origin_of_leg(client: &Origin, opened: &OpenedRelay) -> Origin {
    let mut theirs = Origin::new(Direction::Outbound);
    for (to, from) in [
        (&mut theirs.route, &client.route),
        (&mut theirs.backend, &client.backend),
        (&mut theirs.host, &client.host),
        (&mut theirs.path, &client.path),
        (&mut theirs.client, &client.peer),
        (&mut theirs.traceparent, &client.traceparent),
    ] {
        to.clone_from(from);
    }
    theirs.subprotocol = opened.application.subprotocol.as_ref().map(Subprotocol::recorded);
    theirs
}

/// Refuses a client whose application sent an invalid subject or tag. Ignoring these would hide the
/// client from selectors by subject or tag.
fn unusable_identity(unusable: String) -> Refusal {
    Refusal::new(StatusCode::BAD_GATEWAY, OpenFailure::BackendRefused, unusable)
        .showing("the application did not open the WebSocket")
}
