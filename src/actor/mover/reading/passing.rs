//! Reading for a relay: frames pass on to the other leg, control frames stay here.

use std::time::Instant;

use super::Mover;
use crate::actor::link::Leg;
use crate::connection::outbox::Passable;
use crate::connection::progress::ReadState;
use crate::protocol::closing_handshake::Input;
use crate::protocol::frame_scanner::{ControlFrame, ControlOpcode};
use crate::protocol::passage::{PassagePiece, Run, RunSource};

impl Mover {
    /// Passes on what may pass of `bytes`, as far as the turn goes; returns how many were taken.
    /// Room is not asked for again: there was some before they were read, and a read is never large.
    pub(super) fn ingest_passing(&mut self, leg: &mut Leg, bytes: &[u8], now: Instant) -> usize {
        let mut taken = 0;
        // What is pending was found in bytes that are taken: it does not wait for the next turn.
        while (taken < bytes.len() && !self.turn.is_over() || leg.passage.has_pending())
            && self.progress.reading.state == ReadState::Open
        {
            let rest = &bytes[taken..];
            let discards = self.discards(now);
            let most = if discards { u32::MAX } else { self.progress.rates.most_messages(now) };
            let left = self.turn.frames();
            let mut frames = most.min(*left);
            *left -= frames;
            let (consumed, piece) = leg.passage.read_frames(rest, &mut frames);
            *left += frames;
            taken += consumed;
            self.take_from_rate(leg.passage.fragments(), now);
            self.note_matches(leg, now);
            match piece {
                PassagePiece::Part => {}
                PassagePiece::Run(run) => self.pass_on(leg, &run, rest, now),
                PassagePiece::Control(frame) => self.take_control(leg, frame, now),
                PassagePiece::Breach(breach) => {
                    leg.broken = true;
                    self.report(Input::Violation(breach));
                }
            }
            if self.waits_for_rate(now) && !leg.passage.has_pending() {
                break;
            }
        }
        taken
    }

    /// Looks for the watched texts in what passes.
    fn note_matches(&self, leg: &mut Leg, now: Instant) {
        for matches in leg.passage.take_matches() {
            let Some(watch) = self.connection.watch() else { return };
            if let Some(reply) = watch.note(matches) {
                self.connection.answer(reply, now);
            }
            if watch.is_done() {
                leg.passage.set_matcher(None);
            }
        }
    }

    /// Returns whether what passes finds room: at the other leg, and in the memory of all.
    fn has_room_to_pass(&self, leg: &Leg) -> bool {
        let outbox = &leg.link.other.outbox;
        outbox.has_room_to_pass() && (!self.connection.budget.is_exhausted() || outbox.is_empty())
    }

    fn take_control(&mut self, leg: &Leg, frame: ControlFrame, now: Instant) {
        match frame.opcode {
            ControlOpcode::Ping => self.take_ping(now, frame.payload()),
            ControlOpcode::Pong => self.take_pong(now, frame.payload()),
            ControlOpcode::Close => {
                let close = self.take_close(frame.payload());
                if let Some(close) = close.filter(|_| !leg.broken) {
                    // The answer to the peer's Close is queued only when the other side has answered.
                    leg.link.pass_close(close.in_kind(), self.connection.outbox.has_close());
                }
            }
        }
    }

    fn pass_on(&mut self, leg: &mut Leg, run: &Run, read: &[u8], now: Instant) {
        self.progress.clock.restart();
        let ends = leg.passage.ends();
        for end in ends {
            self.connection.counters.received(usize::try_from(end.payload).unwrap_or(usize::MAX));
        }
        self.take_from_rate(u32::try_from(ends.len()).unwrap_or(u32::MAX), now);
        if !ends.is_empty() {
            self.note_data(now);
        }
        // A frame that has begun to pass must pass whole.
        if self.delivery_stopped || self.progress.muted && !leg.mid_frame {
            self.connection.counters.discarded(ends.len() as u64);
            return;
        }
        if self.must_read(now) && !self.has_room_to_pass(leg) {
            // It is read for the Close behind it, and what finds no room is discarded. Nothing may
            // pass behind such a hole, and a frame that has begun to pass stays cut.
            leg.link.other.outbox.end_passing();
        }
        let bytes = match &run.source {
            RunSource::Read(range) => &read[range.clone()],
            RunSource::Held => leg.passage.held(),
        };
        let (bytes, ends) = match &mut leg.masker {
            Some(masker) => masker.mask(bytes, ends, rand::random),
            None => (bytes, ends),
        };
        let passable =
            Passable { bytes, ends_frame: run.ends_frame, ends, unfinished: run.unfinished };
        match leg.link.other.pass(passable, now) {
            Ok(refused) => {
                leg.mid_frame = !run.ends_frame;
                self.connection.counters.discarded(refused);
            }
            Err(_refused) => self.connection.counters.discarded(ends.len() as u64),
        }
    }
}
