//! Serves HTTP/1.1 on one address, and limits what each client can hold.
//!
//! The number of connections is limited, a request must arrive in time, idle connections are evicted
//! for new ones, and a client that does not read its answer is disconnected.

mod busy_body;
mod slots;
mod stalling;

use std::convert::Infallible;
use std::error::Error as StdError;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use http::header::{CONNECTION, HeaderValue};
use http::{Request, Response};
use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::runtime::tasks::{Panicked, Task};
use crate::transport::any_socket::AnySocket;
use crate::transport::bind::{Acceptor, Arrival, Arrivals};
use crate::transport::opening_handshake::refuse_unread;
use crate::transport::socket::SocketName;
use crate::transport::tls::{FailedAccept, ServerTls, not_tls};
use busy_body::Working;
use slots::{Slot, Slots};
use stalling::{Owed, Stalling};

/// Where a server accepts, and its certificates.
#[derive(Debug)]
pub struct Door {
    /// The name for log lines.
    pub name: &'static str,
    /// The listening socket.
    pub acceptor: Arc<Acceptor>,
    /// If set, clients connect over TLS.
    pub tls: Option<Arc<ServerTls>>,
}

/// The limits on the clients of a server.
#[derive(Debug, Clone, Copy)]
pub struct ServingLimits {
    /// The number of connections served at once, besides a few spare ones ([`Client::is_spare`]).
    /// Beyond it the longest idle one is evicted; if none is idle, new ones wait in the backlog.
    pub max_connections: usize,
    /// How long the head of a request may take, from the accept or from the answer before it.
    pub header_timeout: Duration,
    /// How long a client may take nothing of an answer.
    pub write_timeout: Duration,
    /// How many bytes a request's head may have, and an answer that was not taken; hyper takes no
    /// less than 8 KiB.
    pub buffer: usize,
    /// If set, a connection carries one request, and has this long for all of it.
    pub one_request_within: Option<Duration>,
}

/// Who sent a request: an extension of each.
#[derive(Debug, Clone)]
pub struct Client {
    /// The client's address.
    pub peer: SocketName,
    /// The address that it reached.
    pub local: Option<SocketName>,
    /// Every other connection is at work: only what must be answered all the same is to be.
    pub is_spare: bool,
}

/// How much of an answer the kernel may hold for a client that does not take it; it would let this
/// grow to several MiB.
const KERNEL_BUFFER: usize = 256 * 1024;

/// How long what is under way may take once the server is to stop.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Serves until `stop` is true, or its sender is gone; then lets what is under way end within a
/// second.
///
/// # Cancel safety
/// Dropping the future closes the listener and every connection with it.
pub fn serve<S, F, B>(
    door: Door,
    limits: ServingLimits,
    service: S,
    stop: watch::Receiver<bool>,
) -> impl Future<Output = ()> + Send
where
    S: Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
    B: Body + Unpin + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn StdError + Send + Sync>>,
{
    // Now, so that every descriptor is taken before the daemon says that it is ready.
    let Door { name, acceptor, tls } = door;
    let mut arrivals = Arrivals::new(acceptor);
    arrivals.refuse_with(tls.is_some().then_some(&ServerTls::ALERT));
    async move {
        let serving = serve_arrivals(arrivals, tls.clone(), limits, service, stop);
        match tls {
            Some(tls) => tokio::select! {
                () = serving => {}
                never = tls.follow(name) => match never {},
            },
            None => serving.await,
        }
    }
}

async fn serve_arrivals<S, F, B>(
    mut arrivals: Arrivals,
    tls: Option<Arc<ServerTls>>,
    limits: ServingLimits,
    service: S,
    mut stop: watch::Receiver<bool>,
) where
    S: Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
    B: Body + Unpin + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn StdError + Send + Sync>>,
{
    let mut clients = JoinSet::new();
    let slots = Slots::new(limits.max_connections);
    let name = arrivals.address();
    let mut task = Task::new(format!("HTTP server {name}"));
    loop {
        let accepting = async {
            loop {
                tokio::select! {
                    arrival = arrivals.next(), if slots.has_room() => {
                        // One that was idle may have gone to work meanwhile.
                        if let Arrival::Socket { socket, peer } = arrival
                            && let Some(slot) = slots.take()
                        {
                            let (service, stop) = (service.clone(), stop.clone());
                            let client = Newcomer { socket, tls: tls.clone(), peer, slot };
                            clients.spawn(serve_one(client, limits, service, stop));
                        }
                    }
                    () = slots.changed() => {}
                    // How a client ended, and be it by a panic, is no concern of the others.
                    Some(_) = clients.join_next() => {}
                    () = stopped(&mut stop) => return,
                }
                #[cfg(test)]
                crate::runtime::tasks::panic_points::reach(&name);
            }
        };
        // A panic costs neither the socket nor those who are served.
        match task.run(accepting).await {
            Ok(()) => break,
            Err(Panicked { wait, .. }) => tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = stopped(&mut stop) => break,
            },
        }
    }
    drop(arrivals);
    let _ = timeout(LAST_WORDS, async { while clients.join_next().await.is_some() {} }).await;
}

/// Waits until `stop` is true, or nobody is left to say so. Cancel safe.
pub async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

/// A client that was accepted.
struct Newcomer {
    socket: AnySocket,
    tls: Option<Arc<ServerTls>>,
    peer: SocketName,
    slot: Slot,
}

/// Opens TLS with a client, if that is due.
async fn open_tls(socket: AnySocket, tls: Option<Arc<ServerTls>>) -> Option<AnySocket> {
    let (tls, socket) = match (tls, socket) {
        (Some(tls), AnySocket::Tcp(socket)) => (tls, socket),
        (_, socket) => return Some(socket),
    };
    match tls.accept(socket).await {
        Ok(opened) => Some(AnySocket::of_tls(opened.socket)),
        Err(FailedAccept::PlainHttp(socket)) => {
            refuse_unread(socket, not_tls()).await;
            None
        }
        Err(FailedAccept::Failed { detail, .. }) => {
            tracing::debug!("a client could not open TLS: {detail}");
            None
        }
    }
}

async fn serve_one<S, F, B>(
    Newcomer { socket, tls, peer, slot }: Newcomer,
    limits: ServingLimits,
    service: S,
    mut stop: watch::Receiver<bool>,
) where
    S: Fn(Request<Incoming>) -> F,
    F: Future<Output = Response<B>>,
    B: Body + Unpin + 'static,
    B::Error: Into<Box<dyn StdError + Send + Sync>>,
{
    if let AnySocket::Tcp(socket) = &socket {
        // Where it cannot be set, the kernel's own bound holds.
        let _ = socket2::SockRef::from(socket).set_send_buffer_size(KERNEL_BUFFER);
    }
    let opening = Box::pin(open_tls(socket, tls));
    let opened = tokio::select! {
        opened = timeout(limits.header_timeout, opening) => opened,
        () = slot.evicted() => return,
        () = stopped(&mut stop) => return,
    };
    let Ok(Some(socket)) = opened else { return };
    let client = Client { peer, local: socket.local_addr(), is_spare: slot.is_spare() };
    let owed = Owed::default();
    let service = service_fn(|mut request: Request<Incoming>| {
        let at_work = (slot.work(), owed.one());
        let is_spare = slot.is_spare();
        request.extensions_mut().insert(client.clone());
        let response = service(request);
        async move {
            let mut response = response.await.map(|body| Working { body, _at_work: at_work });
            if is_spare {
                // The next request may find an ordinary slot.
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            Ok::<_, Infallible>(response)
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
        .keep_alive(limits.one_request_within.is_none())
        .max_buf_size(limits.buffer)
        .serve_connection(
            TokioIo::new(Stalling::new(socket, limits.write_timeout, owed.clone())),
            service,
        );
    let mut connection = std::pin::pin!(connection);
    let served = async {
        tokio::select! {
            served = connection.as_mut() => return served,
            () = slot.evicted() => return Ok(()),
            () = stopped(&mut stop) => {}
        }
        connection.as_mut().graceful_shutdown();
        connection.await
    };
    let served = match limits.one_request_within {
        Some(within) => timeout(within, served).await.unwrap_or(Ok(())),
        None => served.await,
    };
    // Who sends garbage, or goes away, has its answer or wants none.
    if served.is_err_and(|error| stalled(&error)) {
        tracing::info!(
            client = %client.peer,
            after = %humantime::format_duration(limits.write_timeout),
            "a client that took nothing of its answer was cut off"
        );
    }
}

fn stalled(error: &hyper::Error) -> bool {
    let source = error.source().and_then(|source| source.downcast_ref::<io::Error>());
    source.is_some_and(|error| error.kind() == io::ErrorKind::TimedOut)
}
