//! One of several applications: it sends its name and runs commands.

use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use futures_util::{SinkExt, StreamExt};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

use crate::support::http::{Head, read_request};

/// Its answer to opening handshakes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mood {
    /// It says its name, and then echoes.
    Well,
    /// It answers with this status.
    Answer(u16),
    /// It opens the WebSocket and cuts TCP.
    CutOff,
    /// It opens the WebSocket and closes it with this code.
    Close(u16),
}

pub struct App {
    pub url: String,
    shared: Arc<Shared>,
    task: AbortHandle,
}

struct Shared {
    name: &'static str,
    mood: Mutex<Mood>,
    /// What it answers at `/healthz`.
    health: AtomicU16,
    asked: AtomicUsize,
    probed: AtomicUsize,
}

impl App {
    pub async fn start(name: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("ws://{}", listener.local_addr().unwrap());
        let shared = Arc::new(Shared {
            name,
            mood: Mutex::new(Mood::Well),
            health: AtomicU16::new(200),
            asked: AtomicUsize::new(0),
            probed: AtomicUsize::new(0),
        });
        let task = tokio::spawn(serve(listener, Arc::clone(&shared))).abort_handle();
        Self { url, shared, task }
    }

    pub fn set(&self, mood: Mood) {
        *self.shared.mood.lock().unwrap() = mood;
    }

    pub fn set_health(&self, status: u16) {
        self.shared.health.store(status, Ordering::Relaxed);
    }

    /// How often it was asked for a WebSocket.
    pub fn asked(&self) -> usize {
        self.shared.asked.load(Ordering::Relaxed)
    }

    /// How often it was asked whether it is well.
    pub fn probed(&self) -> usize {
        self.shared.probed.load(Ordering::Relaxed)
    }

    /// Its port refuses from now on, and its connections are gone.
    pub fn die(&self) {
        self.task.abort();
    }
}

impl Drop for App {
    fn drop(&mut self) {
        self.die();
    }
}

async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    let mut clients = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        clients.spawn(answer(stream, Arc::clone(&shared)));
    }
}

async fn answer(mut stream: TcpStream, shared: Arc<Shared>) {
    let head = read_request(&mut stream, &mut Vec::new()).await;
    if head.target() == "/healthz" {
        shared.probed.fetch_add(1, Ordering::Relaxed);
        let status = shared.health.load(Ordering::Relaxed);
        return say(&mut stream, status).await;
    }
    shared.asked.fetch_add(1, Ordering::Relaxed);
    let mood = *shared.mood.lock().unwrap();
    if let Mood::Answer(status) = mood {
        return say(&mut stream, status).await;
    }
    upgrade(&mut stream, &head).await;
    if mood == Mood::CutOff {
        return;
    }
    let mut socket = WebSocketStream::from_raw_socket(stream, Role::Server, None).await;
    if let Mood::Close(code) = mood {
        let frame = tokio_tungstenite::tungstenite::protocol::CloseFrame {
            code: code.into(),
            reason: "".into(),
        };
        let _ = socket.close(Some(frame)).await;
    } else {
        socket.send(shared.name.into()).await.unwrap();
    }
    while let Some(Ok(message)) = socket.next().await {
        if (message.is_text() || message.is_binary()) && socket.send(message).await.is_err() {
            return;
        }
    }
}

async fn say(stream: &mut TcpStream, status: u16) {
    let answer = format!("HTTP/1.1 {status} So\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    stream.write_all(answer.as_bytes()).await.unwrap();
}

async fn upgrade(stream: &mut TcpStream, head: &Head) {
    let accept = derive_accept_key(head.header("sec-websocket-key").unwrap().as_bytes());
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\n\r\n"
    );
    stream.write_all(answer.as_bytes()).await.unwrap();
}
