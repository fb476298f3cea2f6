//! An application that has answered 101, and the leg made from its connection.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::HeaderMap;

use super::applications::{ApplicationConnection, ApplicationLease};
use crate::actor::backend::Backend;
use crate::node::adoption::Adoption;
use crate::node::slots::ConnectionSlot;
use crate::node::subjects::Replacing;
use crate::policy::balance::Observation;
use crate::protocol::classification::LossKind;
use crate::settings::{ConnectionSettings, Records};
use crate::transport::opening_handshake::{
    ClientRequest, FailedOpening, Subprotocol, Waiting, joined, open_or_answer,
};
use crate::transport::socket::Transport;
use crate::vocabulary::{ConnectionId, Origin, Role, Upstream};

/// An application that has answered 101.
pub(crate) struct Answered {
    transport: Box<dyn Transport>,
    read_ahead: Bytes,
    /// The bytes received after `read_ahead`, while it waited for the other end.
    early: BytesMut,
    local_addr: Option<String>,
    /// The version of TLS.
    tls: Option<&'static str>,
    /// Held while it is connected.
    lease: ApplicationLease,
    pub(crate) upstream: Upstream,
    /// The subprotocol that it selected.
    pub(crate) subprotocol: Option<Subprotocol>,
    /// The header fields of its answer.
    pub(super) headers: HeaderMap,
}

impl ApplicationConnection<'_> {
    /// Returns the `upstream` that is recorded until the application answers.
    pub(super) fn record(&self, records: &Records) -> Upstream {
        let upstream = self.application.record(records);
        let (addr, connect) = (self.connected.addr.clone(), self.connected.connect);
        Upstream { addr, connect, ..upstream }
    }

    /// Sends the opening handshake. The outcome counts for or against the application in the pool,
    /// and is recorded in `upstream`. At most `max_body` bytes of a refusal's body are read.
    pub(super) async fn request_upgrade(
        self,
        request: ClientRequest,
        within: Duration,
        max_body: usize,
        upstream: &mut Upstream,
    ) -> Result<Answered, Box<FailedOpening>> {
        let Self { application: _, connected, lease, _pending } = self;
        match open_or_answer(connected.transport, request, within, max_body).await {
            Ok(opened) => {
                lease.observe(Observation::Answered);
                upstream.status = Some(opened.status);
                Ok(Answered {
                    transport: opened.socket,
                    read_ahead: opened.read_ahead,
                    early: BytesMut::new(),
                    local_addr: connected.local_addr,
                    tls: connected.tls,
                    lease,
                    upstream: upstream.clone(),
                    subprotocol: opened.subprotocol,
                    headers: opened.headers,
                })
            }
            Err(failed) => {
                if let Some(observation) = Observation::of_dial(failed.failure) {
                    lease.observe(observation);
                }
                upstream.status = failed.status;
                Err(failed)
            }
        }
    }
}

impl Answered {
    /// Waits until the application disconnects, before the other end has opened. Cancel safe.
    pub(super) async fn left(&mut self) -> LossKind {
        Waiting::new(&mut self.transport, &mut self.early).left().await
    }

    /// Makes the leg to the application; `origin` has the fields that both legs share.
    pub(crate) fn leg(
        self,
        origin: Origin,
        settings: ConnectionSettings,
        backend: Backend,
        slot: Option<ConnectionSlot>,
    ) -> (Adoption, ApplicationLease) {
        let Self { transport, read_ahead, early, local_addr, tls, lease, upstream, .. } = self;
        let read_ahead = joined(read_ahead, &early);
        let origin = Origin {
            peer: upstream.addr.clone(),
            local_addr,
            tls: tls.map(str::to_owned),
            upstream: Some(upstream),
            ..origin
        };
        let adoption = Adoption {
            id: ConnectionId::new(),
            transport,
            read_ahead,
            role: Role::Client,
            origin: Arc::new(origin),
            settings: Arc::new(settings),
            backend,
            grant: None,
            replacing: Replacing::default(),
            slot,
        };
        (adoption, lease)
    }
}
