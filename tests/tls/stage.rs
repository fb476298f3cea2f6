//! The stage of the tests over TLS: a daemon with certificates, and clients of every kind.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use rustls::pki_types::ServerName;
use rustls::{ALL_VERSIONS, ClientConfig};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

use crate::support::SOON;
use crate::support::daemon::Daemon;
use crate::support::tls::Authority;

/// How long what the daemon records may take to come.
pub const WAIT: Duration = Duration::from_secs(10);

pub const PROGRAM: &str = env!("CARGO_BIN_EXE_lastword");

pub type Client = WebSocketStream<TlsStream<TcpStream>>;

/// A daemon with a certificate for `localhost` and 127.0.0.1.
pub struct Stage {
    pub authority: Authority,
    pub daemon: Daemon,
}

impl Stage {
    /// Starts one whose `tls` has these further keys, such as `, min_version="1.3"`.
    pub async fn open(more: &str, settings: &[&str]) -> Self {
        let authority = Authority::new();
        let (cert, key) = authority.issue("own", &["localhost", "127.0.0.1"]);
        let tls = format!("listeners[0].tls={{cert={cert:?},key={key:?}{more}}}");
        let settings: Vec<&str> = [&*tls].into_iter().chain(settings.iter().copied()).collect();
        let daemon = Daemon::start(PROGRAM, &settings).await;
        Self { authority, daemon }
    }

    /// A client without a certificate.
    pub fn client(&self) -> ClientConfig {
        self.authority.client(None, ALL_VERSIONS)
    }

    /// Opens TLS.
    pub async fn tls(&self, config: ClientConfig) -> std::io::Result<TlsStream<TcpStream>> {
        tls(self.daemon.listener(), config, "localhost").await
    }

    /// Opens a WebSocket at `/echo`.
    pub async fn websocket(&self, config: ClientConfig) -> Client {
        let stream = self.tls(config).await.unwrap();
        soon(tokio_tungstenite::client_async("ws://localhost/echo", stream)).await.unwrap().0
    }

    /// Waits for the next record that fits.
    pub async fn record(&self, fits: impl Fn(&Value) -> bool) -> Value {
        self.daemon.await_ending(fits, Duration::from_secs(10)).await
    }

    /// Waits for a failed attempt; returns its failure and its detail.
    pub async fn failure(&self) -> (String, String) {
        let record = self.record(|ending| ending["kind"] == "open_failed").await;
        let text = |key: &str| record[key].as_str().unwrap().to_owned();
        (text("open_failure"), text("detail"))
    }
}

/// Opens TLS with a server that is to have this name.
pub async fn tls(
    address: SocketAddr,
    config: ClientConfig,
    name: &'static str,
) -> std::io::Result<TlsStream<TcpStream>> {
    let socket = soon(TcpStream::connect(address)).await?;
    socket.set_nodelay(true)?;
    let name = ServerName::try_from(name).unwrap();
    soon(TlsConnector::from(Arc::new(config)).connect(name, socket)).await
}

/// Sends a text and awaits its echo, closes, and ends TLS.
pub async fn echo_and_close(mut client: Client) {
    client.send(Message::text("hello")).await.unwrap();
    let echo = soon(client.next()).await.unwrap().unwrap();
    assert_eq!(echo, Message::text("hello"));
    client.close(None).await.unwrap();
    while soon(client.next()).await.is_some_and(|message| message.is_ok()) {}
    client.get_mut().shutdown().await.unwrap();
}

/// Sends a request over a stream, and reads the answer to its end.
pub async fn request(mut stream: TlsStream<TcpStream>, request: &str) -> String {
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    soon(stream.read_to_string(&mut answer)).await.unwrap();
    answer
}

/// Waits for what is due.
pub async fn soon<T>(future: impl Future<Output = T>) -> T {
    timeout(SOON, future).await.unwrap_or_else(|_| panic!("awaited what was due at once"))
}
