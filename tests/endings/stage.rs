//! The stage of the endings: a supervisor, one connection of its, and a raw peer on the other end.

use std::fmt::Debug;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use lastword::settings::{ConnectionSettings, Tls};
use lastword::transport::tls::{ServerTls, Trust};
use lastword::vocabulary::{
    Cause, CloseCode, CloseFrame, CloseState, Fault, FirstClose, Kind, ListenAddress, OpenFailure,
    Requester, Role, TransportEnd,
};
use lastword::{
    Adopt, Backend, Builder, ConnectionHandle, Dial, Ending, EndingStream, Event, EventStream,
    Incoming, Message, ReceiveError, Receiver, Route, Supervisor,
};
use tokio::net::TcpListener;
use tokio::time::timeout;

use crate::support::SOON;
use crate::support::frame::Side;
use crate::support::raw_peer::{End, RawPeer};
use crate::support::tls::Shared;
use crate::support::wire::Wire;
use crate::transport::OVER_TLS;

/// This end as the server of an inbound connection, and as the client of one that it dialled.
pub const BOTH: [Role; 2] = [Role::Server, Role::Client];

/// More than the kernels of both ends hold together while the peer reads nothing. Bytes.
pub const TOO_MUCH: usize = 8 * 1024 * 1024;

/// How long what must run out in a test may take.
pub const BRIEF: Duration = Duration::from_millis(300);

/// One connection, with the raw peer on its other end.
pub struct Scene<M = Receiver> {
    pub supervisor: Supervisor,
    pub events: EventStream,
    pub connection: ConnectionHandle,
    pub messages: M,
    pub peer: RawPeer,
    role: Role,
}

/// Who answers the peer's Close.
#[derive(Clone, Copy)]
enum Reply {
    AtOnce,
    Chosen,
}

impl Scene {
    /// A connection of which this end is the `role`, with a receiver for its messages.
    pub async fn open(role: Role, settings: ConnectionSettings) -> Self {
        Self::receiving(role, settings, Reply::AtOnce).await
    }

    /// Does the same, but the test chooses the reply to the peer's Close.
    pub async fn replying(role: Role, settings: ConnectionSettings) -> Self {
        Self::receiving(role, settings, Reply::Chosen).await
    }

    async fn receiving(role: Role, settings: ConnectionSettings, reply: Reply) -> Self {
        let supervisor = Supervisor::builder().start().await.unwrap();
        let events = supervisor.events();
        let ((connection, messages), peer) = match role {
            Role::Server => {
                let (adopt, peer) = adoption(Role::Server, settings).await;
                let adopted = match reply {
                    Reply::AtOnce => supervisor.adopt_receiving(adopt).await,
                    Reply::Chosen => supervisor.adopt_replying(adopt).await,
                };
                (adopted.unwrap(), peer)
            }
            Role::Client => {
                let (listener, url) = upstream().await;
                let dial = trusting(supervisor.dial(&url)).settings(settings);
                let (dialled, peer) = match reply {
                    Reply::AtOnce => tokio::join!(dial.receive(), accept(&listener)),
                    Reply::Chosen => tokio::join!(dial.reply(), accept(&listener)),
                };
                (dialled.unwrap(), peer)
            }
        };
        Self { supervisor, events, connection, messages, peer, role }
    }

    /// A connection as [`Scene::open`] makes it, without an opening handshake and its deadlines:
    /// for tests that pause the clock.
    pub async fn adopted(role: Role, settings: ConnectionSettings) -> Self {
        let supervisor = Supervisor::builder().start().await.unwrap();
        let events = supervisor.events();
        let (adopt, peer) = adoption(role, settings).await;
        let (connection, messages) = supervisor.adopt_receiving(adopt).await.unwrap();
        Self { supervisor, events, connection, messages, peer, role }
    }

    /// Stops receiving.
    pub fn without_receiver(self) -> Scene<()> {
        let Self { supervisor, events, connection, messages, peer, role } = self;
        drop(messages);
        Scene { supervisor, events, connection, messages: (), peer, role }
    }

    /// Receives the next message, or the peer's Close.
    pub async fn receive(&mut self) -> Result<Incoming, ReceiveError> {
        soon("something to receive", self.messages.receive()).await
    }

    /// Asserts that nothing more is received, because the peer's Close was, or because the
    /// connection ended in this way.
    pub async fn expect_no_more(&mut self, ended: Option<Kind>) {
        let error = self.receive().await.unwrap_err();
        let kind = error.ending().map(|ending| ending.outcome.kind);
        assert_eq!(kind, ended, "{error}");
    }

    /// Asserts that these messages are received next.
    pub async fn expect_messages<const N: usize>(&mut self, texts: [&str; N]) {
        for text in texts {
            assert_eq!(self.receive().await.unwrap(), Incoming::Message(Message::text(text)));
        }
    }

    /// Asserts that the peer's Close is received next.
    pub async fn expect_close(&mut self, code: Option<u16>) {
        match self.receive().await {
            Ok(Incoming::Close(close)) => assert_eq!(close.code, code),
            other => panic!("awaited the peer's Close, received {other:?}"),
        }
    }
}

impl Scene<()> {
    /// A connection of which this end is the `role`, with a backend for its messages.
    pub async fn with_backend(role: Role, settings: ConnectionSettings, backend: Backend) -> Self {
        let supervisor = Supervisor::builder().start().await.unwrap();
        let events = supervisor.events();
        let (connection, peer) = match role {
            Role::Server => {
                let (adopt, peer) = adoption(Role::Server, settings).await;
                (supervisor.adopt(adopt, backend).await.unwrap(), peer)
            }
            Role::Client => {
                let (listener, url) = upstream().await;
                let dial = trusting(supervisor.dial(&url)).settings(settings);
                let (dialled, peer) = tokio::join!(dial.open(backend), accept(&listener));
                (dialled.unwrap(), peer)
            }
        };
        Self { supervisor, events, connection, messages: (), peer, role }
    }
}

impl<M> Scene<M> {
    /// Closes as the control API does.
    pub fn close_by_api(&self, code: u16, reason: &str) {
        let frame = CloseFrame::coded(CloseCode::new(code).unwrap(), reason);
        assert!(self.connection.close_with(frame, Cause::Api, Some(api())));
    }

    /// Sends more than can leave while the peer does not read.
    pub async fn send_too_much(&self) {
        self.connection.send(vec![0_u8; TOO_MUCH]).await.unwrap();
    }

    /// Ends TCP as the peer's role demands after both Closes (RFC 6455 section 7.1.1), and asserts
    /// that this end sends nothing more and ends it with FIN.
    pub async fn part(&mut self) {
        if self.role == Role::Client {
            self.peer.fin().await;
        }
        assert_eq!(self.peer.expect_end(SOON).await, End::Fin, "as {:?}", self.role);
        if self.role == Role::Server {
            self.peer.fin().await;
        }
    }

    /// Waits until the closing handshake is known to stand here.
    pub async fn reaches(&mut self, state: CloseState) {
        soon(&format!("the state {state}"), async {
            loop {
                match self.events.next().await {
                    Some(Event::Closing(closing)) if closing.state == state => return,
                    Some(_) => {}
                    None => panic!("the supervisor went before the state {state}"),
                }
            }
        })
        .await;
    }

    /// Waits for the ending.
    pub async fn ended(&self) -> Arc<Ending> {
        ended(&self.connection).await
    }
}

async fn adoption(role: Role, settings: ConnectionSettings) -> (Adopt, RawPeer) {
    let (peer, socket) = RawPeer::adopted(opposite(role)).await;
    socket.set_nodelay(true).unwrap();
    if !OVER_TLS {
        return (Adopt { settings, ..Adopt::new(role, socket) }, peer);
    }
    let shared = Shared::get();
    let Wire::Tcp(theirs) = peer.into_stream() else { unreachable!("it is new") };
    let (adopt, theirs) = match role {
        Role::Server => {
            let (cert, key) = &shared.files;
            let tls = ServerTls::load(&Tls::new(cert, key)).unwrap();
            let (ours, theirs) = tokio::join!(tls.accept(socket), shared.connect(theirs));
            (Adopt::new(role, ours.unwrap().socket), theirs)
        }
        Role::Client => {
            let tls = Trust::file(shared.authority.file()).tls().await.unwrap();
            let ours = tls.connect("localhost", socket);
            let (ours, theirs) = tokio::join!(ours, shared.accept(theirs));
            (Adopt::new(role, ours.unwrap()), theirs)
        }
    };
    (Adopt { settings, ..adopt }, RawPeer::over(theirs, opposite(role)))
}

/// Accepts a connection, and TLS where the tests run over it, and answers its upgrade.
async fn accept(listener: &TcpListener) -> RawPeer {
    let (socket, _) = soon("a connection", listener.accept()).await.unwrap();
    match OVER_TLS {
        false => RawPeer::answer(socket, "", &[]).await,
        true => RawPeer::answer(Shared::get().accept(socket).await, "", &[]).await,
    }
}

fn trusting(dial: Dial) -> Dial {
    if OVER_TLS { dial.ca_file(Shared::get().authority.file()) } else { dial }
}

/// The side of the peer.
pub fn opposite(role: Role) -> Side {
    match role {
        Role::Server => Side::Client,
        Role::Client => Side::Server,
    }
}

async fn upstream() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let url = match OVER_TLS {
        false => format!("ws://127.0.0.1:{port}/feed"),
        true => format!("wss://localhost:{port}/feed"),
    };
    (listener, url)
}

/// A supervisor that listens.
pub struct House {
    pub supervisor: Supervisor,
    pub endings: EndingStream,
    pub address: SocketAddr,
}

impl House {
    /// Listens on a port of this machine, with these routes.
    pub async fn open(builder: Builder, routes: Vec<Route>) -> Self {
        let supervisor = builder.start().await.unwrap();
        let endings = supervisor.endings();
        let anywhere = "127.0.0.1:0".parse().unwrap();
        let listener = supervisor.listen("public", &anywhere, routes).await.unwrap();
        let address = match listener.address() {
            ListenAddress::Tcp(address) => *address,
            other => panic!("listens on {other}"),
        };
        Self { supervisor, endings, address }
    }

    /// Waits for the next ending, or failed attempt.
    pub async fn next_ending(&mut self) -> Arc<Ending> {
        soon("an ending", self.endings.next()).await.unwrap().unwrap()
    }
}

/// Settings under which nothing runs out while a test runs.
pub fn patient() -> ConnectionSettings {
    settings(|_| {})
}

/// Does the same, with the changes of the test.
pub fn settings(change: impl FnOnce(&mut ConnectionSettings)) -> ConnectionSettings {
    let mut settings = ConnectionSettings::default();
    settings.close.linger = settings.close.timeout;
    change(&mut settings);
    settings
}

/// Who asks in [`Scene::close_by_api`].
pub fn api() -> Requester {
    Requester::Api("ops".into())
}

/// Waits for what is due.
pub async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    timeout(SOON, future).await.unwrap_or_else(|_| panic!("awaited {what} for {SOON:?} in vain"))
}

/// Waits for an ending, and holds it to what is true of every one.
pub async fn ended(connection: &ConnectionHandle) -> Arc<Ending> {
    let ending = soon("the ending", connection.ended()).await;
    let outcome = &ending.outcome;
    assert_eq!(ending.id, connection.id());
    assert!(!outcome.detail.is_empty(), "{ending:?}");
    let both = outcome.close_sent.is_some() && outcome.close_received.is_some();
    assert_eq!(outcome.handshake.is_some(), both, "{ending:?}");
    assert_eq!(connection.state(), CloseState::Closed);
    ending
}

/// Returns why an attempt failed.
pub fn failure(ending: &Ending) -> OpenFailure {
    ending.outcome.kind.open_failure().unwrap_or_else(|| panic!("{ending}"))
}

/// A Close as it is recorded: its code, if it has one, and its reason.
pub type Said = Option<(Option<u16>, String)>;

/// A Close with this code and reason.
pub fn said(code: u16, reason: &str) -> Said {
    Some((Some(code), reason.to_owned()))
}

/// An empty Close.
pub fn said_nothing() -> Said {
    Some((None, String::new()))
}

/// What the contract decides about an ending.
#[derive(Debug, PartialEq)]
pub struct Verdict {
    pub kind: Kind,
    pub fault: Fault,
    pub first_close: FirstClose,
    pub cause: Cause,
    pub state: CloseState,
    pub transport_end: TransportEnd,
    pub close_code: u16,
    pub close_sent: Said,
    pub close_received: Said,
}

impl Verdict {
    /// Asserts that this is what an ending says.
    pub fn assert(self, ending: &Ending, of: impl Debug) {
        let outcome = &ending.outcome;
        let sent = outcome.close_sent.as_ref();
        let received = outcome.close_received.as_ref();
        let found = Self {
            kind: outcome.kind,
            fault: outcome.fault,
            first_close: outcome.first_close,
            cause: outcome.cause,
            state: outcome.state.unwrap(),
            transport_end: outcome.transport_end.unwrap(),
            close_code: outcome.close_code().unwrap(),
            close_sent: sent
                .map(|frame| (frame.code().map(CloseCode::get), frame.reason().to_owned())),
            close_received: received.map(|close| (close.code, close.reason.to_string())),
        };
        assert_eq!(found, self, "as {of:?}: {ending}");
    }
}
