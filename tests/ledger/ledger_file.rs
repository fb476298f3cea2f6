//! The ledger as an operator sees it, and clients that come and go.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::Connection;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::SOON;
use crate::support::daemon::Daemon;
use crate::support::frame::{Frame, Side};
use crate::support::http::upgrade_request;

/// A ledger in a directory of its own.
pub(super) struct LedgerFile {
    _folder: Option<tempfile::TempDir>,
    pub(super) path: PathBuf,
}

impl LedgerFile {
    pub(super) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { path: folder.path().join("ledger.db"), _folder: Some(folder) }
    }

    pub(super) fn at(path: impl Into<PathBuf>) -> Self {
        Self { _folder: None, path: path.into() }
    }

    /// The argument of `--set` that names it.
    pub(super) fn setting(&self) -> String {
        format!("ledger.path=\"{}\"", self.path.display())
    }

    /// Starts a daemon that writes it.
    pub(super) async fn daemon(&self, settings: &[&str]) -> Daemon {
        let ours = [self.setting(), "limits.handshakes_per_second=100000".to_owned()];
        let settings: Vec<&str> =
            ours.iter().map(String::as_str).chain(settings.iter().copied()).collect();
        Daemon::start(super::PROGRAM, &settings).await
    }

    pub(super) fn read(&self) -> Connection {
        Connection::open(&self.path).unwrap()
    }

    pub(super) fn number(&self, sql: &str) -> i64 {
        self.read().query_row(sql, [], |row| row.get(0)).unwrap()
    }

    /// Asserts that the file itself is whole.
    pub(super) fn check_integrity(&self) {
        let said: String =
            self.read().query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
        assert_eq!(said, "ok", "{}", self.path.display());
    }

    /// The kind of every ending, by its id.
    pub(super) fn kinds(&self) -> Vec<(String, String)> {
        let connection = self.read();
        let mut query = connection.prepare("SELECT id, kind FROM endings").unwrap();
        let rows = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
        rows.map(Result::unwrap).collect()
    }
}

/// A client that the daemon may lose at any time.
pub(super) struct Client(TcpStream);

impl Client {
    pub(super) async fn at(address: SocketAddr) -> std::io::Result<Self> {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(upgrade_request("localhost", "/echo", "").as_bytes()).await?;
        let mut head = Vec::new();
        while !head.windows(4).any(|four| four == b"\r\n\r\n") {
            if stream.read_buf(&mut head).await? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
        }
        if head.starts_with(b"HTTP/1.1 101 ") {
            Ok(Self(stream))
        } else {
            Err(std::io::Error::other(String::from_utf8_lossy(&head).into_owned()))
        }
    }

    /// Closes in order, and waits for the answer.
    pub(super) async fn leave(mut self) -> std::io::Result<()> {
        self.0.write_all(&Frame::close(1000, "bye").encode(Side::Client)).await?;
        let mut rest = Vec::new();
        self.0.read_to_end(&mut rest).await.map(drop)
    }

    /// Has a message echoed.
    pub(super) async fn speak(&mut self) -> std::io::Result<()> {
        self.0.write_all(&Frame::text("still here?").encode(Side::Client)).await?;
        let mut answer = [0; 13];
        timeout(SOON, self.0.read_exact(&mut answer)).await??;
        assert_eq!(&answer[2..], b"still here?");
        Ok(())
    }
}

/// Connections that come and go at once, `count` of them.
pub(super) async fn come_and_go(address: SocketAddr, count: usize) {
    for _ in 0..count {
        Client::at(address).await.expect("come").leave().await.expect("go");
    }
}

/// The ids of the log's lines that fit.
pub(super) fn ids(daemon: &Daemon, fits: impl Fn(&Value) -> bool) -> Vec<String> {
    let lines = daemon.log();
    let events = lines.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let id = |event: &Value| {
        let id = event.get("id").or_else(|| event["ending"].get("id"));
        id.and_then(Value::as_str).expect("an id").to_owned()
    };
    events.filter(|event| fits(event)).map(|event| id(&event)).collect()
}

/// Waits until a condition holds.
pub(super) async fn until(what: &str, holds: impl Fn() -> bool) {
    let waited = timeout(4 * SOON, async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    waited.await.unwrap_or_else(|_| panic!("awaited in vain that {what}"));
}

pub(super) fn exists(path: &Path) -> bool {
    path.exists()
}
