//! The control API's other answers as JSON.

use std::borrow::Cow;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::{EndingRecord, plain_json, rfc3339_millis};

/// The state of the daemon: `GET /v1/status`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct StatusRecord<'a> {
    /// The running version of lastword.
    pub version: Cow<'a, str>,
    /// The node's name.
    pub node: Cow<'a, str>,
    /// When the daemon started.
    #[serde(with = "rfc3339_millis")]
    #[schema(value_type = String, format = DateTime)]
    pub started_at: SystemTime,
    /// How long it has been running, in milliseconds.
    pub uptime_ms: u64,
    /// `running` or `draining`.
    pub phase: Cow<'a, str>,
    /// Whether new connections are accepted.
    pub accepting: bool,
    /// Why they are not, and how to accept them again; null if they are.
    pub accepting_why: Option<Cow<'a, str>>,
    /// The accounting identity: opened = open + ended, at every instant.
    pub accounting: AccountingRecord,
    /// The state of the ledger.
    pub ledger: LedgerRecord<'a>,
    /// The running drain, or the last one.
    pub drain: Option<super::DrainRecord<'a>>,
    /// The last reload of the configuration; null if there was none.
    #[serde(default)]
    pub last_reload: Option<super::LastReloadRecord<'a>>,
    /// The data messages of all connections, open or ended.
    #[serde(default)]
    pub messages: Option<MessagesRecord>,
    /// The memory that `limits.memory` bounds.
    #[serde(default)]
    pub memory: Option<MemoryRecord>,
    /// Who asks, and what they may do.
    #[serde(default)]
    pub caller: Option<CallerRecord<'a>>,
}

/// The data messages of all connections since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MessagesRecord {
    /// Those received.
    #[serde(rename = "in")]
    pub incoming: u64,
    /// Those wholly handed to the kernel.
    #[serde(rename = "out")]
    pub outgoing: u64,
}

/// The memory of queues, partly received messages and opening handshakes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MemoryRecord {
    /// What is used, in bytes.
    pub used: u64,
    /// What may be used (`limits.memory`), in bytes.
    pub limit: u64,
}

/// Who asks, and what they may do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CallerRecord<'a> {
    /// The name of the token; null where no token is needed.
    pub name: Option<Cow<'a, str>>,
    /// `read` or `operate`.
    pub scope: Cow<'a, str>,
    /// Whether they may dial: the scope `operate`, and `control.allow_dial`.
    pub may_dial: bool,
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

/// The state of the ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LedgerRecord<'a> {
    /// `good`, `degraded`, or `off`.
    pub state: Cow<'a, str>,
    /// What is wrong, and the remedy; null if nothing is.
    pub problem: Option<Cow<'a, str>>,
    /// Endings that could not be stored since the start; they are in the log.
    pub unrecorded: u64,
    /// Connections that the previous process left open, recorded as `process_died` at the start.
    pub recovered: u64,
}

/// A page of endings, newest first: `GET /v1/endings`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct EndingPageRecord<'a> {
    /// The endings.
    pub endings: Vec<EndingRecord<'a>>,
    /// The `cursor` of the next page; null at the end.
    pub next: Option<Cow<'a, str>>,
}

impl EndingPageRecord<'_> {
    /// Writes a page of endings stored as JSON, without parsing them.
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
    /// The counts, largest first.
    pub counts: Vec<CountRecord<'a>>,
    /// The number of endings in total.
    pub total: u64,
    /// The counts over time; null unless `slots` was given.
    #[serde(default)]
    pub over_time: Option<OverTimeRecord<'a>>,
}

/// Endings counted in slots of equal length.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OverTimeRecord<'a> {
    /// When the first slot begins.
    #[serde(with = "rfc3339_millis")]
    #[schema(value_type = String, format = DateTime)]
    pub since: SystemTime,
    /// When the period ends; the last slot may reach beyond it.
    #[serde(with = "rfc3339_millis")]
    #[schema(value_type = String, format = DateTime)]
    pub until: SystemTime,
    /// The length of a slot, in milliseconds.
    pub step_ms: u64,
    /// The values, the most frequent first.
    pub values: Vec<OverTimeValue<'a>>,
}

/// The number of endings with one value in each slot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OverTimeValue<'a> {
    /// The value.
    pub value: Cow<'a, str>,
    /// The numbers, in the order of the slots.
    pub counts: Vec<u64>,
}

/// The number of endings with one value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CountRecord<'a> {
    /// The value; null for endings without one.
    pub value: Option<Cow<'a, str>>,
    /// The number of endings.
    pub count: u64,
}

/// A command that was accepted and is in progress: a queued message, or a Close.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AcceptedRecord<'a> {
    /// The connection's id.
    pub id: Cow<'a, str>,
    /// The state of the closing handshake.
    pub state: Cow<'a, str>,
    /// The bytes that wait in the outbox.
    pub queued_bytes: u64,
}

/// The result of a broadcast: `POST /v1/broadcast`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BroadcastRecord {
    /// Connections that were selected.
    pub matched: u64,
    /// Of those, the number that queued the message.
    pub queued: u64,
    /// The number that refused it: their outbox was full, or they were closing.
    pub refused: u64,
}

/// A refusal: `application/problem+json` of RFC 9457.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ProblemRecord<'a> {
    /// `urn:lastword:<word>`, for programs.
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
    /// The state of a connection that accepts no message: `invalid_state`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<Cow<'a, str>>,
    /// The bytes that are queued: `outbox_full`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queued: Option<u64>,
    /// The limit of queued bytes: `outbox_full`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    /// The id of the running drain: `drain_under_way`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain: Option<Cow<'a, str>>,
}
