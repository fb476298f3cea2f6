mod in_flight;

use std::cell::Cell;
use std::sync::Barrier;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::protocol::frame_scanner::{ControlOpcode, ScanLimits};
use crate::transport::websocket::{MessageReader, Piece};
use crate::vocabulary::CloseCode;

const MANY: u64 = 1 << 30;

fn outbox(role: Role, limit: u64, memory: u64) -> (Outbox, Arc<MemoryBudget>) {
    let budget = Arc::new(MemoryBudget::new(memory));
    (Outbox::new(role, limit, Arc::clone(&budget)), budget)
}

fn bye() -> CloseFrame {
    CloseFrame::coded(CloseCode::NORMAL, "bye")
}

/// What a message of so many bytes takes in memory while it waits.
fn held(len: usize) -> usize {
    Item::memory_of(len)
}

fn message(len: usize) -> Message {
    Message::binary(vec![7; len])
}

/// Takes at most `len` bytes of what is to be written next, as a kernel would.
fn write(outbox: &Outbox, scratch: &mut [u8], len: usize) -> Option<(Vec<u8>, Left)> {
    write_while(outbox, scratch, len, || ())
}

/// Likewise, and does something after the bytes were gathered and before the kernel has taken them.
fn write_while(
    outbox: &Outbox,
    scratch: &mut [u8],
    len: usize,
    meanwhile: impl FnOnce(),
) -> Option<(Vec<u8>, Left)> {
    let mut taken = Vec::new();
    let written = outbox.write(scratch, false, |bytes| {
        meanwhile();
        taken.extend_from_slice(&bytes[..len.min(bytes.len())]);
        Poll::Ready(Ok(taken.len()))
    });
    match written {
        Poll::Ready(None) => None,
        Poll::Ready(Some(Ok(left))) => Some((taken, left)),
        other => panic!("{other:?}"),
    }
}

/// Offers what is to be written next to a kernel that takes nothing; returns how much that was.
fn write_pending(outbox: &Outbox, scratch: &mut [u8], meanwhile: impl FnOnce()) -> usize {
    let mut offered = 0;
    let written = outbox.write(scratch, false, |bytes| {
        meanwhile();
        offered = bytes.len();
        Poll::Pending
    });
    assert!(written.is_pending());
    offered
}

fn write_all(outbox: &Outbox) -> Vec<u8> {
    let mut scratch = vec![0; 64 * 1024];
    std::iter::from_fn(|| write(outbox, &mut scratch, usize::MAX)).flat_map(|(b, _)| b).collect()
}

/// One frame as the other side reads it.
#[derive(Debug, PartialEq)]
pub(super) enum Seen {
    Message(Message),
    Control(ControlOpcode, Vec<u8>),
}

/// Reads what a `role` wrote.
pub(super) fn read(role: Role, mut bytes: &[u8]) -> Vec<Seen> {
    let peer = match role {
        Role::Server => Role::Client,
        Role::Client => Role::Server,
    };
    let limits = ScanLimits { max_frame_size: MANY, max_message_size: MANY };
    let mut reader = MessageReader::new(peer, limits);
    let mut seen = Vec::new();
    while !bytes.is_empty() {
        let (taken, piece) = reader.read(bytes);
        bytes = &bytes[taken..];
        let control = |opcode, payload: Box<[u8]>| Seen::Control(opcode, payload.into());
        seen.push(match piece {
            Piece::Part | Piece::Fragment => continue,
            Piece::Message(message) => Seen::Message(message),
            Piece::Ping(payload) => control(ControlOpcode::Ping, payload),
            Piece::Pong(payload) => control(ControlOpcode::Pong, payload),
            Piece::Close(payload) => control(ControlOpcode::Close, payload),
            Piece::Breach(breach) => panic!("broke {breach:?}"),
            Piece::Discarded(bytes) => panic!("{bytes} bytes were discarded"),
        });
    }
    seen
}

fn close_payload() -> Vec<u8> {
    b"\x03\xe8bye".to_vec()
}

#[test]
fn each_frame_of_a_client_has_a_key_of_its_own() {
    let (outbox, _) = outbox(Role::Client, MANY, MANY);
    for _ in 0..100 {
        outbox.try_push(&message(4), Instant::now()).unwrap();
    }
    let written = write_all(&outbox);
    // Two bytes of header, the key, and the payload.
    let keys: std::collections::HashSet<&[u8]> =
        written.chunks(10).map(|frame| &frame[2..6]).collect();
    // Two of a hundred random keys are equal once in a million runs, three never.
    assert!(keys.len() >= 99, "{} keys", keys.len());
}

#[test]
fn a_close_is_the_last_item_and_shuts_the_gate_in_one_step() {
    let (outbox, budget) = outbox(Role::Server, 1000, MANY);
    outbox.try_push(&message(1), Instant::now()).unwrap();
    let reports = Cell::new(0);
    let close = || outbox.close(&bye(), || reports.set(reports.get() + 1));
    assert!(close());
    assert!(!close());
    assert!(!outbox.close_decided(&CloseFrame::Empty, false));
    let refused = Err(Refused::Closing);
    assert_eq!(outbox.try_push(&message(1), Instant::now()), refused);
    assert_eq!(outbox.push_moved(&message(1), Instant::now()), refused);
    assert_eq!(outbox.push_over_oldest(&message(1), Instant::now()), refused);
    assert_eq!(outbox.shed_newest(&message(1)), refused);
    assert_eq!(reports.get(), 1);
    let seen = read(Role::Server, &write_all(&outbox));
    let close = Seen::Control(ControlOpcode::Close, close_payload());
    assert_eq!(seen, [Seen::Message(message(1)), close]);
    assert_eq!((outbox.end().0, budget.used()), (Lost::default(), 0));
}

#[test]
fn of_a_hundred_closes_at_once_one_is_accepted_and_no_message_follows_it() {
    for _ in 0..20 {
        let (outbox, budget) = outbox(Role::Server, MANY, MANY);
        let together = Barrier::new(100);
        let close = || {
            together.wait();
            let pushed = outbox.try_push(&message(8), Instant::now()).is_ok();
            (u64::from(pushed), usize::from(outbox.close(&bye(), || ())))
        };
        let (pushed, accepted) = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..100).map(|_| scope.spawn(close)).collect();
            let results = threads.into_iter().map(|thread| thread.join().unwrap());
            results.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
        });
        assert_eq!(accepted, 1);
        let seen = read(Role::Server, &write_all(&outbox));
        assert_eq!(seen.len() as u64, pushed + 1);
        assert_eq!(seen.last(), Some(&Seen::Control(ControlOpcode::Close, close_payload())));
        assert_eq!(budget.used(), 0);
    }
}

#[test]
fn pings_and_pongs_go_before_our_close_or_never() {
    let (outbox, _budget) = outbox(Role::Server, 1000, MANY);
    outbox.close(&bye(), || ());
    outbox.ping([1; 4]);
    outbox.pong(b"first");
    outbox.pong(b"last");
    let mut scratch = [0; 1024];
    let (mut bytes, _) = write(&outbox, &mut scratch, 3).unwrap();
    // Its first bytes are away: what comes now would have to follow the Close.
    let rest = write(&outbox, &mut scratch, usize::MAX).unwrap();
    assert!(rest.1.close);
    bytes.extend(rest.0);
    let opcodes: Vec<_> = read(Role::Server, &bytes)
        .into_iter()
        .map(|seen| match seen {
            Seen::Control(opcode, payload) => (opcode, payload),
            Seen::Message(message) => panic!("{message:?}"),
        })
        .collect();
    let expected = [
        (ControlOpcode::Pong, b"first".to_vec()),
        (ControlOpcode::Pong, b"last".to_vec()),
        (ControlOpcode::Ping, vec![1; 4]),
        (ControlOpcode::Close, close_payload()),
    ];
    assert_eq!(opcodes, expected);
    outbox.ping([2; 4]);
    outbox.pong(b"too late");
    assert!(outbox.is_empty() && write(&outbox, &mut scratch, 1).is_none());
}

#[test]
fn a_peer_that_pings_and_never_reads_makes_nothing_grow() {
    let (outbox, _budget) = outbox(Role::Server, 1000, MANY);
    let mut scratch = [0; 64];
    for n in 0..10_000_u32 {
        outbox.pong(&n.to_be_bytes());
        // Nothing of it is written: the peer's window is closed.
        assert!(write_pending(&outbox, &mut scratch, || ()) > 0);
    }
    let pongs = read(Role::Server, &write_all(&outbox));
    assert_eq!(pongs.len(), 32, "16 that had their place, 16 that waited");
    let newest = Seen::Control(ControlOpcode::Pong, 9_999_u32.to_be_bytes().to_vec());
    assert_eq!(pongs.last(), Some(&newest));
}

#[test]
fn nothing_follows_a_close_that_has_begun_to_leave() {
    let (outbox, _budget) = outbox(Role::Client, 1000, MANY);
    outbox.close(&bye(), || ());
    let mut scratch = [0; 1024];
    let (mut bytes, _) = write(&outbox, &mut scratch, 1).unwrap();
    outbox.ping([2; 4]);
    outbox.pong(b"too late");
    bytes.extend(write_all(&outbox));
    let close = Seen::Control(ControlOpcode::Close, close_payload());
    assert_eq!(read(Role::Client, &bytes), [close]);
    assert!(outbox.is_empty());
}

#[test]
fn a_pong_does_not_wait_until_a_long_queue_is_gone() {
    // Writes that always end inside a frame are what a full socket buffer looks like.
    let (outbox, _budget) = outbox(Role::Server, MANY, MANY);
    for _ in 0..10 {
        outbox.try_push(&message(100), Instant::now()).unwrap();
    }
    let mut scratch = [0; 150];
    let (mut bytes, _) = write(&outbox, &mut scratch, 50).unwrap();
    outbox.pong(b"here");
    outbox.ping([3; 4]);
    for _ in 0..4 {
        bytes.extend(write(&outbox, &mut scratch, 100).unwrap().0);
    }
    bytes.extend(write_all(&outbox));
    let seen = read(Role::Server, &bytes);
    let at = seen.iter().position(|seen| matches!(seen, Seen::Control(ControlOpcode::Pong, _)));
    assert_eq!((at, seen.len()), (Some(1), 12));
}

#[test]
fn the_bound_holds_but_for_one_message_that_is_always_admitted() {
    let limit = 2 * held(48);
    let (outbox, budget) = outbox(Role::Server, limit as u64, MANY);
    let now = Instant::now();
    outbox.try_push(&message(500), now).unwrap();
    assert!(!outbox.has_room());
    let full = Refused::Full { queued: held(500), limit };
    assert_eq!(outbox.try_push(&message(1), now), Err(full));
    write_all(&outbox);
    // Two of 48 bytes fill it to the brim.
    outbox.try_push(&message(48), now).unwrap();
    outbox.try_push(&message(48), now).unwrap();
    let full = Refused::Full { queued: limit, limit };
    assert_eq!(outbox.try_push(&message(0), now), Err(full));
    // What is shown is what goes onto the wire, what is charged is what it takes here.
    assert_eq!((outbox.backlog(), outbox.memory()), ((100, Some(now)), limit));
    assert_eq!(budget.used(), limit as u64);
    assert_eq!(outbox.end().0, Lost { messages: 2, bytes: 96 });
    assert_eq!(budget.used(), 0);
}

#[test]
fn the_oldest_give_way_and_are_counted_but_not_one_that_has_begun() {
    let limit = held(10) + held(86);
    let (outbox, budget) = outbox(Role::Server, limit as u64, MANY);
    let now = Instant::now();
    for len in [10, 20, 0] {
        outbox.try_push(&message(len), now).unwrap();
    }
    let mut scratch = [0; 1024];
    let (mut bytes, _) = write(&outbox, &mut scratch, 1).unwrap();
    outbox.push_over_oldest(&message(38), now).unwrap();
    // Even alone beside the one that has begun it would be too much: nothing is dropped for it.
    let full = Refused::Full { queued: held(10) + held(38), limit };
    outbox.push_over_oldest(&message(60), now).unwrap();
    outbox.push_over_oldest(&message(38), now).unwrap();
    assert_eq!(outbox.push_over_oldest(&message(87), now), Err(full));
    bytes.extend(write_all(&outbox));
    let lens: Vec<_> = read(Role::Server, &bytes)
        .into_iter()
        .map(|seen| match seen {
            Seen::Message(message) => message.len(),
            Seen::Control(..) => panic!("{seen:?}"),
        })
        .collect();
    assert_eq!(lens, [10, 38]);
    assert_eq!(outbox.end().0, Lost { messages: 4, bytes: 20 + 38 + 60 });
    assert_eq!(budget.used(), 0);
}

#[test]
fn empty_messages_are_charged_with_the_room_they_take() {
    let limit = 256 * 1024;
    let (outbox, budget) = outbox(Role::Server, limit, MANY);
    // As echo does: it looks for room, and takes one message more.
    let mut taken = 0_usize;
    while outbox.has_room() {
        outbox.push_moved(&Message::binary(Vec::new()), Instant::now()).unwrap();
        taken += 1;
    }
    let mut scratch = vec![0; 64 * 1024];
    assert_eq!(write_pending(&outbox, &mut scratch, || ()), 2 * taken);
    let slots = |outbox: &Outbox| outbox.queue.lock().line.slots() * size_of::<Item>();
    assert!((limit..limit + 100).contains(&budget.used()), "{}", budget.used());
    assert!(slots(&outbox) as u64 <= 2 * limit, "{} bytes of slots", slots(&outbox));
    // The slots go with what was in them, also where some always waits.
    write(&outbox, &mut scratch, 2 * (taken - 10)).unwrap();
    assert!(slots(&outbox) <= 64 * 1024, "{} bytes of slots for ten items", slots(&outbox));
    write_all(&outbox);
    assert!(slots(&outbox) <= 1024, "{} bytes of slots for nothing", slots(&outbox));
    assert_eq!(budget.used(), 0);
}

#[test]
fn the_newest_is_dropped_and_counted() {
    let (outbox, budget) = outbox(Role::Server, 10, MANY);
    outbox.shed_newest(&message(7)).unwrap();
    assert!(outbox.is_empty());
    assert_eq!((outbox.end().0, budget.used()), (Lost { messages: 1, bytes: 7 }, 0));
}

#[test]
fn without_memory_a_message_is_refused_or_takes_the_place_of_its_own_elders() {
    let limit = 50 + held(28) + 20;
    let (outbox, budget) = outbox(Role::Server, 1000, limit as u64);
    let now = Instant::now();
    budget.charge(50);
    outbox.try_push(&message(28), now).unwrap();
    let none = Refused::NoMemory { queued: held(28), limit };
    assert_eq!(outbox.try_push(&message(28), now), Err(none));
    assert_eq!(outbox.push_over_oldest(&message(29), now), Err(none));
    outbox.push_over_oldest(&message(27), now).unwrap();
    assert_eq!((outbox.backlog().0, budget.used()), (29, 50 + held(27) as u64));
    drop(outbox);
    assert_eq!(budget.used(), 50);
}

#[tokio::test(start_paused = true)]
async fn room_is_told_of_when_bytes_leave_and_when_the_gate_shuts() {
    let (outbox, _budget) = outbox(Role::Server, 10, MANY);
    let patience = Duration::from_secs(1);
    let full = || {
        let _ = outbox.try_push(&message(20), Instant::now());
        outbox.room()
    };
    let room = full();
    write_all(&outbox);
    assert!(tokio::time::timeout(patience, room).await.is_ok());
    let room = full();
    write(&outbox, &mut [0; 9], 1);
    assert!(tokio::time::timeout(patience, room).await.is_err());
    let room = full();
    outbox.close(&bye(), || ());
    assert!(tokio::time::timeout(patience, room).await.is_ok());
    let room = full();
    outbox.end();
    assert!(tokio::time::timeout(patience, room).await.is_ok());
}

/// What is put into an outbox.
#[derive(Debug, Clone)]
enum Put {
    Text(String),
    Binary(usize),
    Ping,
    Pong,
    Write(usize),
}

fn puts() -> impl Strategy<Value = Vec<Put>> {
    let put = prop_oneof![
        3 => ".{0,40}".prop_map(Put::Text),
        2 => (0_usize..300).prop_map(Put::Binary),
        1 => prop_oneof![Just(65_535_usize), Just(65_536), Just(16_384), Just(16_385), Just(40_000)]
            .prop_map(Put::Binary),
        1 => Just(Put::Ping),
        1 => Just(Put::Pong),
        4 => (1_usize..400).prop_map(Put::Write),
        1 => (1_usize..70_000).prop_map(Put::Write),
    ];
    proptest::collection::vec(put, 0..40)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Wherever writes are cut and however small the buffer is, the peer reads every message whole
    /// and in order, no control frame inside one, the Close last, and nothing stays charged.
    #[test]
    fn cut_anywhere_the_peer_reads_the_messages_in_order(
        puts in puts(),
        client in any::<bool>(),
        scratch in prop_oneof![1_usize..40, 100_usize..70_000],
        cuts in proptest::collection::vec(1_usize..5000, 1..20),
    ) {
        let role = if client { Role::Client } else { Role::Server };
        let (outbox, budget) = outbox(role, MANY, MANY);
        let mut scratch = vec![0; scratch];
        let mut bytes = Vec::new();
        let mut sent = Vec::new();
        let mut left = Left::default();
        let mut take = |outbox: &Outbox, len, bytes: &mut Vec<u8>| match write(outbox, &mut scratch, len) {
            None => false,
            Some((written, gone)) => {
                assert!(!written.is_empty());
                bytes.extend(written);
                left.messages += gone.messages;
                left.payload_bytes += gone.payload_bytes;
                left.close |= gone.close;
                true
            }
        };
        for put in puts {
            match put {
                Put::Text(text) => sent.push(Message::from(text)),
                Put::Binary(len) => sent.push(message(len)),
                Put::Ping => { outbox.ping([9; 4]); continue }
                Put::Pong => { outbox.pong(b"pong"); continue }
                Put::Write(len) => { take(&outbox, len, &mut bytes); continue }
            }
            outbox.try_push(sent.last().unwrap(), Instant::now()).unwrap();
        }
        prop_assert!(outbox.close(&bye(), || ()));
        let mut cuts = cuts.iter().cycle();
        while take(&outbox, *cuts.next().unwrap(), &mut bytes) {}
        prop_assert!(outbox.is_empty());

        let mut seen = read(role, &bytes);
        prop_assert_eq!(seen.pop(), Some(Seen::Control(ControlOpcode::Close, close_payload())));
        let messages: Vec<_> = seen.into_iter().filter_map(|seen| match seen {
            Seen::Message(message) => Some(message),
            Seen::Control(..) => None,
        }).collect();
        prop_assert_eq!(&messages, &sent);
        let payload: usize = sent.iter().map(Message::len).sum();
        prop_assert_eq!((left.messages, left.payload_bytes, left.close), (sent.len() as u64, payload as u64, true));
        prop_assert_eq!(budget.used(), 0);
    }
}

#[test]
fn what_a_direct_write_leaves_behind_follows_in_its_place() {
    for role in [Role::Server, Role::Client] {
        let (outbox, _) = outbox(role, MANY, MANY);
        let prepared = Prepared::new(message(1000));
        let mut wire = Vec::new();
        let mut take = |bytes: &[u8], len: usize| {
            wire.extend_from_slice(&bytes[..len.min(bytes.len())]);
            len.min(bytes.len())
        };
        let now = Instant::now();
        let mut send = |len| outbox.try_push_writing(&prepared, now, |bytes| take(bytes, len));
        assert_eq!(send(usize::MAX), Ok(true));
        assert_eq!(send(300), Ok(false));
        assert_eq!(send(usize::MAX), Ok(false), "another waits before it");
        wire.extend(write_all(&outbox));
        let expected: Vec<_> = (0..3).map(|_| Seen::Message(message(1000))).collect();
        assert_eq!(read(role, &wire), expected);
        assert_eq!(outbox.backlog().0, 0);
    }
}
