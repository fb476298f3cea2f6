//! Clients of a relay: the application is asked first, and both legs are handed over together.

use std::sync::Arc;

use bytes::Bytes;

use super::under_way::{Stage, UnderWay};
use super::{Decision, Listener, RELAY, about_to_stop};
use crate::supervision::backend::Backend;
use crate::supervision::relay::{Offer, Opened, Relay, Unopened};
use crate::supervision::supervisor::{Adoption, Pair};
use crate::transport::opening_handshake::{Accepted, Agreement, Received, Refusal, Request};
use crate::transport::socket::{AnySocket, SocketName};
use crate::vocabulary::{Direction, Origin, Role};

impl Listener {
    /// Answers 101 once an application has, and hands both legs over.
    pub(super) async fn relay(
        &self,
        relay: &Relay,
        mut received: Received<AnySocket>,
        agreement: Agreement,
        mut under_way: UnderWay<'_>,
    ) {
        let asked = self.ask(relay, &mut under_way, received.request(), agreement).await;
        let (opened, agreement) = match asked {
            Ok(asked) => asked,
            Err(refusal) => return under_way.failed(received.refuse(refusal).await),
        };
        // The application had its own time.
        received.give_time(self.timeout);
        let accepted = match received.agree(agreement).await {
            Ok(accepted) => accepted,
            Err(failed) => return under_way.failed(failed),
        };
        let Stage::Agreed(decision) = under_way.over() else { return };
        let request = Some(&accepted.request);
        let mut origin = self.origin(under_way.visitor, request, Some(&decision.route));
        origin.upstream = under_way.upstream.take();
        self.adopt_pair(accepted, origin, decision, opened);
    }

    /// Asks the application behind a route whether it takes a client; what becomes of it is kept in
    /// `under_way`.
    async fn ask(
        &self,
        relay: &Relay,
        under_way: &mut UnderWay<'_>,
        request: &Request,
        agreement: Agreement,
    ) -> Result<(Opened, Agreement), Refusal> {
        let Stage::Agreed(decision) = &under_way.stage else { return Err(about_to_stop()) };
        let offer = Offer {
            id: decision.id,
            peer: &under_way.visitor.peer,
            request,
            agreement,
            subprotocols: &decision.route.subprotocols,
            settings: &decision.route.settings,
        };
        match relay.open(offer).await {
            Ok(opened) => {
                under_way.upstream = Some(opened.application.upstream.clone());
                let agreement = opened.agreement.clone();
                Ok((opened, agreement))
            }
            Err(unopened) => {
                let Unopened { refusal, limit, upstream } = *unopened;
                under_way.upstream = upstream;
                under_way.refuse(&refusal, limit, request);
                Err(refusal)
            }
        }
    }

    /// Passes a plain request on to the application of a route; it holds its place meanwhile.
    pub(super) async fn proxy(
        &self,
        decision: &Decision,
        socket: AnySocket,
        read: Bytes,
        peer: &SocketName,
    ) {
        if let Some(relay) = decision.route.application() {
            Box::pin(relay.proxy(socket, read, peer)).await;
        }
    }

    /// Hands over both legs of a relay.
    fn adopt_pair(
        &self,
        accepted: Accepted<AnySocket>,
        mut origin: Origin,
        decision: Decision,
        opened: Opened,
    ) {
        let Decision { place, route, id } = decision;
        let Some(relay) = route.application() else { return };
        let Opened { application, agreement: _, allowed_rsv } = opened;
        let leg = || Backend::leg(allowed_rsv, relay.checks_utf8());
        origin.backend = Some(RELAY.to_owned());
        origin.subprotocol = application.subprotocol.clone().map(String::from);
        let mut theirs = Origin::new(Direction::Outbound);
        for (to, from) in [
            (&mut theirs.route, &origin.route),
            (&mut theirs.backend, &origin.backend),
            (&mut theirs.host, &origin.host),
            (&mut theirs.path, &origin.path),
            (&mut theirs.subprotocol, &origin.subprotocol),
            (&mut theirs.traceparent, &origin.traceparent),
        ] {
            to.clone_from(from);
        }
        let settings = relay.settings_of_leg(&route.settings);
        let place_of_leg = Some(self.node.admit_leg());
        let (application, lease) = application.leg(theirs, settings, leg(), place_of_leg);
        let client = Adoption {
            id,
            transport: accepted.socket.into_transport(),
            read_ahead: accepted.read_ahead,
            role: Role::Server,
            origin: Arc::new(origin),
            settings: Arc::clone(&route.settings),
            backend: leg(),
            place: Some(place),
        };
        let (losses, injects) = (relay.losses(), route.inject);
        let pair =
            Pair { client, application, losses, lease, injects, first: Vec::new(), adopted: None };
        // The supervisor was shut down: so is everything else.
        let _ = self.node.adopt_pair(pair);
    }
}
