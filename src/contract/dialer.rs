//! Dialers as JSON: `GET /v1/dialers`, and the events `reconnecting` and `dialer`.

use std::borrow::Cow;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{millis, rfc3339_millis};
use crate::vocabulary::{DialerChange, DialerEvent, DialerStatus, Ending, Interval, Reconnecting};

/// All dialers: `GET /v1/dialers`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DialersRecord<'a> {
    /// The dialers, by name.
    pub dialers: Vec<DialerRecord<'a>>,
}

/// The state of a dialer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DialerRecord<'a> {
    /// Its name.
    pub name: Cow<'a, str>,
    /// Its URL, masked as in `[records]`.
    pub url: Cow<'a, str>,
    /// `connecting`, `open`, `ready`, `waiting`, `paused` or `given_up`.
    pub state: Cow<'a, str>,
    /// Why it waits, or has given up.
    pub why: Option<Cow<'a, str>>,
    /// Since when it is in that state.
    #[serde(with = "rfc3339_millis")]
    #[schema(value_type = String, format = DateTime)]
    pub since: SystemTime,
    /// When it will dial again, if it is waiting.
    #[serde(with = "rfc3339_millis::option")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub next_try_at: Option<SystemTime>,
    /// Failures since a connection last stayed open for `reconnect.stable_after`.
    pub attempts: u32,
    /// The id of its connection, if one is open.
    pub connection: Option<Cow<'a, str>>,
    /// Whether that connection is being replaced.
    pub rotating: bool,
    /// How its last connection, or attempt, ended.
    pub last_ending: Option<LastEndingRecord<'a>>,
    /// Connections that it has opened.
    pub opened: u64,
    /// Periods without a ready connection, after the first one.
    pub gaps: u64,
    /// Who created it over the API, as `api:<token name>`; null for one of the configuration.
    pub by: Option<Cow<'a, str>>,
}

/// A summary of a dialer's last ending; the ledger has the whole record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LastEndingRecord<'a> {
    /// Its id.
    pub id: Cow<'a, str>,
    /// Its kind.
    pub kind: Cow<'a, str>,
    /// Why it never opened, for `open_failed`.
    pub open_failure: Option<Cow<'a, str>>,
    /// One plain sentence.
    pub detail: Cow<'a, str>,
}

/// A dialer that will dial again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ReconnectingRecord<'a> {
    /// The dialer's name.
    pub dialer: Cow<'a, str>,
    /// The ending that made it reconnect.
    pub ending: LastEndingRecord<'a>,
    /// Failures since a connection last stayed open, including this one.
    pub attempt: u32,
    /// How long it waits.
    pub wait_ms: u64,
    /// When it dials again.
    #[serde(with = "rfc3339_millis")]
    #[schema(value_type = String, format = DateTime)]
    pub next_try_at: SystemTime,
}

/// A change of a dialer's state.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DialerNewsRecord<'a> {
    /// The dialer's name.
    pub dialer: Cow<'a, str>,
    /// When.
    #[serde(with = "rfc3339_millis")]
    #[schema(value_type = String, format = DateTime)]
    pub at: SystemTime,
    /// `ready`, `overlapped`, `paused`, `resumed`, `removed` or `given_up`.
    pub change: Cow<'a, str>,
    /// The id of the connection that is ready, or remains.
    pub connection: Option<Cow<'a, str>>,
    /// The id of the connection that it replaces.
    pub replaced: Option<Cow<'a, str>>,
    /// The period without a ready connection, if there was one before.
    pub gap: Option<SpanRecord>,
    /// The period in which both connections were open.
    pub overlap: Option<SpanRecord>,
    /// The id of the last ending.
    pub ending: Option<Cow<'a, str>>,
    /// Why it was.
    pub why: Option<Cow<'a, str>>,
}

/// A stretch of time.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SpanRecord {
    /// Its beginning.
    #[serde(with = "rfc3339_millis")]
    #[schema(value_type = String, format = DateTime)]
    pub from: SystemTime,
    /// Its end.
    #[serde(with = "rfc3339_millis")]
    #[schema(value_type = String, format = DateTime)]
    pub until: SystemTime,
    /// Its length.
    pub ms: u64,
}

impl<'a> From<&'a DialerStatus> for DialerRecord<'a> {
    fn from(status: &'a DialerStatus) -> Self {
        Self {
            name: (&*status.name).into(),
            url: (&*status.url).into(),
            state: status.phase.as_str().into(),
            why: status.why.as_deref().map(Cow::from),
            since: status.since,
            next_try_at: status.next_try_at,
            attempts: status.attempts,
            connection: status.connection.map(|id| id.to_string().into()),
            rotating: status.rotating,
            last_ending: status.last.as_deref().map(Into::into),
            opened: status.opened,
            gaps: status.gaps,
            by: status.by.as_ref().map(|by| by.to_string().into()),
        }
    }
}

impl<'a> From<&'a Ending> for LastEndingRecord<'a> {
    fn from(ending: &'a Ending) -> Self {
        let kind = ending.outcome.kind;
        Self {
            id: ending.id.to_string().into(),
            kind: kind.as_str().into(),
            open_failure: kind.open_failure().map(|failure| failure.as_str().into()),
            detail: (&*ending.outcome.detail).into(),
        }
    }
}

impl<'a> From<&'a Reconnecting> for ReconnectingRecord<'a> {
    fn from(reconnecting: &'a Reconnecting) -> Self {
        Self {
            dialer: (&*reconnecting.dialer).into(),
            ending: (&*reconnecting.ending).into(),
            attempt: reconnecting.attempt,
            wait_ms: millis(reconnecting.wait),
            next_try_at: reconnecting.next_try_at,
        }
    }
}

impl<'a> From<&'a DialerEvent> for DialerNewsRecord<'a> {
    fn from(news: &'a DialerEvent) -> Self {
        let mut record = Self {
            dialer: (&*news.dialer).into(),
            at: news.at,
            change: news.change.as_str().into(),
            connection: None,
            replaced: None,
            gap: None,
            overlap: None,
            ending: None,
            why: None,
        };
        match &news.change {
            DialerChange::Ready { connection, replaces, gap } => {
                record.connection = Some(connection.to_string().into());
                record.replaced = replaces.map(|id| id.to_string().into());
                record.gap = gap.map(Into::into);
            }
            DialerChange::Overlapped { connection, replaced, overlap } => {
                record.connection = Some(connection.to_string().into());
                record.replaced = Some(replaced.to_string().into());
                record.overlap = Some((*overlap).into());
            }
            DialerChange::GivenUp { ending, why } => {
                record.ending = Some(ending.to_string().into());
                record.why = Some(why.into());
            }
            DialerChange::Paused | DialerChange::Resumed | DialerChange::Removed => {}
        }
        record
    }
}

impl From<Interval> for SpanRecord {
    fn from(span: Interval) -> Self {
        Self { from: span.from, until: span.until, ms: millis(span.duration()) }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;
    use crate::contract::EventRecord;
    use crate::vocabulary::{ConnectionId, DialerPhase, Event};

    #[test]
    fn a_dialer_has_every_field_of_the_contract() {
        let status = DialerStatus {
            name: "feed".into(),
            url: "wss://feed.example.org/stream".into(),
            phase: DialerPhase::Waiting,
            why: Some("the peer reset TCP".to_owned()),
            since: UNIX_EPOCH,
            next_try_at: Some(UNIX_EPOCH + Duration::from_millis(250)),
            attempts: 1,
            connection: None,
            rotating: false,
            last: None,
            opened: 3,
            gaps: 2,
            by: None,
        };
        let record = DialerRecord::from(&status);
        assert_eq!(
            serde_json::to_string(&record).unwrap(),
            r#"{"name":"feed","url":"wss://feed.example.org/stream","state":"waiting","why":"the peer reset TCP","since":"1970-01-01T00:00:00.000Z","next_try_at":"1970-01-01T00:00:00.250Z","attempts":1,"connection":null,"rotating":false,"last_ending":null,"opened":3,"gaps":2,"by":null}"#
        );
        let read: DialerRecord<'_> =
            serde_json::from_value(serde_json::to_value(&record).unwrap()).unwrap();
        assert_eq!(read, record);
    }

    #[test]
    fn a_gap_is_an_event_with_times() {
        let id: ConnectionId = "01982b7e-4f6a-7c3d-9e21-5b8f0a6d4c17".parse().unwrap();
        let gap = Interval { from: UNIX_EPOCH, until: UNIX_EPOCH + Duration::from_millis(1500) };
        let change = DialerChange::Ready { connection: id, replaces: None, gap: Some(gap) };
        let news = DialerEvent { dialer: "feed".into(), at: gap.until, change };
        let event = Event::Dialer(std::sync::Arc::new(news));
        assert_eq!(
            serde_json::to_string(&EventRecord::from(&event)).unwrap(),
            r#"{"event":"dialer","dialer":"feed","at":"1970-01-01T00:00:01.500Z","change":"ready","connection":"01982b7e-4f6a-7c3d-9e21-5b8f0a6d4c17","replaced":null,"gap":{"from":"1970-01-01T00:00:00.000Z","until":"1970-01-01T00:00:01.500Z","ms":1500},"overlap":null,"ending":null,"why":null}"#
        );
        assert_eq!(EventRecord::from(&event).word(), "dialer");
    }
}
