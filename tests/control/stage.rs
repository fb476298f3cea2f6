//! A supervisor with a listener and the control API, all in this process.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use lastword::ledger::InMemory;
use lastword::settings::{ByteSize, ConnectionSettings};
use lastword::surfaces::control::{
    self, Control, ControlSettings, LedgerFigures, LiveSettings, Started, TokenStore, Tokens,
};
use lastword::surfaces::probes::{Probes, Readiness};
use lastword::surfaces::reloads::Reloads;
use lastword::surfaces::serving::Door;
use lastword::transport::bind::bind;
use lastword::vocabulary::{ListenAddress, Role};
use lastword::{Adopt, Backend, ConnectionHandle, Route, Supervisor};
use serde_json::Value;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::client::Client;
use crate::support::SOON;
use crate::support::raw_peer::RawPeer;

/// As many revocations may be in force.
pub const MAX_REVOCATIONS: usize = 10;

pub struct House {
    pub supervisor: Supervisor,
    pub ledger: Arc<InMemory>,
    pub control: SocketAddr,
    pub client: Client,
    pub listener: SocketAddr,
    pub stop: watch::Sender<bool>,
    pub serving: JoinHandle<()>,
}

impl House {
    pub async fn new() -> Self {
        Self::with(InMemory::default(), |_| {}).await
    }

    pub async fn with(ledger: InMemory, change: impl FnOnce(&mut Control)) -> Self {
        Self::at("127.0.0.1:0", ledger, change).await
    }

    /// Serves at an address; routes are `/echo` and `/other`.
    pub async fn at(address: &str, ledger: InMemory, change: impl FnOnce(&mut Control)) -> Self {
        let ledger = Arc::new(ledger);
        let built = Supervisor::builder()
            .node("a1")
            .max_revocations(MAX_REVOCATIONS)
            .ledger(Arc::clone(&ledger) as _);
        let supervisor = built.start().await.unwrap();
        let route = |path: &str| Route::echo(path).unwrap().with_settings(settings());
        let routes = vec![route("/echo"), route("/other")];
        let listening = supervisor.listen("public", &free(), routes).await.unwrap();
        let ListenAddress::Tcp(listener) = *listening.address() else { panic!() };
        let mut served = Control {
            supervisor: supervisor.clone(),
            archive: Arc::clone(&ledger) as _,
            ledger: Arc::new(|| LedgerFigures { durable: true, unrecorded: 0, recovered: 0 }),
            probes: Probes::new(Arc::new(|| Readiness::Ready), Arc::new(|| "# EOF\n".to_owned())),
            tokens: TokenStore::default(),
            settings: LiveSettings::new(ControlSettings {
                dialled: settings(),
                ..ControlSettings::default()
            }),
            reloads: Reloads::new().0,
            started: Started::now(),
        };
        change(&mut served);
        let acceptor = bind(&address.parse().unwrap()).unwrap();
        let (control, client) = match acceptor.local_addr().unwrap() {
            ListenAddress::Tcp(control) => (control, Client::new(control)),
            ListenAddress::Unix(path) => (listener, Client::new(&*path)),
            ListenAddress::Systemd(name) => panic!("{name} is not a real address"),
        };
        let (stop, stopped) = watch::channel(false);
        let serving = tokio::spawn(async move {
            let _listening = listening;
            let door = Door { name: "control", acceptor: acceptor.into(), tls: None };
            control::serve(door, served, stopped).await;
        });
        Self { supervisor, ledger, control, client, listener, stop, serving }
    }

    /// A peer, and the id of its connection.
    pub async fn peer(&self, target: &str) -> (RawPeer, String) {
        let peer = RawPeer::connect(self.listener, target).await;
        let address = peer.local_addr().to_string();
        let found = crate::support::SOON;
        let id = tokio::time::timeout(found, async {
            loop {
                let all = self.supervisor.connections();
                let ours = |c: &&ConnectionHandle| c.origin().peer.as_deref() == Some(&*address);
                if let Some(connection) = all.iter().find(ours) {
                    return connection.id().to_string();
                }
                tokio::task::yield_now().await;
            }
        });
        (peer, id.await.expect("awaited the connection"))
    }

    /// A connection that has ended, by the loss of its peer.
    pub async fn ended(&self) -> String {
        let adopt =
            Adopt { settings: settings(), ..Adopt::new(Role::Server, tokio::io::duplex(64).0) };
        let connection = self.supervisor.adopt(adopt, Backend::echo()).await.unwrap();
        connection.ended().await;
        connection.id().to_string()
    }

    /// Waits until a connection is as a test wants it.
    pub async fn until(&self, id: &str, fits: impl Fn(&Value) -> bool) {
        let target = format!("/v1/connections/{id}");
        let deadline = tokio::time::Instant::now() + SOON;
        loop {
            let shown = self.client.get(&target).await.json();
            if fits(&shown) {
                return;
            }
            assert!(tokio::time::Instant::now() < deadline, "in vain: {shown}");
        }
    }
}

impl Drop for House {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// Tokens, from the lines of a token file.
pub fn tokens(lines: &str) -> TokenStore {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), lines).unwrap();
    // The file is gone afterwards, and the tokens stay.
    TokenStore::new(Tokens::read(file.path()).unwrap())
}

pub fn free() -> ListenAddress {
    "127.0.0.1:0".parse().unwrap()
}

/// Settings without Pings, with short deadlines and a small outbox.
pub fn settings() -> ConnectionSettings {
    let mut settings = ConnectionSettings::default();
    settings.keepalive.ping_interval = Duration::ZERO;
    settings.close.timeout = Duration::from_millis(400);
    settings.close.linger = Duration::from_millis(200);
    settings.limits.outbox_bytes = ByteSize::kib(64);
    settings.limits.write_timeout = Duration::from_secs(60);
    settings
}
