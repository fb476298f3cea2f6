//! Events: in order, one per fact, and a gap for who is too slow.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lastword::ledger::{Committed, Entry, Health, Ledger};
use lastword::vocabulary::{CloseState, ConnectionId, Record, Role};
use lastword::{Adopt, Backend, DialError, DrainOptions, Event, MissedEndings, Supervisor};

use super::stage::{ended, piped, settings, soon, supervisor};
use crate::support::frame::Frame;

#[tokio::test]
async fn a_connection_opens_closes_and_ends_in_this_order() {
    let supervisor = supervisor().await;
    let mut events = supervisor.events();
    let mut endings = supervisor.endings();
    let mut open = Vec::new();
    for _ in 0..20 {
        open.push(piped(&supervisor, Role::Server, 1024, settings(|_| {})).await);
    }
    for (connection, _messages, peer) in &mut open {
        connection.close_output(1000, "").unwrap();
        peer.expect_close().await;
        peer.send(Frame::close(1000, "")).await;
        peer.fin().await;
        ended(&supervisor, connection).await;
    }
    let mut stories: HashMap<ConnectionId, Vec<String>> = HashMap::new();
    let mut ended = 0;
    while ended < 20 {
        let (id, what) = match soon("an event", events.next()).await.unwrap() {
            Event::Opened(opened) => (opened.id, "opened".to_owned()),
            Event::Closing(closing) => (closing.id, closing.state.to_string()),
            Event::Ended(ending) => {
                ended += 1;
                let published = soon("an ending", endings.next()).await.unwrap();
                assert_eq!(published.unwrap().id, ending.id);
                (ending.id, "ended".to_owned())
            }
            other => panic!("{other:?}"),
        };
        stories.entry(id).or_default().push(what);
    }
    assert_eq!(stories.len(), 20);
    for story in stories.values() {
        assert_eq!(story.first().unwrap(), "opened");
        assert_eq!(story[1], CloseState::CloseSent.to_string());
        assert_eq!(story.last().unwrap(), "ended");
        assert_eq!(story.iter().filter(|what| *what == "ended" || *what == "opened").count(), 2);
    }
}

#[tokio::test]
async fn a_reader_that_is_too_slow_is_told_how_much_it_missed() {
    const CONNECTIONS: usize = 2200;
    let supervisor = supervisor().await;
    let mut events = supervisor.events();
    for _ in 0..CONNECTIONS {
        let adopt = Adopt::new(Role::Server, tokio::io::duplex(64).0);
        let connection = supervisor.adopt(adopt, Backend::echo()).await.unwrap();
        ended(&supervisor, &connection).await;
    }
    let Some(Event::Gap(missed)) = soon("an event", events.next()).await else {
        panic!("no gap");
    };
    let mut told = 0;
    while let Ok(Some(event)) =
        tokio::time::timeout(Duration::from_millis(200), events.next()).await
    {
        assert!(!matches!(event, Event::Gap(_)));
        told += 1;
    }
    // Each has opened and ended, and none has closed.
    assert_eq!((missed as usize + told, told), (2 * CONNECTIONS, 4096));
}

/// A ledger whose disk is slow: it tells of what was appended when the test says so.
#[derive(Default)]
struct Slow {
    waiting: Mutex<Vec<(Entry, Arc<dyn Committed>)>>,
}

impl Slow {
    fn commit(&self) -> usize {
        let waiting = std::mem::take(&mut *self.waiting.lock().unwrap());
        let count = waiting.len();
        for (entry, committed) in waiting {
            committed.committed(entry, Record::Durable(1));
        }
        count
    }
}

impl Ledger for Slow {
    fn append(&self, entry: Entry, committed: &Arc<dyn Committed>) {
        self.waiting.lock().unwrap().push((entry, Arc::clone(committed)));
    }

    fn health(&self) -> Health {
        Health::Good
    }

    fn lag(&self) -> Duration {
        Duration::ZERO
    }
}

#[tokio::test]
async fn nothing_is_shown_as_ended_before_it_is_durable() {
    let slow = Arc::new(Slow::default());
    let supervisor = Supervisor::builder().ledger(Arc::clone(&slow) as _).start().await.unwrap();
    let dialling = tokio::spawn(supervisor.dial("ws://127.0.0.1:1/").receive());
    let adopt = Adopt::new(Role::Server, tokio::io::duplex(64).0);
    let connection = supervisor.adopt(adopt, Backend::echo()).await.unwrap();
    let appended = async {
        // The attempt; the opening and the ending of the connection.
        while slow.waiting.lock().unwrap().len() < 3 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    soon("three entries", appended).await;
    assert!(!dialling.is_finished() && connection.ending().is_none());
    assert_eq!(supervisor.accounting().open, 1);
    assert_eq!(slow.commit(), 3);
    assert!(matches!(soon("the dial", dialling).await.unwrap(), Err(DialError::Failed(_))));
    soon("the ending", connection.ended()).await;
    assert_eq!(supervisor.accounting().ended, 1);
}

#[tokio::test]
async fn an_observer_that_blocks_for_good_delays_no_ending() {
    let (release, blocks) = std::sync::mpsc::channel::<()>();
    let blocks = Mutex::new(blocks);
    let observer = move |_: &_| {
        let _ = blocks.lock().unwrap().recv();
    };
    let supervisor = Supervisor::builder().observer(observer).start().await.unwrap();
    let mut events = supervisor.events();
    for _ in 0..3 {
        let (peer, transport) = tokio::io::duplex(64);
        let adopt = Adopt::new(Role::Server, transport);
        let connection = supervisor.adopt(adopt, Backend::echo()).await.unwrap();
        drop(peer);
        let within = Duration::from_secs(5);
        let ended = tokio::time::timeout(within, connection.ended()).await;
        ended.expect("an ending waits for no observer");
    }
    assert_eq!(supervisor.accounting().open, 0);
    let mut ended = 0;
    while ended < 3 {
        ended += u32::from(matches!(events.next().await, Some(Event::Ended(_))));
    }
    let stopping = supervisor.shutdown(DrainOptions::default());
    let stopped = tokio::time::timeout(Duration::from_secs(10), stopping).await;
    stopped.expect("a stop waits for its observer for 2 s");
    drop(release);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_ending_is_told_before_a_stop_is_over() {
    let slow = |published: &lastword::vocabulary::Published| {
        if matches!(published.event, Event::Ended(_)) {
            std::thread::sleep(Duration::from_millis(300));
        }
    };
    let supervisor = Supervisor::builder().observer(slow).start().await.unwrap();
    let mut events = supervisor.events();
    // Outbound: no place is taken that a drain would wait for.
    let adopt = Adopt::new(Role::Client, tokio::io::duplex(64).0);
    let connection = supervisor.adopt(adopt, Backend::echo()).await.unwrap();
    connection.abort();
    supervisor.shutdown(DrainOptions::default()).await;
    let mut told = std::iter::from_fn(|| events.try_next_published());
    let last = told.find(|published| matches!(published.event, Event::Ended(_)));
    assert!(last.is_some(), "readers have been told of it");
}

/// Opens a connection and ends it; none of it waits for a peer.
async fn end_one(supervisor: &Supervisor) {
    let (near, _far) = tokio::io::duplex(64);
    let adopt = Adopt::new(Role::Server, near);
    supervisor.adopt(adopt, Backend::none()).await.unwrap().abort();
}

#[tokio::test]
async fn a_late_reader_of_endings_sees_every_one_and_then_the_end() {
    const MANY: usize = 6000;
    let supervisor = supervisor().await;
    let mut endings = supervisor.endings();
    let mut events = supervisor.events();
    for _ in 0..MANY {
        end_one(&supervisor).await;
    }
    supervisor.shutdown(DrainOptions::default()).await;
    let mut seen = std::collections::HashSet::new();
    while let Some(ending) = soon("an ending", endings.next()).await {
        seen.insert(ending.unwrap().id);
    }
    assert_eq!(seen.len(), MANY);
    // What the events lost is said, and they end as well.
    assert!(matches!(soon("an event", events.next()).await, Some(Event::Gap(_))));
    while soon("an event", events.next()).await.is_some() {}
    assert!(soon("the end", supervisor.endings().next()).await.is_none());
    assert!(soon("the end", supervisor.events().next()).await.is_none());
}

#[tokio::test]
async fn a_reader_that_falls_too_far_behind_is_told_how_many_endings_it_missed() {
    let supervisor = Supervisor::builder().ending_backlog(10).start().await.unwrap();
    let (mut slow, mut fast) = (supervisor.endings(), supervisor.endings());
    for _ in 0..25 {
        end_one(&supervisor).await;
        soon("an ending", fast.next()).await.unwrap().unwrap();
    }
    assert_eq!(slow.next().await, Some(Err(MissedEndings { count: 15 })));
    for _ in 0..10 {
        assert!(matches!(slow.next().await, Some(Ok(_))));
    }
    end_one(&supervisor).await;
    assert!(matches!(soon("an ending", slow.next()).await, Some(Ok(_))));
    // A supervisor that is dropped instead of shut down ends it, too.
    drop(supervisor);
    assert!(soon("the end", slow.next()).await.is_none());
}
