//! The load generator: a process that opens many connections and runs commands on them.
//!
//! It is lean, so that the server dominates the measurement: one thread, frames encoded in advance,
//! and only the headers of replies are parsed. It takes one command per line on stdin, and answers
//! with one line of JSON: `trust FILE`, `open COUNT`, `connect COUNT`, `echo SIZE DEPTH MILLISECONDS`, `flood MILLISECONDS`,
//! `exchange SIZE COUNT`, `receive COUNT`, `close`, `await-close`, `cycles COUNT`, `open-pages
//! COUNT`, `pages MILLISECONDS`. Every command has a time limit.

mod page;
mod peer;
mod target;
#[allow(dead_code, unreachable_pub, reason = "the tests use more of it")]
#[path = "../../tests/support/wire.rs"]
mod wire;

use std::future::Future;
use std::io::Write;
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::task::JoinSet;

use crate::measure::{self, Histogram};
use crate::{Result, processes};
use page::Reader;
use peer::Peer;
use target::Target;

/// The time limit of a command.
const LIMIT: Duration = Duration::from_secs(120);

/// The maximum of concurrent handshakes and cycles.
const AT_A_TIME: usize = 32;

/// Connections per source address, which has 28,000 ephemeral ports.
const SOURCES: u8 = 4;

pub(crate) fn run(address: &str) -> Result<()> {
    measure::raise_descriptor_limit();
    let mut target = Target::new(address.parse()?);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut commands = processes::commands();
        let (mut peers, mut readers) = (Vec::new(), Vec::new());
        while let Some(command) = commands.recv().await {
            let answer = match tokio::time::timeout(
                LIMIT,
                execute(&mut target, &mut peers, &mut readers, &command),
            )
            .await
            {
                Ok(Ok(answer)) => answer,
                Ok(Err(error)) => json!({"error": format!("{command}: {error}")}),
                Err(_) => json!({"error": format!("{command}: not done within {LIMIT:?}")}),
            };
            let mut stdout = std::io::stdout().lock();
            writeln!(stdout, "{answer}")?;
            stdout.flush()?;
        }
        Ok(())
    })
}

async fn execute(
    target: &mut Target,
    peers: &mut Vec<Peer>,
    readers: &mut Vec<Reader>,
    command: &str,
) -> Result<Value> {
    let words: Vec<&str> = command.split_whitespace().collect();
    let began = Instant::now();
    let mut answer = match words.as_slice() {
        ["open", count] => {
            let opened = open(target, count.parse()?).await?;
            let answer = json!({"opened": opened.len()});
            peers.extend(opened);
            answer
        }
        ["trust", authority] => {
            target.trust(Path::new(authority))?;
            json!({})
        }
        ["connect", count] => connect(target, count.parse()?).await?,
        ["echo", size, depth, millis] => {
            let burst = peer::messages(size.parse()?, depth.parse()?);
            let until = began + Duration::from_millis(millis.parse()?);
            echo(peers, burst, until, u64::MAX).await?
        }
        ["flood", millis] => {
            let burst = Arc::new(peer::messages(0, 4096));
            let until = began + Duration::from_millis(millis.parse()?);
            let messages = each(peers, |peer| {
                let burst = Arc::clone(&burst);
                async move { peer.flood(&burst, until).await }
            });
            json!({"messages": messages.await?.into_iter().sum::<u64>()})
        }
        ["exchange", size, count] => {
            let burst = peer::messages(size.parse()?, 1);
            echo(peers, burst, began + LIMIT, count.parse()?).await?
        }
        ["receive", count] => {
            let count = count.parse()?;
            *peers = each(peers, |mut peer| async move {
                peer.receive(count).await?;
                Ok(peer)
            })
            .await?;
            json!({"messages": peers.len() as u64 * count})
        }
        ["close"] => endings(each(peers, |peer| async { Ok(peer.close().await) }).await?),
        ["await-close"] => {
            endings(each(peers, |peer| async { Ok(peer.await_close().await) }).await?)
        }
        ["open-pages", count] => {
            for _ in 0..count.parse()? {
                readers.push(Reader::open(target.address).await?);
            }
            json!({"opened": readers.len()})
        }
        ["pages", millis] => {
            let until = began + Duration::from_millis(millis.parse()?);
            pages(readers, until).await?
        }
        ["cycles", count] => cycles(target, count.parse()?).await?,
        _ => return Err("no such command".into()),
    };
    answer["seconds"] = began.elapsed().as_secs_f64().into();
    Ok(answer)
}

/// Opens connections, some at a time.
async fn open(target: &Target, count: usize) -> Result<Vec<Peer>> {
    let target = target.clone();
    let open = move |source| {
        let target = target.clone();
        async move { Peer::open(&target, source).await }
    };
    let opened = some_at_a_time(count, open).await?;
    Ok(opened.into_iter().flatten().collect())
}

/// Opens connections and closes each at once, some at a time.
async fn cycles(target: &Target, count: usize) -> Result<Value> {
    let target = target.clone();
    let cycle = move |source| {
        let target = target.clone();
        async move { Ok(Peer::open(&target, source).await?.close().await) }
    };
    let ended = some_at_a_time(count, cycle).await?;
    Ok(endings(ended.into_iter().flatten().collect()))
}

/// Connects, with the TLS handshake, and ends each stream without a request, some at a time.
async fn connect(target: &Target, count: usize) -> Result<Value> {
    let target = target.clone();
    let connect = move |source| {
        let target = target.clone();
        async move { target.connect(source).await?.shutdown().await }
    };
    let connected = some_at_a_time(count, connect).await?;
    Ok(json!({"connected": connected.into_iter().flatten().count()}))
}

/// Does the same `count` times, some at a time, each with its source address.
async fn some_at_a_time<T, W>(
    count: usize,
    work: impl Fn(Ipv4Addr) -> W + Clone + Send + 'static,
) -> Result<Vec<Vec<T>>>
where
    T: Send + 'static,
    W: Future<Output = std::io::Result<T>> + Send,
{
    let taken = Arc::new(AtomicUsize::new(0));
    let workers = (0..AT_A_TIME).map(|_| {
        let (taken, work) = (Arc::clone(&taken), work.clone());
        async move {
            let mut done = Vec::new();
            loop {
                let number = taken.fetch_add(1, Ordering::Relaxed);
                if number >= count {
                    return Ok(done);
                }
                let source = Ipv4Addr::new(127, 0, 0, 1 + (number % usize::from(SOURCES)) as u8);
                done.push(work(source).await?);
            }
        }
    });
    all(workers).await
}

/// Sends bursts and awaits their echo, on all connections at once.
async fn echo(
    peers: &mut Vec<Peer>,
    burst: peer::Burst,
    until: Instant,
    most: u64,
) -> Result<Value> {
    let burst = Arc::new(burst);
    let done = each(peers, |mut peer| {
        let burst = Arc::clone(&burst);
        async move {
            let mut latencies = Histogram::new();
            let messages = peer.echo(&burst, until, most, &mut latencies).await?;
            Ok((peer, messages, latencies))
        }
    })
    .await?;
    let mut latencies = Histogram::new();
    let mut messages = 0;
    for (peer, echoed, its) in done {
        peers.push(peer);
        messages += echoed;
        latencies.merge(&its);
    }
    Ok(json!({
        "messages": messages,
        "p50_us": latencies.quantile(0.5),
        "p99_us": latencies.quantile(0.99),
    }))
}

/// Fetches pages on all connections at once.
async fn pages(readers: &mut Vec<Reader>, until: Instant) -> Result<Value> {
    let done = all(std::mem::take(readers).into_iter().map(|mut reader| async move {
        let mut latencies = Histogram::new();
        let pages = reader.fetch(until, &mut latencies).await?;
        Ok((reader, pages, latencies))
    }))
    .await?;
    let (mut pages, mut latencies) = (0, Histogram::new());
    for (reader, fetched, its) in done {
        readers.push(reader);
        pages += fetched;
        latencies.merge(&its);
    }
    Ok(json!({"pages": pages, "p99_us": latencies.quantile(0.99)}))
}

fn endings(clean: Vec<bool>) -> Value {
    let all = clean.len();
    let clean = clean.into_iter().filter(|clean| *clean).count();
    json!({"clean": clean, "unclean": all - clean})
}

/// Runs a command on all connections concurrently.
async fn each<T, W>(peers: &mut Vec<Peer>, work: impl Fn(Peer) -> W) -> Result<Vec<T>>
where
    T: Send + 'static,
    W: Future<Output = std::io::Result<T>> + Send + 'static,
{
    all(std::mem::take(peers).into_iter().map(work)).await
}

async fn all<T, W>(work: impl Iterator<Item = W>) -> Result<Vec<T>>
where
    T: Send + 'static,
    W: Future<Output = std::io::Result<T>> + Send + 'static,
{
    let mut tasks: JoinSet<std::io::Result<T>> = work.collect();
    let mut done = Vec::with_capacity(tasks.len());
    while let Some(task) = tasks.join_next().await {
        done.push(task??);
    }
    Ok(done)
}
