//! The mover: the task that owns the socket of one connection and moves its bytes.
//!
//! It hands messages to the backend, writes what is in the outbox, executes the actions of the closing
//! handshake and reports facts. It takes all that is ready, then writes once. Reading and writing do
//! not block each other: while a write is stalled, reading goes on until the inbox is full.
//!
//! It is a future written by hand, because everything it waits for (socket both ways, backend,
//! orders, one timer) may become ready in any order, and an idle connection should cost no more
//! than its state.

mod acting;
mod expiring;
mod reading;
mod turn;
mod unfinished;
mod writing;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::time::Sleep;

use super::backend::Driver;
use crate::connection::Connection;
use crate::connection::mailbox::ConnectionMessage;
use crate::connection::progress::{AfterFlush, Progress, WriteFailure};
use crate::protocol::classification::{Loss, LossKind};
use crate::protocol::closing_handshake::{CloseRequest, Input};
use crate::protocol::frame_scanner::Position;
use crate::protocol::keepalive::{Due, Keepalive, StallDetector};
use crate::runtime::now;
use crate::transport::socket::Transport;
use crate::transport::tcp_info::TcpState;
use crate::vocabulary::{Cause, CloseCode, Limit};
use turn::Turn;

pub(crate) struct Mover {
    connection: Arc<Connection>,
    transport: Box<dyn Transport>,
    /// How far the two streams are.
    progress: Progress,
    turn: Turn,
    driver: Driver,
    /// Bytes of a message in progress, and of what was not taken apart, that the memory budget was
    /// charged with.
    charged: u64,
    /// What was received and not delivered was dropped, because the memory of all was used up.
    dropped_received: bool,
    /// Reading waited for memory when the peer ended its half: the rest is read without it.
    last_bytes: bool,
    /// The closing handshake has begun.
    closing: bool,
    /// When it wants to be told of the time; none while it is open.
    closing_deadline: Option<Instant>,
    /// The connection is failed: what comes is counted, and not delivered.
    delivery_stopped: bool,
    after_flush: AfterFlush,
    /// By how much the deadline of the closing handshake is put off because this task did not run.
    put_off: PutOff,
    /// When to look whether the grant has expired.
    expiry_look: Option<Instant>,
    stall_detector: StallDetector,
    timer: Timer,
    reported: Reported,
    stage: Stage,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Stage {
    Moving,
    /// The transport is gone; the backend may take what has come until then.
    Settling {
        until: Instant,
    },
    Over,
}

/// By how much a deadline is put off.
#[derive(Debug, Default, Clone, Copy)]
struct PutOff {
    deadline: Option<Instant>,
    by: Duration,
}

/// Facts that are reported once each.
#[derive(Debug, Default)]
struct Reported {
    stalled: bool,
    inbox_stalled: bool,
    in_kind: bool,
    deadline: Option<Instant>,
}

impl Mover {
    pub(crate) fn new(
        connection: Arc<Connection>,
        transport: Box<dyn Transport>,
        read_ahead: Bytes,
        driver: Driver,
    ) -> Self {
        Self {
            progress: Progress::new(&connection, read_ahead),
            transport,
            turn: Turn::new(),
            driver,
            charged: 0,
            dropped_received: false,
            last_bytes: false,
            closing: false,
            closing_deadline: None,
            delivery_stopped: false,
            after_flush: AfterFlush::default(),
            put_off: PutOff::default(),
            expiry_look: None,
            stall_detector: StallDetector::default(),
            timer: Timer::default(),
            reported: Reported::default(),
            stage: Stage::Moving,
            connection,
        }
    }

    /// Returns where in a frame and a message the stream of the peer stands.
    fn position(&self) -> Position {
        match &self.driver {
            Driver::Relay(leg) => leg.passage.position(),
            Driver::Echo
            | Driver::Handler(_)
            | Driver::Receiver
            | Driver::Nowhere
            | Driver::Done => self.progress.reader.position(),
        }
    }

    fn report(&self, input: Input) {
        self.connection.report(input);
    }

    /// Moves what is ready, both ways, until nothing is, or the turn is over.
    fn poll_moving(&mut self, cx: &mut Context<'_>, now: Instant) -> Poll<()> {
        self.turn = Turn::new();
        while !self.turn.is_over() {
            self.turn.spend_round();
            if self.execute_orders(now) {
                return Poll::Ready(());
            }
            self.drop_received(now);
            let ran = self.poll_driver(cx);
            let read = self.poll_read(cx, now);
            let wrote = self.poll_write(cx, now);
            if !(ran || read || wrote) {
                self.release_buffers();
                return Poll::Pending;
            }
        }
        self.charge_input();
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Lets the backend run; returns whether it changed what there is to do.
    fn poll_driver(&mut self, cx: &mut Context<'_>) -> bool {
        let Driver::Handler(_) = self.driver else { return false };
        let Some(failure) = self.driver.poll(cx) else {
            if self.progress.reading.is_ignoring()
                && self.connection.own_waits.are_under_way()
                && !std::mem::replace(&mut self.reported.in_kind, true)
            {
                // It will not choose an answer while it waits for what comes behind that.
                self.report(Input::ReplyInKind);
            }
            return false;
        };
        self.report(Input::BackendFailed { code: failure.code, what: failure.what, limit: None });
        let lost = self.connection.inbox.abandon();
        self.connection.counters.discarded(lost.messages);
        true
    }

    /// Gives buffers back while nothing is ready.
    fn release_buffers(&mut self) {
        self.progress.reader.release_buffers();
        if let Driver::Relay(leg) = &mut self.driver {
            leg.passage.release_buffers();
            if let Some(masker) = &mut leg.masker {
                masker.release_buffers();
            }
        }
        self.charge_input();
    }

    /// Does what is due, and sets the timer for what will be.
    fn poll_time(&mut self, cx: &mut Context<'_>, now: Instant) -> bool {
        if let Some(missed) = self.stall_detector.check(now) {
            self.put_off_waits(missed);
        }
        let mut acted = self.keep_alive(now);
        acted |= self.watch(now);
        acted |= self.watch_expiry(now);
        self.watch_message(now);
        acted |= self.notice_last_bytes();
        if let Some(deadline) = self.deadline()
            && deadline <= now
            && self.reported.deadline != Some(deadline)
        {
            self.reported.deadline = Some(deadline);
            self.connection.mailbox.send(ConnectionMessage::Deadline);
        }
        let reported = self.reported.deadline;
        let keepalive = self.progress.keepalive.as_ref();
        // Those after which the peer or the backend is blamed.
        let waits = [
            self.deadline().filter(|deadline| reported != Some(*deadline)),
            keepalive.and_then(Keepalive::silence_deadline),
            self.progress.writing.deadline(&self.connection).filter(|_| !self.reported.stalled),
            // Reported already, if reading has ended: then it is the decider's turn.
            self.progress
                .writing
                .failure_deadline(self.connection.settings.close.linger)
                .filter(|_| !self.progress.reading.has_ended()),
            self.progress
                .reading
                .stall_deadline(&self.connection)
                .filter(|_| !self.reported.inbox_stalled),
            self.message_deadline(),
        ];
        let waits = waits.into_iter().flatten().min();
        let deadlines = [
            self.stall_detector.next_check(now, waits),
            keepalive.and_then(Keepalive::poll_deadline),
            self.progress.reading.look_deadline(now),
            self.progress.rates.held_back(now),
            self.expiry_look,
        ];
        self.timer.set(deadlines.into_iter().flatten().min(), now, cx) || acted
    }

    /// Returns when the closing handshake wants to be told of the time.
    fn deadline(&self) -> Option<Instant> {
        let deadline = self.closing_deadline?;
        let put_off = self.put_off.deadline == Some(deadline);
        Some(if put_off { deadline + self.put_off.by } else { deadline })
    }

    /// Puts off every wait by the time in which this task did not run: what others did meanwhile is
    /// not seen yet.
    fn put_off_waits(&mut self, missed: Duration) {
        self.progress.put_off(missed);
        if self.put_off.deadline != self.closing_deadline {
            self.put_off = PutOff { deadline: self.closing_deadline, by: Duration::ZERO };
        }
        self.put_off.by += missed;
    }

    fn keep_alive(&mut self, now: Instant) -> bool {
        let Some(keepalive) = &mut self.progress.keepalive else { return false };
        let mut acted = false;
        let (writing, transport) = (&self.progress.writing, &self.transport);
        let counters = &self.connection.counters;
        // Others may have written beside us.
        if let Some(active) = counters.last_active() {
            keepalive.handle_data_at(self.connection.opened + active);
        }
        let acked = || writing.acked(&**transport, counters.direct());
        while let Some(due) = keepalive.handle_deadline(now, acked) {
            acted = true;
            match due {
                Due::SendPing(payload) => self.connection.outbox.ping(payload),
                Due::PongOverdue(silent) => {
                    self.connection.report(Input::PongOverdue { silent });
                }
                Due::Idle(idle) => {
                    let limit = limit_of(
                        "idle_timeout",
                        self.connection.settings.keepalive.idle_timeout,
                        idle,
                    );
                    close_for(&self.connection, CloseCode::IDLE, "idle", Cause::IdleTimeout, limit);
                }
                Due::MaxAge(age) => {
                    let limit =
                        limit_of("max_age", self.connection.settings.keepalive.max_age, age);
                    close_for(
                        &self.connection,
                        CloseCode::GOING_AWAY,
                        "max age",
                        Cause::MaxAge,
                        limit,
                    );
                }
            }
        }
        acted
    }

    /// Watches over what does not move: a write, a backend, a peer that went while reading is paused.
    /// Returns whether there is something to do.
    fn watch(&mut self, now: Instant) -> bool {
        let mut acted = false;
        let limits = &self.connection.settings.limits;
        if let Some(deadline) = self.progress.writing.deadline(&self.connection)
            && deadline <= now
            && !self.reported.stalled
        {
            self.reported.stalled = true;
            let stalled = self.progress.writing.stalled_for(now);
            self.report(Input::WriteStalled(limit_of(
                "write_timeout",
                limits.write_timeout,
                stalled,
            )));
        }
        let held_back = self.progress.rates.held_back(now).is_some();
        if let Some(stalled) =
            self.progress.reading.backend_stalled(&self.connection, held_back, now)
            && !self.reported.inbox_stalled
        {
            self.reported.inbox_stalled = true;
            let what = format!(
                "the backend took nothing for {} ms while its inbox was full",
                stalled.as_millis()
            );
            let limit = limit_of("inbox_timeout", limits.inbox_timeout, stalled);
            self.report(Input::BackendFailed {
                code: CloseCode::INTERNAL_ERROR,
                what,
                limit: Some(limit),
            });
        }
        if self.progress.reading.is_paused()
            && !self.progress.writing.has_failed()
            && self.transport.kernel().is_some_and(|kernel| kernel.state == TcpState::Closed)
        {
            // What had come before the end comes before it. What the kernel still holds is read, for
            // the peer's Close and the place of the end, and finds no room.
            self.ingest_carry(now);
            let reset = || std::io::ErrorKind::ConnectionReset.into();
            let error = self.transport.take_error().unwrap_or_else(reset);
            self.fail_writing(WriteFailure::of(&error, now));
            acted = true;
        }
        // Once a write has failed, reading finds out how the transport ended, or does not in time.
        if let Some(failure) =
            self.progress.writing.failure_since(now, self.connection.settings.close.linger)
        {
            self.lose(failure);
        }
        acted
    }

    /// Reports, once, that the transport is lost.
    fn lose(&mut self, how: LossKind) {
        if self.progress.reading.end() {
            self.report_loss(how);
            // What is not complete will not be.
            self.progress.reader.discard();
            self.charge_input();
        }
    }

    fn report_loss(&self, how: LossKind) {
        self.report(Input::TransportEnded(Loss { how, position: self.position() }));
    }

    fn finish(&mut self) {
        self.stage = Stage::Over;
        self.connection.end_inbox();
    }
}

impl Future for Mover {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mover = &mut *self;
        // Before anything is looked at, so that no order given meanwhile is missed.
        mover.connection.mover.register(cx.waker());
        loop {
            match mover.stage {
                Stage::Moving => {
                    let now = now();
                    if mover.poll_moving(cx, now).is_pending() {
                        if mover.poll_time(cx, now) {
                            // Something was due: look again, but let others have their turn.
                            cx.waker().wake_by_ref();
                        }
                        return Poll::Pending;
                    }
                }
                Stage::Settling { until } => {
                    if mover.poll_settling(cx, until).is_pending() {
                        return Poll::Pending;
                    }
                    mover.stage = Stage::Over;
                }
                Stage::Over => {
                    mover.finish();
                    return Poll::Ready(());
                }
            }
        }
    }
}

impl Drop for Mover {
    fn drop(&mut self) {
        self.release_input();
    }
}

/// One timer for everything: it is only ever moved forward when it must ring earlier.
#[derive(Default)]
struct Timer {
    sleep: Option<Pin<Box<Sleep>>>,
    rings_at: Option<Instant>,
}

impl Timer {
    /// Sets the timer to ring no later than `at`; returns whether `at` has come already.
    fn set(&mut self, at: Option<Instant>, now: Instant, cx: &mut Context<'_>) -> bool {
        let Some(at) = at else { return false };
        if self.rings_at.is_some_and(|rings_at| rings_at > now && rings_at <= at) {
            return false;
        }
        let at_tokio = tokio::time::Instant::from_std(at);
        let sleep = match &mut self.sleep {
            Some(sleep) => {
                sleep.as_mut().reset(at_tokio);
                sleep
            }
            none => none.insert(Box::pin(tokio::time::sleep_until(at_tokio))),
        };
        self.rings_at = Some(at);
        sleep.as_mut().poll(cx).is_ready()
    }
}

/// Closes for a reason of our own.
fn close_for(connection: &Connection, code: CloseCode, reason: &str, cause: Cause, limit: Limit) {
    let frame = connection.own_frame(code, reason);
    connection.close(CloseRequest { limit: Some(limit), ..CloseRequest::new(frame, cause) });
}

fn limit_of(name: &'static str, limit: Duration, observed: Duration) -> Limit {
    let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    Limit { name, limit: millis(limit), observed: millis(observed) }
}
