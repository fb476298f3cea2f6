//! A live connection as JSON.

use std::borrow::Cow;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{OriginRecord, UpstreamRecord, fractional_millis, millis, rfc3339_millis};
use crate::vocabulary::{ConnectionStatus, Ending};

/// Mirrors [`ConnectionStatus`]: a live connection, at one moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ConnectionRecord<'a> {
    /// The connection's id.
    pub id: Cow<'a, str>,
    /// The node that owns it.
    pub node: Cow<'a, str>,
    /// The version of lastword that wrote the record.
    pub version: Cow<'a, str>,
    /// Details from its opening handshake.
    #[serde(flatten)]
    pub origin: OriginRecord<'a>,
    /// What this end dialled.
    pub upstream: Option<UpstreamRecord<'a>>,
    /// When it opened.
    #[serde(with = "rfc3339_millis")]
    #[schema(value_type = String, format = DateTime)]
    pub opened_at: SystemTime,
    /// When it is closed because its credentials expire; null if they do not.
    #[serde(default, with = "rfc3339_millis::option")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub expires_at: Option<SystemTime>,
    /// How long it has been open, in milliseconds of the monotonic clock.
    pub open_ms: u64,
    /// The state of the closing handshake.
    pub state: Cow<'a, str>,
    /// Data messages received.
    pub messages_in: u64,
    /// Data messages wholly handed to the kernel.
    pub messages_out: u64,
    /// Payload bytes of data messages received.
    pub bytes_in: u64,
    /// Payload bytes of data messages wholly handed to the kernel.
    pub bytes_out: u64,
    /// Messages queued in the outbox.
    pub queued_messages: u64,
    /// Their payload bytes.
    pub queued_bytes: u64,
    /// The age of the oldest queued message, in milliseconds.
    pub oldest_queued_ms: Option<u64>,
    /// Messages received and not delivered.
    pub discarded_messages: u64,
    /// How long ago the last data message was sent or received, in milliseconds.
    pub last_activity_ms: Option<u64>,
    /// The last round trip of a Ping, in milliseconds with at most three decimals.
    pub ping_rtt_ms: Option<f64>,
}

impl<'a> From<&'a ConnectionStatus> for ConnectionRecord<'a> {
    fn from(status: &'a ConnectionStatus) -> Self {
        let traffic = &status.traffic;
        Self {
            id: status.id.to_string().into(),
            node: (&*status.node).into(),
            version: Ending::VERSION.into(),
            origin: (&*status.origin).into(),
            upstream: status.origin.upstream.as_ref().map(UpstreamRecord::from),
            opened_at: status.opened_at,
            expires_at: status.expires_at,
            open_ms: millis(status.open_for),
            state: status.state.as_str().into(),
            messages_in: traffic.messages_in,
            messages_out: traffic.messages_out,
            bytes_in: traffic.bytes_in,
            bytes_out: traffic.bytes_out,
            queued_messages: traffic.undelivered_messages,
            queued_bytes: traffic.undelivered_bytes,
            oldest_queued_ms: traffic.oldest_queued.map(millis),
            discarded_messages: traffic.discarded_messages,
            last_activity_ms: traffic.last_activity.map(millis),
            ping_rtt_ms: traffic.ping_rtt.map(fractional_millis),
        }
    }
}

/// A page of live connections.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ConnectionPage<'a> {
    /// The connections: oldest first, or as `sort` says.
    pub connections: Vec<ConnectionRecord<'a>>,
    /// The `cursor` of the next page; null at the end.
    pub next: Option<Cow<'a, str>>,
    /// The number of connections that match, on this page or not.
    #[serde(default)]
    pub total: u64,
}
