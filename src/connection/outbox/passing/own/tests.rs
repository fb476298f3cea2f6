use std::sync::Arc;
use std::task::Poll;

use proptest::prelude::*;

use crate::connection::budget::MemoryBudget;
use crate::connection::outbox::item::Item;
use crate::connection::outbox::tests::{Seen, read};
use crate::connection::outbox::{Left, Outbox, Passable, Prepared, Refused};
use crate::protocol::frame_encoder::{EncodedHeader, Opcode};
use crate::protocol::frame_scanner::ControlOpcode;
use crate::protocol::passage::MessageEnd;
use crate::runtime::now;
use crate::vocabulary::{CloseCode, CloseFrame, Message, Role};

fn leg(limit: u64) -> (Outbox, Arc<MemoryBudget>) {
    let budget = Arc::new(MemoryBudget::new(1 << 20));
    let outbox = Outbox::new(Role::Server, limit, Arc::clone(&budget));
    outbox.make_leg(true);
    (outbox, budget)
}

/// Passes one frame, of which the kernel takes all if nothing waits before it.
fn pass(outbox: &Outbox, bytes: &[u8], unfinished: Option<u64>) {
    let ends = [MessageEnd { at: bytes.len(), payload: 1 }];
    let ends = if unfinished.is_none() { &ends[..] } else { &[] };
    let passable = Passable { bytes, ends_frame: true, ends, unfinished };
    outbox.pass(passable, now(), <[u8]>::len).unwrap();
}

fn say(outbox: &Outbox, text: &str) -> Result<(), Refused> {
    outbox.try_push(&Message::text(text), now())
}

/// What a message of so many bytes takes in memory while it waits.
fn held(len: usize) -> usize {
    Item::memory_of(len)
}

fn close(outbox: &Outbox) -> bool {
    let frame = CloseFrame::coded(CloseCode::NORMAL, "");
    outbox.close(&frame, || ())
}

fn written(outbox: &Outbox) -> Vec<u8> {
    let (mut all, mut scratch) = (Vec::new(), [0; 1024]);
    while take(outbox, &mut scratch, usize::MAX, &mut all).is_some() {}
    all
}

/// Takes at most `len` bytes of what is to be written next; returns how many messages left whole.
fn take(outbox: &Outbox, scratch: &mut [u8], len: usize, bytes: &mut Vec<u8>) -> Option<u64> {
    let written = outbox.write(scratch, false, |offered| {
        let taken = len.min(offered.len());
        bytes.extend(&offered[..taken]);
        Poll::Ready(Ok(taken))
    });
    match written {
        Poll::Ready(written) => Some(written?.unwrap().messages),
        Poll::Pending => panic!("the kernel takes what it is offered"),
    }
}

const BYE: &[u8] = b"\x88\x02\x03\xe8";

#[test]
fn between_messages_it_goes_at_once() {
    let (outbox, _) = leg(1000);
    say(&outbox, "a").unwrap();
    pass(&outbox, b"[whole]", None);
    let prepared = Prepared::new(Message::text("b"));
    assert!(!outbox.try_push_writing(&prepared, now(), |_| unreachable!()).unwrap());
    assert_eq!(written(&outbox), b"\x81\x01a[whole]\x81\x01b");
    assert!(outbox.try_push_writing(&prepared, now(), <[u8]>::len).unwrap());
}

#[test]
fn between_fragments_it_waits_for_the_last_and_goes_before_the_next_message() {
    let (outbox, budget) = leg(1000);
    pass(&outbox, b"[begun]", Some(1));
    say(&outbox, "a").unwrap();
    let prepared = Prepared::new(Message::text("b"));
    assert!(!outbox.try_push_writing(&prepared, now(), |_| unreachable!()).unwrap());
    assert_eq!((outbox.backlog().0, outbox.memory(), written(&outbox)), (6, 2 * held(1), vec![]));
    assert_eq!(budget.used(), 2 * held(1) as u64);
    assert!(outbox.backlog().1.is_some() && outbox.waiting().0.messages == 2);
    outbox.pong(b"!");
    assert_eq!(written(&outbox), b"\x8a\x01!");
    // The end, and the next message, in one run.
    let ends = [MessageEnd { at: 5, payload: 1 }, MessageEnd { at: 11, payload: 1 }];
    let passable =
        Passable { bytes: b"[end][next]", ends_frame: true, ends: &ends, unfinished: None };
    let passed = outbox.pass(passable, now(), <[u8]>::len).unwrap();
    assert_eq!((passed.left.messages, passed.queued), (1, true));
    assert_eq!(written(&outbox), b"\x81\x01a\x81\x01b[next]");
    assert_eq!((outbox.backlog().0, budget.used()), (0, 0));
}

#[test]
fn what_waits_fills_the_outbox_and_holds_nobody_up() {
    let (outbox, _) = leg(10);
    pass(&outbox, b"[begun]", Some(1));
    say(&outbox, "12345678").unwrap();
    assert_eq!(say(&outbox, "x"), Err(Refused::Full { queued: held(8), limit: 10 }));
    assert!(outbox.has_room_to_pass(), "or its end could never come");
    // What waits may give way, what passes never does.
    outbox.push_over_oldest(&Message::text("y"), now()).unwrap();
    pass(&outbox, b"[end]", None);
    assert_eq!(written(&outbox), b"\x81\x01y");
    let lost = outbox.end().0;
    assert_eq!((lost.messages, lost.bytes), (1, 8));
}

#[test]
fn what_passes_is_never_shed() {
    let (outbox, _) = leg(10);
    let passable = Passable { bytes: &[7; 9], ends_frame: true, ends: &[], unfinished: Some(1) };
    outbox.pass(passable, now(), |_| 0).unwrap();
    let full = Err(Refused::Full { queued: outbox.memory(), limit: 10 });
    assert_eq!(outbox.push_over_oldest(&Message::text("x"), now()), full);
    assert_eq!(written(&outbox), [7; 9]);
}

#[test]
fn a_close_comes_after_the_messages_that_were_accepted_before() {
    let (outbox, budget) = leg(1000);
    pass(&outbox, b"[begun]", Some(1));
    say(&outbox, "a").unwrap();
    assert!(close(&outbox));
    assert_eq!(say(&outbox, "late"), Err(Refused::Closing));
    pass(&outbox, b"[more]", Some(1));
    assert_eq!(written(&outbox), b"");
    pass(&outbox, b"[end]", None);
    assert_eq!(written(&outbox), [b"\x81\x01a", BYE].concat());
    assert!(budget.used() == 0 && outbox.is_empty());
}

#[test]
fn a_close_goes_at_the_first_end_of_a_message_and_nothing_passes_behind_it() {
    for own in [true, false] {
        let (outbox, budget) = leg(1000);
        if own {
            pass(&outbox, b"[begun]", Some(1));
            say(&outbox, "a").unwrap();
        } else {
            // It waits for the end of a frame only.
            let passable =
                Passable { bytes: b"[beg", ends_frame: false, ends: &[], unfinished: Some(1) };
            outbox.pass(passable, now(), <[u8]>::len).unwrap();
        }
        assert!(close(&outbox));
        // The end, a whole message, and the beginning of another that may never end.
        let ends = [MessageEnd { at: 5, payload: 1 }, MessageEnd { at: 11, payload: 1 }];
        let passable = Passable {
            bytes: b"[end][next][begun",
            ends_frame: false,
            ends: &ends,
            unfinished: Some(5),
        };
        let passed = outbox.pass(passable, now(), |_| 0).unwrap();
        assert_eq!((passed.queued, passed.refused), (true, 1));
        let said = if own { &b"\x81\x01a"[..] } else { b"" };
        assert_eq!(written(&outbox), [b"[end]", said, BYE].concat());
        assert!(outbox.pass(passable, now(), |_| 0).is_err() && !outbox.end_passing());
        assert_eq!((outbox.end().0.messages, budget.used()), (0, 0));
    }
}

#[test]
fn a_close_of_ours_and_a_lost_leg_wait_for_no_end() {
    let (outbox, budget) = leg(1000);
    pass(&outbox, b"[begun]", Some(1));
    say(&outbox, "a").unwrap();
    assert!(outbox.close_decided(&CloseFrame::coded(CloseCode::NORMAL, ""), false));
    assert_eq!((&*written(&outbox), budget.used()), (BYE, 0));

    let (outbox, budget) = leg(1000);
    pass(&outbox, b"[begun]", Some(1));
    say(&outbox, "abc").unwrap();
    assert!(close(&outbox));
    assert!(!outbox.end_passing());
    assert_eq!((&*written(&outbox), budget.used()), (BYE, 0));
    // The message that was cut short, and ours.
    let lost = outbox.end().0;
    assert_eq!((lost.messages, lost.bytes), (2, 4));

    let (outbox, _) = leg(1000);
    pass(&outbox, b"[begun]", Some(1));
    outbox.end_passing();
    assert_eq!(say(&outbox, "a"), Err(Refused::Closing));
}

/// One frame of the other leg.
#[derive(Debug, Clone)]
struct Fragment {
    len: usize,
    fin: bool,
}

/// What happens next.
#[derive(Debug, Clone)]
enum Step {
    /// So many bytes pass on, of which the kernel takes some at once.
    Pass(usize, usize),
    Say(usize),
    Broadcast(usize, usize),
    Ping,
    Write(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (1_usize..60, 0_usize..60).prop_map(|(len, taken)| Step::Pass(len, taken)),
        2 => (0_usize..30).prop_map(Step::Say),
        1 => (0_usize..30, 0_usize..30).prop_map(|(len, taken)| Step::Broadcast(len, taken)),
        1 => Just(Step::Ping),
        2 => (1_usize..80).prop_map(Step::Write),
    ]
}

/// The bytes of fragments, and what is known of each place in them.
#[derive(Default)]
struct Stream {
    bytes: Vec<u8>,
    frame_ends: Vec<usize>,
    ends: Vec<MessageEnd>,
    messages: Vec<Message>,
}

impl Stream {
    fn of(fragments: &[Fragment]) -> Self {
        let (mut stream, mut message) = (Self::default(), None::<Vec<u8>>);
        for Fragment { len, fin } in fragments {
            let payload = vec![b'p'; *len];
            let header = EncodedHeader::new(Opcode::Binary, *len, None);
            let at = stream.bytes.len();
            stream.bytes.extend([header.as_bytes(), &payload].concat());
            stream.bytes[at] = if message.is_none() { 2 } else { 0 } | if *fin { 0x80 } else { 0 };
            message.get_or_insert_default().extend(payload);
            stream.frame_ends.push(stream.bytes.len());
            if *fin && let Some(payload) = message.take() {
                let (at, len) = (stream.bytes.len(), payload.len() as u64);
                stream.ends.push(MessageEnd { at, payload: len });
                stream.messages.push(Message::binary(payload));
            }
        }
        stream
    }

    fn pass(&self, outbox: &Outbox, from: usize, to: usize, taken: usize) -> Left {
        let in_run = self.ends.iter().filter(|end| (from + 1..=to).contains(&end.at));
        let ends: Vec<_> = in_run.map(|end| MessageEnd { at: end.at - from, ..*end }).collect();
        let between = to == 0 || self.ends.iter().any(|end| end.at == to);
        let passable = Passable {
            bytes: &self.bytes[from..to],
            ends_frame: self.frame_ends.contains(&to),
            ends: &ends,
            unfinished: (!between).then_some(0),
        };
        outbox.pass(passable, now(), |bytes| taken.min(bytes.len())).unwrap().left
    }
}

proptest! {
    /// Wherever what passes is cut, whoever speaks beside it and however slow the kernel is: both
    /// arrive whole, each in its order, never one inside of the other, the Close last, and the
    /// counts are exact.
    #[test]
    fn both_arrive_whole_and_in_order(
        fragments in proptest::collection::vec(
            (0_usize..40, any::<bool>()).prop_map(|(len, fin)| Fragment { len, fin }), 1..30),
        steps in proptest::collection::vec(step(), 1..80),
    ) {
        let fragments: Vec<_> =
            fragments.into_iter().chain([Fragment { len: 1, fin: true }]).collect();
        let stream = Stream::of(&fragments);
        let (outbox, budget) = leg(1 << 20);
        let (mut bytes, mut at, mut said, mut left) = (Vec::new(), 0, Vec::new(), 0);
        let mut scratch = [0; 64];
        for step in steps {
            match step {
                Step::Pass(len, taken) => {
                    let to = (at + len).min(stream.bytes.len());
                    if to > at {
                        let queued = outbox.backlog().0;
                        left += stream.pass(&outbox, at, to, taken).messages;
                        // What the kernel took is what is not queued.
                        let took = to - at - (outbox.backlog().0 - queued);
                        bytes.extend(&stream.bytes[at..at + took]);
                        at = to;
                    }
                }
                Step::Say(len) => {
                    said.push(Message::text("s".repeat(len)));
                    outbox.try_push(&said[said.len() - 1], now()).unwrap();
                }
                Step::Broadcast(len, taken) => {
                    said.push(Message::text("s".repeat(len)));
                    let prepared = Prepared::new(said[said.len() - 1].clone());
                    let whole = outbox.try_push_writing(&prepared, now(), |frame| {
                        let taken = taken.min(frame.len());
                        bytes.extend(&frame[..taken]);
                        taken
                    });
                    left += u64::from(whole.unwrap());
                }
                Step::Ping => outbox.ping([9; 4]),
                Step::Write(len) => {
                    left += take(&outbox, &mut scratch, len, &mut bytes).unwrap_or_default();
                }
            }
        }
        // It is closed while something may be half passed on, and the rest comes afterwards.
        prop_assert!(close(&outbox));
        if outbox.queue.lock().holds_close() {
            let to = match stream.ends.iter().find(|end| end.at > at) {
                Some(end) => end.at,
                None => stream.bytes.len(),
            };
            stream.pass(&outbox, at, to, 0);
            at = to;
        }
        while let Some(messages) = take(&outbox, &mut scratch, usize::MAX, &mut bytes) {
            left += messages;
        }
        prop_assert_eq!(budget.used(), 0);
        let whole = stream.ends.iter().filter(|end| end.at <= at).count();
        if stream.frame_ends.contains(&at) || at == 0 {
            prop_assert!(!outbox.queue.lock().holds_close());
        }
        // A Close may end a message between two fragments; the reader then gives what was whole.
        let seen = read(Role::Server, &bytes);
        let (mut passed, mut own, mut last) = (Vec::new(), Vec::new(), None);
        for seen in seen {
            last = None;
            match seen {
                Seen::Message(message @ Message::Binary(_)) => passed.push(message),
                Seen::Message(message @ Message::Text(_)) => own.push(message),
                Seen::Control(opcode, _) => last = Some(opcode),
            }
        }
        prop_assert_eq!(&passed[..], &stream.messages[..whole]);
        prop_assert_eq!(left as usize, passed.len() + own.len());
        prop_assert_eq!(own, said);
        prop_assert_eq!(last, Some(ControlOpcode::Close));
    }
}
