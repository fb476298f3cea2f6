//! A listener: accepts sockets, answers opening handshakes, and hands connections to the node.

mod accepting;
mod admitting;
mod consulting;
mod handle;
mod plain;
mod preparing;
mod proxied;
mod pulse;
mod relaying;
mod revoking;
mod room;
mod shared;
mod under_way;
mod visitor;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::StatusCode;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::route::{Refuse, Route, Target};
use crate::actor::backend::{Backend, made};
use crate::node::NO_LEDGER;
use crate::node::adoption::Adoption;
use crate::node::attempt::Attempt;
use crate::node::slots::PendingSocket;
use crate::node::subjects::Replacing;
use crate::policy::admission::NotAdmitted;
use crate::policy::masking;
use crate::transport::any_socket::AnySocket;
use crate::transport::opening_handshake::{
    self, Accepted, Agreement, HandshakeLimits, Received, Refusal, Request, Subprotocol,
    check_method, check_origin, check_upgrade, choose_subprotocol,
};
use crate::transport::socket::SocketName;
use crate::transport::tls::ServerTls;
use crate::vocabulary::{ConnectionId, Limit, OpenFailure, Role, TransportEnd};
pub(crate) use handle::Listeners;
pub use handle::{ListenError, ListenerHandle};
pub(crate) use pulse::ListenerLife;
use room::Room;
use shared::Decision;
pub(crate) use shared::Listener;
use under_way::{Stage, UnderWay};
use visitor::Visitor;

/// After how long a socket without a request counts towards `half_open_per_ip`. Most requests come
/// with the socket, so a burst from one address, such as a proxy, does not hit that limit.
const OVERDUE: Duration = Duration::from_millis(250);

/// The `Retry-After` of refusals.
const RETRY_AFTER: Duration = Duration::from_secs(5);

impl Listener {
    /// Begins an attempt, or turns the socket away.
    fn begin(self: Arc<Self>, socket: AnySocket, visitor: Visitor, attempts: &mut JoinSet<()>) {
        match self.node.arrive(visitor.counted_ip()) {
            Ok(arrived) => match Room::take(&self.budget) {
                Some(room) => {
                    // Boxed: the future is large, and short-lived.
                    attempts.spawn(Box::pin(self.attempt(socket, visitor, arrived, room)));
                }
                None => {
                    let limit = Room::limit_of(&self.budget);
                    self.turn_away(socket, visitor, limit);
                }
            },
            Err(why) => self.turn_away(socket, visitor, why.limit),
        }
    }

    fn out_of_descriptors(&self, peer: SocketName) {
        let visitor = Visitor::new(peer, None);
        let (limit, observed) = (self.node.settings().limits.max_connections, self.node.present());
        let limit = Limit { name: "max_connections", limit, observed };
        self.record_turned_away(visitor, limit, "out of file descriptors");
    }

    fn turn_away(&self, socket: AnySocket, visitor: Visitor, limit: Limit) {
        let answer = "HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nRetry-After: 5\r\n\
                      Content-Type: text/plain; charset=utf-8\r\nContent-Length: 26\r\n\r\n\
                      too many connections here\n";
        socket.answer_at_once(match visitor.tls {
            None if self.tls.is_some() => &ServerTls::ALERT,
            Some(_) | None => answer.as_bytes(),
        });
        let why = match limit.name {
            "memory" => "limits.memory is used up",
            _ => "too many attempts were under way",
        };
        self.record_turned_away(visitor, limit, why);
    }

    fn record_turned_away(&self, visitor: Visitor, limit: Limit, why: &str) {
        let answered = match visitor.tls {
            None if self.tls.is_some() => "a TLS alert was sent without a handshake",
            Some(_) | None => "503 was sent without reading a request",
        };
        let origin = self.origin(&visitor, None, None);
        self.node.record_attempt(Attempt {
            origin,
            began: visitor.began,
            failure: OpenFailure::RefusedLimit,
            transport_end: Some(TransportEnd::Local),
            limit: Some(limit),
            wait: None,
            detail: format!("{why}, so {answered}"),
        });
    }

    async fn attempt(
        self: Arc<Self>,
        socket: AnySocket,
        mut visitor: Visitor,
        mut arrived: PendingSocket,
        mut room: Room,
    ) {
        let began = Instant::now();
        let prepared = self.prepare(socket, &mut visitor, &mut arrived, &mut room, began).await;
        let Some(socket) = prepared else { return };
        let read = Bytes::new();
        let mut next = self.attempt_once(socket, read, &visitor, arrived, room, began).await;
        // A WebSocket request may follow plain HTTP on the same connection.
        while let Some((socket, read)) = next.take() {
            visitor.began = SystemTime::now();
            let latest = self.latest();
            let arrived = match latest.node.arrive(visitor.counted_ip()) {
                Ok(arrived) => arrived,
                Err(why) => return self.turn_away(socket, visitor, why.limit),
            };
            let Some(room) = Room::take(&self.budget) else {
                return self.turn_away(socket, visitor, Room::limit_of(&self.budget));
            };
            let began = Instant::now();
            next = latest.attempt_once(socket, read, &visitor, arrived, room, began).await;
        }
    }

    /// Serves one request, which begins with `read` and has been awaited since `began`. After plain
    /// HTTP, returns the socket and the bytes of the next request.
    async fn attempt_once(
        self: &Arc<Self>,
        socket: AnySocket,
        read: Bytes,
        visitor: &Visitor,
        mut arrived: PendingSocket,
        mut room: Room,
        began: Instant,
    ) -> Option<(AnySocket, Bytes)> {
        let limits = HandshakeLimits { timeout: self.timeout(), ..HandshakeLimits::default() };
        let named: Visitor;
        let mut under_way = UnderWay::new(self, visitor);
        let overdue = || {
            arrived.overdue().map_err(|why| {
                let (refusal, limit) = not_admitted(why);
                under_way.limit = limit;
                refusal
            })
        };
        let received = opening_handshake::receive_with(
            socket, read, limits, began, &mut room, OVERDUE, overdue,
        )
        .await;
        let mut received = match received {
            Ok(received) => received,
            Err(failed) => {
                under_way.limit = room.refusal().or(under_way.limit.take());
                under_way.failed(failed);
                return None;
            }
        };
        if let Some(relay) = self.takes_plain(received.request()) {
            // The application serves plain HTTP: it counts as neither a connection nor an attempt.
            under_way.stage = Stage::Over;
            drop((arrived, room));
            return Box::pin(self.pass_plain(&relay, received, visitor)).await;
        }
        match self.client_of_request(received.request(), visitor) {
            Ok(None) => {}
            Ok(Some(client)) => {
                named = client;
                under_way.visitor = &named;
            }
            Err(refusal) => {
                self.refuse((refusal, None), received, under_way).await;
                return None;
            }
        }
        let bearers = self.take_bearers(&mut received);
        let decided = self.decide(received.request(), under_way.visitor);
        if decided.is_ok() {
            // The slot in `decision` counts it from now on.
            drop(arrived);
        }
        match decided {
            Ok((decision, agreement)) => {
                let auth = decision.route.auth().map(Arc::clone);
                let revoked = self.check_revoked(&decision);
                under_way.stage = Stage::Agreed(decision);
                if let Err(refusal) = revoked {
                    self.refuse((refusal, None), received, under_way).await;
                    return None;
                }
                match auth {
                    None => self.serve(received, agreement, under_way).await,
                    Some(auth) => {
                        let admitting = self.admit(&auth, &bearers, received, agreement, under_way);
                        Box::pin(admitting).await;
                    }
                }
            }
            Err(refused) => self.refuse(refused, received, under_way).await,
        }
        None
    }

    /// Serves a client that may connect.
    async fn serve(
        &self,
        received: Received<AnySocket>,
        agreement: Agreement,
        mut under_way: UnderWay<'_>,
    ) {
        let Stage::Agreed(decision) = &mut under_way.stage else { return };
        let target = decision.route.target().clone();
        // Code that decides may name another subject.
        if !matches!(target, Target::Decide(_))
            && let Err(refused) = self.admit_subject(decision)
        {
            return self.refuse(refused, received, under_way).await;
        }
        match target {
            // Before the 101, so that a panic in the embedder's code becomes a refusal.
            Target::Backend(make) => match made(|| make()) {
                Ok(backend) => self.open(backend, received, agreement, under_way).await,
                Err(panic) => {
                    let refusal = Refuse::failed(panic).into_refusal();
                    self.refuse((refusal, None), received, under_way).await;
                }
            },
            // Before dialling: a burst must not use more descriptors than are counted.
            Target::Relay(relay) => match self.node.admit_leg().map_err(not_admitted) {
                Ok(slot) => {
                    decision.upstream_slot = Some(slot);
                    Box::pin(self.relay(&relay, received, agreement, under_way)).await;
                }
                Err(refused) => self.refuse(refused, received, under_way).await,
            },
            Target::Decide(decide) => {
                Box::pin(self.consult(&decide, received, agreement, under_way)).await;
            }
        }
    }

    /// Counts a client for its subject, which is known for good.
    fn admit_subject(&self, decision: &mut Decision) -> Result<(), (Refusal, Option<Limit>)> {
        match &decision.subject {
            Some(subject) => decision.slot.belongs_to(subject).map_err(not_admitted),
            None => Ok(()),
        }
    }

    /// Sends a refusal and records it.
    async fn refuse(
        &self,
        (refusal, limit): (Refusal, Option<Limit>),
        received: Received<AnySocket>,
        mut under_way: UnderWay<'_>,
    ) {
        under_way.refuse(&refusal, limit, received.request());
        under_way.failed(received.refuse(refusal).await);
    }

    /// Answers 101 and hands the connection to the node.
    async fn open(
        &self,
        backend: Backend,
        received: Received<AnySocket>,
        agreement: Agreement,
        mut under_way: UnderWay<'_>,
    ) {
        let turn = self.node.registry.next_turn();
        let accepted = match received.agree(agreement).await {
            Ok(accepted) => accepted,
            Err(failed) => return under_way.failed(failed),
        };
        let Stage::Agreed(decision) = under_way.over() else { return };
        let Decision { slot, route, id, subject, tags, grant, .. } = decision;
        let Accepted { socket, read_ahead, request, subprotocol, .. } = accepted;
        let mut origin = self.origin(under_way.visitor, Some(&request), Some(&route));
        origin.subprotocol = subprotocol.as_ref().map(Subprotocol::recorded);
        origin.backend = Some(backend.name().to_owned());
        (origin.subject, origin.tags) = (subject, tags);
        let adoption = Adoption {
            id,
            transport: socket.into_transport(),
            read_ahead,
            role: Role::Server,
            origin: Arc::new(origin),
            settings: Arc::clone(&route.settings),
            backend,
            grant,
            replacing: Replacing { rule: route.replace, turn },
            slot: Some(slot),
        };
        // An error means that the supervisor was shut down: the connection goes with it.
        let _ = self.node.adopt(adoption).await;
    }

    /// Checks a request: limits, route, handshake, origin, subprotocol and tags, in this order.
    fn decide(
        &self,
        request: &Request,
        visitor: &Visitor,
    ) -> Result<(Decision, Agreement), (Refusal, Option<Limit>)> {
        if self.node.is_draining() {
            return Err((about_to_stop(), None));
        }
        let mut slot = self.node.admit(visitor.counted_ip()).map_err(not_admitted)?;
        // Checked again: a drain that began before this slot was taken does not wait for it.
        if self.node.is_draining() {
            return Err((about_to_stop(), None));
        }
        let route = self
            .route_of(request.host(), request.path())
            .ok_or_else(|| (no_route(request.path()), None))?;
        if let Some(slots) = route.slots() {
            slot.enter(slots).map_err(not_admitted)?;
        }
        let (agreement, subprotocol) =
            self.agree(request, visitor, route).map_err(|refusal| (refusal, None))?;
        let tags = route.tags_of(request.path(), request.query());
        let tags = tags.map_err(|unfit| {
            let failure = OpenFailure::BadRequest;
            (Refusal::new(StatusCode::BAD_REQUEST, failure, unfit.to_string()), None)
        })?;
        let (route, id) = (route.clone(), ConnectionId::new());
        let subject = visitor.subject.clone();
        let decision =
            Decision { slot, upstream_slot: None, route, id, subject, tags, grant: None };
        Ok((decision, agreement.subprotocol(subprotocol)))
    }

    fn agree(
        &self,
        request: &Request,
        visitor: &Visitor,
        route: &Route,
    ) -> Result<(Agreement, Option<Subprotocol>), Refusal> {
        check_method(request)?;
        let key = check_upgrade(request)?;
        check_origin(request, &route.origins, visitor.host(request), visitor.over_tls())?;
        let subprotocol = choose_subprotocol(&request.subprotocols(), &route.subprotocols);
        Ok((Agreement::new(key), subprotocol))
    }
}

fn about_to_stop() -> Refusal {
    let text = "this server is about to stop: connect again in a moment";
    Refusal::new(StatusCode::SERVICE_UNAVAILABLE, OpenFailure::RefusedDraining, text)
        .retry_after(RETRY_AFTER)
}

fn not_admitted(why: NotAdmitted) -> (Refusal, Option<Limit>) {
    let NotAdmitted { failure, limit } = why;
    let status = match failure {
        OpenFailure::RefusedRate => StatusCode::TOO_MANY_REQUESTS,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    };
    let text = match limit.name {
        _ if limit == NO_LEDGER => {
            "endings cannot be recorded at the moment: try again later".to_owned()
        }
        "half_open_per_ip" => format!(
            "{} is {}, and as many sockets from this address wait for a request: send it at once",
            limit.name, limit.limit
        ),
        "routes.limits.max_connections_per_subject" => format!(
            "{} is {}, and that many of this subject are open: close one of them first",
            limit.name, limit.limit
        ),
        _ => format!("{} is {}, and that many are open: try again later", limit.name, limit.limit),
    };
    (Refusal::new(status, failure, text).retry_after(RETRY_AFTER), Some(limit))
}

fn no_route(path: &str) -> Refusal {
    let shown = masking::record_text(path);
    let text = format!("there is no route for {shown}: see [[routes]] in the configuration");
    Refusal::new(StatusCode::NOT_FOUND, OpenFailure::NoRoute, text)
}
