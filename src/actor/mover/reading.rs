//! The reading half of the mover: from the socket to the backend.

mod passing;

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, ReadBuf};

use super::turn::Turn;
use super::{Mover, close_for};
use crate::actor::backend::Driver;
use crate::actor::scratch;
use crate::connection::inbox::Incoming;
use crate::connection::progress::{Pause, ReadState};
use crate::protocol::classification::{self, LossKind};
use crate::protocol::closing_handshake::{ClosePolicy, Input};
use crate::transport::websocket::Piece;
use crate::vocabulary::{Cause, CloseCode, Limit, Message, ReceivedClose};

/// How much is read at a time while the memory of all is used up: enough for a small message.
const SIP: usize = 2048;

impl Mover {
    /// Reads what is there, once, and takes it apart; returns whether anything came.
    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>, now: Instant) -> bool {
        if self.progress.reading.state == ReadState::Ended || !self.may_read(now) {
            return false;
        }
        if !self.progress.carry.is_empty() {
            let mut carry = std::mem::take(&mut self.progress.carry);
            let taken = self.ingest(&carry, now);
            carry.advance(taken);
            // An empty slice would hold the whole of what was carried.
            if !carry.is_empty() {
                self.progress.carry = carry;
            }
            self.note_unfinished(now);
            return taken > 0;
        }
        scratch::for_reading(|buffer| {
            let waits = self.connection.budget.is_exhausted() && !self.last_bytes;
            let most = if waits { SIP } else { buffer.len() };
            let most = if self.discards(now) {
                most
            } else {
                most.min(self.progress.rates.most_bytes(now))
            };
            let mut buf = ReadBuf::new(&mut buffer[..most]);
            match Pin::new(&mut self.transport).poll_read(cx, &mut buf) {
                Poll::Pending => return false,
                Poll::Ready(Ok(())) if buf.filled().is_empty() => self.end_reading(LossKind::Fin),
                Poll::Ready(Ok(())) => {
                    let filled = buf.filled();
                    let exceeded = self.progress.rates.count_bytes(filled.len(), now);
                    self.refuse_rate(exceeded);
                    let taken = self.ingest(filled, now);
                    if taken < filled.len() {
                        self.progress.carry = Bytes::copy_from_slice(&filled[taken..]);
                    }
                    self.note_unfinished(now);
                }
                Poll::Ready(Err(error)) => self.end_reading(LossKind::from(&error)),
            }
            true
        })
    }

    /// Tells how the transport ended, as reading saw it, with what a failed write knows of that.
    fn end_reading(&mut self, seen: LossKind) {
        let half = matches!(seen, LossKind::Fin | LossKind::TlsTruncated);
        match self.progress.writing.failure() {
            None => self.lose(seen),
            // The error was told to the write; what is left to read is an end of the stream.
            Some(failure) if half && !failure.behind_fin => self.lose(failure.how.clone()),
            Some(failure) => {
                let reset = failure.how.clone();
                let fin_came_first = failure.behind_fin && seen == LossKind::Reset;
                self.lose(if fin_came_first { LossKind::Fin } else { seen });
                // With the peer's half only its half is over; with the failed write, both are.
                self.report_loss(reset);
            }
        }
    }

    /// Returns whether what is read would find room; if not, reading pauses, and the wait for a Pong
    /// with it.
    fn may_read(&mut self, now: Instant) -> bool {
        let room = self.progress.reading.state == ReadState::Ignoring || self.has_room(now);
        match (room, self.progress.reading.pause) {
            (true, None) | (false, Some(_)) => {}
            (true, Some(_)) => {
                self.progress.reading.pause = None;
                self.progress.clock.resume(now);
                self.connection.set_paused(false);
                if let Some(keepalive) = &mut self.progress.keepalive {
                    keepalive.handle_resume(now);
                }
            }
            (false, None) => {
                self.progress.clock.pause(now);
                self.progress.reading.pause =
                    Some(Pause { since: now, taken: self.connection.inbox.taken() });
                self.connection.set_paused(true);
                if let Some(keepalive) = &mut self.progress.keepalive {
                    keepalive.handle_pause();
                }
            }
        }
        room
    }

    fn has_room(&mut self, now: Instant) -> bool {
        // What is discarded takes no room.
        if self.discards(now) {
            return true;
        }
        if self.progress.rates.held_back(now).is_some() {
            return false;
        }
        let room = match &self.driver {
            Driver::Echo => self.connection.outbox.has_room(),
            Driver::Handler(_) | Driver::Receiver => self.connection.inbox.has_room(),
            Driver::Relay(leg) => leg.link.other.outbox.has_room_to_pass(),
            Driver::Nowhere | Driver::Done => true,
        };
        let waits = self.connection.budget.is_exhausted() && !self.last_bytes;
        room && (!waits || self.holds_nothing())
    }

    /// Returns whether reading goes on whatever has room and whatever the peer may send.
    fn discards(&self, now: Instant) -> bool {
        self.delivery_stopped || self.must_read(now)
    }

    /// Returns whether reading goes on without room: what finds none is discarded.
    fn must_read(&self, now: Instant) -> bool {
        self.progress.writing.has_failed() || self.is_near_close_deadline(now)
    }

    /// The peer's answer to our Close may be behind what the backend does not take. Shortly before
    /// the peer would be blamed for it, what finds no room is discarded, and counted.
    ///
    /// A handler that waits for the ending takes nothing before that has come.
    fn is_near_close_deadline(&self, now: Instant) -> bool {
        let close = &self.connection.settings.close;
        let slack = ClosePolicy::slack(close.timeout, close.linger);
        self.closing
            && (self.connection.own_waits.are_under_way()
                || self.deadline().is_some_and(|at| at <= now + slack))
    }

    /// A connection that holds nothing may always take a message in, or all would wait for each
    /// other when the budget is used up; one that holds a part of a message waits.
    fn holds_nothing(&self) -> bool {
        let target = match &self.driver {
            Driver::Relay(leg) => &leg.link.other,
            Driver::Echo
            | Driver::Handler(_)
            | Driver::Receiver
            | Driver::Nowhere
            | Driver::Done => &self.connection,
        };
        self.part_held() == 0 && self.connection.inbox.is_empty() && target.outbox.is_empty()
    }

    /// Takes bytes apart until there are none, or no room for what is in them; returns how many
    /// were taken.
    fn ingest(&mut self, bytes: &[u8], now: Instant) -> usize {
        if let Driver::Relay(_) = self.driver
            && let Driver::Relay(mut leg) = std::mem::replace(&mut self.driver, Driver::Done)
        {
            let taken = self.ingest_passing(&mut leg, bytes, now);
            self.driver = Driver::Relay(leg);
            return self.count_ingested(taken, bytes.len());
        }
        let mut taken = 0;
        while taken < bytes.len()
            && self.progress.reading.state == ReadState::Open
            && !self.turn.is_over()
        {
            let (consumed, piece) = self.progress.reader.read(&bytes[taken..]);
            taken += consumed;
            self.turn.spend_frame();
            match piece {
                Piece::Part => {}
                Piece::Fragment => {
                    self.turn.spend_fragment();
                    self.take_from_rate(1, now);
                }
                Piece::Message(message) => {
                    self.deliver(message, now);
                    if !self.has_room(now) {
                        break;
                    }
                }
                Piece::Discarded(bytes) => {
                    self.connection.counters.received(bytes as usize);
                    self.connection.counters.discarded(1);
                }
                Piece::Ping(payload) => self.take_ping(now, &payload),
                Piece::Pong(payload) => self.take_pong(now, &payload),
                Piece::Close(payload) => self.deliver_close(&payload),
                Piece::Breach(breach) => self.report(Input::Violation(breach)),
            }
            if self.waits_for_rate(now) {
                break;
            }
        }
        self.count_ingested(taken, bytes.len())
    }

    /// Counts what was taken apart of so many bytes that were read; returns how many need not be
    /// kept.
    fn count_ingested(&mut self, taken: usize, read: usize) -> usize {
        self.turn.spend_bytes(taken);
        if let Some(keepalive) = &mut self.progress.keepalive {
            keepalive.handle_bytes();
        }
        match self.progress.reading.state {
            ReadState::Open => taken,
            ReadState::Ignoring | ReadState::Ended => read,
        }
    }

    /// Takes apart what was left for want of room or time: at the end, there is nothing to wait for.
    pub(super) fn ingest_carry(&mut self, now: Instant) {
        self.turn = Turn::unbounded();
        let mut carry = std::mem::take(&mut self.progress.carry);
        while !carry.is_empty() {
            let taken = self.ingest(&carry, now);
            carry.advance(taken);
        }
    }

    fn deliver(&mut self, message: Message, now: Instant) {
        self.progress.clock.restart();
        self.connection.counters.received(message.len());
        self.connection.look(&message, now);
        self.note_data(now);
        self.take_from_rate(1, now);
        if self.delivery_stopped || self.progress.muted || self.progress.writing.has_failed() {
            self.connection.counters.discarded(1);
            return;
        }
        let refused = match self.driver {
            Driver::Echo => self.connection.outbox.push_moved(&message, now).is_err(),
            Driver::Handler(_) | Driver::Receiver
                if self.is_near_close_deadline(now) && !self.connection.inbox.has_room() =>
            {
                true
            }
            Driver::Handler(_) | Driver::Receiver => {
                let message = Incoming::Message(unpinned(message));
                self.connection.inbox.push(message).is_err()
            }
            // That is where they were to go.
            Driver::Nowhere => false,
            // A relay has no messages: `ingest` passes its frames on.
            Driver::Relay(_) | Driver::Done => true,
        };
        if refused {
            self.connection.counters.discarded(1);
        }
    }

    /// Records a data message that travelled, either way.
    pub(super) fn note_data(&mut self, now: Instant) {
        self.connection.counters.active(now.saturating_duration_since(self.connection.opened));
        if let Some(keepalive) = &mut self.progress.keepalive {
            keepalive.handle_data(now);
        }
    }

    /// Counts frames against `messages_per_second`: control frames and fragments cost what messages
    /// do.
    fn take_from_rate(&mut self, frames: u32, now: Instant) {
        let exceeded = self.progress.rates.count_messages(frames, now);
        self.refuse_rate(exceeded);
    }

    /// Returns whether what was read already has to wait, because the peer has sent too much.
    fn waits_for_rate(&mut self, now: Instant) -> bool {
        self.progress.rates.held_back(now).is_some() && !self.discards(now)
    }

    /// Closes the connection of a peer that exceeds a rate where that is what the limit is for.
    fn refuse_rate(&mut self, exceeded: Option<Limit>) {
        let Some(limit) = exceeded else { return };
        if !std::mem::replace(&mut self.progress.muted, true) {
            close_for(
                &self.connection,
                CloseCode::TRY_AGAIN_LATER,
                "rate limited",
                Cause::RateLimited,
                limit,
            );
        }
    }

    fn take_ping(&mut self, now: Instant, payload: &[u8]) {
        self.take_from_rate(1, now);
        // RFC 6455 section 5.5.2: with a Pong, unless a Close was received.
        self.connection.outbox.pong(payload);
    }

    /// RFC 6455 section 5.5.3: a Pong may answer our Ping, or come unasked.
    fn take_pong(&mut self, now: Instant, payload: &[u8]) {
        let mut asked_for = false;
        if let Some(keepalive) = &mut self.progress.keepalive {
            asked_for = keepalive.handle_pong(now, payload);
            if let Some(rtt) = keepalive.rtt() {
                self.connection.counters.round_trip(rtt);
            }
        }
        if !asked_for {
            self.take_from_rate(1, now);
        }
    }

    /// Reports the peer's Close and hands it to the application.
    fn deliver_close(&mut self, payload: &[u8]) {
        // It is reported before the application sees it, whose answer may come at once.
        let Some(close) = self.take_close(payload) else { return };
        match self.driver {
            // Only with these does the application choose the answer.
            Driver::Handler(_) | Driver::Receiver | Driver::Done => {
                if self.connection.inbox.push(Incoming::Close(close)).is_err() {
                    // The receiver was dropped, so the answer will not be chosen.
                    self.report(Input::ReplyInKind);
                }
            }
            Driver::Echo | Driver::Relay(_) | Driver::Nowhere => {}
        }
    }

    /// Reads the peer's Close, once, and reports it; returns it if it is legal.
    fn take_close(&mut self, payload: &[u8]) -> Option<ReceivedClose> {
        // RFC 6455 section 5.5.1: no frame follows a Close; what comes is ignored.
        self.progress.reading.state = ReadState::Ignoring;
        self.progress.reader.discard();
        let (close, breach) = classification::read_close(payload);
        let legal = breach.is_none().then(|| close.clone());
        self.report(Input::PeerClose { close, breach });
        legal
    }
}

/// A small payload is a slice of the buffer it came in; copied, it no longer holds that in memory.
fn unpinned(message: Message) -> Message {
    const SMALL: usize = 1024;
    match message {
        Message::Binary(payload) if payload.len() <= SMALL => {
            Message::Binary(Bytes::copy_from_slice(&payload))
        }
        Message::Text(text) if text.len() <= SMALL => Message::Text(text.unpinned()),
        large @ (Message::Binary(_) | Message::Text(_)) => large,
    }
}
