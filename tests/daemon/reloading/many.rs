//! Many reloads under many connections with traffic: nothing is closed, nothing is missed, and the memory
//! stays flat.

use std::fmt::Write;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::stage::Stage;
use crate::daemon::process::resident_kib;
use crate::support::SOON;
use crate::support::raw_peer::RawPeer;

/// What differs from one reload to the next.
fn file(turn: usize, routes: usize) -> String {
    let mut text = String::new();
    let port = if turn.is_multiple_of(2) { "b" } else { "c" };
    writeln!(text, "[[listeners]]\nname = \"{port}\"\nlisten = \"127.0.0.1:0\"").unwrap();
    for route in 0..routes {
        // One in ten changes.
        let changes = (route + turn).is_multiple_of(10);
        let size = if changes { turn + 1 } else { 1 };
        writeln!(
            text,
            "[[routes]]\nname = \"r{route}\"\npath = \"/r{route}/*\"\nbackend.kind = \"relay\"\n\
             backend.url = \"ws://127.0.0.1:9/r{route}\"\nbackend.tries = {size}"
        )
        .unwrap();
    }
    // The long form takes longer than the interval of Pings, which the clients do not answer.
    writeln!(text, "[keepalive]\nping_interval = \"0s\"").unwrap();
    writeln!(text, "[limits]\nhandshakes_per_second = 0\nwrite_timeout = \"{}s\"", 10 + turn % 2)
        .unwrap();
    text
}

#[tokio::test]
async fn reloads_disturb_no_connection() {
    // The long form, as the guide for contributors says: 1000 connections and 100 reloads.
    let long = std::env::var_os("LASTWORD_TEST_RELOADS").is_some();
    let (connections, reloads, routes) = if long { (1000, 100, 1000) } else { (100, 20, 100) };
    let stage = Stage::start(&file(0, routes)).await;
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let mut clients = JoinSet::new();
    for client in 0..connections {
        let (mut peer, stopped) =
            (RawPeer::connect(stage.listener(), "/echo").await, stopped.clone());
        clients.spawn(async move {
            let mut slowest = Duration::ZERO;
            let mut sent = 0_u64;
            while !*stopped.borrow() {
                let text = format!("{client}: {sent}");
                let began = Instant::now();
                peer.text(&text).await;
                peer.expect_text(&text).await;
                slowest = slowest.max(began.elapsed());
                sent += 1;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            peer.close(1000, "").await;
            assert_eq!(peer.expect_close(SOON).await.0, Some(1000));
            (sent, slowest)
        });
    }
    let mut took = Vec::new();
    let mut resident = 0;
    for turn in 1..=reloads {
        let began = Instant::now();
        let answer = stage.reload_with(&file(turn, routes)).await.expect(200);
        took.push(began.elapsed());
        assert!(!answer["changed"].as_array().unwrap().is_empty());
        // The first few fill caches and the heap.
        if turn == reloads / 5 {
            resident = resident_kib(stage.daemon.pid());
        }
    }
    let grown = resident_kib(stage.daemon.pid()).saturating_sub(resident);
    stop.send_replace(true);
    let (mut sent, mut slowest) = (0, Duration::ZERO);
    while let Some(client) = clients.join_next().await {
        let (by_one, its_slowest) = client.expect("a client was disturbed");
        (sent, slowest) = (sent + by_one, slowest.max(its_slowest));
    }
    took.sort();
    let (median, longest) = (took[took.len() / 2], took[took.len() - 1]);
    eprintln!(
        "{reloads} reloads of {routes} routes took {median:?}, at most {longest:?}; {connections} \
         connections had {sent} echoes, the slowest {slowest:?}; memory grew by {grown} KiB of \
         {resident}"
    );
    let fits = |ending: &serde_json::Value| ending["kind"] == "clean" && ending["code"] != 1001;
    let endings = stage.daemon.await_endings(connections, fits, SOON).await;
    assert_eq!((endings.len(), stage.daemon.endings().len()), (connections, connections));
    // Freed configurations leave holes in the heap; 80 that were kept would be more than 100 MiB.
    let most = if long { 16 * 1024 } else { 8 * 1024 };
    assert!(grown < most, "the memory grew by {grown} KiB");
    // Each echo came soon, or its client would have failed. The long form has the machine to itself.
    assert!(!long || slowest < Duration::from_secs(1), "{slowest:?}");
}
