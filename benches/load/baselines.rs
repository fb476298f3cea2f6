//! The baselines of lastword: servers that do the same without actors, records or limits.

use std::io::Write;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use dashmap::DashMap;
use futures_util::{SinkExt, Stream, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{WebSocketStream, accept_async_with_config};

use crate::processes::commands;
use crate::{Result, measure};

type Socket = WebSocketStream<TcpStream>;

/// Runs a baseline until it is stopped: `raw BUFFER`, `batch BUFFER` or `manager BUFFER`.
pub(crate) fn serve(words: &[&str]) -> Result<()> {
    let [name, buffer] = words else { return Err("--server NAME BUFFER".into()) };
    if *name == "site" {
        return site(buffer.parse()?);
    }
    let config = WebSocketConfig::default().read_buffer_size(buffer.parse()?);
    measure::raise_descriptor_limit();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = listen()?;
        match *name {
            "raw" => accept(&listener, config, raw).await,
            "batch" => accept(&listener, config, batch).await,
            "manager" => Manager::default().serve(&listener, config).await,
            other => Err(format!("no baseline is called {other:?}").into()),
        }
    })
}

/// Listens, and prints the address in the daemon's format.
fn listen() -> Result<TcpListener> {
    let socket = tokio::net::TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
    let listener = socket.listen(4096)?;
    announce(&listener.local_addr()?.to_string())?;
    Ok(listener)
}

pub(crate) fn announce(address: &str) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "listener load ws://{address}\nready")?;
    Ok(stdout.flush()?)
}

async fn accept<W>(
    listener: &TcpListener,
    config: WebSocketConfig,
    work: impl Fn(Socket) -> W + Clone + Send + 'static,
) -> Result<()>
where
    W: Future<Output = tungstenite::Result<()>> + Send,
{
    // The parent has exited when stdin ends.
    let mut commands = commands();
    loop {
        tokio::select! {
            arrived = listener.accept() => {
                let (socket, _) = arrived?;
                socket.set_nodelay(true)?;
                let work = work.clone();
                tokio::spawn(async move {
                    if let Ok(socket) = accept_async_with_config(socket, Some(config)).await {
                        let _ = work(socket).await;
                    }
                });
            }
            command = commands.recv() => if command.is_none() {
                return Ok(());
            },
        }
    }
}

/// Runs a web server whose pages all have this many bytes.
fn site(size: usize) -> Result<()> {
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {size}\r\n\
         Cache-Control: no-store\r\n\r\n"
    );
    let page: Arc<[u8]> = [head.as_bytes(), &vec![b'x'; size]].concat().into();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let (listener, mut commands) = (listen()?, commands());
        loop {
            tokio::select! {
                arrived = listener.accept() => {
                    let (socket, _) = arrived?;
                    socket.set_nodelay(true)?;
                    tokio::spawn(serve_pages(socket, Arc::clone(&page)));
                }
                command = commands.recv() => if command.is_none() {
                    return Ok(());
                },
            }
        }
    })
}

/// Answers each request; requests have no body.
async fn serve_pages(mut socket: TcpStream, page: Arc<[u8]>) -> std::io::Result<()> {
    let mut read = Vec::with_capacity(4096);
    loop {
        if socket.read_buf(&mut read).await? == 0 {
            return Ok(());
        }
        while let Some(end) = read.windows(4).position(|window| window == b"\r\n\r\n") {
            read.drain(..end + 4);
            socket.write_all(&page).await?;
        }
    }
}

/// `next` and `send`.
async fn raw(mut socket: Socket) -> tungstenite::Result<()> {
    while let Some(message) = socket.next().await {
        let message = message?;
        if is_data(&message) {
            socket.send(message).await?;
        }
    }
    Ok(())
}

/// `feed` while input is ready, then one flush.
async fn batch(mut socket: Socket) -> tungstenite::Result<()> {
    while let Some(message) = socket.next().await {
        echo_batch(&mut socket, message?).await?;
    }
    Ok(())
}

async fn echo_batch(socket: &mut Socket, first: Message) -> tungstenite::Result<()> {
    let mut next = Some(first);
    while let Some(message) = next {
        if is_data(&message) {
            socket.feed(message).await?;
        }
        next = match ready(socket).await {
            Some(Some(message)) => Some(message?),
            Some(None) | None => None,
        };
    }
    socket.flush().await
}

/// Returns the next item if it is ready.
async fn ready(socket: &mut Socket) -> Option<Option<tungstenite::Result<Message>>> {
    std::future::poll_fn(|cx| match Pin::new(&mut *socket).poll_next(cx) {
        Poll::Ready(message) => Poll::Ready(Some(message)),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}

fn is_data(message: &Message) -> bool {
    message.is_binary() || message.is_text()
}

/// A program that manages its connections by hand: one task and one bounded channel for each, and a
/// map of all.
#[derive(Default)]
struct Manager {
    connections: Arc<DashMap<u64, mpsc::Sender<Order>>>,
    opened: AtomicU64,
    closing: Arc<AtomicBool>,
}

enum Order {
    Send(Message),
    Close,
}

impl Manager {
    async fn serve(self, listener: &TcpListener, config: WebSocketConfig) -> Result<()> {
        let mut commands = commands();
        let mut terminate = signal(SignalKind::terminate())?;
        loop {
            tokio::select! {
                arrived = listener.accept() => {
                    let (socket, _) = arrived?;
                    socket.set_nodelay(true)?;
                    self.open(socket, config);
                }
                command = commands.recv() => match command {
                    Some(command) => {
                        broadcast_size(&command).into_iter().for_each(|size| self.broadcast(size));
                    }
                    None => return Ok(()),
                },
                _ = terminate.recv() => return self.close_all().await,
            }
        }
    }

    fn open(&self, socket: TcpStream, config: WebSocketConfig) {
        let (connections, closing) = (Arc::clone(&self.connections), Arc::clone(&self.closing));
        let id = self.opened.fetch_add(1, Ordering::Relaxed);
        tokio::spawn(async move {
            if let Ok(socket) = accept_async_with_config(socket, Some(config)).await {
                let (sender, receiver) = mpsc::channel(32);
                connections.insert(id, sender.clone());
                if closing.load(Ordering::SeqCst) {
                    // The client got its 101 before the connection was in the map.
                    let _ = sender.try_send(Order::Close);
                }
                drop(sender);
                let _ = manage(socket, receiver).await;
                connections.remove(&id);
            }
        });
    }

    fn broadcast(&self, size: usize) {
        let message = Message::binary(vec![7; size]);
        for connection in self.connections.iter() {
            // The client has received the previous message, so the channel is not full.
            let _ = connection.try_send(Order::Send(message.clone()));
        }
    }

    async fn close_all(&self) -> Result<()> {
        self.closing.store(true, Ordering::SeqCst);
        for connection in self.connections.iter() {
            let _ = connection.try_send(Order::Close);
        }
        while !self.connections.is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }
}

async fn manage(mut socket: Socket, mut orders: mpsc::Receiver<Order>) -> tungstenite::Result<()> {
    loop {
        tokio::select! {
            message = socket.next() => match message {
                Some(message) => echo_batch(&mut socket, message?).await?,
                None => return Ok(()),
            },
            Some(order) = orders.recv() => {
                match order {
                    Order::Send(message) => socket.feed(message).await?,
                    Order::Close => {
                        let code = tungstenite::protocol::frame::coding::CloseCode::Restart;
                        let frame = CloseFrame { code, reason: "service restart".into() };
                        socket.close(Some(frame)).await?;
                    }
                }
                socket.flush().await?;
            }
        }
    }
}

/// Returns the size of the message that a command asks to broadcast.
pub(crate) fn broadcast_size(command: &str) -> Option<usize> {
    command.strip_prefix("broadcast ")?.parse().ok()
}
