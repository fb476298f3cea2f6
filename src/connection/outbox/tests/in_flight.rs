//! What others do while a write is under way: between gathering the bytes and landing them.

use std::task::Poll;
use std::time::Instant;

use proptest::prelude::*;

use super::*;

/// A text of one letter, so that a frame with bytes of another inside is seen.
fn letters(letter: u8, len: usize) -> Message {
    Message::text(String::from(char::from(letter)).repeat(len))
}

fn slow_consumer() -> CloseFrame {
    CloseFrame::coded(CloseCode::TRY_AGAIN_LATER, "slow consumer")
}

fn messages(seen: Vec<Seen>) -> Vec<Message> {
    let message = |seen| match seen {
        Seen::Message(message) => message,
        Seen::Control(opcode, payload) => panic!("{opcode:?} {payload:?}"),
    };
    seen.into_iter().map(message).collect()
}

#[test]
fn a_close_that_sheds_what_waits_leaves_what_is_in_flight() {
    for role in [Role::Server, Role::Client] {
        // A header alone, a part of a payload, and more than one frame.
        for taken in [1, 4, 300, 1010, 1020, usize::MAX] {
            let (outbox, budget) = outbox(role, MANY, MANY);
            for letter in [b'a', b'b', b'c', b'd'] {
                outbox.try_push(&letters(letter, 1000), Instant::now()).unwrap();
            }
            let mut scratch = [0; 1500];
            let overflow = || assert!(outbox.close_decided(&slow_consumer(), true));
            let (mut bytes, left) = write_while(&outbox, &mut scratch, taken, overflow).unwrap();
            assert!(!left.close);
            bytes.extend(write_all(&outbox));
            let mut seen = read(role, &bytes);
            let close = slow_consumer().payload().to_vec();
            assert_eq!(seen.pop(), Some(Seen::Control(ControlOpcode::Close, close)));
            assert_eq!(messages(seen), [letters(b'a', 1000), letters(b'b', 1000)], "{taken}");
            assert_eq!(outbox.end().0, Lost { messages: 2, bytes: 2000 });
            assert_eq!(budget.used(), 0);
        }
    }
}

#[test]
fn a_large_message_in_flight_is_not_shed_either() {
    let (outbox, budget) = outbox(Role::Server, MANY, MANY);
    outbox.try_push(&letters(b'a', 100_000), Instant::now()).unwrap();
    let mut scratch = vec![0; 64 * 1024];
    // Its header leaves first.
    let overflow = || assert!(outbox.close_decided(&slow_consumer(), true));
    let (mut bytes, _) = write_while(&outbox, &mut scratch, usize::MAX, overflow).unwrap();
    assert_eq!(bytes.len(), 10);
    bytes.extend(write_all(&outbox));
    let seen = read(Role::Server, &bytes);
    assert_eq!((seen.len(), &seen[0]), (2, &Seen::Message(letters(b'a', 100_000))));
    assert_eq!((outbox.end().0, budget.used()), (Lost::default(), 0));
}

#[test]
fn the_oldest_that_give_way_are_not_those_in_flight() {
    let (outbox, budget) = outbox(Role::Server, 3 * held(98) as u64, MANY);
    let now = Instant::now();
    for letter in [b'a', b'b', b'c'] {
        outbox.try_push(&letters(letter, 98), now).unwrap();
    }
    // The first and a part of the second are in flight; they take no room for this moment.
    let mut scratch = [0; 150];
    let push = || {
        for letter in [b'd', b'e', b'f', b'g'] {
            outbox.push_over_oldest(&letters(letter, 98), now).unwrap();
        }
    };
    let (mut bytes, _) = write_while(&outbox, &mut scratch, 1, push).unwrap();
    // Of those that are still here, one cannot be dropped: the first has begun.
    outbox.push_over_oldest(&letters(b'h', 98), now).unwrap();
    assert!(outbox.backlog().0 <= 300);
    bytes.extend(write_all(&outbox));
    let expected = [b'a', b'g', b'h'].map(|letter| letters(letter, 98));
    assert_eq!(messages(read(Role::Server, &bytes)), expected);
    assert_eq!(outbox.end().0, Lost { messages: 5, bytes: 5 * 98 });
    assert_eq!(budget.used(), 0);
}

#[test]
fn what_a_pending_write_did_not_take_can_be_dropped_again() {
    let (outbox, budget) = outbox(Role::Server, 3 * held(98) as u64, MANY);
    let now = Instant::now();
    for letter in [b'a', b'b', b'c'] {
        outbox.try_push(&letters(letter, 98), now).unwrap();
    }
    let mut scratch = [0; 1024];
    assert_eq!(write_pending(&outbox, &mut scratch, || ()), 300);
    outbox.push_over_oldest(&letters(b'd', 98), now).unwrap();
    assert_eq!(write_pending(&outbox, &mut scratch, || ()), 300);
    // So can what a write that failed did not take.
    let failed =
        outbox.write(&mut scratch, false, |_| Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())));
    assert!(matches!(failed, Poll::Ready(Some(Err(_)))));
    assert!(outbox.close_decided(&slow_consumer(), true));
    let close = Seen::Control(ControlOpcode::Close, slow_consumer().payload().to_vec());
    assert_eq!(read(Role::Server, &write_all(&outbox)), [close]);
    assert_eq!((outbox.end().0.messages, budget.used()), (4, 0));
}

#[test]
fn what_a_transport_may_hold_is_offered_again_before_all_else() {
    let (outbox, budget) = outbox(Role::Server, 3 * held(98) as u64, MANY);
    let now = Instant::now();
    for letter in [b'a', b'b', b'c'] {
        outbox.try_push(&letters(letter, 98), now).unwrap();
    }
    // As OpenSSL does: it has encrypted what it was offered, and cannot send it.
    let (mut scratch, mut encrypted) = ([0; 150], Vec::new());
    let pending = outbox.write(&mut scratch, true, |bytes| {
        encrypted = bytes.to_vec();
        Poll::Pending
    });
    assert!(pending.is_pending());
    outbox.pong(b"now");
    outbox.push_over_oldest(&letters(b'd', 98), now).unwrap();
    assert!(outbox.close_decided(&slow_consumer(), true));
    let mut wire = Vec::new();
    let written = outbox.write(&mut scratch, true, |bytes| {
        assert!(bytes.starts_with(&encrypted));
        wire.extend_from_slice(&encrypted);
        Poll::Ready(Ok(encrypted.len()))
    });
    assert!(written.is_ready());
    wire.extend(write_all(&outbox));
    let control = |opcode, payload: &[u8]| Seen::Control(opcode, payload.to_vec());
    let expected = [
        Seen::Message(letters(b'a', 98)),
        Seen::Message(letters(b'b', 98)),
        control(ControlOpcode::Pong, b"now"),
        control(ControlOpcode::Close, &slow_consumer().payload()),
    ];
    assert_eq!(read(Role::Server, &wire), expected);
    assert_eq!((outbox.end().0.messages, budget.used()), (2, 0));
}

#[test]
fn what_is_put_in_meanwhile_goes_behind_what_is_in_flight() {
    let (outbox, _budget) = outbox(Role::Server, MANY, MANY);
    let now = Instant::now();
    outbox.try_push(&letters(b'a', 50), now).unwrap();
    outbox.pong(b"first");
    let mut scratch = [0; 1024];
    let (mut bytes, left) = write_while(&outbox, &mut scratch, 7, || {
        outbox.pong(b"second");
        outbox.ping([1; 4]);
        outbox.try_push(&letters(b'b', 50), now).unwrap();
        let prepared = Prepared::new(letters(b'c', 50));
        let direct =
            outbox.try_push_writing(&prepared, now, |_| unreachable!("a write is under way"));
        assert_eq!(direct, Ok(false));
        assert!(outbox.close(&bye(), || ()));
        assert!(!outbox.is_empty());
    })
    .unwrap();
    assert!(left.more);
    bytes.extend(write_all(&outbox));
    let control = |opcode, payload: &[u8]| Seen::Control(opcode, payload.to_vec());
    let expected = [
        control(ControlOpcode::Pong, b"first"),
        control(ControlOpcode::Pong, b"second"),
        control(ControlOpcode::Ping, &[1; 4]),
        Seen::Message(letters(b'a', 50)),
        Seen::Message(letters(b'b', 50)),
        Seen::Message(letters(b'c', 50)),
        control(ControlOpcode::Close, &close_payload()),
    ];
    assert_eq!(read(Role::Server, &bytes), expected);
}

#[test]
fn what_ends_while_it_is_in_flight_is_lost_once() {
    let (outbox, budget) = outbox(Role::Server, MANY, MANY);
    for letter in [b'a', b'b'] {
        outbox.push_moved(&letters(letter, 50), Instant::now()).unwrap();
    }
    let mut lost = Lost::default();
    let end = || lost = outbox.end().0;
    let (_, left) = write_while(&outbox, &mut [0; 1024], 60, end).unwrap();
    // Nobody will say any more what the kernel made of them.
    assert_eq!((left.messages, left.close, left.more), (0, false, false));
    assert_eq!(lost, Lost { messages: 2, bytes: 100 });
    assert_eq!((outbox.end().0, budget.used()), (Lost::default(), 0));
    assert!(outbox.is_empty() && write(&outbox, &mut [0; 1024], 1).is_none());
}

/// What somebody does.
#[derive(Debug, Clone)]
enum Act {
    Push(usize),
    PushOverOldest(usize),
    Broadcast(usize, usize),
    Moved(usize),
    Ping,
    Pong,
    Overflow,
    Close,
}

/// What becomes of a write.
#[derive(Debug, Clone)]
enum Write {
    Takes(usize),
    Pends,
    Fails,
}

fn act() -> impl Strategy<Value = Act> {
    let len = prop_oneof![4 => 0_usize..400, 1 => 16_000_usize..40_000];
    prop_oneof![
        4 => len.clone().prop_map(Act::Push),
        4 => len.clone().prop_map(Act::PushOverOldest),
        2 => (len.clone(), 0_usize..500).prop_map(|(len, taken)| Act::Broadcast(len, taken)),
        2 => len.prop_map(Act::Moved),
        1 => Just(Act::Ping),
        2 => Just(Act::Pong),
    ]
}

fn round() -> impl Strategy<Value = (Vec<Act>, Write, Vec<Act>)> {
    let write = prop_oneof![
        4 => (1_usize..2_000).prop_map(Write::Takes),
        1 => Just(Write::Takes(usize::MAX)),
        2 => Just(Write::Pends),
        1 => Just(Write::Fails),
    ];
    let acts = || proptest::collection::vec(act(), 0..6);
    (acts(), write, acts())
}

proptest! {
    /// Whoever does what while a write is under way: the peer reads whole frames of one letter
    /// each, in the order in which they were accepted, the Close last; what did not arrive is
    /// counted as lost, and no memory stays charged.
    #[test]
    fn nothing_that_is_done_meanwhile_tears_a_frame(
        rounds in proptest::collection::vec(round(), 1..20),
        close in prop_oneof![Just(Act::Overflow), Just(Act::Close)],
        closes_in_flight in any::<bool>(),
        client in any::<bool>(),
        scratch in prop_oneof![Just(20_usize), Just(700), Just(64 * 1024)],
    ) {
        let role = if client { Role::Client } else { Role::Server };
        let (outbox, budget) = outbox(role, 1_000, 100_000);
        let wire = std::cell::RefCell::new(Vec::new());
        let accepted = std::cell::RefCell::new(Vec::new());
        let mut scratch = vec![0; scratch];
        let act = |act: &Act| {
            let now = Instant::now();
            let letter = b'a' + (accepted.borrow().len() % 26) as u8;
            let (message, taken) = match *act {
                Act::Push(len) => (letters(letter, len), None),
                Act::PushOverOldest(len) | Act::Moved(len) => (letters(letter, len), None),
                Act::Broadcast(len, taken) => (letters(letter, len), Some(taken)),
                Act::Ping => return outbox.ping([1; 4]),
                Act::Pong => return outbox.pong(b"pong"),
                Act::Overflow => return assert!(outbox.close_decided(&slow_consumer(), true)),
                Act::Close => return assert!(outbox.close(&bye(), || ())),
            };
            let pushed = match act {
                Act::PushOverOldest(_) => outbox.push_over_oldest(&message, now).is_ok(),
                Act::Moved(_) => outbox.push_moved(&message, now).is_ok(),
                Act::Broadcast(..) => {
                    let prepared = Prepared::new(message.clone());
                    let write = |bytes: &[u8]| {
                        let taken = taken.unwrap_or(0).min(bytes.len());
                        wire.borrow_mut().extend_from_slice(&bytes[..taken]);
                        taken
                    };
                    outbox.try_push_writing(&prepared, now, write).is_ok()
                }
                _ => outbox.try_push(&message, now).is_ok(),
            };
            if pushed {
                accepted.borrow_mut().push(message);
            }
        };
        let write = |outcome: &Write, scratch: &mut [u8], meanwhile: &[&Act]| {
            outbox.write(scratch, false, |bytes| {
                meanwhile.iter().for_each(|one| act(one));
                match outcome {
                    Write::Takes(len) => {
                        let taken = (*len).min(bytes.len());
                        wire.borrow_mut().extend_from_slice(&bytes[..taken]);
                        Poll::Ready(Ok(taken))
                    }
                    Write::Pends => Poll::Pending,
                    Write::Fails => Poll::Ready(Err(io::ErrorKind::Interrupted.into())),
                }
            })
        };
        let last = rounds.len() - 1;
        for (n, (before, outcome, meanwhile)) in rounds.iter().enumerate() {
            before.iter().for_each(act);
            let mut meanwhile: Vec<_> = meanwhile.iter().collect();
            if n == last && closes_in_flight && !outbox.is_empty() {
                meanwhile.push(&close);
            }
            let _ = write(outcome, &mut scratch, &meanwhile);
        }
        if outbox.is_open() {
            act(&close);
        }
        while !outbox.is_empty() {
            let _ = write(&Write::Takes(usize::MAX), &mut scratch, &[]);
        }
        let lost = outbox.end().0;
        let mut seen = read(role, &wire.borrow());
        let last = seen.pop();
        prop_assert!(matches!(last, Some(Seen::Control(ControlOpcode::Close, _))), "{:?}", last);
        let arrived: Vec<_> = seen.into_iter().filter_map(|seen| match seen {
            Seen::Message(message) => Some(message),
            Seen::Control(..) => None,
        }).collect();
        let accepted = accepted.into_inner();
        prop_assert_eq!(arrived.len() as u64 + lost.messages, accepted.len() as u64);
        let mut left = accepted.iter();
        for message in &arrived {
            prop_assert!(left.any(|one| one == message), "out of order");
        }
        prop_assert_eq!(budget.used(), 0);
    }
}
