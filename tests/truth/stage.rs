//! A daemon with a ledger, and all that a script needs to play against it.

use std::collections::{HashMap, HashSet};
use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::{Notify, oneshot, watch};
use tokio::task::JoinHandle;

use super::client::{Answer, Client};
use super::journal::Journal;
use super::peer::{PATIENCE, Played};
use super::plan::{BLOCK, Curtain, LARGEST_FRAME, LARGEST_MESSAGE, Pace, Timed};
use super::world::World;
use crate::support::daemon::{Daemon, command};

/// Whom records name as the one who asked.
pub const TOKEN_NAME: &str = "truth";
const TOKEN: &str = "5fd0c7a0c5b84d3f9b6d7a51";

pub struct Stage {
    pub world: Arc<World>,
    pub journal: Arc<Journal>,
    pub plain: SocketAddr,
    pub tls: SocketAddr,
    pub proxied: SocketAddr,
    api: Client,
    control: SocketAddr,
    /// One drain at a time.
    pub draining: tokio::sync::Mutex<()>,
    /// Ids by path and direction, for those who asked before.
    opened: Mutex<HashMap<(String, &'static str), oneshot::Sender<String>>>,
    curtain: watch::Sender<bool>,
    published: Mutex<HashSet<(String, &'static str)>>,
    /// Scripts that are over, or in their place for the end of the daemon.
    settled: Mutex<HashSet<u64>>,
    /// Those of them that saw the Close of the end.
    asked: AtomicUsize,
    /// Endings and failed attempts that were published, which are durable then.
    recorded: AtomicUsize,
    grown: Notify,
}

impl Stage {
    /// Starts a daemon, and follows what it publishes.
    pub async fn open(
        world: &Arc<World>,
        journal: Arc<Journal>,
        folder: &Path,
        block: u64,
    ) -> (Arc<Self>, Daemon, JoinHandle<()>) {
        let daemon = start(world, folder, block).await;
        let api = api(&daemon);
        let mut events = api.follow("?types=opened,ended,open_failed").await;
        let stage = Arc::new(Self {
            world: Arc::clone(world),
            journal,
            plain: daemon.address("listener plain"),
            tls: daemon.address("listener tls"),
            proxied: daemon.address("listener proxied"),
            api,
            control: daemon.control(),
            draining: tokio::sync::Mutex::new(()),
            opened: Mutex::default(),
            curtain: watch::Sender::new(false),
            published: Mutex::default(),
            settled: Mutex::default(),
            asked: AtomicUsize::new(0),
            recorded: AtomicUsize::new(0),
            grown: Notify::new(),
        });
        let follower = {
            let stage = Arc::clone(&stage);
            tokio::spawn(async move {
                while let Some(told) = events.next_block().await {
                    match told.word.as_str() {
                        "opened" => stage.publish(&told.data["connection"]),
                        "ended" | "open_failed" => stage.count(&stage.recorded),
                        _ => {}
                    }
                }
                // Nothing more will be published: those who wait are told so.
                stage.opened.lock().expect("the lock").clear();
            })
        };
        (stage, daemon, follower)
    }

    fn publish(&self, connection: &Value) {
        let direction = match connection["direction"].as_str() {
            Some("inbound") => "inbound",
            _ => "outbound",
        };
        let path = connection["path"].as_str().unwrap_or_default().to_owned();
        self.published.lock().expect("the lock").insert((path.clone(), direction));
        let waits = self.opened.lock().expect("the lock").remove(&(path, direction));
        if let (Some(waits), Some(id)) = (waits, connection["id"].as_str()) {
            let _ = waits.send(id.to_owned());
        }
    }

    /// Asks for the id of a connection that has yet to open.
    pub fn id_of(&self, path: &str, direction: &'static str) -> Id {
        let (sender, receiver) = oneshot::channel();
        self.opened.lock().expect("the lock").insert((path.to_owned(), direction), sender);
        Id(receiver)
    }

    /// Calls the control API. A daemon that is killed does not answer, which is an error here.
    pub async fn call(&self, line: String, body: Option<String>) -> Played<Answer> {
        let body = body.unwrap_or_default();
        let request = format!(
            "{line} HTTP/1.1\r\nHost: localhost\r\n{}Content-Type: application/json\r\n\
             Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
            self.api.headers,
            body.len(),
        );
        let exchange = async {
            let mut stream = TcpStream::connect(self.control).await?;
            stream.write_all(request.as_bytes()).await?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await?;
            Ok::<_, std::io::Error>(answer)
        };
        let answer = tokio::time::timeout(PATIENCE, exchange).await;
        let answer = answer.map_err(|_| format!("{line}: no answer in time"))?;
        let answer = answer.map_err(|error| format!("{line}: {error}"))?;
        let status = answer.get(9..12).and_then(|status| status.parse().ok());
        match (status, answer.split_once("\r\n\r\n")) {
            (Some(status), Some((head, body))) => {
                Ok(Answer { status, head: head.to_owned(), body: body.to_owned() })
            }
            _ => Err(format!("{line} was answered with {answer:?}")),
        }
    }

    /// Calls it, and expects this status.
    pub async fn ask(&self, status: u16, line: String, body: Option<String>) -> Played<Answer> {
        let answer = self.call(line.clone(), body).await?;
        match answer.status == status {
            true => Ok(answer),
            false => Err(format!("{line} was answered with {} {}", answer.status, answer.body)),
        }
    }

    /// A script is over, or in its place.
    pub fn settle(&self, number: u64) {
        self.settled.lock().expect("the lock").insert(number);
        self.grown.notify_waiters();
    }

    /// One more peer has read the Close of the end, and has answered it if it does.
    pub fn was_asked(&self) {
        self.count(&self.asked);
    }

    fn count(&self, counted: &AtomicUsize) {
        counted.fetch_add(1, Ordering::SeqCst);
        self.grown.notify_waiters();
    }

    pub async fn until_settled(&self, count: usize) {
        self.until(|| self.settled.lock().expect("the lock").len() >= count).await;
    }

    pub async fn until_placed(&self, number: u64) {
        self.until(|| self.settled.lock().expect("the lock").contains(&number)).await;
    }

    /// Returns whether so many have in time.
    pub async fn until_asked(&self, count: usize) -> bool {
        self.until_counted(&self.asked, count).await
    }

    /// Returns whether so many records were published in time.
    pub async fn until_recorded(&self, count: usize) -> bool {
        self.until_counted(&self.recorded, count).await
    }

    async fn until_counted(&self, counted: &AtomicUsize, count: usize) -> bool {
        let enough = self.until(|| counted.load(Ordering::SeqCst) >= count);
        tokio::time::timeout(PATIENCE, enough).await.is_ok()
    }

    async fn until(&self, holds: impl Fn() -> bool) {
        loop {
            let grown = self.grown.notified();
            tokio::pin!(grown);
            grown.as_mut().enable();
            if holds() {
                return;
            }
            grown.await;
        }
    }

    /// Path and direction of each connection whose `opened` was published.
    pub fn published(&self) -> HashSet<(String, &'static str)> {
        self.published.lock().expect("the lock").clone()
    }

    /// Tells those in their places that the daemon ends.
    pub fn fall(&self) {
        self.curtain.send_replace(true);
    }

    pub async fn curtain(&self) {
        let _ = self.curtain.subscribe().wait_for(|fallen| *fallen).await;
    }
}

/// An id that is known once the connection is published.
pub struct Id(oneshot::Receiver<String>);

impl Id {
    pub async fn known(self) -> Played<String> {
        let known = tokio::time::timeout(PATIENCE, self.0).await;
        known.map_err(|_| "awaited `opened`")?.map_err(|_| "no `opened` will come".to_owned())
    }
}

/// The daemon of a block, on the ledger in this folder.
pub async fn start(world: &World, folder: &Path, block: u64) -> Daemon {
    let file = folder.join("truth.toml");
    std::fs::write(&file, configuration(world, folder, block)).expect("write the configuration");
    let token = folder.join("token");
    std::fs::write(&token, format!("{TOKEN_NAME}:{TOKEN}\n")).expect("write the token");
    std::fs::set_permissions(&token, std::os::unix::fs::PermissionsExt::from_mode(0o600))
        .expect("protect the token");
    let file = file.to_str().expect("a path in UTF-8");
    let mut command = command(env!("CARGO_BIN_EXE_lastword"), &["serve", "--config", file]);
    command.env("SSL_CERT_FILE", world.authority.file());
    Daemon::start_command(command).await
}

pub fn api(daemon: &Daemon) -> Client {
    Client::new(daemon.control()).with(&format!("Authorization: Bearer {TOKEN}"))
}

/// An address of this machine that only this script of the block uses.
pub fn address_of(number: u64, second: bool) -> SocketAddr {
    let at = number % BLOCK;
    let ip =
        Ipv4Addr::new(127, if second { 11 } else { 10 }, (at / 250) as u8, (at % 250 + 1) as u8);
    SocketAddr::new(IpAddr::V4(ip), 0)
}

pub async fn connect(from: SocketAddr, to: SocketAddr) -> Played<TcpStream> {
    let socket = TcpSocket::new_v4().map_err(|error| error.to_string())?;
    socket.bind(from).map_err(|error| format!("bind {from}: {error}"))?;
    let connected = tokio::time::timeout(PATIENCE, socket.connect(to)).await;
    let stream = connected.map_err(|_| "TCP took too long")?;
    let stream = stream.map_err(|error| format!("connect: {error}"))?;
    stream.set_nodelay(true).map_err(|error| error.to_string())?;
    Ok(stream)
}

fn configuration(world: &World, folder: &Path, block: u64) -> String {
    let (cert, key) = &world.certificate;
    let (timeout, linger) = Pace::of_dials(block).close();
    let mut text = format!(
        r#"
node.name = "truth"
log.filter = "warn"
log.format = "json"
ledger.path = "{ledger}"
ledger.open_failed_per_second = 1000000
control.token_file = "{token}"
control.allow_dial = true
drain.within = "{within}"
drain.spread = "0s"
close.timeout = "{timeout}"
close.linger = "{linger}"
keepalive.ping_interval = "0s"
limits.handshakes_per_second = 0
limits.dials_per_second = 10000
limits.handshake_timeout = "4s"
limits.max_connections_per_ip = 1
limits.max_frame_size = {LARGEST_FRAME}
limits.max_message_size = {LARGEST_MESSAGE}

[[listeners]]
name = "plain"
listen = "127.0.0.1:0"

[[listeners]]
name = "tls"
listen = "127.0.0.1:0"
tls = {{ cert = "{cert}", key = "{key}" }}

[[listeners]]
name = "proxied"
listen = "127.0.0.1:0"
proxy_protocol = true
trusted_proxies = ["192.0.2.1"]
"#,
        ledger = folder.join("ledger.db").display(),
        token = folder.join("token").display(),
        within = if Curtain::of(block) == Curtain::Forced { "60s" } else { "1500ms" },
        cert = cert.display(),
        key = key.display(),
    );
    let mut route = |name: &str, path: &str, more: &str| {
        writeln!(
            text,
            "\n[[routes]]\nname = \"{name}\"\npath = \"{path}\"\ntags = {{ mark = \"{{mark}}\" }}\n\
             limits.max_frame_size = {LARGEST_FRAME}\nlimits.max_message_size = {LARGEST_MESSAGE}\n{more}"
        )
        .expect("write to a text");
    };
    let echo = "backend = { kind = \"echo\" }";
    let patient = close_of(Pace::Patient);
    for pace in Pace::ALL {
        let close = close_of(pace);
        let name = format!("echo-{}", pace.word());
        route(&name, &format!("/{name}/{{mark}}"), &format!("{echo}\n{close}"));
        for (kind, url) in [
            ("ws", format!("ws://{}", world.plain)),
            ("wss", format!("wss://localhost:{}", world.tls.port())),
        ] {
            let name = format!("relay-{}-{kind}", pace.word());
            let ca = world.authority.file();
            let backend = format!(
                "backend = {{ kind = \"relay\", url = \"{url}\", ca_file = \"{}\", eject_after = 0 }}",
                ca.display()
            );
            route(&name, &format!("/{name}/{{mark}}"), &format!("{backend}\n{close}"));
        }
    }
    let endpoint = format!(
        "auth = {{ kind = \"http\", url = \"http://{}\", timeout = \"20s\" }}",
        world.endpoint
    );
    for timed in Timed::ALL {
        let name = timed.word();
        let more = match timed {
            Timed::Pong => {
                "keepalive.ping_interval = \"300ms\"\nkeepalive.pong_timeout = \"300ms\""
            }
            Timed::Idle => "keepalive.idle_timeout = \"400ms\"",
            Timed::Age => "keepalive.max_age = \"400ms\"",
            Timed::Stall => "limits.write_timeout = \"500ms\"\nlimits.outbox_bytes = \"64KiB\"",
            Timed::Rate => "limits.messages_per_second = 5",
            Timed::Expiry => &endpoint,
        };
        let path = match timed {
            Timed::Expiry => format!("/{name}/{{mark}}/{{verdict}}"),
            _ => format!("/{name}/{{mark}}"),
        };
        route(name, &path, &format!("{echo}\n{patient}\n{more}"));
    }
    let single = format!("{echo}\n{patient}\n{endpoint}\nreplace = \"oldest\"");
    route("single", "/single/{mark}/{verdict}", &single);
    route("origin", "/origin/{mark}", &format!("{echo}\norigins = [\"https://example.org\"]"));
    let nobody = "backend = { kind = \"relay\", url = \"ws://127.0.0.1:1\" }";
    route("unreachable", "/unreachable/{mark}", nobody);
    text
}

fn close_of(pace: Pace) -> String {
    let (timeout, linger) = pace.close();
    format!("close.timeout = \"{timeout}\"\nclose.linger = \"{linger}\"")
}
