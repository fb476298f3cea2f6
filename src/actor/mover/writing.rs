//! The writing half of the mover: from the outbox to the socket.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::io::AsyncWrite;

use super::Mover;
use crate::actor::backend::Driver;
use crate::actor::scratch;
use crate::connection::Connection;
use crate::connection::outbox::Left;
use crate::protocol::classification::LossKind;
use crate::protocol::closing_handshake::Input;
use crate::transport::socket::Transport;

/// Where writing stands.
#[derive(Debug, Default)]
pub(super) struct Writing {
    state: State,
    /// Since when the kernel has taken nothing of what waits.
    stalled_since: Option<Instant>,
    /// Bytes that the kernel has taken.
    written: u64,
    /// What left whole and was not flushed yet.
    unflushed: Option<Left>,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Open,
    /// FIN is on its way.
    Shut,
    Failed(Failure),
}

/// How a write failed.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) how: LossKind,
    /// The error was EPIPE, which the kernel tells of a reset that came behind the peer's FIN.
    pub(super) behind_fin: bool,
    at: Instant,
}

impl Failure {
    pub(super) fn of(error: &std::io::Error, now: Instant) -> Self {
        let behind_fin = error.kind() == std::io::ErrorKind::BrokenPipe;
        Self { how: LossKind::from(error), behind_fin, at: now }
    }
}

impl Writing {
    /// Returns when the peer will have taken nothing for too long.
    pub(super) fn deadline(&self, connection: &Connection) -> Option<Instant> {
        Some(self.stalled_since? + connection.settings.limits.write_timeout)
    }

    pub(super) fn stalled_for(&self, now: Instant) -> Duration {
        self.stalled_since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
    }

    pub(super) fn is_open(&self) -> bool {
        matches!(self.state, State::Open)
    }

    /// Our half of the transport has ended (FIN).
    pub(super) fn shut(&mut self) {
        self.state = State::Shut;
    }

    pub(super) fn has_failed(&self) -> bool {
        self.failure().is_some()
    }

    /// Returns how a write failed, if one did.
    pub(super) fn failure(&self) -> Option<&Failure> {
        match &self.state {
            State::Failed(failure) => Some(failure),
            State::Open | State::Shut => None,
        }
    }

    /// Returns until when reading may tell how a failed transport ended.
    pub(super) fn failure_deadline(&self, patience: Duration) -> Option<Instant> {
        Some(self.failure()?.at + patience)
    }

    /// Nobody could have seen for so long what the kernel took, or how the transport ended.
    pub(super) fn put_off(&mut self, missed: Duration) {
        if let Some(since) = &mut self.stalled_since {
            *since += missed;
        }
        if let State::Failed(failure) = &mut self.state {
            failure.at += missed;
        }
    }

    /// Returns how a write failed, if reading has had its time.
    pub(super) fn failure_since(&self, now: Instant, patience: Duration) -> Option<LossKind> {
        self.failure_deadline(patience).filter(|deadline| *deadline <= now)?;
        self.failure().map(|failure| failure.how.clone())
    }

    /// Returns how many bytes the peer's kernel has acknowledged, of ours and of the `direct` ones
    /// that others wrote; 0 where nobody knows.
    pub(super) fn acked(&self, transport: &dyn Transport, direct: u64) -> u64 {
        transport
            .kernel()
            .map_or(0, |kernel| (self.written + direct).saturating_sub(kernel.unacked_bytes.into()))
    }
}

impl Mover {
    /// Writes what is queued, as far as the kernel takes it; tells whether it took any.
    pub(super) fn poll_write(&mut self, cx: &mut Context<'_>, now: Instant) -> bool {
        let mut wrote = false;
        while let State::Open = self.writing.state {
            match self.write_batch(cx) {
                Poll::Ready(Some(Ok(left))) if left.bytes > 0 => {
                    wrote = true;
                    self.writing.written += left.bytes as u64;
                    self.writing.stalled_since = None;
                    if left.room
                        && let Driver::Relay(leg) = &self.driver
                    {
                        leg.link.other.mover.wake();
                    }
                    self.account(left, now);
                    if !left.more {
                        break;
                    }
                }
                Poll::Ready(Some(Ok(_none))) => {
                    let error = std::io::ErrorKind::ConnectionReset.into();
                    self.fail_writing(Failure::of(&error, now));
                }
                Poll::Ready(Some(Err(error))) => self.fail_writing(Failure::of(&error, now)),
                Poll::Ready(None) => {
                    // What a layer such as TLS holds back still waits for the peer.
                    if self.writing.unflushed.is_none() {
                        self.writing.stalled_since = None;
                    }
                    break;
                }
                Poll::Pending => {
                    self.writing.stalled_since.get_or_insert(now);
                    break;
                }
            }
        }
        self.settle_flush(cx, now);
        self.poll_after_flush(cx);
        wrote
    }

    /// Writes the next batch; `None` if there is none.
    fn write_batch(&mut self, cx: &mut Context<'_>) -> Poll<Option<std::io::Result<Left>>> {
        let holds_pending = self.transport.holds_pending();
        let transport = Pin::new(&mut self.transport);
        scratch::for_writing(|buffer| {
            let write = |bytes: &[u8]| transport.poll_write(cx, bytes);
            self.connection.outbox.write(buffer, holds_pending, write)
        })
    }

    fn account(&mut self, left: Left, now: Instant) {
        if left.messages > 0 {
            self.connection.counters.sent(left.messages, left.payload_bytes);
            self.note_data(now);
        }
        // Whatever it was, a Pong or a piece of a frame: a layer may hold it back until it is asked.
        let unflushed = self.writing.unflushed.get_or_insert_default();
        unflushed.close |= left.close;
        unflushed.ping = unflushed.ping.or(left.ping);
    }

    /// What a layer such as TLS holds back has not left: Ping and Close are told of after a flush.
    fn settle_flush(&mut self, cx: &mut Context<'_>, now: Instant) {
        let Some(left) = self.writing.unflushed else { return };
        match Pin::new(&mut self.transport).poll_flush(cx) {
            Poll::Pending => {
                self.writing.stalled_since.get_or_insert(now);
            }
            Poll::Ready(Err(error)) => {
                self.writing.unflushed = None;
                self.fail_writing(Failure::of(&error, now));
            }
            Poll::Ready(Ok(())) => {
                self.writing.unflushed = None;
                if self.connection.outbox.is_empty() {
                    self.writing.stalled_since = None;
                }
                if let (Some(size), Some(keepalive)) = (left.ping, &mut self.keepalive) {
                    let direct = self.connection.counters.direct();
                    let acked = self.writing.acked(&*self.transport, direct);
                    keepalive.handle_ping_sent(now, acked, size + self.transport.overhead());
                }
                if left.close {
                    self.report(Input::CloseFlushed);
                }
            }
        }
    }

    /// Tells whether everything that was queued has left, or cannot leave any more.
    pub(super) fn has_flushed(&self) -> bool {
        self.writing.unflushed.is_none()
            && (self.writing.has_failed() || self.connection.outbox.is_empty())
    }

    /// Writing is over. Reading goes on: the peer's Close may still be there to be read.
    pub(super) fn fail_writing(&mut self, failure: Failure) {
        if self.reading.has_ended() {
            self.report_loss(failure.how.clone());
        }
        self.writing.stalled_since = None;
        self.writing.state = State::Failed(failure);
    }
}
