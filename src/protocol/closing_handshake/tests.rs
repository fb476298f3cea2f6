//! The machine in simulated time: scripts are told step by step, and everything it does is kept.

use std::time::Duration;

use super::*;
use crate::protocol::classification::{LossKind, read_close};
use crate::protocol::frame_scanner::{FramingViolation, Position};
use crate::vocabulary::{CloseCode, CloseReason, FirstClose, Limit};

mod decided_cases;
mod model;
mod properties;
mod table;
mod wire_rules;

const TIMEOUT: Duration = Duration::from_secs(10);
const LINGER: Duration = Duration::from_secs(2);
const BOTH: [Role; 2] = [Role::Server, Role::Client];

fn policy(reply: ReplyPolicy) -> ClosePolicy {
    ClosePolicy { timeout: TIMEOUT, linger: LINGER, reply, signature: None }
}

/// One thing that happens.
#[derive(Debug, Clone)]
enum Step {
    Tell(Input),
    /// So many milliseconds pass, and no deadline with them.
    Wait(u64),
    /// Time passes until the deadline, which is served.
    Due,
}

/// A machine, its clock, and what it did.
struct Sim {
    machine: ClosingHandshake,
    now: Instant,
    started: Instant,
    actions: Vec<Action>,
}

impl Sim {
    fn new(role: Role, policy: ClosePolicy) -> Self {
        let now = Instant::now();
        let machine = ClosingHandshake::new(role, policy);
        Self { machine, now, started: now, actions: Vec::new() }
    }

    fn run(role: Role, reply: ReplyPolicy, steps: &[Step]) -> Self {
        let mut sim = Self::new(role, policy(reply));
        for step in steps {
            sim.step(step);
        }
        sim
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Tell(input) => self.tell(input.clone()),
            Step::Wait(millis) => {
                self.now += Duration::from_millis(*millis);
                let deadline = self.machine.poll_deadline();
                assert!(deadline.is_none_or(|deadline| self.now < deadline), "waited too long");
            }
            Step::Due => self.due(),
        }
    }

    fn tell(&mut self, input: Input) {
        self.machine.handle_input(self.now, input, &mut self.actions);
    }

    fn due(&mut self) {
        self.now = self.machine.poll_deadline().expect("a deadline");
        self.machine.handle_deadline(self.now, &mut self.actions);
    }

    fn state(&self) -> CloseState {
        self.machine.state()
    }

    fn elapsed(&self) -> Duration {
        self.now - self.started
    }

    fn outcome(&self) -> Outcome {
        let last = self.actions.last();
        assert!(matches!(last, Some(Action::Finish { .. })), "not finished: {last:?}");
        self.machine.outcome().expect("an outcome")
    }

    /// What was done, in order, one word each.
    fn done(&self) -> String {
        self.actions.iter().map(word_for).collect::<Vec<_>>().join(" ")
    }
}

fn word_for(action: &Action) -> String {
    match action {
        Action::SendClose { frame, shed } => {
            let code = frame.code().map_or("empty".to_owned(), |code| code.to_string());
            format!("{}{code}", if *shed { "shed+" } else { "" })
        }
        Action::StopDelivery => "stop".to_owned(),
        Action::ShutdownWrite => "fin".to_owned(),
        Action::FlushThenReport => "flush".to_owned(),
        Action::Finish { reset: false, .. } => "drop finish".to_owned(),
        Action::Finish { reset: true, .. } => "reset finish".to_owned(),
    }
}

fn frame(code: u16) -> CloseFrame {
    CloseFrame::new(Some(code), "").unwrap()
}

fn payload(code: u16, reason: &[u8]) -> Box<[u8]> {
    [&code.to_be_bytes(), reason].concat().into()
}

/// A close was accepted, for this cause.
fn close(code: u16, cause: Cause) -> Step {
    let request = CloseRequest::new(frame(code), cause);
    Step::Tell(Input::CloseAccepted(request))
}

/// The peer's Close is read.
fn peer(code: u16) -> Step {
    Step::Tell(peer_close(&payload(code, b"")))
}

fn peer_empty() -> Step {
    Step::Tell(peer_close(b""))
}

/// The peer's Close, with this payload.
fn peer_close(payload: &[u8]) -> Input {
    let (close, breach) = read_close(payload);
    Input::PeerClose { close, breach }
}

/// Our Close leaves.
fn left() -> Step {
    Step::Tell(Input::CloseFlushed)
}

fn lost(how: LossKind) -> Step {
    Step::Tell(Input::TransportEnded(Loss { how, position: Position::BetweenMessages }))
}

fn fin() -> Step {
    lost(LossKind::Fin)
}

fn rst() -> Step {
    lost(LossKind::Reset)
}

fn rsv() -> Step {
    Step::Tell(Input::Violation(Breach::Framing(FramingViolation::ReservedBit { rsv: 0b100 })))
}

fn too_big() -> Step {
    let limit = limit("max_message_size", 1024, 4096);
    Step::Tell(Input::Violation(Breach::Framing(FramingViolation::MessageTooBig(limit))))
}

fn limit(name: &'static str, limit: u64, observed: u64) -> Limit {
    Limit { name, limit, observed }
}

fn overflow() -> Step {
    Step::Tell(Input::OutboxOverflow(limit("outbox_bytes", 100, 101)))
}

fn memory_exhausted(reads: bool) -> Step {
    let limit = limit("memory", 1000, 600);
    Step::Tell(Input::MemoryExhausted { limit, what: "it held most".to_owned(), reads })
}

fn abort(cause: Cause) -> Step {
    Step::Tell(Input::Abort { cause, by: None })
}

fn backend_failed(code: u16) -> Step {
    let code = CloseCode::new(code).unwrap();
    let what = "the handler panicked".to_owned();
    Step::Tell(Input::BackendFailed { code, what, limit: None })
}
