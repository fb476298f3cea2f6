//! A supervisor, and peers at the other end of a pipe or a socket.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use lastword::settings::ConnectionSettings;
use lastword::vocabulary::{CloseCode, Kind, Role};
use lastword::{
    Adopt, Backend, ConnectionHandle, Ending, Incoming, ReceiveError, Receiver, Supervisor,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::frame::{Frame, Side, take_frame};
use crate::support::raw_peer::RawPeer;

/// Longer than anything here takes, also by a clock that jumps from deadline to deadline.
const LONG: Duration = Duration::from_secs(600);

pub async fn supervisor() -> Supervisor {
    Supervisor::builder().start().await.unwrap()
}

/// Settings without Pings, but for what the test changes.
pub fn settings(change: impl FnOnce(&mut ConnectionSettings)) -> ConnectionSettings {
    let mut settings = ConnectionSettings::default();
    settings.keepalive.ping_interval = Duration::ZERO;
    change(&mut settings);
    settings
}

pub async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    timeout(LONG, future).await.unwrap_or_else(|_| panic!("awaited {what} in vain"))
}

/// Waits for an ending, and checks the accounting.
pub async fn ended(supervisor: &Supervisor, connection: &ConnectionHandle) -> Arc<Ending> {
    let ending = soon("the ending", connection.ended()).await;
    assert_eq!(ending.id, connection.id());
    let accounting = supervisor.accounting();
    assert!(accounting.balances(), "{accounting:?}");
    ending
}

/// Asserts the kind of an ending, and the name of the limit that was hit.
pub fn assert_limit(ending: &Ending, kind: Kind, name: &str) {
    let limit = ending.outcome.limit.as_ref().map(|limit| limit.name);
    assert_eq!((ending.outcome.kind, limit), (kind, Some(name)), "{ending}");
}

pub fn sent_code(ending: &Ending) -> Option<u16> {
    ending.outcome.close_sent.as_ref()?.code().map(CloseCode::get)
}

/// The messages among what was received.
pub fn text_of(incoming: Result<Incoming, ReceiveError>) -> String {
    match incoming {
        Ok(Incoming::Message(message)) => message.as_text().unwrap().to_owned(),
        other => panic!("awaited a text message, received {other:?}"),
    }
}

fn adopt(role: Role, transport: DuplexStream, settings: ConnectionSettings) -> Adopt {
    Adopt { settings, ..Adopt::new(role, transport) }
}

/// A connection over a pipe that holds `capacity` bytes each way, with a receiver.
pub async fn piped(
    supervisor: &Supervisor,
    role: Role,
    capacity: usize,
    settings: ConnectionSettings,
) -> (ConnectionHandle, Receiver, Pipe) {
    let (peer, transport) = Pipe::new(role, capacity);
    let adopted = supervisor.adopt_receiving(adopt(role, transport, settings)).await;
    let (connection, messages) = adopted.unwrap();
    (connection, messages, peer)
}

/// Does the same, but the test chooses the reply to the peer's Close.
pub async fn piped_replying(
    supervisor: &Supervisor,
    settings: ConnectionSettings,
) -> (ConnectionHandle, Receiver, Pipe) {
    let (peer, transport) = Pipe::new(Role::Server, 1024);
    let adopted = supervisor.adopt_replying(adopt(Role::Server, transport, settings)).await;
    let (connection, messages) = adopted.unwrap();
    (connection, messages, peer)
}

/// A connection of a server over a pipe, with a backend.
pub async fn piped_to(
    supervisor: &Supervisor,
    backend: Backend,
    capacity: usize,
    settings: ConnectionSettings,
) -> (ConnectionHandle, Pipe) {
    let (peer, transport) = Pipe::new(Role::Server, capacity);
    let adopt = adopt(Role::Server, transport, settings);
    (supervisor.adopt(adopt, backend).await.unwrap(), peer)
}

/// A TCP connection, which the test adopts, and the peer at its other end.
pub async fn socket(role: Role, settings: ConnectionSettings) -> (Adopt, RawPeer) {
    let (peer, socket): (RawPeer, TcpStream) = RawPeer::adopted(side_of_peer(role)).await;
    (Adopt { settings, ..Adopt::new(role, socket) }, peer)
}

fn side_of_peer(role: Role) -> Side {
    match role {
        Role::Server => Side::Client,
        Role::Client => Side::Server,
    }
}

/// A peer at the end of a pipe: time that is paused passes for it as for everybody.
pub struct Pipe {
    pipe: DuplexStream,
    side: Side,
    buffer: Vec<u8>,
}

impl Pipe {
    /// A pipe that a test adopts itself, and the peer at its other end.
    pub fn adopted(role: Role, capacity: usize, settings: ConnectionSettings) -> (Adopt, Self) {
        let (peer, transport) = Self::new(role, capacity);
        (adopt(role, transport, settings), peer)
    }

    fn new(role: Role, capacity: usize) -> (Self, DuplexStream) {
        let (pipe, transport) = tokio::io::duplex(capacity);
        (Self { pipe, side: side_of_peer(role), buffer: Vec::new() }, transport)
    }

    pub async fn send(&mut self, frame: Frame) {
        let bytes = frame.encode(self.side);
        soon("room in the pipe", self.pipe.write_all(&bytes)).await.unwrap();
    }

    pub async fn text(&mut self, text: &str) {
        self.send(Frame::text(text)).await;
    }

    /// Sends bytes as far as the other end takes them within the time; tells whether it took all.
    pub async fn try_send_raw(&mut self, bytes: &[u8], within: Duration) -> bool {
        timeout(within, self.pipe.write_all(bytes)).await.is_ok_and(|sent| sent.is_ok())
    }

    /// Sends a frame if the other end takes it within the time.
    pub async fn try_send(&mut self, frame: Frame, within: Duration) -> bool {
        let bytes = frame.encode(self.side);
        timeout(within, self.pipe.write_all(&bytes)).await.is_ok_and(|sent| sent.is_ok())
    }

    /// Ends the peer's half.
    pub async fn fin(&mut self) {
        self.pipe.shutdown().await.unwrap();
    }

    pub async fn read(&mut self) -> Frame {
        let frame = soon("a frame", self.next()).await;
        frame.unwrap_or_else(|| panic!("awaited a frame, got the end"))
    }

    pub async fn expect_text(&mut self, text: &str) {
        let frame = self.read().await;
        assert_eq!((frame.opcode, frame.payload.as_slice()), (1, text.as_bytes()));
    }

    pub async fn expect_close(&mut self) -> (Option<u16>, String) {
        self.read().await.close_code_and_reason()
    }

    /// Reads all that comes until the end.
    pub async fn rest(&mut self) -> Vec<Frame> {
        let mut frames = Vec::new();
        while let Some(frame) = soon("a frame, or the end", self.next()).await {
            frames.push(frame);
        }
        frames
    }

    async fn next(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = take_frame(&mut self.buffer) {
                return Some(frame);
            }
            if self.pipe.read_buf(&mut self.buffer).await.unwrap() == 0 {
                return None;
            }
        }
    }
}
