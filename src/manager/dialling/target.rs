//! The target of a dial, and one attempt to connect to it: from secrets to the server's 101.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::failure::Failure;
use super::secrets;
use super::under_way::UnderWay;
use crate::actor::backend::Backend;
use crate::connection::handle::ConnectionHandle;
use crate::node::adoption::Adoption;
use crate::node::subjects::Replacing;
use crate::node::{Node, ShutDown};
use crate::relay::{NotWaiting, Relay, Waiting};
use crate::settings::{ConnectionSettings, Dialer, SecretSource};
use crate::transport::connect::{self, ConnectFacts, ConnectOptions};
use crate::transport::dial::{InvalidUrl, WsUrl};
use crate::transport::opening_handshake::{self, ClientRequest, Subprotocol};
use crate::transport::proxy::ProxyUrl;
use crate::transport::socket::Transport;
use crate::transport::tls::Trust;
use crate::vocabulary::{
    ConnectionId, Direction, Ending, Message, OpenFailure, Origin, Role, Secret, TransportEnd,
    Upstream,
};

/// The default time limit of connecting TCP.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A URL and the options to dial it with.
#[derive(Debug)]
pub(in crate::manager) struct Target {
    pub(in crate::manager) url: String,
    pub(in crate::manager) headers: HeaderMap,
    /// Header fields whose values are read for every attempt.
    pub(in crate::manager) sourced: Vec<(HeaderName, SecretSource)>,
    pub(in crate::manager) subprotocols: Vec<String>,
    pub(in crate::manager) settings: Arc<ConnectionSettings>,
    pub(in crate::manager) tags: BTreeMap<String, String>,
    pub(in crate::manager) trust: Trust,
    pub(in crate::manager) proxy: Option<String>,
    pub(in crate::manager) proxy_credentials: Option<SecretSource>,
    pub(in crate::manager) connect_timeout: Duration,
    /// The name of the dialer, if there is one.
    pub(in crate::manager) dialer: Option<String>,
    /// The application to relay to.
    pub(in crate::manager) relay: Option<Arc<Relay>>,
    /// Whether messages may be injected into the relayed connection.
    pub(in crate::manager) inject: bool,
}

/// A server that has answered 101.
pub(in crate::manager) struct Connected {
    id: ConnectionId,
    opened: OpenedFeed,
    origin: Origin,
    settings: Arc<ConnectionSettings>,
    inject: bool,
}

/// The transport that an attempt has opened.
struct OpenedFeed {
    transport: Box<dyn Transport>,
    read_ahead: Bytes,
    /// The application that waits for it.
    application: Option<Waiting>,
}

impl Target {
    pub(in crate::manager) fn new(url: &str) -> Self {
        Self {
            url: url.to_owned(),
            headers: HeaderMap::new(),
            sourced: Vec::new(),
            subprotocols: Vec::new(),
            settings: Arc::new(Dialer::new("", url).settings(&ConnectionSettings::default())),
            tags: BTreeMap::new(),
            trust: Trust::Platform,
            proxy: None,
            proxy_credentials: None,
            connect_timeout: CONNECT_TIMEOUT,
            dialer: None,
            relay: None,
            inject: false,
        }
    }

    /// Returns the URL with secrets masked.
    pub(in crate::manager) fn masked_url(&self, node: &Node) -> String {
        let settings = node.settings();
        let records = &settings.records;
        records.recorded_url(&self.url)
    }

    /// Dials once; a failure is recorded durably before this returns.
    ///
    /// # Cancel safety
    /// Dropping the future cancels the attempt, which is recorded.
    pub(in crate::manager) async fn connect(
        &self,
        node: &Node,
        backend: &str,
    ) -> Result<Connected, Arc<Ending>> {
        let id = ConnectionId::new();
        let mut under_way = UnderWay::new(node, &self.settings, self.origin(node, backend));
        match self.attempt(node, id, &mut under_way).await {
            Ok((transport, read_ahead)) => {
                let (origin, application) = under_way.opened();
                let opened = OpenedFeed { transport, read_ahead, application };
                let settings = Arc::clone(&self.settings);
                Ok(Connected { id, opened, origin, settings, inject: self.inject })
            }
            Err(failure) => Err(under_way.failed(failure).await),
        }
    }

    /// Durably records an attempt that failed before dialling.
    pub(in crate::manager) async fn fail(
        &self,
        node: &Node,
        failure: OpenFailure,
        detail: String,
    ) -> Arc<Ending> {
        let origin = Origin { backend: None, ..self.origin(node, "") };
        let under_way = UnderWay::new(node, &self.settings, origin);
        under_way.failed(Failure::here(failure, detail)).await
    }

    async fn attempt(
        &self,
        node: &Node,
        id: ConnectionId,
        under_way: &mut UnderWay<'_>,
    ) -> Result<(Box<dyn Transport>, Bytes), Failure> {
        if node.is_draining() {
            return Err(Failure::here(OpenFailure::RefusedDraining, "this end is draining"));
        }
        let url: WsUrl = self
            .url
            .parse()
            .map_err(|error: InvalidUrl| Failure::here(error.failure(), error.to_string()))?;
        let proxy = self.proxy.as_deref().map(str::parse::<ProxyUrl>).transpose();
        let proxy =
            proxy.map_err(|error| Failure::here(OpenFailure::BadRequest, error.to_string()))?;
        let subprotocols = self.offered()?;
        let Some(relay) = &self.relay else {
            return self
                .dial(node, (&url, proxy), subprotocols, false, &mut under_way.origin)
                .await;
        };
        let origin = &mut under_way.origin;
        let waiting = self.await_feed(node, relay, id, &subprotocols, origin).await?;
        let (subprotocols, must_agree) = match waiting.subprotocol() {
            Some(chosen) => (vec![chosen.clone()], true),
            None => (subprotocols, false),
        };
        let waiting = under_way.application.insert(waiting);
        let dial = self.dial(node, (&url, proxy), subprotocols, must_agree, &mut under_way.origin);
        let loss = tokio::select! {
            biased;
            dialled = dial => return dialled,
            loss = waiting.left() => loss,
        };
        // Without an application, the dial is dropped.
        under_way.origin.upstream = Some(waiting.upstream().clone());
        let detail = format!("the application left while the feed was dialled: {loss}");
        Err(Failure::here(OpenFailure::BackendUnreachable, detail))
    }

    /// Dials the server; with `must_agree`, it must select the subprotocol that is offered.
    async fn dial(
        &self,
        node: &Node,
        (url, proxy): (&WsUrl, Option<ProxyUrl>),
        subprotocols: Vec<Subprotocol>,
        must_agree: bool,
        origin: &mut Origin,
    ) -> Result<(Box<dyn Transport>, Bytes), Failure> {
        let chosen = subprotocols.first().filter(|_| must_agree).cloned();
        let request = self.request(url, subprotocols).await?;
        let credentials = match &self.proxy_credentials {
            Some(source) => Some(read("the proxy's credentials", source).await?),
            None => None,
        };
        let options = ConnectOptions {
            source: None,
            url: url.url(),
            trust: &self.trust,
            proxy: proxy.as_ref().map(|proxy| (proxy, credentials)),
            connect_timeout: self.connect_timeout,
            handshake_timeout: self.settings.limits.handshake_timeout,
        };
        let mut facts = ConnectFacts::default();
        let reached = connect::connect(options, &mut facts).await;
        note(origin, &facts);
        let timeout = self.settings.limits.handshake_timeout;
        let opened = opening_handshake::open(reached?, request, timeout).await;
        let status = match &opened {
            Ok(opened) => Some(opened.status),
            Err(failed) => failed.status,
        };
        if let Some(upstream) = &mut origin.upstream {
            upstream.status = status;
        }
        let opened = opened.map_err(|failed| Failure::from(*failed))?;
        if node.is_draining() {
            return Err(Failure {
                transport_end: Some(TransportEnd::Local),
                ..Failure::here(OpenFailure::RefusedDraining, "this end has begun to drain")
            });
        }
        if let (Some(chosen), None) = (chosen, &opened.subprotocol) {
            let failure = OpenFailure::UpgradeRejected { status: opened.status };
            let what = format!(
                "the server selected no subprotocol, but the application selected {chosen}: remove it \
                 from subprotocols if the server supports none"
            );
            return Err(Failure {
                transport_end: Some(TransportEnd::Local),
                ..Failure::here(failure, what)
            });
        }
        origin.subprotocol = opened.subprotocol.map(String::from);
        Ok((opened.socket, opened.read_ahead))
    }

    /// Connects to the application that will wait for the feed.
    async fn await_feed(
        &self,
        node: &Node,
        relay: &Arc<Relay>,
        id: ConnectionId,
        subprotocols: &[Subprotocol],
        origin: &mut Origin,
    ) -> Result<Waiting, Failure> {
        let waiting = relay.await_feed(id, subprotocols.to_vec(), &node.settings().records).await;
        waiting.map_err(|NotWaiting { failure, upstream, retry_after, detail }| {
            // The application failed; the feed's address is in `host` and `path`.
            if upstream.is_some() {
                origin.upstream = upstream;
            }
            Failure { retry_after, ..Failure::here(failure, detail) }
        })
    }

    fn offered(&self) -> Result<Vec<Subprotocol>, Failure> {
        let refuse = |name: &String| {
            Failure::here(OpenFailure::BadRequest, format!("{name:?} is not a valid subprotocol"))
        };
        self.subprotocols.iter().map(|name| name.parse().map_err(|_| refuse(name))).collect()
    }

    async fn request(
        &self,
        url: &WsUrl,
        subprotocols: Vec<Subprotocol>,
    ) -> Result<ClientRequest, Failure> {
        let bad_request = |what: String| Failure::here(OpenFailure::BadRequest, what);
        let mut headers = self.headers.clone();
        for (name, source) in &self.sourced {
            let secret = read(&format!("the header {name}"), source).await?;
            let mut value = HeaderValue::from_str(secret.expose()).map_err(|_| {
                bad_request(format!("the value of the header {name} contains control characters"))
            })?;
            value.set_sensitive(true);
            headers.append(name, value);
        }
        let request = url.request().with_headers(headers);
        let request = request.map_err(|error| bad_request(error.to_string()))?;
        Ok(request.with_subprotocols(subprotocols))
    }

    fn origin(&self, node: &Node, backend: &str) -> Origin {
        let url = self.masked_url(node);
        let mut origin = Origin::new(Direction::Outbound);
        if let Ok(uri) = url.parse::<http::Uri>() {
            origin.host = uri.authority().map(ToString::to_string);
            origin.path = uri.path_and_query().map(ToString::to_string);
        }
        origin.dialer.clone_from(&self.dialer);
        origin.backend = Some(backend.to_owned());
        origin.tags = self.tags.clone();
        origin.upstream =
            Some(Upstream { url, number: None, addr: None, connect: None, status: None });
        origin
    }
}

impl Connected {
    /// Hands the connection to the supervisor, and sends the first messages.
    pub(in crate::manager) async fn adopt(
        self,
        node: &Node,
        backend: Backend,
        first: &[Message],
    ) -> Result<ConnectionHandle, ShutDown> {
        let Self { id, opened, origin, settings, inject } = self;
        let adoption = Adoption {
            id,
            transport: opened.transport,
            read_ahead: opened.read_ahead,
            role: Role::Client,
            origin: Arc::new(origin),
            settings,
            backend,
            grant: None,
            replacing: Replacing::default(),
            slot: Some(node.slot_for_dialled()),
        };
        if let Some(application) = opened.application {
            return application.adopt(node, adoption, inject, first.to_vec()).await;
        }
        let connection = node.adopt(adoption).await?;
        for message in first {
            // This cannot hang: a write without progress has a deadline, which ends the connection.
            if connection.send(message.clone()).await.is_err() {
                break;
            }
        }
        Ok(connection)
    }
}

fn note(origin: &mut Origin, facts: &ConnectFacts) {
    origin.peer = facts.addr.map(|addr| addr.to_string());
    origin.local_addr = facts.local_addr.map(|addr| addr.to_string());
    origin.tls = facts.tls.map(str::to_owned);
    if let Some(upstream) = &mut origin.upstream {
        upstream.addr = facts.addr.map(|addr| addr.to_string());
        upstream.connect = facts.connect;
    }
}

/// Reads a secret. Failures count as `unauthorized`, as a missing secret may be corrected later,
/// like a wrong one.
async fn read(what: &str, source: &SecretSource) -> Result<Secret, Failure> {
    let read = secrets::read(source).await;
    read.map_err(|error| Failure::here(OpenFailure::Unauthorized, format!("{what}: {error}")))
}
