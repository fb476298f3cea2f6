//! The JSON of the contract: all serde types that users depend on.
//!
//! The domain types live in [`crate::vocabulary`] and know nothing of JSON, so that renaming one
//! cannot change the wire. The types here change only by adding.

mod answers;
mod backend;
mod connection;
mod dialer;
mod dialling;
mod drain;
mod ending;
mod event;
mod explanation;
pub mod plain_json;
mod probe;
mod reload;
mod requests;
mod revocation;
mod rfc3339_millis;
#[cfg(test)]
pub(crate) mod samples;

use std::time::Duration;

pub use answers::{
    AcceptedRecord, AccountingRecord, BroadcastRecord, CallerRecord, CountRecord, EndingPageRecord,
    LedgerRecord, MemoryRecord, MessagesRecord, OverTimeRecord, OverTimeValue, ProblemRecord,
    StatusRecord, SummaryRecord,
};
pub use backend::{BackendRecord, BackendsRecord};
pub use connection::{ConnectionPage, ConnectionRecord};
pub use dialer::{
    DialerNewsRecord, DialerRecord, DialersRecord, LastEndingRecord, ReconnectingRecord, SpanRecord,
};
pub use dialling::{DialBackend, DialReconnect, DialReplies, DialSteps, DialedRecord};
pub use drain::{DrainRecord, SelectorRecord, StragglersRecord};
pub use ending::{CloseRecord, EndingRecord, LimitRecord, OriginRecord, TcpRecord, UpstreamRecord};
pub use event::{EventRecord, OpenedRecord};
pub use explanation::{
    ExplainedConnectionRecord, ExplainedEndingRecord, ExplanationRecord, ParagraphRecord,
};
pub use probe::{
    ClientCaseRecord, ProbeCaseRecord, ProbeMeasureRecord, ProbeRecord, ProbeSummaryRecord,
    ProbedClientRecord, ProbedClientsRecord,
};
pub use reload::{LastReloadRecord, ReloadRecord, ReloadedListenersRecord};
pub use requests::{
    BroadcastRequest, CloseRequest, DialRequest, DrainRequest, MessageRequest, RequestError,
    TokenRequest,
};
pub use revocation::{RevocationChangeRecord, RevocationPage, RevocationRecord, RevocationRequest};

/// Returns a duration in whole milliseconds.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Whole microseconds over a thousand: a float that prints with at most three decimals.
fn fractional_millis(duration: Duration) -> f64 {
    duration.as_micros() as f64 / 1000.0
}
