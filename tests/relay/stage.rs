//! A client, a relay and an application.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use lastword::policy::admission::AdmissionLimits;
use lastword::settings::{ConnectionSettings, PlainHttp, RelayBackend, Tls};
use lastword::vocabulary::{Cause, CloseCode, Direction, Fault, Kind, ListenAddress};
use lastword::{
    Builder, ConnectionHandle, Ending, EndingStream, ListenOptions, Relay, Route, Supervisor,
};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use crate::support::SOON;
use crate::support::raw_peer::{End, RawPeer};
use crate::support::tls::Shared;
use crate::transport::OVER_TLS;

/// A supervisor that relays every path to one application.
pub struct House {
    pub supervisor: Supervisor,
    pub endings: EndingStream,
    pub address: SocketAddr,
}

impl House {
    pub async fn open(
        url: &str,
        settings: ConnectionSettings,
        change: impl FnOnce(&mut RelayBackend),
    ) -> Self {
        let mut backend = to(url);
        change(&mut backend);
        let relay = Relay::new(backend).unwrap();
        Self::at(Route::relay("/*".parse().unwrap(), relay).with_settings(settings)).await
    }

    /// Opens one whose route lets others send, too.
    pub async fn injecting(url: &str, settings: ConnectionSettings) -> Self {
        let relay = Relay::new(to(url)).unwrap();
        let mut route = Route::relay("/*".parse().unwrap(), relay).with_settings(settings);
        route.inject = true;
        Self::at(route).await
    }

    /// Opens one that passes plain HTTP on, within these limits.
    pub async fn plain(url: &str, limits: AdmissionLimits) -> Self {
        let mut backend = RelayBackend::new(url.parse().unwrap());
        backend.http = PlainHttp::Proxy;
        let relay = Relay::new(backend).unwrap();
        let route = Route::relay("/*".parse().unwrap(), relay).with_settings(settings(|_| {}));
        Self::of(Supervisor::builder().admission(limits), route).await
    }

    async fn at(route: Route) -> Self {
        Self::of(Supervisor::builder(), route).await
    }

    async fn of(builder: Builder, mut route: Route) -> Self {
        // What a browser sends passes, and these tests are no pages of the listener.
        route.origins = vec!["*".parse().unwrap()];
        let supervisor = builder.start().await.unwrap();
        let endings = supervisor.endings();
        let anywhere = "127.0.0.1:0".parse().unwrap();
        let options = match OVER_TLS {
            false => ListenOptions::default(),
            true => {
                let (cert, key) = &Shared::get().files;
                ListenOptions::default().tls(Tls::new(cert, key))
            }
        };
        let listening = supervisor.listen_with("public", &anywhere, options, vec![route]);
        let listener = listening.await.unwrap();
        let ListenAddress::Tcp(address) = *listener.address() else { panic!("no port") };
        Self { supervisor, endings, address }
    }

    pub async fn next_ending(&mut self) -> Arc<Ending> {
        let ending = timeout(SOON, self.endings.next()).await;
        ending.expect("awaited an ending in vain").unwrap().unwrap()
    }
}

/// A relay to this application, which trusts its certificate where it has one.
fn to(url: &str) -> RelayBackend {
    let mut backend = RelayBackend::new(url.parse().unwrap());
    if OVER_TLS {
        backend.ca_file = Some(Shared::get().authority.file());
    }
    backend
}

/// Where an application listens, and its URL.
pub async fn application() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let url = match OVER_TLS {
        false => format!("ws://127.0.0.1:{port}"),
        true => format!("wss://localhost:{port}"),
    };
    (listener, url)
}

/// Connects as a client, over TLS where the tests run over it.
pub async fn connect(address: SocketAddr, target: &str, more: &str) -> RawPeer {
    if !OVER_TLS {
        return RawPeer::connect_with(address, target, more, &[]).await;
    }
    let socket = TcpStream::connect(address).await.unwrap();
    RawPeer::upgrade(Shared::get().connect(socket).await, target, more, &[]).await
}

/// Accepts as an application, over TLS where the tests run over it.
pub async fn accept(listener: &TcpListener, more: &str) -> RawPeer {
    if !OVER_TLS {
        return RawPeer::accept_with(listener, more, &[]).await;
    }
    let (socket, _) = timeout(SOON, listener.accept()).await.expect("a connection").unwrap();
    RawPeer::answer(Shared::get().accept(socket).await, more, &[]).await
}

/// A house, and one pair of peers that talk through it.
pub struct Scene {
    pub house: House,
    pub client: RawPeer,
    pub application: RawPeer,
}

/// The kind and the fault of a peer that is dropped: TCP ends, and TLS does not.
pub const DROPPED: (Kind, Fault) = match OVER_TLS {
    false => (Kind::ClosedPrematurely, Fault::Peer),
    true => (Kind::TlsTruncated, Fault::Network),
};

/// How a leg ended.
#[derive(Debug)]
pub struct Legs {
    pub client: Arc<Ending>,
    pub application: Arc<Ending>,
}

/// Settings without Pings and with room to wait, but for what the test changes.
pub fn settings(change: impl FnOnce(&mut ConnectionSettings)) -> ConnectionSettings {
    let mut settings = ConnectionSettings::default();
    settings.keepalive.ping_interval = Duration::ZERO;
    settings.close.linger = Duration::from_secs(1);
    change(&mut settings);
    settings
}

impl Scene {
    pub async fn open() -> Self {
        Self::with(|_| {}, |_| {}).await
    }

    pub async fn with(
        change: impl FnOnce(&mut ConnectionSettings),
        backend: impl FnOnce(&mut RelayBackend),
    ) -> Self {
        Self::between(change, backend, "", "").await
    }

    /// Does the same, with a short `close.timeout`.
    pub async fn hasty() -> Self {
        let hurry = |settings: &mut ConnectionSettings| {
            settings.close.timeout = Duration::from_millis(600);
            settings.close.linger = Duration::from_millis(200);
        };
        Self::with(hurry, |_| {}).await
    }

    /// Does the same, with header fields in the client's request and in the application's answer.
    pub async fn between(
        change: impl FnOnce(&mut ConnectionSettings),
        backend: impl FnOnce(&mut RelayBackend),
        request: &str,
        answer: &str,
    ) -> Self {
        let (listener, url) = application().await;
        let house = House::open(&url, settings(change), backend).await;
        let (client, application) = tokio::join!(
            connect(house.address, "/chat?room=7", request),
            accept(&listener, answer),
        );
        Self { house, client, application }
    }

    /// Opens one whose route lets others send, too.
    pub async fn injecting(change: impl FnOnce(&mut ConnectionSettings)) -> Self {
        let (listener, url) = application().await;
        let house = House::injecting(&url, settings(change)).await;
        let (client, application) =
            tokio::join!(connect(house.address, "/chat?room=7", ""), accept(&listener, ""));
        Self { house, client, application }
    }

    /// Returns the client's leg and the application's, once they are there.
    pub async fn legs(&self) -> (ConnectionHandle, ConnectionHandle) {
        let all = timeout(SOON, async {
            loop {
                let all = self.house.supervisor.connections();
                if all.len() == 2 {
                    return all;
                }
                tokio::task::yield_now().await;
            }
        });
        let all = all.await.expect("awaited both legs in vain");
        let leg = |direction| all.iter().find(|leg| leg.origin().direction == direction).unwrap();
        (leg(Direction::Inbound).clone(), leg(Direction::Outbound).clone())
    }

    /// Waits for both endings, and checks them against each other and the accounting.
    pub async fn endings(&mut self) -> Legs {
        let (a, b) = (self.house.next_ending().await, self.house.next_ending().await);
        let (client, application) =
            if a.origin.direction == Direction::Inbound { (a, b) } else { (b, a) };
        assert_eq!(client.origin.direction, Direction::Inbound);
        assert_eq!(application.origin.direction, Direction::Outbound);
        assert_eq!(client.relay_peer, Some(application.id));
        assert_eq!(application.relay_peer, Some(client.id));
        assert_eq!(client.origin.upstream, application.origin.upstream);
        let accounting = self.house.supervisor.accounting();
        assert!(
            accounting.balances() && accounting.open == 0 && accounting.ended == 2,
            "{accounting:?}"
        );
        Legs { client, application }
    }

    /// Lets the client leave in good order, and the application see it off.
    pub async fn leave(&mut self) -> Legs {
        self.client.close(1000, "").await;
        self.application.expect_close(SOON).await;
        self.application.close(1000, "").await;
        self.client.expect_close(SOON).await;
        self.part().await;
        self.endings().await
    }

    /// Sees both legs off after a closing handshake on each: the server ends TCP first.
    pub async fn part(&mut self) {
        assert_eq!(self.client.expect_end(SOON).await, End::Fin);
        self.client.fin().await;
        self.application.fin().await;
        assert_eq!(self.application.expect_end(SOON).await, End::Fin);
    }
}

impl Legs {
    /// Asserts kind, cause and fault of both legs.
    pub fn assert(&self, client: (Kind, Cause, Fault), application: (Kind, Cause, Fault)) {
        let of = |ending: &Ending| {
            let outcome = &ending.outcome;
            (outcome.kind, outcome.cause, outcome.fault)
        };
        assert_eq!(of(&self.client), client, "{}", self.client);
        assert_eq!(of(&self.application), application, "{}", self.application);
    }
}

pub fn sent(ending: &Ending) -> Option<u16> {
    ending.outcome.close_sent.as_ref()?.code().map(CloseCode::get)
}
