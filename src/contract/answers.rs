//! The control API's other answers as JSON.

use std::borrow::Cow;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::{EndingRecord, plain_json, rfc3339_millis};

/// How the daemon fares: `GET /v1/status`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct StatusRecord<'a> {
    /// The version of lastword that runs.
    pub version: Cow<'a, str>,
    /// The node's name.
    pub node: Cow<'a, str>,
    /// When the daemon started.
    #[serde(with = "rfc3339_millis")]
    #[schema(value_type = String, format = DateTime)]
    pub started_at: SystemTime,
    /// For how long it has been running, in milliseconds.
    pub uptime_ms: u64,
    /// `running` or `draining`.
    pub phase: Cow<'a, str>,
    /// Whether new connections are let in.
    pub accepting: bool,
    /// Why they are not, and what lets them in again; null if they are.
    pub accepting_why: Option<Cow<'a, str>>,
    /// The accounting identity: opened = open + ended, at every instant.
    pub accounting: AccountingRecord,
    /// How the ledger fares.
    pub ledger: LedgerRecord<'a>,
    /// The drain that runs, or the last one.
    pub drain: Option<super::DrainRecord<'a>>,
}

/// The accounting identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AccountingRecord {
    /// Connections that ever opened in this process.
    pub opened: u64,
    /// Connections that are open now, or whose ending is not recorded yet.
    pub open: u64,
    /// Endings that were recorded, other than `open_failed`.
    pub ended: u64,
    /// Whether opened = open + ended.
    pub balanced: bool,
}

/// How the ledger fares.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LedgerRecord<'a> {
    /// `good`, `degraded`, or `off`.
    pub state: Cow<'a, str>,
    /// What is wrong, and the remedy; null if nothing is.
    pub problem: Option<Cow<'a, str>>,
    /// Endings that could not be stored since the start; they are in the log.
    pub unrecorded: u64,
    /// Connections that the process before left open, recorded as `process_died` at the start.
    pub recovered: u64,
}

/// A page of endings, newest first: `GET /v1/endings`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct EndingPageRecord<'a> {
    /// The endings.
    pub endings: Vec<EndingRecord<'a>>,
    /// What to ask for as `cursor` to get the next page; null at the end.
    pub next: Option<Cow<'a, str>>,
}

impl EndingPageRecord<'_> {
    /// Writes a page of endings that are stored as JSON, without reading them.
    pub fn of_stored<'s>(
        endings: impl Iterator<Item = &'s str>,
        next: Option<&str>,
    ) -> Result<String, serde_json::Error> {
        #[derive(Serialize)]
        struct Page<'s> {
            endings: Vec<&'s RawValue>,
            next: Option<&'s str>,
        }
        let endings = endings.map(serde_json::from_str).collect::<Result<_, _>>()?;
        plain_json::write(&Page { endings, next })
    }
}

/// Endings counted by a property: `GET /v1/endings/summary`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SummaryRecord<'a> {
    /// The property.
    pub by: Cow<'a, str>,
    /// The counts, most first.
    pub counts: Vec<CountRecord<'a>>,
    /// How many endings there are in all.
    pub total: u64,
}

/// How many endings there are of one value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CountRecord<'a> {
    /// The value; null where there is none.
    pub value: Option<Cow<'a, str>>,
    /// How many.
    pub count: u64,
}

/// A command that was accepted and goes on: a message that is queued, a Close that is on its way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AcceptedRecord<'a> {
    /// The connection's id.
    pub id: Cow<'a, str>,
    /// Where the closing handshake stands.
    pub state: Cow<'a, str>,
    /// The bytes that wait in the outbox.
    pub queued_bytes: u64,
}

/// What became of a broadcast: `POST /v1/broadcast`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BroadcastRecord {
    /// Connections that were selected.
    pub matched: u64,
    /// Of those, how many took the message.
    pub queued: u64,
    /// And how many did not: their outbox was full, or they were closing.
    pub refused: u64,
}

/// A refusal: `application/problem+json` of RFC 9457.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ProblemRecord<'a> {
    /// `urn:lastword:<word>`: what programs look at.
    #[serde(rename = "type")]
    pub kind: Cow<'a, str>,
    /// A short summary of the kind of problem.
    pub title: Cow<'a, str>,
    /// The HTTP status.
    pub status: u16,
    /// What is wrong here, and the remedy.
    pub detail: Cow<'a, str>,
    /// The `open_failed` ending of a dial that failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ending: Option<Box<EndingRecord<'a>>>,
    /// Where the closing handshake stands of a connection that takes no message: `invalid_state`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<Cow<'a, str>>,
    /// The bytes that are queued: `outbox_full`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queued: Option<u64>,
    /// How many bytes may be queued: `outbox_full`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    /// The id of the drain that is under way: `drain_under_way`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain: Option<Cow<'a, str>>,
}
