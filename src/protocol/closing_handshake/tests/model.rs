//! The world around the machine, for property tests: an outbox with a gate, and an oracle that
//! knows from the contract alone what the record must say.

use super::*;

/// What may happen next in the world.
#[derive(Debug, Clone)]
pub(super) enum Event {
    /// Somebody closes; the outbox may refuse.
    Close(CloseFrame, Cause),
    /// All that is queued leaves.
    Flush,
    /// From now on, a close gets into the outbox in the moment in which the machine decides on one.
    Race(CloseFrame, Cause),
    /// Whatever else the machine may be told.
    Tell(Input),
    /// Time passes. Deadlines on the way are served when they are due, if `punctual`.
    Wait { millis: u64, punctual: bool },
}

/// The outbox: at most one Close, and nothing behind it.
#[derive(Debug, Default)]
struct Outbox {
    shut: bool,
    close: Option<CloseFrame>,
    left: Option<Instant>,
    /// Who flushes wants to be told.
    tell: bool,
}

/// What the record must say, by the contract.
#[derive(Debug, Default)]
pub(super) struct Oracle {
    /// The first thing that fixes the kind.
    pub(super) trigger: Option<Kind>,
    pub(super) cause: Option<Cause>,
    pub(super) theirs: Option<(ReceivedClose, Instant)>,
    pub(super) first_close: Option<FirstClose>,
    /// When it left `Open`.
    pub(super) left_open: Option<Instant>,
    /// When the peer broke a rule on a connection that was to be failed for it.
    pub(super) failed: Option<Instant>,
}

pub(super) struct World {
    pub(super) sim: Sim,
    outbox: Outbox,
    race: Option<(CloseFrame, Cause)>,
    pub(super) oracle: Oracle,
    /// How many actions were carried out.
    carried_out: usize,
    pub(super) closes_asked_for: usize,
    pub(super) always_punctual: bool,
    pub(super) ended_at: Option<Instant>,
}

impl World {
    pub(super) fn new(role: Role, reply: ReplyPolicy) -> Self {
        Self {
            sim: Sim::new(role, policy(reply)),
            outbox: Outbox::default(),
            race: None,
            oracle: Oracle::default(),
            carried_out: 0,
            closes_asked_for: 0,
            always_punctual: true,
            ended_at: None,
        }
    }

    /// Returns our Close, if it left, and when.
    pub(super) fn ours(&self) -> Option<(CloseFrame, Instant)> {
        self.outbox.close.clone().zip(self.outbox.left)
    }

    /// Returns whether there is a Close of ours, queued or gone.
    pub(super) fn has_close(&self) -> bool {
        self.outbox.close.is_some()
    }

    pub(super) fn happen(&mut self, event: Event) {
        match event {
            Event::Close(frame, cause) => {
                if !self.outbox.shut && self.outbox.close.is_none() {
                    self.accept(frame, cause);
                }
            }
            Event::Flush => self.flush(),
            Event::Race(frame, cause) => self.race = Some((frame, cause)),
            Event::Tell(input) => self.tell(input),
            Event::Wait { millis, punctual } => {
                let until = self.sim.now + Duration::from_millis(millis);
                if punctual {
                    while self.sim.machine.poll_deadline().is_some_and(|due| due <= until) {
                        self.due();
                    }
                } else {
                    self.always_punctual &=
                        self.sim.machine.poll_deadline().is_none_or(|due| due > until);
                }
                self.sim.now = self.sim.now.max(until);
            }
        }
    }

    /// Serves the next deadline, late if it is.
    pub(super) fn due(&mut self) {
        let Some(due) = self.sim.machine.poll_deadline() else { return };
        self.sim.now = self.sim.now.max(due);
        let complete = self.is_complete();
        self.sim.machine.handle_deadline(self.sim.now, &mut self.sim.actions);
        if self.sim.machine.is_ended() && !complete {
            self.oracle.trigger.get_or_insert(Kind::CloseTimeout);
        }
        self.carry_out();
    }

    fn accept(&mut self, frame: CloseFrame, cause: Cause) {
        self.outbox.close = Some(frame.clone());
        self.tell(Input::CloseAccepted(CloseRequest::new(frame, cause)));
    }

    fn flush(&mut self) {
        if self.outbox.close.is_some() && self.outbox.left.is_none() {
            if self.sim.machine.is_ended() {
                return; // the transport is gone
            }
            self.outbox.left = Some(self.sim.now);
            self.oracle.first_close.get_or_insert(FirstClose::Local);
            self.tell(Input::CloseFlushed);
        }
        if self.outbox.tell {
            self.tell(Input::OutboxFlushed);
        }
    }

    fn tell(&mut self, input: Input) {
        if !self.sim.machine.is_ended() {
            self.foresee(&input);
        }
        self.sim.tell(input);
        self.carry_out();
    }

    fn carry_out(&mut self) {
        while let Some(action) = self.sim.actions.get(self.carried_out).cloned() {
            self.carried_out += 1;
            match action {
                Action::SendClose { frame, .. } => {
                    self.closes_asked_for += 1;
                    assert!(!self.outbox.shut, "a Close for an outbox that was shut");
                    assert_eq!(self.outbox.close, None, "a second Close");
                    match self.race.take() {
                        Some((frame, cause)) => self.accept(frame, cause),
                        None => self.outbox.close = Some(frame),
                    }
                }
                Action::FlushThenReport => {
                    self.outbox.shut = true;
                    self.outbox.tell = true;
                }
                Action::Finish { .. } => {
                    self.outbox.shut = true;
                    self.ended_at = Some(self.sim.now);
                }
                Action::StopDelivery | Action::ShutdownWrite => {}
            }
        }
        if !self.is_open() {
            self.oracle.left_open.get_or_insert(self.sim.now);
        }
    }

    fn is_open(&self) -> bool {
        self.sim.machine.poll_deadline().is_none() && !self.sim.machine.is_ended()
    }

    /// One Close each way.
    fn is_complete(&self) -> bool {
        self.outbox.left.is_some() && self.oracle.theirs.is_some()
    }

    /// Judges an input by the contract, before the machine does.
    fn foresee(&mut self, input: &Input) {
        let (acted, received) = (self.outbox.close.is_some(), self.oracle.theirs.is_some());
        let quiet = !acted && !received && self.oracle.trigger.is_none();
        let complete = self.is_complete();
        let mut causes = |cause| {
            self.oracle.cause.get_or_insert(cause);
        };
        let trigger = match input {
            Input::CloseAccepted(request) => {
                causes(request.cause);
                None
            }
            Input::PeerClose { close, breach } if !received => {
                self.oracle.theirs = Some((close.clone(), self.sim.now));
                self.oracle.first_close.get_or_insert(FirstClose::Peer);
                if quiet {
                    causes(breach.as_ref().map_or(Cause::Peer, |_| Cause::Violation));
                }
                breach.as_ref().map(Breach::kind)
            }
            Input::TransportEnded(loss) => {
                (!(complete || received && loss.is_half())).then(|| loss.kind())
            }
            Input::Violation(breach) if !received => {
                if quiet {
                    causes(Cause::Violation);
                }
                if self.oracle.trigger.is_none() {
                    self.oracle.failed = Some(self.sim.now);
                }
                Some(breach.kind())
            }
            Input::Abort { cause, .. } => {
                if quiet {
                    causes(*cause);
                }
                (!complete).then_some(Kind::Aborted)
            }
            Input::DrainDeadline(_) => {
                if quiet {
                    causes(Cause::Drain);
                }
                (!complete).then_some(Kind::DrainDeadline)
            }
            Input::PongOverdue { .. } if quiet => {
                causes(Cause::Keepalive);
                Some(Kind::PongTimeout)
            }
            Input::WriteStalled(_) if quiet => {
                causes(Cause::SlowConsumer);
                Some(Kind::SlowConsumer)
            }
            Input::OutboxOverflow(_) if !acted => {
                if quiet {
                    causes(Cause::SlowConsumer);
                }
                Some(Kind::SlowConsumer)
            }
            Input::MemoryExhausted { .. } => {
                if quiet {
                    causes(Cause::SlowConsumer);
                }
                (!complete).then_some(Kind::SlowConsumer)
            }
            Input::BackendFailed { .. } if !received || !acted => {
                if quiet {
                    causes(Cause::Backend);
                }
                Some(Kind::BackendFailed)
            }
            Input::RelayLost(RelayLoss { kind, code, cut, .. }) if quiet || *cut => {
                if quiet {
                    causes(Cause::RelayPeer);
                }
                let closes_cleanly = !cut && code.is_some() && *kind == Kind::Aborted;
                (!closes_cleanly && !complete).then_some(*kind)
            }
            Input::RelayLost(_)
            | Input::PeerClose { .. }
            | Input::Violation(_)
            | Input::PongOverdue { .. }
            | Input::WriteStalled(_)
            | Input::OutboxOverflow(_)
            | Input::BackendFailed { .. }
            | Input::ReplyInKind
            | Input::CloseFlushed
            | Input::OutboxFlushed => None,
        };
        if self.oracle.trigger.is_none() {
            self.oracle.trigger = trigger;
        }
    }
}
