//! A drain as JSON.

use std::borrow::Cow;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{millis, rfc3339_millis};
use crate::vocabulary::{DrainProgress, Selector, Stragglers};

/// Mirrors [`DrainProgress`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DrainRecord<'a> {
    /// The id of the drain, as in the `by` of endings: `drain:<id>`.
    pub id: Cow<'a, str>,
    /// Its phase: `running`, `finished` or `cancelled`.
    pub phase: Cow<'a, str>,
    /// Which connections it closes; all fields are null for all connections.
    pub select: SelectorRecord<'a>,
    /// Whether new connections are still refused after it has finished, until it is cancelled.
    pub stay: bool,
    /// The code of its Closes.
    pub code: u16,
    /// Their reason.
    pub reason: Cow<'a, str>,
    /// Who requested it.
    pub by: Option<Cow<'a, str>>,
    /// When it began.
    #[serde(with = "rfc3339_millis")]
    #[schema(value_type = String, format = DateTime)]
    pub started_at: SystemTime,
    /// How long it may take in total, in milliseconds.
    pub within_ms: u64,
    /// How long it has taken so far, in milliseconds.
    pub took_ms: u64,
    /// Connections that it selected, including those that opened while it ran.
    pub total: u64,
    /// Connections that were asked to close.
    pub asked: u64,
    /// Connections that have ended.
    pub closed: u64,
    /// Connections that were cut off at the deadline.
    pub cut: u64,
    /// Connections that are still open.
    pub left: u64,
    /// The connections that are still open, by the state of their closing handshake.
    pub stragglers: StragglersRecord,
    /// Plain HTTP clients that a drain of all connections waits for; they are not in `total`.
    #[serde(default)]
    pub http_left: u64,
}

/// A selection of connections; null fields select nothing in particular.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SelectorRecord<'a> {
    /// The route.
    pub route: Option<Cow<'a, str>>,
    /// The subject.
    pub subject: Option<Cow<'a, str>>,
    /// A tag, as `name:value`.
    pub tag: Option<Cow<'a, str>>,
    /// The application behind a relay, by its URL as recorded.
    pub upstream: Option<Cow<'a, str>>,
    /// The application behind a relay, by its number in the route, from 0: recorded URLs may be equal.
    pub upstream_number: Option<u64>,
}

/// The connections that are still open, by the state of their closing handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct StragglersRecord {
    /// Not closed yet.
    pub open: u64,
    /// Our Close was accepted for sending; the peer has not answered.
    pub close_sent: u64,
    /// The peer has closed; our Close has not been sent.
    pub close_received: u64,
    /// The closing handshake is complete; TCP has not ended.
    pub closed: u64,
}

impl<'a> From<&'a DrainProgress> for DrainRecord<'a> {
    fn from(drain: &'a DrainProgress) -> Self {
        Self {
            id: (&*drain.id).into(),
            phase: drain.phase.as_str().into(),
            select: (&drain.select).into(),
            stay: drain.stay,
            code: drain.code.get(),
            reason: drain.reason.as_str().into(),
            by: drain.by.as_ref().map(|by| by.to_string().into()),
            started_at: drain.started_at,
            within_ms: millis(drain.within),
            took_ms: millis(drain.took),
            total: drain.total as u64,
            asked: drain.asked as u64,
            closed: drain.closed as u64,
            cut: drain.cut as u64,
            left: drain.left.total() as u64,
            stragglers: drain.left.into(),
            http_left: drain.http_left,
        }
    }
}

impl<'a> From<&'a Selector> for SelectorRecord<'a> {
    fn from(selector: &'a Selector) -> Self {
        let tag = selector.tag.as_ref();
        Self {
            route: selector.route.as_deref().map(Cow::Borrowed),
            subject: selector.subject.as_deref().map(Cow::Borrowed),
            tag: tag.map(|(name, value)| format!("{name}:{value}").into()),
            upstream: selector.upstream.as_deref().map(Cow::Borrowed),
            upstream_number: selector.upstream_number.map(|number| number as u64),
        }
    }
}

impl From<Stragglers> for StragglersRecord {
    fn from(left: Stragglers) -> Self {
        Self {
            open: left.open as u64,
            close_sent: left.close_sent as u64,
            close_received: left.close_received as u64,
            closed: left.closed as u64,
        }
    }
}
