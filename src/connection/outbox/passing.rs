//! What the other leg of a relay passes on: its frames as they came, in pieces where they are large.
//!
//! Frames of our own go in only where a frame ends (RFC 6455 section 5.4 lets control frames come
//! between fragments, never inside a frame). So a Close that is accepted while a frame is half
//! passed on is held until the rest of it has come; until then, and only then, that is still taken.
//! A message of our own, where the route lets one in, waits for the end of a whole message.

mod own;

use std::time::Instant;

use bytes::Bytes;

use super::amounts::{Left, Lost};
use super::item::{Carries, Item, PassedRun};
use super::leg::{Own, Passing};
use super::queue::{Gate, Queue};
use super::{Outbox, Refused, refusal};
use crate::protocol::passage::MessageEnd;
use crate::vocabulary::Message;

/// What passes on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Passable<'a> {
    pub(crate) bytes: &'a [u8],
    /// The last of them is the last of a frame.
    pub(crate) ends_frame: bool,
    /// The messages that end in them.
    pub(crate) ends: &'a [MessageEnd],
    /// The payload that has passed of the message in progress behind them.
    pub(crate) unfinished: Option<u64>,
}

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PassedOn {
    /// What has left already.
    pub(crate) left: Left,
    /// The owner of the outbox has something to write.
    pub(crate) queued: bool,
    /// Messages that end behind our Close, which came in between: they were refused.
    pub(crate) refused: u64,
}

impl<'a> Passable<'a> {
    /// Returns the front of it, up to the end of the first message.
    fn first_message(&self, end: &'a MessageEnd) -> Self {
        let (bytes, ends) = (&self.bytes[..end.at], std::slice::from_ref(end));
        Self { bytes, ends_frame: true, ends, unfinished: None }
    }

    /// Returns the messages that end behind `at`, counted from there.
    fn ends_behind(&self, at: usize) -> Vec<MessageEnd> {
        let behind = self.ends.iter().filter(|end| end.at > at);
        behind.map(|end| MessageEnd { at: end.at - at, ..*end }).collect()
    }
}

impl Outbox {
    /// Takes what the other leg of a relay passes on, from now on; messages of others only if it
    /// `injects` them.
    pub(crate) fn make_leg(&self, injects: bool) {
        self.queue.lock().passing = Some(Box::new(Passing { injects, ..Passing::default() }));
    }

    /// Takes what is to be said before anything passes, whatever its size: it is in memory anyway.
    pub(crate) fn push_first(&self, messages: &[Message], now: Instant) {
        let mut queue = self.queue.lock();
        let before = queue.memory();
        messages.iter().for_each(|message| queue.push(message, now));
        self.budget.charge((queue.memory() - before) as u64);
    }

    /// Takes a message of the owner of the connection, if there is room: also where others may not
    /// send.
    pub(crate) fn try_push_kept(&self, message: &Message, now: Instant) -> Result<(), Refused> {
        let queue = self.queue.lock();
        match refusal(&queue) {
            None | Some(Refused::Relayed) => self.push_if_it_fits(queue, message, now),
            Some(refused) => Err(refused),
        }
    }

    /// Takes bytes of the other leg. Where nothing waits before them `write` may take them right
    /// away; what it does not take is queued, whatever its size: the caller has looked for room
    /// before it read them.
    pub(crate) fn pass(
        &self,
        passable: Passable<'_>,
        now: Instant,
        write: impl FnOnce(&[u8]) -> usize,
    ) -> Result<PassedOn, Refused> {
        let mut queue = self.queue.lock();
        let before = queue.memory();
        let passed = queue.pass(passable, now, write)?;
        self.budget.charge((queue.memory() - before) as u64);
        Ok(passed)
    }

    /// Returns whether what is read for this leg would find room, or need none because nobody takes
    /// it; if not, room will be told of.
    pub(crate) fn has_room_to_pass(&self) -> bool {
        let mut queue = self.queue.lock();
        let full = queue.memory() - queue.own_memory() >= self.limit && queue.takes_passed();
        if let Some(passing) = &mut queue.passing {
            passing.awaited = full;
        }
        !full
    }

    /// Takes nothing more of the other leg; returns whether that leaves a frame cut in half. What
    /// waited for the end of a message that never comes is dropped and counted.
    pub(crate) fn end_passing(&self) -> bool {
        let mut queue = self.queue.lock();
        let freed = queue.give_up_message_end();
        self.budget.release(freed.charged as u64);
        match &mut queue.passing {
            Some(passing) => {
                passing.ended = true;
                passing.tail_cut
            }
            None => false,
        }
    }

    /// Returns whether our Close waits for the rest of a frame or message, and for nothing else.
    pub(crate) fn awaits_frame_end(&self) -> bool {
        let queue = self.queue.lock();
        queue.line.is_empty() && queue.holds_close()
    }
}

impl Queue {
    fn pass(
        &mut self,
        passable: Passable<'_>,
        now: Instant,
        write: impl FnOnce(&[u8]) -> usize,
    ) -> Result<PassedOn, Refused> {
        if !self.takes_passed() {
            return Err(Refused::Closing);
        }
        let waits = |passing: &Passing| !passing.own.is_empty() || passing.close.is_some();
        let waits = self.passing.as_deref().is_some_and(waits);
        let mut passed = match passable.ends.first().filter(|_| waits) {
            // Our own messages, and our Close behind them, go between this one and the next.
            Some(end) => {
                let passed = self.append_passed(&passable.first_message(end), now, write);
                self.append_own();
                let rest = &passable.bytes[end.at..];
                if self.append_held_close() {
                    let refused = passable.ends.len() as u64 - 1;
                    return Ok(PassedOn { queued: true, refused, ..passed });
                }
                let ends = passable.ends_behind(end.at);
                if !rest.is_empty() {
                    let rest = Passable { bytes: rest, ends: &ends, ..passable };
                    self.append_passed(&rest, now, |_| 0);
                }
                PassedOn { queued: true, ..passed }
            }
            None => self.append_passed(&passable, now, write),
        };
        passed.queued |= passable.ends_frame && self.append_held_close();
        Ok(passed)
    }

    /// Appends our Close if it waits, and for nothing but the end of a frame, which has come.
    fn append_held_close(&mut self) -> bool {
        let passing = self.passing.as_mut().filter(|passing| passing.own.is_empty());
        let close = passing.and_then(|passing| passing.close.take());
        let held = close.is_some();
        if let Some(close) = close {
            self.line.push(close);
        }
        held
    }

    fn append_passed(
        &mut self,
        passable: &Passable<'_>,
        now: Instant,
        write: impl FnOnce(&[u8]) -> usize,
    ) -> PassedOn {
        let Passable { bytes, ends_frame, ends, unfinished } = *passable;
        let controls = self.ping.is_some() || !self.pongs.is_empty();
        let idle = self.line.is_empty() && (!controls || self.is_mid_frame());
        let written = if idle { write(bytes) } else { 0 };
        if let Some(passing) = &mut self.passing {
            (passing.tail_cut, passing.unfinished) = (!ends_frame, unfinished);
            if written > 0 {
                // Where in a frame the kernel stopped is not looked for: own frames wait for the end.
                passing.head_cut = written < bytes.len() || !ends_frame;
            }
        }
        let mut left = Left::default();
        let gone = ends.iter().take_while(|end| end.at <= written);
        for end in gone {
            left.messages += 1;
            left.payload_bytes += end.payload;
        }
        let queued = written < bytes.len();
        if queued {
            let ends = ends[left.messages as usize..].iter();
            let ends = ends.map(|end| MessageEnd { at: end.at - written, ..*end }).collect();
            let passed = PassedRun { queued_at: now, ends_frame, ends, left: 0 };
            let item = Item::passed(Bytes::copy_from_slice(&bytes[written..]), passed);
            self.count(&item);
            self.line.push(item);
        }
        PassedOn { left, queued: queued || controls, refused: 0 }
    }

    /// Returns whether what is passed on is taken: also the rest of what a Close waits for, or is
    /// about to.
    fn takes_passed(&self) -> bool {
        match (&self.passing, self.gate()) {
            (Some(passing), _) if passing.ended => false,
            (Some(_), Gate::Open | Gate::Refusing) => true,
            (Some(passing), Gate::Shut | Gate::CloseQueued) => passing.close.is_some(),
            (None, _) => false,
        }
    }

    /// Why a message of our own cannot be taken, if it cannot.
    pub(super) fn refuses_own(&self) -> Option<Refused> {
        match self.passing.as_deref()? {
            // It would wait for what never comes.
            Passing { ended: true, unfinished: Some(_), .. } => Some(Refused::Closing),
            Passing { injects: false, .. } => Some(Refused::Relayed),
            Passing { .. } => None,
        }
    }

    /// Keeps a Close that would stand inside of a frame, or before a message that was accepted
    /// earlier; gives any other back.
    pub(super) fn hold_close(&mut self, close: Item) -> Option<Item> {
        match &mut self.passing {
            Some(passing) if passing.tail_cut || !passing.own.is_empty() => {
                passing.close = Some(close);
                None
            }
            Some(_) | None => Some(close),
        }
    }

    /// Returns whether a Close waits for the end of a frame or message.
    pub(super) fn holds_close(&self) -> bool {
        self.passing.as_ref().is_some_and(|passing| passing.close.is_some())
    }

    /// Returns whether what has left last did not end its frame.
    pub(super) fn is_mid_frame(&self) -> bool {
        self.passing.as_ref().is_some_and(|passing| passing.head_cut)
    }

    /// Records that a piece has left whole.
    pub(super) fn settle_passed(&mut self, passed: &PassedRun) {
        if let Some(passing) = &mut self.passing {
            passing.head_cut = !passed.ends_frame;
        }
    }

    /// Returns whether somebody who waits for room has it now.
    pub(super) fn makes_room(&mut self, limit: usize) -> bool {
        let memory = self.memory() - self.own_memory();
        self.passing
            .as_mut()
            .is_some_and(|passing| memory < limit && std::mem::take(&mut passing.awaited))
    }

    /// Adds the messages that wait, passed on or kept waiting by what passes.
    pub(super) fn add_passed(&self, lost: &mut Lost) {
        self.add_own(lost);
        for item in self.line.iter() {
            if let Carries::Passed(passed) = &item.carries {
                for end in &passed.ends[passed.left..] {
                    lost.add(usize::try_from(end.payload).unwrap_or(usize::MAX));
                }
            }
        }
    }

    /// Takes nothing more, holds no Close, and adds a message of which only a part has passed.
    pub(super) fn end_passing(&mut self, lost: &mut Lost) {
        if let Some(passing) = &mut self.passing {
            passing.ended = true;
            passing.close = None;
            passing.own = Own::default();
            if let Some(unfinished) = passing.unfinished.take() {
                lost.add(usize::try_from(unfinished).unwrap_or(usize::MAX));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::task::Poll;

    use super::*;
    use crate::connection::budget::MemoryBudget;
    use crate::runtime::now;
    use crate::vocabulary::{CloseCode, CloseFrame, Role};

    fn leg() -> (Outbox, Arc<MemoryBudget>) {
        let budget = Arc::new(MemoryBudget::new(1 << 20));
        let outbox = Outbox::new(Role::Server, 100, Arc::clone(&budget));
        outbox.make_leg(false);
        (outbox, budget)
    }

    fn pass(outbox: &Outbox, bytes: &[u8], ends_frame: bool, taken: usize) -> Option<PassedOn> {
        let ends = [MessageEnd { at: bytes.len(), payload: bytes.len() as u64 }];
        let passable = Passable {
            bytes,
            ends_frame,
            ends: if ends_frame { &ends } else { &[] },
            unfinished: (!ends_frame).then_some(bytes.len() as u64),
        };
        outbox.pass(passable, now(), |bytes| taken.min(bytes.len())).ok()
    }

    fn close(outbox: &Outbox) -> bool {
        let frame = CloseFrame::coded(CloseCode::NORMAL, "");
        outbox.close(&frame, || ())
    }

    /// Writes all that waits; returns it with what left whole.
    fn drain(outbox: &Outbox) -> (Vec<u8>, Left) {
        let (mut all, mut total) = (Vec::new(), Left::default());
        let mut scratch = [0; 16];
        loop {
            let written = outbox.write(&mut scratch, false, |bytes| {
                all.extend_from_slice(bytes);
                Poll::Ready(Ok(bytes.len()))
            });
            match written {
                Poll::Ready(None) => return (all, total),
                Poll::Ready(Some(Ok(left))) => {
                    total.messages += left.messages;
                    total.payload_bytes += left.payload_bytes;
                    total.close |= left.close;
                    total.room |= left.room;
                }
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn what_the_kernel_takes_at_once_is_not_queued() {
        let (outbox, budget) = leg();
        let passed = pass(&outbox, b"frame", true, usize::MAX).unwrap();
        assert_eq!((passed.left.messages, passed.queued), (1, false));
        let passed = pass(&outbox, b"frame", true, 2).unwrap();
        assert_eq!((passed.left.messages, passed.queued, outbox.backlog().0), (0, true, 3));
        // Where the message ends takes more than the bytes do.
        let ends = size_of::<MessageEnd>() as u64;
        assert!(budget.used() == outbox.memory() as u64 && budget.used() > 3 + ends);
        // Behind what waits nothing is written beside the owner.
        assert_eq!(pass(&outbox, b"next", true, usize::MAX).unwrap().left.messages, 0);
        let (bytes, left) = drain(&outbox);
        assert_eq!((&*bytes, left.messages, left.payload_bytes), (&b"amenext"[..], 2, 9));
        assert!(budget.used() == 0 && outbox.is_empty());
    }

    #[test]
    fn our_frames_wait_for_the_end_of_a_frame() {
        let (outbox, _) = leg();
        pass(&outbox, b"begun ", false, usize::MAX);
        outbox.pong(b"!");
        assert_eq!(drain(&outbox).0, b"");
        pass(&outbox, b"ended", true, 0);
        assert_eq!(drain(&outbox).0, b"ended\x8a\x01!");
    }

    #[test]
    fn a_close_waits_for_the_rest_of_a_frame_and_for_nothing_else() {
        let (outbox, _) = leg();
        pass(&outbox, b"begun ", false, usize::MAX);
        assert!(close(&outbox) && outbox.awaits_frame_end() && !outbox.is_open());
        assert_eq!(drain(&outbox).0, b"");
        assert!(pass(&outbox, b"ended", true, usize::MAX).unwrap().queued);
        assert_eq!(pass(&outbox, b"more", true, usize::MAX), None);
        let (bytes, left) = drain(&outbox);
        assert_eq!((&*bytes, left.close), (&b"\x88\x02\x03\xe8"[..], true));
    }

    #[test]
    fn whoever_waits_for_room_is_told_once_there_is_some() {
        let (outbox, _) = leg();
        assert!(outbox.has_room_to_pass());
        pass(&outbox, &[0; 100], true, 0);
        assert!(!outbox.has_room_to_pass());
        assert!(drain(&outbox).1.room);
        pass(&outbox, &[0; 10], true, 0);
        assert!(!drain(&outbox).1.room);
    }

    #[test]
    fn what_was_cut_is_told_and_counted_as_lost() {
        let (outbox, budget) = leg();
        pass(&outbox, b"whole", true, 0);
        pass(&outbox, b"half", false, 0);
        assert!(outbox.end_passing());
        assert_eq!(pass(&outbox, b"late", true, usize::MAX), None);
        let (lost, oldest) = outbox.end();
        assert_eq!((lost.messages, lost.bytes), (2, 9));
        assert!(oldest.is_some() && budget.used() == 0);
    }

    #[test]
    fn what_is_said_first_is_charged_once() {
        let budget = Arc::new(MemoryBudget::new(1 << 20));
        let outbox = Outbox::new(Role::Server, 100, Arc::clone(&budget));
        outbox.try_push(&Message::text("before"), now()).unwrap();
        outbox.make_leg(false);
        outbox.push_first(&[Message::text("one"), Message::text("two")], now());
        assert_eq!(budget.used(), outbox.memory() as u64);
        drain(&outbox);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn nobody_else_sends_here() {
        let (outbox, _) = leg();
        assert_eq!(outbox.try_push(&Message::text("x"), now()), Err(Refused::Relayed));
    }
}
