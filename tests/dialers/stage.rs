//! A dialer, and the feed that it dials.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use lastword::vocabulary::{
    DialerChange, DialerEvent, DialerPhase, DialerStatus, Event, Reconnecting,
};
use lastword::{DialerHandle, DialerOptions, Ending, EventStream, Supervisor};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message as Wire;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;

use crate::support::http::{self, Head};
use crate::support::{A_WHILE, SOON};

pub async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    timeout(SOON, future).await.unwrap_or_else(|_| panic!("awaited {what} for {SOON:?} in vain"))
}

/// A dialer with short waits, its events, and the address that it dials.
pub struct Scene {
    pub supervisor: Supervisor,
    pub events: EventStream,
    pub dialer: DialerHandle,
    pub feed: Feed,
}

impl Scene {
    pub async fn new(set_up: impl FnOnce(&mut DialerOptions)) -> Self {
        let supervisor = Supervisor::builder().start().await.unwrap();
        let feed = Feed::new().await;
        let events = supervisor.events();
        let mut options = options("feed", &feed.url());
        set_up(&mut options);
        let dialer = supervisor.keep(options).unwrap();
        Self { supervisor, events, dialer, feed }
    }

    /// Waits until the dialer is there.
    pub async fn reaches(&self, phase: DialerPhase) -> DialerStatus {
        let what = format!("the dialer to be {phase}, and it is {:?}", self.dialer.status());
        soon(&what, self.dialer.wait_for(|status| status.phase == phase)).await.unwrap()
    }

    pub async fn next_ending(&mut self) -> Arc<Ending> {
        loop {
            if let Event::Ended(ending) | Event::OpenFailed(ending) = self.event("an ending").await
            {
                return ending;
            }
        }
    }

    pub async fn next_reconnecting(&mut self) -> Arc<Reconnecting> {
        loop {
            if let Event::Reconnecting(reconnecting) = self.event("reconnecting").await {
                return reconnecting;
            }
        }
    }

    /// Waits for a change of the dialer that `pick` wants.
    pub async fn change<T>(&mut self, pick: impl Fn(&DialerChange) -> Option<T>) -> T {
        loop {
            if let Event::Dialer(news) = self.event("a change").await {
                let DialerEvent { dialer, change, .. } = &*news;
                assert_eq!(&**dialer, "feed");
                if let Some(picked) = pick(change) {
                    return picked;
                }
            }
        }
    }

    async fn event(&mut self, what: &str) -> Event {
        soon(what, self.events.next()).await.unwrap()
    }
}

/// Options under which nothing takes long.
pub fn options(name: &str, url: &str) -> DialerOptions {
    let mut options = DialerOptions::new(name, url);
    options.dialer.reconnect.min = Duration::from_millis(10);
    options.dialer.reconnect.max = Duration::from_secs(600);
    options
}

/// A server that does what a test tells it to.
pub struct Feed {
    listener: TcpListener,
    address: SocketAddr,
}

pub type Socket = WebSocketStream<TcpStream>;

impl Feed {
    pub async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        Self { listener, address }
    }

    pub fn url(&self) -> String {
        format!("ws://{}/stream?token=secret", self.address)
    }

    pub async fn tcp(&self) -> TcpStream {
        soon("a dial", self.listener.accept()).await.unwrap().0
    }

    pub async fn accept(&self) -> Socket {
        let socket = self.tcp().await;
        soon("the upgrade", tokio_tungstenite::accept_async(socket)).await.unwrap()
    }

    /// Refuses one attempt, with whatever header lines the answer has; returns the request.
    pub async fn refuse(&self, status_and_headers: &str) -> Head {
        let mut socket = self.tcp().await;
        let head = http::read_request(&mut socket, &mut vec![]).await;
        let answer = format!("HTTP/1.1 {status_and_headers}\r\nContent-Length: 0\r\n\r\n");
        socket.write_all(answer.as_bytes()).await.unwrap();
        head
    }

    /// Asserts that no dial arrives for a while.
    pub async fn is_left_alone(&self) {
        assert!(timeout(A_WHILE, self.listener.accept()).await.is_err(), "it was dialled");
    }
}

/// Resets TCP.
pub fn reset(socket: Socket) {
    socket.get_ref().set_zero_linger().unwrap();
}

/// Closes, and waits until the other end has answered.
pub async fn close(mut socket: Socket, code: u16, reason: &'static str) {
    let frame = CloseFrame { code: code.into(), reason: reason.into() };
    socket.close(Some(frame)).await.unwrap();
    while soon("the answer", socket.next()).await.is_some_and(|read| read.is_ok()) {}
}

pub async fn text(socket: &mut Socket) -> String {
    loop {
        match soon("a message", socket.next()).await.unwrap().unwrap() {
            Wire::Text(text) => return text.to_string(),
            Wire::Ping(_) | Wire::Pong(_) => {}
            other => panic!("awaited text, received {other:?}"),
        }
    }
}

pub async fn say(socket: &mut Socket, text: &str) {
    socket.send(Wire::text(text)).await.unwrap();
}

/// Reads until the Close, answers it, and returns it.
pub async fn closed(socket: &mut Socket) -> (u16, String) {
    let mut close = None;
    while let Some(Ok(message)) = soon("the Close", socket.next()).await {
        if let Wire::Close(Some(frame)) = message {
            close = Some((frame.code.into(), frame.reason.to_string()));
        }
    }
    close.expect("it ended without a Close")
}
