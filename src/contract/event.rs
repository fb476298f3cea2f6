//! Events as JSON, for logs and for Server-Sent Events.

use std::borrow::Cow;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    DialerNewsRecord, DrainRecord, EndingRecord, OriginRecord, ReconnectingRecord,
    RevocationChangeRecord, UpstreamRecord, plain_json, rfc3339_millis,
};
use crate::vocabulary::{ConnectionOpened, Ending, Event};

/// Mirrors [`Event`]: an object whose `event` says what happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "event", rename_all = "snake_case")]
#[non_exhaustive]
pub enum EventRecord<'a> {
    /// A connection opened.
    Opened {
        /// The connection.
        connection: Box<OpenedRecord<'a>>,
    },
    /// A closing handshake made progress.
    Closing {
        /// The connection's id.
        id: Cow<'a, str>,
        /// The state of the handshake.
        state: Cow<'a, str>,
        /// Why.
        cause: Cow<'a, str>,
        /// When.
        #[serde(with = "rfc3339_millis")]
        #[schema(value_type = String, format = DateTime)]
        at: SystemTime,
    },
    /// A connection ended.
    Ended {
        /// Its ending.
        ending: Box<EndingRecord<'a>>,
    },
    /// An attempt failed.
    OpenFailed {
        /// Its ending.
        ending: Box<EndingRecord<'a>>,
    },
    /// A dialer will dial again.
    Reconnecting(Box<ReconnectingRecord<'a>>),
    /// The state of a dialer changed.
    Dialer(Box<DialerNewsRecord<'a>>),
    /// A drain started, progressed, finished or was cancelled.
    Drain {
        /// Its progress.
        drain: Box<DrainRecord<'a>>,
    },
    /// A revocation was made or withdrawn.
    Revocation(Box<RevocationChangeRecord<'a>>),
    /// Events are missing.
    Gap {
        /// The number of missing events; null if unknown.
        missed: Option<u64>,
        /// Why: `expired` (the ledger no longer has them), `not_stored` (the ledger never had
        /// them) or `too_slow` (the reader fell behind).
        #[serde(default)]
        why: Option<Cow<'a, str>>,
    },
}

/// A connection that opened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct OpenedRecord<'a> {
    /// The connection's id.
    pub id: Cow<'a, str>,
    /// The node that owns it.
    pub node: Cow<'a, str>,
    /// The version of lastword that wrote the record.
    pub version: Cow<'a, str>,
    /// Details from its opening handshake.
    #[serde(flatten)]
    pub origin: OriginRecord<'a>,
    /// The id of the other leg of a relay.
    pub relay_peer: Option<Cow<'a, str>>,
    /// What this end dialled.
    pub upstream: Option<UpstreamRecord<'a>>,
    /// When it opened.
    #[serde(with = "rfc3339_millis")]
    #[schema(value_type = String, format = DateTime)]
    pub opened_at: SystemTime,
}

impl EventRecord<'_> {
    /// Returns its name in the contract: the `event` of the object and of Server-Sent Events.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Opened { .. } => "opened",
            Self::Closing { .. } => "closing",
            Self::Ended { .. } => "ended",
            Self::OpenFailed { .. } => "open_failed",
            Self::Reconnecting(_) => "reconnecting",
            Self::Dialer(_) => "dialer",
            Self::Drain { .. } => "drain",
            Self::Revocation(_) => "revocation",
            Self::Gap { .. } => "gap",
        }
    }

    /// Returns the words of the contract, those that this version never says among them.
    pub const WORDS: [&'static str; 9] = [
        "opened",
        "closing",
        "ended",
        "open_failed",
        "reconnecting",
        "dialer",
        "drain",
        "revocation",
        "gap",
    ];

    /// Writes the record as one line of JSON.
    pub fn to_json(&self) -> String {
        // As with endings, serialization cannot fail.
        plain_json::write(self).unwrap_or_else(|_| "null".to_owned())
    }

    /// Writes the event of an ending that is stored as JSON, without reading it; returns its word,
    /// too.
    pub fn of_stored(attempt: bool, ending: &str) -> (&'static str, String) {
        let word = if attempt { "open_failed" } else { "ended" };
        (word, plain_json::escaped(format!(r#"{{"event":"{word}","ending":{ending}}}"#)))
    }
}

impl OpenedRecord<'_> {
    /// Writes the record as one line of JSON.
    pub fn to_json(&self) -> String {
        // As with endings, serialization cannot fail.
        plain_json::write(self).unwrap_or_else(|_| "null".to_owned())
    }

    /// Reads what [`Self::to_json`] wrote.
    ///
    /// # Errors
    /// What is wrong with the text, in a sentence.
    pub fn from_json(json: &str) -> Result<OpenedRecord<'static>, String> {
        serde_json::from_str(json).map_err(|error| error.to_string())
    }
}

impl<'a> From<&'a Event> for EventRecord<'a> {
    fn from(event: &'a Event) -> Self {
        match event {
            Event::Opened(opened) => Self::Opened { connection: Box::new((&**opened).into()) },
            Event::Closing(closing) => Self::Closing {
                id: closing.id.to_string().into(),
                state: closing.state.as_str().into(),
                cause: closing.cause.as_str().into(),
                at: closing.at,
            },
            Event::Ended(ending) => Self::Ended { ending: Box::new((&**ending).into()) },
            Event::OpenFailed(ending) => Self::OpenFailed { ending: Box::new((&**ending).into()) },
            Event::Reconnecting(reconnecting) => {
                Self::Reconnecting(Box::new((&**reconnecting).into()))
            }
            Event::Dialer(news) => Self::Dialer(Box::new((&**news).into())),
            Event::Drain(drain) => Self::Drain { drain: Box::new((&**drain).into()) },
            Event::Revocation(change) => Self::Revocation(Box::new(change.into())),
            Event::Gap(missed) => Self::Gap { missed: Some(*missed), why: Some("too_slow".into()) },
        }
    }
}

impl<'a> From<&'a ConnectionOpened> for OpenedRecord<'a> {
    fn from(opened: &'a ConnectionOpened) -> Self {
        Self {
            id: opened.id.to_string().into(),
            node: (&*opened.node).into(),
            version: Ending::VERSION.into(),
            origin: (&*opened.origin).into(),
            relay_peer: opened.relay_peer.map(|id| id.to_string().into()),
            upstream: opened.origin.upstream.as_ref().map(UpstreamRecord::from),
            opened_at: opened.opened_at,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::vocabulary::{Cause, CloseState, Closing, ConnectionId, Direction, Origin};

    #[test]
    fn events_name_themselves() {
        let id = ConnectionId::new();
        let opened = Event::Opened(Arc::new(ConnectionOpened {
            id,
            node: "a1".into(),
            origin: Arc::new(Origin::new(Direction::Inbound)),
            relay_peer: None,
            opened_at: SystemTime::UNIX_EPOCH,
        }));
        let (state, cause, at) =
            (CloseState::CloseSent, Cause::IdleTimeout, SystemTime::UNIX_EPOCH);
        let closing = Event::Closing(Closing { id, state, cause, at });
        for (event, word) in [(opened, "opened"), (closing, "closing"), (Event::Gap(3), "gap")] {
            let record = EventRecord::from(&event);
            assert_eq!(record.word(), word);
            let json = serde_json::to_value(&record).unwrap();
            assert_eq!(json["event"], word);
            let read: EventRecord<'_> = serde_json::from_value(json).unwrap();
            assert_eq!(read, record);
        }
    }

    #[test]
    fn events_have_the_words_of_the_contract() {
        let id: ConnectionId = "01982b7e-4f6a-7c3d-9e21-5b8f0a6d4c17".parse().unwrap();
        let json = |event: &Event| serde_json::to_string(&EventRecord::from(event)).unwrap();
        assert_eq!(
            json(&Event::Closing(Closing {
                id,
                state: CloseState::CloseReceived,
                cause: Cause::Peer,
                at: SystemTime::UNIX_EPOCH,
            })),
            r#"{"event":"closing","id":"01982b7e-4f6a-7c3d-9e21-5b8f0a6d4c17","state":"close_received","cause":"peer","at":"1970-01-01T00:00:00.000Z"}"#
        );
        assert_eq!(json(&Event::Gap(7)), r#"{"event":"gap","missed":7,"why":"too_slow"}"#);
        let older: EventRecord<'_> = serde_json::from_str(r#"{"event":"gap","missed":7}"#).unwrap();
        assert_eq!(older, EventRecord::Gap { missed: Some(7), why: None });
    }

    #[test]
    fn a_stored_ending_becomes_the_event_that_was_told() {
        let told = r#"{"event":"ended","ending":{"id":"x"}}"#;
        assert_eq!(EventRecord::of_stored(false, r#"{"id":"x"}"#), ("ended", told.to_owned()));
    }
}
