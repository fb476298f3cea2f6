//! Restarts under clients that keep coming, with sockets of the service manager: nobody is refused.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::PROGRAM;
use crate::support::daemon::{Daemon, command_with_socket};
use crate::support::frame::{CLOSE, Frame, Side, take_frame};
use crate::support::http::{exchange, upgrade_request};

/// How much is asked: by `tests/restarts/run SECONDS RATE RESTARTS`, or little.
struct Load {
    seconds: u64,
    rate: u64,
    restarts: u64,
}

impl Load {
    fn asked() -> Self {
        let number = |name: &str, or: u64| {
            std::env::var(name).map_or(or, |value| value.parse().expect("a number"))
        };
        Self {
            seconds: number("LASTWORD_RESTARTS_SECONDS", 6),
            rate: number("LASTWORD_RESTARTS_RATE", 100),
            restarts: number("LASTWORD_RESTARTS", 2),
        }
    }
}

/// How long a client may take: the restarts, and the SYN that the kernel sends again.
const CLIENT_WITHIN: Duration = Duration::from_secs(30);

/// How a client fared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fate {
    /// It was let in; by the two Closes it left or was told to leave.
    Served,
    /// It was answered 503.
    Busy,
    /// connect(2) was refused.
    Refused,
    Reset,
    TimedOut,
    /// The server ended without a Close, or anything else.
    Odd,
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_come_during_restarts_are_served() {
    let load = Load::asked();
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let ledger = tempfile::tempdir().unwrap();
    let start = || {
        let path = format!("ledger.path={:?}", ledger.path().join("ledger.db"));
        let settings = [
            r#"listeners[0].listen="systemd:public""#,
            r#"drain.within="10s""#,
            r#"records.query="keep""#,
            r#"log.format="json""#,
            // Each line is kept by the test.
            r#"log.filter="warn,lastword::daemon=info""#,
            &path,
        ];
        let arguments: Vec<&str> =
            ["serve"].into_iter().chain(settings.iter().flat_map(|set| ["--set", *set])).collect();
        let socket = socket.try_clone().unwrap();
        Daemon::start_command(command_with_socket(socket, &["public"], PROGRAM, &arguments))
    };

    let mut daemon = start().await;
    let coming = tokio::spawn(come(address, load.rate, Duration::from_secs(load.seconds)));
    let every = Duration::from_secs(load.seconds) / u32::try_from(load.restarts + 1).unwrap();
    let mut away = Duration::ZERO;
    for _ in 0..load.restarts {
        tokio::time::sleep(every).await;
        let began = Instant::now();
        daemon.signal("TERM").await;
        assert_eq!(daemon.await_exit(CLIENT_WITHIN).await.code(), Some(0));
        daemon = start().await;
        away = away.max(began.elapsed());
    }
    let Crowd { fates, served, slowest } = coming.await.unwrap();
    println!(
        "{} s, {} restarts, at most {away:.1?} from SIGTERM to ready; {fates:?}, the slowest client took {slowest:.1?}",
        load.seconds, load.restarts
    );
    let bad = [Fate::Refused, Fate::Reset, Fate::TimedOut, Fate::Odd];
    assert!(bad.iter().all(|fate| !fates.contains_key(fate)), "{fates:?}");
    assert!(fates.values().sum::<u64>() >= load.seconds * load.rate * 9 / 10, "too few came");

    // A client may be gone before its ending is durable.
    let open = "lastword_connections_open{";
    let none_open = async {
        let is_open = |line: &str| line.starts_with(open) && !line.ends_with(" 0");
        while daemon.metrics().await.lines().any(is_open) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(CLIENT_WITHIN, none_open).await.expect("awaited the last ending");
    let mut recorded: HashMap<u64, u64> = HashMap::new();
    for ending in endings(&daemon).await {
        if ending["kind"] != "open_failed" {
            let number = ending["path"].as_str().unwrap().rsplit('=').next().unwrap();
            *recorded.entry(number.parse().unwrap()).or_default() += 1;
        }
    }
    for number in &served {
        assert_eq!(recorded.remove(number), Some(1), "the endings of client {number}");
    }
    assert!(recorded.is_empty(), "these ended and never opened: {recorded:?}");
}

struct Crowd {
    fates: BTreeMap<Fate, u64>,
    served: Vec<u64>,
    slowest: Duration,
}

/// Sends clients at a rate, and waits until each has gone.
async fn come(address: SocketAddr, rate: u64, lasts: Duration) -> Crowd {
    let began = Instant::now();
    let mut clients = JoinSet::new();
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / u32::try_from(rate).unwrap());
    for number in 0.. {
        ticks.tick().await;
        if began.elapsed() > lasts {
            break;
        }
        clients.spawn(async move {
            let began = Instant::now();
            let fate = timeout(CLIENT_WITHIN, visit(address, number)).await;
            (number, fate.unwrap_or(Fate::TimedOut), began.elapsed())
        });
    }
    let mut crowd = Crowd { fates: BTreeMap::new(), served: Vec::new(), slowest: Duration::ZERO };
    while let Some(client) = clients.join_next().await {
        let (number, fate, took) = client.unwrap();
        *crowd.fates.entry(fate).or_default() += 1;
        crowd.slowest = crowd.slowest.max(took);
        if fate == Fate::Served {
            crowd.served.push(number);
        }
    }
    crowd
}

async fn visit(address: SocketAddr, number: u64) -> Fate {
    let stream = match TcpStream::connect(address).await {
        Ok(stream) => stream,
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => return Fate::Refused,
        Err(error) => return fate_of(&error),
    };
    talk(stream, number).await.unwrap_or_else(|error| fate_of(&error))
}

fn fate_of(error: &io::Error) -> Fate {
    match error.kind() {
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => Fate::Reset,
        _ => Fate::Odd,
    }
}

/// Opens a WebSocket; some clients then stay until they are told to go, most go at once.
async fn talk(mut stream: TcpStream, number: u64) -> io::Result<Fate> {
    let request = upgrade_request("localhost", &format!("/echo?n={number}"), "");
    stream.write_all(request.as_bytes()).await?;
    let mut bytes = Vec::new();
    let head = loop {
        if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break bytes.drain(..at + 4).collect::<Vec<u8>>();
        }
        if stream.read_buf(&mut bytes).await? == 0 {
            return Ok(Fate::Odd);
        }
    };
    if head.starts_with(b"HTTP/1.1 503 ") {
        stream.read_to_end(&mut bytes).await?;
        return Ok(Fate::Busy);
    }
    if !head.starts_with(b"HTTP/1.1 101 ") {
        return Ok(Fate::Odd);
    }
    let stays = number.is_multiple_of(20);
    if !stays {
        stream.write_all(&Frame::close(1000, "").encode(Side::Client)).await?;
    }
    let within = if stays { Duration::from_secs(3) } else { CLIENT_WITHIN };
    let mut answered = !stays;
    loop {
        while let Some(frame) = take_frame(&mut bytes) {
            if frame.opcode == CLOSE && !answered {
                answered = true;
                stream.write_all(&Frame::close(1012, "").encode(Side::Client)).await?;
            }
        }
        match timeout(within, stream.read_buf(&mut bytes)).await {
            Ok(Ok(0)) => return Ok(if answered { Fate::Served } else { Fate::Odd }),
            Ok(read) => drop(read?),
            Err(_) if answered => return Ok(Fate::TimedOut),
            Err(_) => {
                // It stayed for long enough.
                answered = true;
                stream.write_all(&Frame::close(1000, "").encode(Side::Client)).await?;
            }
        }
    }
}

/// All endings in the ledger, by the control API, page by page.
async fn endings(daemon: &Daemon) -> Vec<Value> {
    let mut all = Vec::new();
    let mut cursor = String::new();
    loop {
        let request = format!(
            "GET /v1/endings?limit=1000{cursor} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        );
        let page = exchange(daemon.control(), request, CLIENT_WITHIN).await.body;
        let page: Value = serde_json::from_str(&page).unwrap();
        all.extend(page["endings"].as_array().unwrap().iter().cloned());
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return all,
        }
    }
}
