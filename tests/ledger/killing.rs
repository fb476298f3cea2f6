//! Killed at any time: every connection whose `opened` was published has exactly one ending.

use std::collections::HashMap;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::task::JoinSet;

use super::ledger_file::{Client, LedgerFile, ids, until};
use crate::support::SOON;
use crate::support::daemon::Daemon;

/// How many stay, and how many leave while the daemon is killed.
const STAY: usize = 1000;
const LEAVE: usize = 500;

/// As many times as LASTWORD_KILLS says: `tests/kill/run 100` has it killed 100 times.
fn kills() -> u32 {
    std::env::var("LASTWORD_KILLS").ok().map_or(3, |kills| kills.parse().expect("a number"))
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_time_every_connection_has_one_ending() {
    have_descriptors(4000);
    let ledger = LedgerFile::new();
    let mut published: Vec<String> = Vec::new();
    let mut logged: HashMap<String, String> = HashMap::new();
    for round in 0..kills() {
        // It writes the endings of those before.
        let mut daemon = ledger.daemon(&["log.filter=\"info,lastword::opened=debug\""]).await;
        check(&ledger, round, &published, &logged);
        let recovered = daemon.events(DIED).len();
        assert_eq!(recovered, usize::from(round > 0), "round {round}: it says what it found");

        // The open connections are recorded, then some leave, and meanwhile the daemon is killed.
        let (staying, leaving) = (crowd(&daemon, STAY).await, crowd(&daemon, LEAVE).await);
        until("all are told of", || ids(&daemon, is_opened).len() == STAY + LEAVE).await;
        let mut goings = JoinSet::new();
        for client in leaving {
            goings.spawn(async move {
                tokio::time::sleep(Duration::from_millis(rand::random_range(0..300))).await;
                client.leave().await
            });
        }
        // A few more come and go uncounted.
        for _ in 0..100 {
            let address = daemon.listener();
            goings.spawn(async move {
                tokio::time::sleep(Duration::from_millis(rand::random_range(0..300))).await;
                Client::at(address).await?.leave().await
            });
        }
        tokio::time::sleep(Duration::from_millis(rand::random_range(20..280))).await;
        daemon.signal("KILL").await;
        daemon.await_exit(SOON).await;
        while goings.join_next().await.is_some() {}
        drop(staying);

        published.extend(ids(&daemon, is_opened));
        let endings = daemon.endings().into_iter().map(|ending| {
            let text = |key: &str| ending[key].as_str().expect("text").to_owned();
            (text("id"), text("kind"))
        });
        logged.extend(endings);
    }
    let mut daemon = ledger.daemon(&[]).await;
    check(&ledger, kills(), &published, &logged);
    daemon.signal("TERM").await;
    assert_eq!(daemon.await_exit(2 * SOON).await.code(), Some(0));
    let died = "SELECT count(*) FROM endings WHERE kind = 'process_died'";
    assert!(ledger.number(died) >= i64::from(kills()) * STAY as i64);
    assert_eq!(ledger.number("SELECT closed FROM ledger"), 1);
}

const DIED: &str = "the previous process died; recorded endings for its open connections";

fn is_opened(event: &serde_json::Value) -> bool {
    event["message"] == "the connection opened"
}

/// Asserts that everything that was ever said is true in the file, once.
fn check(ledger: &LedgerFile, round: u32, published: &[String], logged: &HashMap<String, String>) {
    ledger.check_integrity();
    assert_eq!(ledger.number("SELECT count(*) FROM open_connections"), 0, "round {round}");
    let mut stored: HashMap<String, String> = HashMap::new();
    for (id, kind) in ledger.kinds() {
        let twice = stored.insert(id.clone(), kind);
        assert_eq!(twice, None, "round {round}: {id} has two endings");
    }
    let without: Vec<&String> = published.iter().filter(|id| !stored.contains_key(*id)).collect();
    assert!(without.is_empty(), "round {round}: without an ending: {without:?}");
    for (id, kind) in logged {
        assert_eq!(stored.get(id), Some(kind), "round {round}: {id}");
    }
}

async fn crowd(daemon: &Daemon, count: usize) -> Vec<Client> {
    let mut comings = JoinSet::new();
    let address = daemon.listener();
    let (mut clients, mut asked) = (Vec::new(), 0);
    while clients.len() < count {
        // Not all at once: the backlog of a listening socket is short.
        while asked < count && comings.len() < 50 {
            comings.spawn(Client::at(address));
            asked += 1;
        }
        clients.push(comings.join_next().await.unwrap().unwrap().expect("a client comes in"));
    }
    clients
}

/// Has this process, and the daemons it starts, allowed as many descriptors.
fn have_descriptors(count: u64) {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current.is_some_and(|current| current < count) {
        setrlimit(Resource::Nofile, Rlimit { current: Some(count), maximum })
            .unwrap_or_else(|error| panic!("{count} descriptors are needed: {error}"));
    }
}
