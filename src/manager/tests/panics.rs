//! A long-lived task panics: it is restarted with the state that it had.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::bench::{Bench, soon};
use crate::ledger::{Committed, Entry, Health, InMemory, Ledger, RecordedRevocations};
use crate::listening::route::Route;
use crate::manager::{Revoke, Supervisor};
use crate::relay::Relay;
use crate::runtime::tasks::panic_points;
use crate::settings::RelayBackend;
use crate::vocabulary::ListenAddress;

#[tokio::test]
async fn a_listener_that_panics_goes_on_accepting() {
    let bench = Bench::new().await;
    let routes = vec![Route::echo("/echo").unwrap()];
    let listening =
        bench.supervisor.listen("mined", &"127.0.0.1:0".parse().unwrap(), routes).await.unwrap();
    let ListenAddress::Tcp(address) = listening.address() else { panic!() };
    panic_points::arm("mined");
    // The first of them makes the listener panic.
    for n in 0..3 {
        let mut socket = soon("a connection", TcpStream::connect(address)).await.unwrap();
        let request = format!("GET /nowhere/{n} HTTP/1.1\r\nHost: a\r\n\r\n");
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        soon("an answer", socket.read_to_string(&mut answer)).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
    }
}

/// A ledger that cannot be read at first, then panics, and then is read.
struct Mined {
    entries: InMemory,
    asked: AtomicU32,
}

impl Ledger for Mined {
    fn append(&self, entry: Entry, committed: &Arc<dyn Committed>) {
        self.entries.append(entry, committed);
    }

    fn health(&self) -> Health {
        self.entries.health()
    }

    fn lag(&self) -> Duration {
        self.entries.lag()
    }

    fn revocations(&self) -> Option<RecordedRevocations> {
        match self.asked.fetch_add(1, Ordering::Relaxed) {
            0 => None,
            1 => panic!("a test asked for it"),
            _ => self.entries.revocations(),
        }
    }
}

#[tokio::test]
async fn revocations_are_read_although_the_ledger_panics() {
    let ledger = Arc::new(Mined { entries: InMemory::new(10), asked: AtomicU32::new(0) });
    let supervisor = Supervisor::builder().ledger(ledger).start().await.unwrap();
    soon("the revocations", async {
        while supervisor.revoke(Revoke::subject("ann")).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_watcher_of_applications_that_panics_goes_on_watching() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}/mined", listener.local_addr().unwrap());
    let mut settings = RelayBackend::new(url.parse().unwrap());
    settings.health_path = Some("/health".parse().unwrap());
    settings.health_interval = Duration::from_secs(3600);
    panic_points::arm(&url);
    let relay = Relay::new(settings).unwrap();
    relay.watch();
    // It panics after the first probe; without a restart, the second is due an hour later.
    for _ in 0..2 {
        let (mut socket, _) = soon("a probe", listener.accept()).await.unwrap();
        let answer = b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n";
        socket.write_all(answer).await.unwrap();
    }
    drop(relay);
}
