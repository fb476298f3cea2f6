//! A case, the exchange that it judges, and what a judgement is.

use super::request::Request;
use super::script::Step;
use super::seen::{Opening, Seen};

/// What is sent over one connection, and the cases that judge what came back.
#[derive(Debug)]
pub struct Exchange {
    /// Whether it may be played against production.
    pub safe: bool,
    /// What it needs.
    pub needs: Needs,
    pub(super) request: Request,
    pub(super) steps: &'static [Step],
    /// Whether another connection is opened afterwards.
    pub(super) reopens: bool,
    /// The cases that judge it.
    pub cases: &'static [Case],
}

/// What an exchange needs of the server, or of the user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needs {
    /// Any WebSocket server.
    Nothing,
    /// A server that sends each message back.
    Echo,
    /// The option `--idle`.
    Idle,
}

/// One requirement, and how it is judged.
#[derive(Debug)]
pub struct Case {
    /// Words in lower case with hyphens; stable.
    pub id: &'static str,
    /// What is examined.
    pub title: &'static str,
    /// The section of RFC 6455, or of another RFC.
    pub rfc: &'static str,
    /// What is sent.
    pub sent: &'static str,
    /// What is due.
    pub expected: &'static str,
    pub(super) stage: Stage,
    pub(super) judge: fn(&Seen) -> Judgement,
}

/// How far an exchange must have come to be judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// An answer to the opening handshake.
    Answered,
    /// A connection.
    Open,
    /// What the exchange is about was sent before the peer closed.
    Tested,
}

/// A verdict, and what follows from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judgement {
    /// The verdict.
    pub verdict: Verdict,
    /// What follows for clients, in plain words; empty for a pass.
    pub consequence: String,
    /// What was observed, where the summary of the exchange does not show it.
    pub observed: Option<String>,
}

/// The result of a case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// As it is due.
    Pass,
    /// Tolerable, or against a SHOULD.
    Warn,
    /// Against a MUST, or harmful.
    Fail,
    /// Not judged.
    Skipped,
}

impl Verdict {
    /// Returns its word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Warn => "warn",
            Self::Fail => "fail",
            Self::Skipped => "skipped",
        }
    }
}

impl Judgement {
    pub(super) const fn pass() -> Self {
        Self { verdict: Verdict::Pass, consequence: String::new(), observed: None }
    }

    pub(super) fn warn(consequence: impl Into<String>) -> Self {
        Self { verdict: Verdict::Warn, consequence: consequence.into(), observed: None }
    }

    pub(super) fn fail(consequence: impl Into<String>) -> Self {
        Self { verdict: Verdict::Fail, consequence: consequence.into(), observed: None }
    }

    pub(super) fn skipped(why: impl Into<String>) -> Self {
        Self { verdict: Verdict::Skipped, consequence: why.into(), observed: None }
    }

    /// Adds what was observed.
    pub(super) fn seeing(self, observed: impl Into<String>) -> Self {
        Self { observed: Some(observed.into()), ..self }
    }
}

impl Case {
    pub(super) const fn new(id: &'static str, title: &'static str, rfc: &'static str) -> Self {
        let judge = |_: &Seen| Judgement::pass();
        Self { id, title, rfc, sent: "", expected: "", stage: Stage::Tested, judge }
    }

    pub(super) const fn sends(self, sent: &'static str) -> Self {
        Self { sent, ..self }
    }

    pub(super) const fn due(self, expected: &'static str) -> Self {
        Self { expected, ..self }
    }

    pub(super) const fn from(self, stage: Stage) -> Self {
        Self { stage, ..self }
    }

    pub(super) const fn judged(self, judge: fn(&Seen) -> Judgement) -> Self {
        Self { judge, ..self }
    }

    /// Judges what was seen in the exchange.
    pub(super) fn judge(&self, seen: &Seen) -> Judgement {
        if let Opening::NotConnected(why) = &seen.opening {
            return Judgement::fail(
                "the server did not accept another connection after an earlier case: check whether it still runs",
            )
            .seeing(why.clone());
        }
        let opened = seen.is_open();
        match self.stage {
            Stage::Answered => (self.judge)(seen),
            Stage::Open | Stage::Tested if !opened => match seen.answer() {
                Some(answer) => Judgement::skipped(format!(
                    "the server refused this connection with HTTP {}, though it let an earlier one in",
                    answer.status
                )),
                None => Judgement::skipped(
                    "this connection was not upgraded, though an earlier one was",
                ),
            },
            Stage::Tested if seen.is_early() => Judgement::skipped(
                "the server ended the connection before the case could begin; it may want a message, \
                 a header or a subprotocol first",
            ),
            Stage::Open | Stage::Tested => (self.judge)(seen),
        }
    }
}

impl Exchange {
    pub(super) const fn new(steps: &'static [Step], cases: &'static [Case]) -> Self {
        let (needs, request) = (Needs::Nothing, Request::RIGHT);
        Self { safe: false, needs, request, steps, reopens: false, cases }
    }

    pub(super) const fn asking(self, request: Request) -> Self {
        Self { request, ..self }
    }

    pub(super) const fn needing(self, needs: Needs) -> Self {
        Self { needs, ..self }
    }

    pub(super) const fn reopening(self) -> Self {
        Self { reopens: true, ..self }
    }

    pub(super) const fn safe(self) -> Self {
        Self { safe: true, ..self }
    }
}
