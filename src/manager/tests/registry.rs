//! The accounting identity, seen by others while connections come and go.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::connection::budget::MemoryBudget;
use crate::connection::{Connection, ConnectionParts};
use crate::node::registry::Registry;
use crate::node::subjects::Replacing;
use crate::protocol::closing_handshake::{CloseRequest, ReplyPolicy};
use crate::settings::{ConnectionSettings, Replace};
use crate::vocabulary::{
    Cause, Census, CensusLine, CloseCode, CloseState, ConnectionId, Direction, Ending, Fault, Kind,
    Origin, Role, Verdict,
};

fn connection(direction: Direction, route: Option<&str>) -> Arc<Connection> {
    let mut origin = Origin::new(direction);
    origin.route = route.map(str::to_owned);
    connection_of(origin)
}

fn connection_of(origin: Origin) -> Arc<Connection> {
    Arc::new(Connection::new(ConnectionParts {
        id: crate::vocabulary::ConnectionId::new(),
        role: Role::Server,
        origin: Arc::new(origin),
        settings: Arc::new(ConnectionSettings::default()),
        reply: ReplyPolicy::AtOnce,
        keeps_inbox: false,
        node: "test".into(),
        budget: Arc::new(MemoryBudget::new(1000)),
        grant: None,
    }))
}

/// The ending of a connection whose actor died.
fn ending_of(connection: &Connection) -> Ending {
    connection.draw_up_ending(connection.outcome_or(|| "a test was told to".to_owned()))
}

const DIED: Verdict = Verdict { kind: Kind::ActorFailed, fault: Fault::Local, cause: Cause::None };

fn line<'a>(census: &'a Census, direction: Direction, route: &str) -> &'a CensusLine {
    let mut lines = census.lines.iter();
    lines.find(|line| line.direction == direction && &*line.route == route).unwrap()
}

#[test]
fn opened_is_open_and_ended_at_every_instant() {
    const EACH: u64 = 2000;
    let registry = Registry::default();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let come_and_go = || {
            for _ in 0..EACH {
                let connection = connection(Direction::Inbound, None);
                let ending = ending_of(&connection);
                registry.insert(Arc::clone(&connection), None, None);
                assert!(registry.get(connection.id).is_some());
                assert!(registry.remove(&ending).is_some());
                assert!(registry.remove(&ending).is_none());
            }
        };
        let watcher = scope.spawn(|| {
            while !done.load(Ordering::SeqCst) {
                let accounting = registry.accounting();
                assert!(accounting.balances(), "{accounting:?}");
            }
        });
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(come_and_go)).collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        done.store(true, Ordering::SeqCst);
        watcher.join().unwrap();
    });
    let accounting = registry.accounting();
    assert_eq!((accounting.opened, accounting.open, accounting.ended), (4 * EACH, 0, 4 * EACH));
    assert!(registry.is_empty() && registry.all().is_empty());
}

#[test]
fn every_line_of_every_census_balances_and_no_message_is_lost_or_counted_twice() {
    const EACH: u64 = 2000;
    const STAYING: u64 = 500;
    let registry = Registry::default();
    let staying = || connection(Direction::Outbound, Some("stays"));
    (0..STAYING).for_each(|_| registry.insert(staying(), None, None));
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let come_and_go = |direction, route| {
            let registry = &registry;
            move || {
                for _ in 0..EACH {
                    let connection = connection(direction, route);
                    connection.counters.received(1);
                    let ending = ending_of(&connection);
                    registry.insert(Arc::clone(&connection), None, None);
                    connection.counters.received(1);
                    registry.remove(&ending).unwrap();
                    // As a broadcast may that had written just before the end.
                    connection.counters.sent(1, 1);
                }
            }
        };
        let watch = || {
            let (mut last_in, mut last_out, mut taken) = (0, 0, 0_u64);
            while !done.load(Ordering::SeqCst) {
                let census = registry.census();
                for line in &census.lines {
                    assert!(line.balances(), "{line:?}");
                }
                let opened: u64 = census.lines.iter().map(|line| line.opened).sum();
                // Each brings one message before it is entered and one before it leaves.
                let (least, most) = (opened - STAYING, 2 * (opened - STAYING));
                let later = registry.accounting().opened - opened;
                assert!(census.messages_in >= least, "{census:?}");
                assert!(census.messages_in <= most + 2 * later, "{census:?}");
                assert!(census.messages_in >= last_in && census.messages_out >= last_out);
                (last_in, last_out, taken) = (census.messages_in, census.messages_out, taken + 1);
            }
            taken
        };
        let watchers = [scope.spawn(watch), scope.spawn(watch)];
        let threads = [
            scope.spawn(come_and_go(Direction::Inbound, Some("chat"))),
            scope.spawn(come_and_go(Direction::Inbound, Some("feed"))),
            scope.spawn(come_and_go(Direction::Outbound, None)),
        ];
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        done.store(true, Ordering::SeqCst);
        for watcher in watchers {
            assert!(watcher.join().unwrap() > 0);
        }
    });
    let census = registry.census();
    assert_eq!(census.lines.len(), 4);
    for (direction, route) in
        [(Direction::Inbound, "chat"), (Direction::Inbound, "feed"), (Direction::Outbound, "")]
    {
        let line = line(&census, direction, route);
        assert_eq!((line.opened, line.open.total()), (EACH, 0));
        assert_eq!(line.ended, [(DIED, EACH)]);
    }
    let stays = line(&census, Direction::Outbound, "stays");
    assert_eq!((stays.open.of(CloseState::Open), stays.ended.len()), (STAYING, 0));
    assert_eq!(census.messages_in, 2 * 3 * EACH);
}

#[test]
fn routes_without_number_share_a_line_and_the_books_stay_small() {
    let registry = Registry::default();
    for n in 0..5000 {
        let connection = connection(Direction::Inbound, Some(&format!("route-{n}")));
        registry.insert(Arc::clone(&connection), None, None);
        registry.remove(&ending_of(&connection)).unwrap();
    }
    let census = registry.census();
    assert!(census.lines.iter().all(CensusLine::balances));
    assert_eq!(census.lines.iter().map(|line| line.opened).sum::<u64>(), 5000);
    assert_eq!(census.lines.len(), 4097);
    assert_eq!(line(&census, Direction::Inbound, "other").opened, 5000 - 4096);
}

/// Opens a connection of a subject; returns it, and which one goes.
fn enter(
    registry: &Registry,
    subject: &str,
    replacing: Replacing,
) -> (Arc<Connection>, Option<ConnectionId>) {
    let mut origin = Origin::new(Direction::Inbound);
    origin.subject = Some(subject.to_owned());
    let connection = connection_of(origin);
    registry.insert(Arc::clone(&connection), None, None);
    let goes = registry.replace(&connection, replacing).map(|goes| goes.id);
    (connection, goes)
}

#[test]
fn the_newcomer_is_the_one_whose_turn_is_later_whichever_comes_first() {
    let registry = Registry::default();
    let enter = |subject, rule, turn| enter(&registry, subject, Replacing { rule, turn });
    for (subject, rule) in [("ann", Replace::Oldest), ("bob", Replace::Newest)] {
        let (turn, late) = (registry.next_turn(), registry.next_turn());
        let (newcomer, goes) = enter(subject, rule, late);
        assert_eq!(goes, None);
        let (other, goes) = enter(subject, rule, turn);
        let due = if rule == Replace::Oldest { &other } else { &newcomer };
        assert_eq!(goes, Some(due.id), "{rule:?}");
        // The one that goes is not the one that stays.
        let (third, goes) = enter(subject, rule, registry.next_turn());
        let due = if rule == Replace::Oldest { &newcomer } else { &third };
        assert_eq!(goes, Some(due.id), "{rule:?}");
    }
    // One that is closing is no reason for an older one to go.
    let (turn, late) = (registry.next_turn(), registry.next_turn());
    let (closing, _) = enter("eve", Replace::Oldest, late);
    let frame = closing.own_frame(CloseCode::NORMAL, "bye");
    closing.close(CloseRequest::new(frame, Cause::Embedder));
    assert_eq!(enter("eve", Replace::Oldest, turn).1, None);
}

#[test]
fn a_subject_keeps_one_connection_and_no_trace_of_those_that_ended() {
    let registry = Registry::default();
    let open = |rule| enter(&registry, "ann", Replacing { rule, turn: registry.next_turn() });
    let (first, goes) = open(Replace::Oldest);
    assert_eq!(goes, None);
    let (second, goes) = open(Replace::Oldest);
    assert_eq!(goes, Some(first.id));
    let (third, goes) = open(Replace::Newest);
    assert_eq!(goes, Some(third.id), "the second one stays");
    let (unlimited, goes) = open(Replace::None);
    assert_eq!(goes, None);
    // The first one ends late.
    for ended in [&first, &third, &unlimited] {
        registry.remove(&ending_of(ended)).unwrap();
    }
    assert!(!registry.has_no_subjects());
    // One that closes keeps no other out.
    let frame = second.own_frame(CloseCode::NORMAL, "bye");
    second.close(CloseRequest::new(frame, Cause::Embedder));
    let (fourth, goes) = open(Replace::Newest);
    assert_eq!(goes, None);
    registry.remove(&ending_of(&second)).unwrap();
    let (fifth, goes) = open(Replace::Newest);
    assert_eq!(goes, Some(fifth.id));
    registry.remove(&ending_of(&fifth)).unwrap();
    registry.remove(&ending_of(&fourth)).unwrap();
    assert!(registry.has_no_subjects());
    let (_, goes) = open(Replace::Newest);
    assert_eq!(goes, None);
}
