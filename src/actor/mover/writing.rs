//! The writing half of the mover: from the outbox to the socket.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use tokio::io::AsyncWrite;

use super::Mover;
use crate::actor::backend::Driver;
use crate::actor::scratch;
use crate::connection::outbox::Left;
use crate::connection::progress::{WriteFailure, WriteState};
use crate::protocol::closing_handshake::Input;
use crate::transport::socket::Transport;

impl Mover {
    /// Writes what is queued, as far as the kernel takes it; returns whether it took any.
    pub(super) fn poll_write(&mut self, cx: &mut Context<'_>, now: Instant) -> bool {
        let mut wrote = false;
        if self.connection.take_held_back() {
            self.progress.writing.unflushed.get_or_insert_default();
        }
        while let WriteState::Open = self.progress.writing.state {
            match self.write_batch(cx) {
                Poll::Ready(Some(Ok(left))) if left.bytes > 0 => {
                    wrote = true;
                    self.progress.writing.written += left.bytes as u64;
                    self.progress.writing.stalled_since = None;
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
                    self.fail_writing(WriteFailure::of(&error, now));
                }
                Poll::Ready(Some(Err(error))) => self.fail_writing(WriteFailure::of(&error, now)),
                Poll::Ready(None) => {
                    // What a layer such as TLS holds back still waits for the peer.
                    if self.progress.writing.unflushed.is_none() {
                        self.progress.writing.stalled_since = None;
                    }
                    break;
                }
                Poll::Pending => {
                    self.progress.writing.stalled_since.get_or_insert(now);
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
        let unflushed = self.progress.writing.unflushed.get_or_insert_default();
        unflushed.close |= left.close;
        unflushed.ping = unflushed.ping.or(left.ping);
    }

    /// What a layer such as TLS holds back has not left: Ping and Close are told of after a flush.
    fn settle_flush(&mut self, cx: &mut Context<'_>, now: Instant) {
        let Some(left) = self.progress.writing.unflushed else { return };
        match Pin::new(&mut self.transport).poll_flush(cx) {
            Poll::Pending => {
                self.progress.writing.stalled_since.get_or_insert(now);
            }
            Poll::Ready(Err(error)) => {
                self.progress.writing.unflushed = None;
                self.fail_writing(WriteFailure::of(&error, now));
            }
            Poll::Ready(Ok(())) => {
                self.progress.writing.unflushed = None;
                if self.connection.outbox.is_empty() {
                    self.progress.writing.stalled_since = None;
                }
                if let (Some(size), Some(keepalive)) = (left.ping, &mut self.progress.keepalive) {
                    let direct = self.connection.counters.direct();
                    let acked = self.progress.writing.acked(&*self.transport, direct);
                    keepalive.handle_ping_sent(now, acked, size + self.transport.overhead());
                }
                if left.close {
                    self.report(Input::CloseFlushed);
                }
            }
        }
    }

    /// Returns whether everything that was queued has left, or cannot leave any more.
    pub(super) fn has_flushed(&self) -> bool {
        self.progress.writing.unflushed.is_none()
            && (self.progress.writing.has_failed() || self.connection.outbox.is_empty())
    }

    /// Writing is over. Reading goes on: the peer's Close may still be there to be read.
    pub(super) fn fail_writing(&mut self, failure: WriteFailure) {
        if self.progress.reading.has_ended() {
            self.report_loss(failure.how.clone());
        }
        self.progress.writing.stalled_since = None;
        self.progress.writing.state = WriteState::Failed(failure);
    }
}
