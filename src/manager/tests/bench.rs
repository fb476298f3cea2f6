//! A supervisor, a peer at the other end of a pipe, and a transport that fails on demand.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf};

use crate::actor::backend::Backend;
use crate::connection::budget::MemoryBudget;
use crate::connection::handle::ConnectionHandle;
use crate::ledger::InMemory;
use crate::manager::Supervisor;
use crate::node::adoption::Adoption;
use crate::node::observing::Observer;
use crate::node::subjects::Replacing;
use crate::protocol::frame_encoder::{EncodedHeader, Opcode, apply_mask};
use crate::settings::ConnectionSettings;
use crate::transport::socket::Transport;
use crate::vocabulary::{CloseState, Direction, Ending, Origin, Role};

/// How long something that is due at once may take on a busy machine.
pub(super) const SOON: Duration = Duration::from_secs(10);

pub(super) struct Bench {
    pub(super) supervisor: Supervisor,
    pub(super) ledger: Arc<InMemory>,
    budget: OnceLock<Arc<MemoryBudget>>,
    tasks: usize,
}

impl Bench {
    pub(super) async fn new() -> Self {
        Self::observed(None).await
    }

    pub(super) async fn observed(observer: Option<Observer>) -> Self {
        let ledger = Arc::new(InMemory::default());
        let mut builder = Supervisor::builder()
            .node("bench")
            .ledger(Arc::clone(&ledger) as _)
            .memory(1 << 30)
            .handshake_timeout(SOON);
        if let Some(observer) = observer {
            builder = builder.observer(observer);
        }
        let supervisor = builder.start().await.unwrap();
        Self { supervisor, ledger, budget: OnceLock::new(), tasks: tasks() }
    }

    pub(super) async fn adopt(
        &self,
        role: Role,
        transport: impl Transport,
        backend: Backend,
        settings: ConnectionSettings,
    ) -> ConnectionHandle {
        let direction = match role {
            Role::Server => Direction::Inbound,
            Role::Client => Direction::Outbound,
        };
        let adoption = Adoption {
            id: crate::vocabulary::ConnectionId::new(),
            transport: Box::new(transport),
            read_ahead: Bytes::new(),
            role,
            origin: Arc::new(Origin::new(direction)),
            settings: Arc::new(settings),
            backend,
            grant: None,
            replacing: Replacing::default(),
            slot: None,
        };
        let handle = self.supervisor.inner.node.adopt(adoption).await.unwrap();
        let _ = self.budget.set(Arc::clone(&handle.connection().budget));
        handle
    }

    /// Waits for the one ending of the one connection there was, and asserts that nothing is left.
    pub(super) async fn only_ending(&self, handle: &ConnectionHandle) -> Arc<Ending> {
        let ending = soon("an ending", handle.ended()).await;
        let accounting = self.supervisor.accounting();
        assert!(accounting.balances(), "{accounting:?}");
        assert_eq!((accounting.opened, accounting.open, accounting.ended), (1, 0, 1));
        assert!(self.supervisor.connections().is_empty());
        assert_eq!(self.ledger.kept().len(), 1);
        eventually("no memory charged", || self.used() == 0).await;
        eventually("no task left", || tasks() <= self.tasks).await;
        assert_eq!(self.ledger.kept().len(), 1, "another ending came");
        ending
    }

    pub(super) fn used(&self) -> u64 {
        self.budget.get().map_or(0, |budget| budget.used())
    }
}

fn tasks() -> usize {
    tokio::runtime::Handle::current().metrics().num_alive_tasks()
}

pub(super) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    let waited = tokio::time::timeout(SOON, future).await;
    waited.unwrap_or_else(|_| panic!("awaited {what} in vain"))
}

pub(super) async fn eventually(what: &str, condition: impl Fn() -> bool) {
    let waiting = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    soon(what, waiting).await;
}

pub(super) async fn state(handle: &ConnectionHandle, state: CloseState) {
    eventually(&format!("state {state}"), || handle.state() == state).await;
}

/// The other end of a pipe, a client: it masks with zeros, which leaves payloads as they are.
pub(super) struct Peer {
    pub(super) pipe: DuplexStream,
}

impl Peer {
    /// A peer, and the transport of the other end; `capacity` is what the pipe holds each way.
    pub(super) fn new(capacity: usize) -> (Self, DuplexStream) {
        let (pipe, transport) = tokio::io::duplex(capacity);
        (Self { pipe }, transport)
    }

    pub(super) async fn send(&mut self, opcode: Opcode, payload: &[u8]) {
        let frame = frame(opcode, payload);
        soon("room in the pipe", self.pipe.write_all(&frame)).await.unwrap();
    }

    pub(super) async fn send_raw(&mut self, bytes: &[u8]) {
        soon("room in the pipe", self.pipe.write_all(bytes)).await.unwrap();
    }

    pub(super) async fn close(&mut self) {
        self.send(Opcode::Close, &1000_u16.to_be_bytes()).await;
    }

    /// Ends the peer's half.
    pub(super) async fn fin(&mut self) {
        self.pipe.shutdown().await.unwrap();
    }

    /// Reads a frame of a server that is shorter than 126 bytes.
    pub(super) async fn read(&mut self) -> (u8, Vec<u8>) {
        let mut head = [0; 2];
        soon("a frame", self.pipe.read_exact(&mut head)).await.unwrap();
        let mut payload = vec![0; usize::from(head[1])];
        soon("a payload", self.pipe.read_exact(&mut payload)).await.unwrap();
        (head[0] & 0xf, payload)
    }

    /// Reads until the other end has closed.
    pub(super) async fn read_to_end(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        soon("the end of the pipe", self.pipe.read_to_end(&mut rest)).await.unwrap();
        rest
    }
}

/// A frame as a client sends it.
pub(super) fn frame(opcode: Opcode, payload: &[u8]) -> Vec<u8> {
    let mask = [1, 2, 3, 4];
    let mut masked = payload.to_vec();
    apply_mask(&mut masked, mask);
    [EncodedHeader::new(opcode, payload.len(), Some(mask)).as_bytes(), &masked].concat()
}

/// What a transport does when it is polled.
#[derive(Debug, Clone, Copy, PartialEq)]
#[repr(u8)]
pub(super) enum Fault {
    PanicInRead = 1,
    PanicInWrite,
    /// Writing fails; reading says nothing.
    DeafAndDumb,
}

/// A transport that fails as configured, and counts the polls to read.
pub(super) struct Faulty<T> {
    pub(super) inner: T,
    pub(super) switch: Switch,
}

#[derive(Clone, Default)]
pub(super) struct Switch(Arc<(AtomicU8, AtomicU64)>);

impl Switch {
    pub(super) fn set(&self, fault: Fault) {
        self.0.0.store(fault as u8, Ordering::SeqCst);
    }

    fn is(&self, fault: Fault) -> bool {
        self.0.0.load(Ordering::SeqCst) == fault as u8
    }

    pub(super) fn reads(&self) -> u64 {
        self.0.1.load(Ordering::SeqCst)
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin + Send + 'static> Transport for Faulty<T> {}

impl<T: AsyncRead + Unpin> AsyncRead for Faulty<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.switch.0.1.fetch_add(1, Ordering::SeqCst);
        assert!(!self.switch.is(Fault::PanicInRead), "a test asked reading to panic");
        if self.switch.is(Fault::DeafAndDumb) {
            return Poll::Pending;
        }
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Faulty<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        assert!(!self.switch.is(Fault::PanicInWrite), "a test asked writing to panic");
        if self.switch.is(Fault::DeafAndDumb) {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
