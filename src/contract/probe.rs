//! The result of `lastword probe` as JSON.

use std::borrow::Cow;
use std::time::SystemTime;

use serde::Serialize;

use super::{plain_json, rfc3339_millis};

/// The result of a run.
#[derive(Debug, Serialize)]
pub struct ProbeRecord<'a> {
    /// The URL, without secrets.
    pub target: Cow<'a, str>,
    /// When the run began.
    #[serde(with = "rfc3339_millis")]
    pub started_at: SystemTime,
    /// How long it took.
    pub duration_ms: u64,
    /// The version of the probe.
    pub version: &'static str,
    /// `safe` or `full`.
    pub mode: &'static str,
    /// How many connections were opened.
    pub connections: u64,
    /// The cases, in the order in which they are listed.
    pub cases: Vec<ProbeCaseRecord<'a>>,
    /// How many cases had each verdict.
    pub summary: ProbeSummaryRecord,
    /// What seems to stand in front or behind; null if nothing points to anything.
    pub guess: Option<Cow<'a, str>>,
}

/// The result of one case.
#[derive(Debug, Serialize)]
pub struct ProbeCaseRecord<'a> {
    /// Its stable id.
    pub id: &'a str,
    /// What was examined.
    pub title: &'a str,
    /// The section of RFC 6455, or of another RFC.
    pub rfc: &'a str,
    /// What was sent.
    pub sent: &'a str,
    /// What was due.
    pub expected: &'a str,
    /// What was observed, in one line.
    pub observed: Cow<'a, str>,
    /// `pass`, `warn`, `fail` or `skipped`.
    pub verdict: &'static str,
    /// What follows from it, or why it was skipped; null for a pass.
    pub consequence: Option<Cow<'a, str>>,
    /// The numbers behind `observed`.
    pub measured: ProbeMeasureRecord<'a>,
}

/// What was observed, as numbers.
#[derive(Debug, Serialize)]
pub struct ProbeMeasureRecord<'a> {
    /// The HTTP status of the opening handshake.
    pub status: Option<u16>,
    /// The code of the peer's Close; null if it had none, or there was no Close.
    pub close_code: Option<u16>,
    /// Its reason; null if there was no Close.
    pub close_reason: Option<Cow<'a, str>>,
    /// How long the Close took.
    pub close_ms: Option<u64>,
    /// How TCP ended: `FIN`, `RST`, `FIN without close_notify` or an error; null if it did not.
    pub transport_end: Option<Cow<'a, str>>,
    /// How long that took.
    pub end_ms: Option<u64>,
}

/// How many cases had each verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct ProbeSummaryRecord {
    /// As they are due.
    pub pass: u64,
    /// Tolerable, or against a SHOULD.
    pub warn: u64,
    /// Against a MUST, or harmful.
    pub fail: u64,
    /// Not judged.
    pub skipped: u64,
}

/// A case that `lastword probe --listen` serves to clients.
#[derive(Debug, Serialize)]
pub struct ClientCaseRecord {
    /// Its stable id; the case is at `/case/ID`.
    pub id: &'static str,
    /// What the server does.
    pub does: &'static str,
    /// The section of RFC 6455.
    pub rfc: &'static str,
    /// What is due from the client.
    pub due: &'static str,
    /// The code that a browser has to report.
    pub code: u16,
    /// Whether it has to report a clean close.
    pub clean: bool,
    /// Whether the client has to close.
    pub client_closes: bool,
}

/// What clients made of the cases.
#[derive(Debug, Serialize)]
pub struct ProbedClientsRecord {
    /// The last result of each User-Agent in each case.
    pub results: Vec<ProbedClientRecord>,
}

/// What a client made of a case.
#[derive(Debug, Serialize)]
pub struct ProbedClientRecord {
    /// Its number among all results, from 1.
    pub number: u64,
    /// Its User-Agent.
    pub user_agent: String,
    /// The case.
    pub id: &'static str,
    /// What the server saw, in one line.
    pub observed: String,
    /// `pass`, `warn`, `fail` or `skipped`.
    pub verdict: &'static str,
    /// What follows from it; null for a pass.
    pub consequence: Option<String>,
}

impl ClientCaseRecord {
    /// Writes cases as JSON.
    pub fn to_json(cases: &[Self]) -> String {
        // Nothing in these types fails to be written.
        plain_json::write(cases).unwrap_or_default()
    }
}

impl ProbedClientsRecord {
    /// Writes the results as JSON.
    pub fn to_json(&self) -> String {
        // Nothing in these types fails to be written.
        plain_json::write(self).unwrap_or_default()
    }
}

impl ProbedClientRecord {
    /// Writes the result as one line of JSON.
    pub fn to_json(&self) -> String {
        // Nothing in these types fails to be written.
        plain_json::write(self).unwrap_or_default()
    }
}
