//! Clients in a network namespace of their own that are cut off: no FIN and no RST arrives.
//!
//! The test runs itself again in a namespace, and there once more as the clients, in another one at
//! the far end of a veth pair.

use std::net::SocketAddr;
use std::process::{Output, Stdio};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::account::thousands;
use super::clients::{PATIENCE, upgrade};
use super::size;
use super::stage::{Setup, Stage};
use crate::support::daemon::Daemon;
use crate::support::http::exchange;
use crate::support::{SOON, skip};

const ATTACK: &str = "clients cut off without FIN or RST";

/// Set in the namespace of the daemon.
const INSIDE: &str = "LASTWORD_PRESSURE_INSIDE";

/// Set in that of the clients: the address and the path that they open, and how many they are.
const CLIENTS: &str = "LASTWORD_PRESSURE_CLIENTS";

/// How many are cut off on each of two routes.
fn clients() -> usize {
    size(20, 500)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cut_off() {
    if std::env::var_os(INSIDE).is_some() {
        return inside().await;
    }
    let probe =
        "ip link set lo up && ip link add lw0 type veth peer name lw1 && command -v nsenter";
    let may = Command::new("unshare").args(["-n", "sh", "-c", probe]).output();
    let may = timeout(SOON, may).await.unwrap_or_else(|late| Err(late.into()));
    if !may.as_ref().is_ok_and(|output| output.status.success()) {
        return skip(ATTACK, &format!("no network namespace with a veth pair: {may:?}"));
    }
    let ran = Command::new("unshare")
        .arg("-n")
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "pressure::network::cut_off", "--nocapture"])
        .env(INSIDE, "1")
        .kill_on_drop(true)
        .output();
    let ran = timeout(24 * SOON, ran).await.expect("the test in its namespace is over").unwrap();
    let Output { status, stdout, stderr } = ran;
    let stdout = String::from_utf8_lossy(&stdout);
    for line in stdout.lines().filter(|line| line.starts_with("| ") || line.starts_with("  ")) {
        println!("{line}");
    }
    assert!(status.success(), "{stdout}\n{}", String::from_utf8_lossy(&stderr));
}

async fn sh(script: &str) {
    let output = Command::new("sh").args(["-ec", script]).output().await.unwrap();
    assert!(output.status.success(), "{script}: {output:?}");
}

/// Joins two namespaces by a veth pair; returns the process that holds the far one.
async fn join() -> (Child, u32) {
    // The kernel gives a connection up after three repetitions, not after a quarter of an hour.
    sh("ip link set lo up
        ip link add lw0 type veth peer name lw1
        ip addr add 198.18.0.1/24 dev lw0
        ip link set lw0 up
        echo 3 >/proc/sys/net/ipv4/tcp_retries2")
    .await;
    let holder = Command::new("unshare")
        .args(["-n", "sh", "-c", "ip link set lo up; echo here; exec cat"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn();
    let mut holder = holder.unwrap();
    holder.stdout.as_mut().unwrap().read_u8().await.unwrap();
    let pid = holder.id().unwrap();
    sh(&format!(
        "ip link set lw1 netns {pid}
         nsenter -t {pid} -n ip addr add 198.18.0.2/24 dev lw1
         nsenter -t {pid} -n ip link set lw1 up"
    ))
    .await;
    (holder, pid)
}

/// Opens connections from the far namespace.
async fn visit(pid: u32, address: SocketAddr, path: &str) -> Child {
    let mut child = Command::new("nsenter")
        .args(["-t", &pid.to_string(), "-n"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "pressure::network::far_away", "--nocapture"])
        .env(CLIENTS, format!("{address} {path} {}", clients()))
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let here = timeout(PATIENCE, async {
        while let Some(line) = lines.next_line().await.unwrap() {
            if line.ends_with("all here") {
                return;
            }
        }
        panic!("the clients did not come");
    });
    here.await.expect("awaited the clients");
    child
}

/// The clients: they answer Pings for as long as they live.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn far_away() {
    let Ok(order) = std::env::var(CLIENTS) else { return };
    let mut order = order.split(' ');
    let address: SocketAddr = order.next().unwrap().parse().unwrap();
    let (path, count) = (order.next().unwrap(), order.next().unwrap().parse().unwrap());
    let mut here = JoinSet::new();
    for _ in 0..count {
        let stream = TcpStream::connect(address).await.unwrap();
        here.spawn(super::time::live(upgrade(stream, path).await.unwrap()));
    }
    println!("all here");
    while here.join_next().await.is_some() {}
}

async fn inside() {
    let (holder, pid) = join().await;
    let count = clients();
    let settings = [
        r#"listeners=[{name="near",listen="127.0.0.1:0"},{name="far",listen="198.18.0.1:0"}]"#,
        r#"routes=[{name="quiet",path="/echo",backend={kind="echo"}},{name="pinged",path="/pinged",keepalive={ping_interval="1s",pong_timeout="1500ms"},backend={kind="echo"}},{name="told",path="/told",backend={kind="echo"}}]"#,
        "limits.max_connections_per_ip=0",
    ];
    let stage = Stage::start(Setup::with(&settings)).await;
    let far = stage.daemon.address("listener far");
    let pinged = visit(pid, far, "/pinged").await;
    let told = visit(pid, far, "/told").await;
    let run = async |daemon: &Daemon| {
        sh(&format!("nsenter -t {pid} -n ip link set lw1 down")).await;
        // What is under way to them is repeated until the kernel gives up.
        let body = r#"{"text":"is anybody there?","select":{"route":"told"}}"#;
        let request = format!(
            "POST /v1/broadcast HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        assert_eq!(exchange(daemon.control(), request, SOON).await.head.status(), 200);
        daemon.await_endings(2 * count, |_| true, 12 * SOON).await;
        let count = thousands(count as u64);
        format!(
            "the cable (a veth pair) of 2 × {count} clients is cut: {count} are sent Pings, and \
             {count} a message that the kernel repeats three times"
        )
    };
    let account = stage.under(ATTACK, 2 * count as u64, run).await;
    assert_eq!(account.kinds.get("pong_timeout"), Some(&(count as u64)), "{account:?}");
    assert_eq!(account.kinds.get("path_lost"), Some(&(count as u64)), "{account:?}");
    drop((pinged, told, holder));
}
