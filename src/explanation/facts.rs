//! An ending with its names parsed, so that every value in the contract has its text.

use super::wording::{code_name, safe};
use crate::contract::{CloseRecord, EndingRecord};
use crate::vocabulary::{
    Advice, Cause, CloseCode, CloseState, Direction, Fault, FirstClose, Kind, OpenFailure,
    TransportEnd,
};

/// An ending with its names parsed; a name of a later version is `None`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Facts<'a> {
    pub(super) record: &'a EndingRecord<'a>,
    pub(super) kind: Option<Kind>,
    pub(super) fault: Option<Fault>,
    pub(super) cause: Option<Cause>,
    pub(super) first_close: Option<FirstClose>,
    pub(super) state: Option<CloseState>,
    pub(super) transport_end: Option<TransportEnd>,
    pub(super) retry: Option<Advice>,
    pub(super) outbound: bool,
}

impl<'a> Facts<'a> {
    pub(super) fn of(record: &'a EndingRecord<'a>) -> Self {
        Self {
            record,
            kind: kind(record),
            fault: word(Fault::ALL, &record.fault),
            cause: word(Cause::ALL, &record.cause),
            first_close: word(FirstClose::ALL, &record.first_close),
            state: record.state.as_deref().and_then(|state| word(CloseState::ALL, state)),
            transport_end: record
                .transport_end
                .as_deref()
                .and_then(|end| word(TransportEnd::ALL, end)),
            retry: word(&[Advice::Never, Advice::Reauthenticate, Advice::Backoff], &record.retry),
            outbound: record.origin.direction == Direction::Outbound.as_str(),
        }
    }

    /// Returns whether it never became a connection.
    pub(super) fn is_attempt(&self) -> bool {
        self.record.kind == "open_failed"
    }

    /// Returns what to call the peer.
    pub(super) fn peer(&self) -> &'static str {
        if self.outbound { "server" } else { "client" }
    }

    /// Returns what to call the side that dialled.
    pub(super) fn dialled_side(&self) -> &'static str {
        if self.outbound { "This end, which dialled," } else { "The client" }
    }
}

fn word<T: Copy + ToString>(all: &[T], text: &str) -> Option<T> {
    all.iter().copied().find(|word| word.to_string() == text)
}

fn kind(record: &EndingRecord<'_>) -> Option<Kind> {
    let of_connections = Kind::OF_CONNECTIONS.into_iter().find(|kind| kind.as_str() == record.kind);
    of_connections.or_else(|| {
        let failure = record.open_failure.as_deref()?;
        let mut failures = open_failures(record.status.unwrap_or(0)).into_iter();
        failures.find(|known| known.as_str() == failure).map(Kind::OpenFailed)
    })
}

/// Every failure of the contract; a rejected upgrade with this status.
pub(super) fn open_failures(status: u16) -> [OpenFailure; OpenFailure::ALL.len()] {
    OpenFailure::ALL.map(|failure| match failure {
        OpenFailure::UpgradeRejected { .. } => OpenFailure::UpgradeRejected { status },
        other => other,
    })
}

/// Returns the kind, and for an attempt why it failed.
pub(crate) fn kind_name(ending: &EndingRecord<'_>) -> String {
    match &ending.open_failure {
        Some(failure) => format!("{} ({})", safe(&ending.kind), safe(failure)),
        None => safe(&ending.kind).into_owned(),
    }
}

/// Writes a Close frame with the name of its code: `1000 (normal closure) "bye"`.
pub(super) fn frame(close: &CloseRecord<'_>) -> String {
    let Some(code) = close.code else {
        return "an empty Close (no code; reported as 1005)".to_owned();
    };
    let name = match CloseCode::new(code) {
        Ok(_) => code_name(code),
        Err(_) => "a code that must not be sent",
    };
    match &*close.reason {
        "" => format!("{code} ({name})"),
        reason => format!("{code} ({name}) \"{reason}\""),
    }
}

/// Returns the name of the limit that was exceeded, or the usual one.
pub(super) fn limit_name<'a>(facts: &'a Facts<'_>, usual: &'a str) -> &'a str {
    facts.record.limit.as_ref().map_or(usual, |limit| &limit.name)
}
