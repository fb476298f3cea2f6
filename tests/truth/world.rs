//! What the daemons of all blocks talk to: applications and feeds that scripts play, and an endpoint
//! that says who may connect.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use rustls::pki_types::ServerName;
use rustls::{ALL_VERSIONS, ClientConfig};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::oneshot;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::peer::{PATIENCE, Played};
use crate::support::tls::{Authority, Flaw};
use crate::support::wire::Wire;

/// A request that waits for its answer.
pub struct Came {
    pub wire: Wire,
    pub head: String,
    pub rest: Vec<u8>,
}

impl Came {
    /// The value of a header field.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.split("\r\n").find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    pub async fn answer_101(mut self) -> Played<(Wire, Vec<u8>)> {
        let key = self.header("sec-websocket-key").ok_or("no Sec-WebSocket-Key")?;
        let accept = tokio_tungstenite::tungstenite::handshake::derive_accept_key(key.as_bytes());
        let answer = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {accept}\r\n\r\n"
        );
        self.answer(&answer).await?;
        Ok((self.wire, self.rest))
    }

    pub async fn answer(&mut self, answer: &str) -> Played {
        let sent = async {
            self.wire.write_all(answer.as_bytes()).await?;
            self.wire.flush().await
        };
        sent.await.map_err(|error| format!("could not answer: {error}"))
    }
}

pub struct World {
    pub plain: SocketAddr,
    pub tls: SocketAddr,
    /// Shows a certificate that nobody trusts.
    pub untrusted: SocketAddr,
    pub endpoint: SocketAddr,
    pub certificate: (PathBuf, PathBuf),
    pub authority: Authority,
    clients: [Arc<ClientConfig>; 2],
    waiting: Mutex<HashMap<String, oneshot::Sender<Came>>>,
}

impl World {
    pub async fn new() -> Arc<Self> {
        let authority = Authority::new();
        let certificate = authority.issue("daemon", &["localhost"]);
        let acceptor = authority.acceptor(Flaw::None);
        let untrusting = Authority::new().acceptor(Flaw::None);
        let only_12: &[&rustls::SupportedProtocolVersion] = &[&rustls::version::TLS12];
        let clients = [ALL_VERSIONS, only_12].map(|them| Arc::new(authority.client(None, them)));
        let mut listeners = Vec::new();
        for _ in 0..4 {
            listeners.push(listen());
        }
        let address = |at: usize| listeners[at].local_addr().expect("an address");
        let world = Arc::new(Self {
            plain: address(0),
            tls: address(1),
            untrusted: address(2),
            endpoint: address(3),
            certificate,
            authority,
            clients,
            waiting: Mutex::default(),
        });
        for (listener, kind) in listeners.into_iter().zip(0..) {
            let (world, acceptor) = (Arc::clone(&world), acceptor.clone());
            let untrusting = untrusting.clone();
            tokio::spawn(async move {
                while let Ok((socket, _)) = listener.accept().await {
                    let (world, acceptor) = (Arc::clone(&world), acceptor.clone());
                    let untrusting = untrusting.clone();
                    tokio::spawn(async move {
                        // What goes wrong here is the script's to notice.
                        let _ = match kind {
                            0 => world.come(socket.into()).await,
                            1 => world.come_by_tls(acceptor, socket).await,
                            2 => untrusting.accept(socket).await.map(drop).map_err(drop),
                            _ => ask(socket).await,
                        };
                    });
                }
            });
        }
        world
    }

    /// The next request whose path has this mark.
    pub fn expect(&self, mark: &str) -> oneshot::Receiver<Came> {
        let (sender, receiver) = oneshot::channel();
        self.waiting.lock().expect("the lock").insert(mark.to_owned(), sender);
        receiver
    }

    async fn come_by_tls(&self, acceptor: TlsAcceptor, socket: TcpStream) -> Result<(), ()> {
        let stream = acceptor.accept(socket).await.map_err(drop)?;
        self.come(Wire::Tls(Box::new(stream.into()))).await
    }

    async fn come(&self, mut wire: Wire) -> Result<(), ()> {
        let _ = wire.tcp().set_nodelay(true);
        let (head, rest) = read_head(&mut wire).await.map_err(drop)?;
        let target = head.split(' ').nth(1).unwrap_or_default().to_owned();
        let sender = {
            let mut waiting = self.waiting.lock().expect("the lock");
            let mark =
                target.split('/').find(|part| waiting.contains_key(*part)).map(str::to_owned);
            mark.and_then(|mark| waiting.remove(&mark))
        };
        sender.ok_or(())?.send(Came { wire, head, rest }).map_err(drop)
    }

    /// Opens TLS as a client; `old`: with 1.2.
    pub async fn connect_tls(&self, socket: TcpStream, old: bool) -> Played<Wire> {
        let name = ServerName::try_from("localhost").expect("a name");
        let config = Arc::clone(&self.clients[usize::from(old)]);
        let opened = TlsConnector::from(config).connect(name, socket).await;
        opened.map(|it| Wire::Tls(Box::new(it.into()))).map_err(|error| format!("TLS: {error}"))
    }
}

fn listen() -> TcpListener {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind("127.0.0.1:0".parse().expect("an address")).expect("bind");
    socket.listen(4096).expect("listen")
}

/// Reads a head, and what came behind it.
pub async fn read_head(wire: &mut Wire) -> Played<(String, Vec<u8>)> {
    let mut bytes = Vec::new();
    let read = async {
        loop {
            if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
                let rest = bytes.split_off(at + 4);
                return Ok((String::from_utf8_lossy(&bytes).into_owned(), rest));
            }
            match wire.read_buf(&mut bytes).await {
                Ok(0) => return Err(format!("the end after {}", bytes.escape_ascii())),
                Ok(_) => {}
                Err(error) => return Err(format!("{error} after {}", bytes.escape_ascii())),
            }
        }
    };
    tokio::time::timeout(PATIENCE, read).await.map_err(|_| "awaited a head".to_owned())?
}

/// Answers questions about clients: the last part of a path says what.
async fn ask(socket: TcpStream) -> Result<(), ()> {
    let mut wire = Wire::Tcp(socket);
    loop {
        let (head, _) = read_head(&mut wire).await.map_err(drop)?;
        let target = head.split(' ').nth(1).unwrap_or_default();
        let parts: Vec<&str> = target.split('/').collect();
        let [.., mark, verdict] = parts[..] else { return Err(()) };
        let soon = SystemTime::now() + Duration::from_millis(2500);
        let expires = humantime::format_rfc3339_millis(soon).to_string();
        let (status, body) = match verdict {
            "401" => ("401 Unauthorized", String::new()),
            "403" => ("403 Forbidden", String::new()),
            "500" => ("500 Internal Server Error", String::new()),
            "expiry" => ("200 OK", json!({"subject": mark, "expires_at": expires}).to_string()),
            _ => ("200 OK", json!({"subject": mark}).to_string()),
        };
        let answer = format!(
            "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        wire.write_all(answer.as_bytes()).await.map_err(drop)?;
    }
}
