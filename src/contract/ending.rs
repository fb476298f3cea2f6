//! The ending as JSON: exactly the fields of the contract, in its order.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{fractional_millis, millis, plain_json, rfc3339_millis};
use crate::policy::masking;
use crate::vocabulary::{
    CloseFrame, Ending, Limit, OpenFailure, Origin, ReceivedClose, Retry, TcpFacts, Upstream,
};

/// Mirrors [`Ending`] in the JSON of the contract, section 2.
///
/// Built from an ending, it borrows from it; parsed from JSON, it owns its texts
/// (`EndingRecord<'static>`). An unknown value is written as `null`, never left out; readers ignore
/// unknown fields, since the contract changes by adding.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct EndingRecord<'a> {
    /// The connection's id.
    pub id: Cow<'a, str>,
    /// The node that owned it.
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
    /// When it opened; for an attempt, when it began.
    #[serde(with = "rfc3339_millis")]
    #[schema(value_type = String, format = DateTime)]
    pub opened_at: SystemTime,
    /// When it ended.
    #[serde(with = "rfc3339_millis")]
    #[schema(value_type = String, format = DateTime)]
    pub ended_at: SystemTime,
    /// How long it was open, in milliseconds of the monotonic clock.
    pub open_ms: u64,

    /// What kind of ending it was.
    pub kind: Cow<'a, str>,
    /// Why it never opened; null for a connection.
    pub open_failure: Option<Cow<'a, str>>,
    /// The HTTP status that refused the upgrade; null unless one did.
    pub status: Option<u16>,
    /// Whose fault it was.
    pub fault: Cow<'a, str>,
    /// The first reason for this end to act.
    pub cause: Cow<'a, str>,
    /// Whose Close came first.
    pub first_close: Cow<'a, str>,
    /// The state of the closing handshake when the transport ended.
    pub state: Option<Cow<'a, str>>,
    /// Our Close, if it was sent completely.
    pub close_sent: Option<CloseRecord<'a>>,
    /// The peer's Close, as it was on the wire.
    pub close_received: Option<CloseRecord<'a>>,
    /// The close code of RFC 6455 section 7.1.5.
    pub close_code: Option<u16>,
    /// How the transport ended.
    pub transport_end: Option<Cow<'a, str>>,
    /// From the first Close to the second, in milliseconds.
    pub handshake_ms: Option<u64>,
    /// Advice to the side that dialled.
    pub retry: Cow<'a, str>,
    /// The shortest and the longest wait before reconnecting, in milliseconds.
    pub retry_after_ms: Option<[u64; 2]>,
    /// Which limit was hit.
    pub limit: Option<LimitRecord<'a>>,
    /// Who requested it.
    pub by: Option<Cow<'a, str>>,
    /// One plain sentence for a person.
    pub detail: Cow<'a, str>,

    /// Data messages received.
    pub messages_in: Option<u64>,
    /// Data messages wholly handed to the kernel.
    pub messages_out: Option<u64>,
    /// Payload bytes of data messages received.
    pub bytes_in: Option<u64>,
    /// Payload bytes of data messages wholly handed to the kernel.
    pub bytes_out: Option<u64>,
    /// Messages accepted for sending, not wholly handed to the kernel.
    pub undelivered_messages: Option<u64>,
    /// Their payload bytes.
    pub undelivered_bytes: Option<u64>,
    /// Messages received and not delivered.
    pub discarded_messages: Option<u64>,
    /// The age of the oldest message that was still queued, in milliseconds.
    pub oldest_queued_ms: Option<u64>,
    /// How long ago the last data message was sent or received, in milliseconds.
    pub last_activity_ms: Option<u64>,
    /// The last round trip of a Ping, in milliseconds with at most three decimals.
    pub ping_rtt_ms: Option<f64>,
    /// What the kernel knew at the end.
    pub tcp: Option<TcpRecord>,
}

/// The details of a connection from its opening handshake; part of other records.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct OriginRecord<'a> {
    /// `inbound` or `outbound`.
    pub direction: Cow<'a, str>,
    /// The listener that accepted it.
    pub listener: Option<Cow<'a, str>>,
    /// The dialer that keeps it.
    pub dialer: Option<Cow<'a, str>>,
    /// The route that matched.
    pub route: Option<Cow<'a, str>>,
    /// The backend that takes its messages.
    pub backend: Option<Cow<'a, str>>,
    /// The peer's address; behind a trusted proxy, the client's.
    pub peer: Option<Cow<'a, str>>,
    /// The address of that proxy.
    pub via: Option<Cow<'a, str>>,
    /// This end's address.
    pub local_addr: Option<Cow<'a, str>>,
    /// The version of TLS.
    pub tls: Option<Cow<'a, str>>,
    /// The `Host` of the request.
    pub host: Option<Cow<'a, str>>,
    /// The path and the masked query of the request.
    pub path: Option<Cow<'a, str>>,
    /// The subprotocol that was agreed on.
    pub subprotocol: Option<Cow<'a, str>>,
    /// The `User-Agent` of the request.
    pub user_agent: Option<Cow<'a, str>>,
    /// The W3C trace context of the request.
    pub traceparent: Option<Cow<'a, str>>,
    /// The authenticated subject.
    pub subject: Option<Cow<'a, str>>,
    /// Labels for people and selectors.
    pub tags: Cow<'a, BTreeMap<String, String>>,
}

/// What a dialled connection was dialled to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UpstreamRecord<'a> {
    /// The masked URL.
    pub url: Cow<'a, str>,
    /// The address that answered.
    pub addr: Option<Cow<'a, str>>,
    /// How long TCP (and TLS) took, in milliseconds.
    pub connect_ms: Option<u64>,
    /// The HTTP status of the answer.
    pub status: Option<u16>,
}

/// A Close frame; the code of an empty one is null.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CloseRecord<'a> {
    /// The close code.
    pub code: Option<u16>,
    /// The close reason.
    pub reason: Cow<'a, str>,
}

/// Which limit was hit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LimitRecord<'a> {
    /// The configuration key, without its section.
    pub name: Cow<'a, str>,
    /// What it allows; bytes, messages or milliseconds.
    pub limit: u64,
    /// What was seen, in the same unit.
    pub observed: u64,
}

/// What the kernel knew of the connection at its end (TCP_INFO).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TcpRecord {
    /// Segments sent again.
    pub retransmits: u32,
    /// Bytes written and not acknowledged by the peer's kernel.
    pub unacked_bytes: u32,
    /// The smoothed round-trip time, in microseconds.
    pub rtt_us: u32,
}

impl EndingRecord<'_> {
    /// Writes the record as one line of JSON.
    pub fn to_json(&self) -> String {
        // Serialization cannot fail here; the fallback is valid JSON in case that ever changes.
        plain_json::write(self).unwrap_or_else(|_| "null".to_owned())
    }
}

impl<'a> From<&'a Ending> for EndingRecord<'a> {
    fn from(ending: &'a Ending) -> Self {
        let outcome = &ending.outcome;
        let traffic = ending.traffic.as_ref();
        let open_failure = outcome.kind.open_failure();
        Self {
            id: ending.id.to_string().into(),
            node: (&*ending.node).into(),
            version: Ending::VERSION.into(),
            origin: (&*ending.origin).into(),
            relay_peer: ending.relay_peer.map(|id| id.to_string().into()),
            upstream: ending.origin.upstream.as_ref().map(UpstreamRecord::from),
            opened_at: ending.opened_at,
            ended_at: ending.ended_at,
            open_ms: millis(ending.open_for),
            kind: outcome.kind.as_str().into(),
            open_failure: open_failure.map(|failure| failure.as_str().into()),
            status: open_failure.and_then(|failure| http_status(failure, &ending.origin)),
            fault: outcome.fault.as_str().into(),
            cause: outcome.cause.as_str().into(),
            first_close: outcome.first_close.as_str().into(),
            state: outcome.state.map(|state| state.as_str().into()),
            close_sent: outcome.close_sent.as_ref().map(CloseRecord::from),
            close_received: outcome.close_received.as_ref().map(CloseRecord::from),
            close_code: outcome.close_code(),
            transport_end: outcome.transport_end.map(|end| end.as_str().into()),
            handshake_ms: outcome.handshake.map(millis),
            retry: outcome.retry.advice().as_str().into(),
            retry_after_ms: match outcome.retry {
                Retry::Never | Retry::Reauthenticate => None,
                Retry::Backoff { min, max } => Some([millis(min), millis(max)]),
            },
            limit: outcome.limit.as_ref().map(LimitRecord::from),
            by: outcome.by.as_ref().map(|by| by.to_string().into()),
            detail: outcome.detail.as_str().into(),
            messages_in: traffic.map(|t| t.messages_in),
            messages_out: traffic.map(|t| t.messages_out),
            bytes_in: traffic.map(|t| t.bytes_in),
            bytes_out: traffic.map(|t| t.bytes_out),
            undelivered_messages: traffic.map(|t| t.undelivered_messages),
            undelivered_bytes: traffic.map(|t| t.undelivered_bytes),
            discarded_messages: traffic.map(|t| t.discarded_messages),
            oldest_queued_ms: traffic.and_then(|t| t.oldest_queued).map(millis),
            last_activity_ms: traffic.and_then(|t| t.last_activity).map(millis),
            ping_rtt_ms: traffic.and_then(|t| t.ping_rtt).map(fractional_millis),
            tcp: ending.tcp.map(TcpRecord::from),
        }
    }
}

impl<'a> From<&'a Origin> for OriginRecord<'a> {
    fn from(origin: &'a Origin) -> Self {
        Self {
            direction: origin.direction.as_str().into(),
            listener: text(&origin.listener),
            dialer: text(&origin.dialer),
            route: text(&origin.route),
            backend: text(&origin.backend),
            peer: text(&origin.peer),
            via: text(&origin.via),
            local_addr: text(&origin.local_addr),
            tls: text(&origin.tls),
            host: text(&origin.host),
            path: text(&origin.path),
            subprotocol: origin.subprotocol.as_deref().map(masking::record_subprotocol),
            user_agent: text(&origin.user_agent),
            traceparent: text(&origin.traceparent),
            subject: text(&origin.subject),
            tags: Cow::Borrowed(&origin.tags),
        }
    }
}

impl<'a> From<&'a Upstream> for UpstreamRecord<'a> {
    fn from(upstream: &'a Upstream) -> Self {
        Self {
            url: upstream.url.as_str().into(),
            addr: text(&upstream.addr),
            connect_ms: upstream.connect.map(millis),
            status: upstream.status,
        }
    }
}

impl<'a> From<&'a CloseFrame> for CloseRecord<'a> {
    fn from(close: &'a CloseFrame) -> Self {
        Self { code: close.code().map(|code| code.get()), reason: close.reason().into() }
    }
}

impl<'a> From<&'a ReceivedClose> for CloseRecord<'a> {
    fn from(close: &'a ReceivedClose) -> Self {
        Self { code: close.code, reason: (&*close.reason).into() }
    }
}

impl From<&Limit> for LimitRecord<'_> {
    fn from(limit: &Limit) -> Self {
        Self { name: limit.name.into(), limit: limit.limit, observed: limit.observed }
    }
}

impl From<TcpFacts> for TcpRecord {
    fn from(tcp: TcpFacts) -> Self {
        Self { retransmits: tcp.retransmits, unacked_bytes: tcp.unacked_bytes, rtt_us: tcp.rtt_us }
    }
}

fn text(text: &Option<String>) -> Option<Cow<'_, str>> {
    text.as_deref().map(Cow::Borrowed)
}

fn http_status(failure: OpenFailure, origin: &Origin) -> Option<u16> {
    match failure {
        OpenFailure::UpgradeRejected { status } => Some(status),
        OpenFailure::BackendRefused => origin.refused_with(),
        OpenFailure::RefusedLimit
        | OpenFailure::RefusedRate
        | OpenFailure::RefusedDraining
        | OpenFailure::RefusedOrigin
        | OpenFailure::UntrustedProxy
        | OpenFailure::Unauthorized
        | OpenFailure::AuthUnavailable
        | OpenFailure::NoRoute
        | OpenFailure::BadRequest
        | OpenFailure::HandshakeTimeout
        | OpenFailure::PeerGone
        | OpenFailure::Dns
        | OpenFailure::ConnectRefused
        | OpenFailure::ConnectTimeout
        | OpenFailure::PortsExhausted
        | OpenFailure::Tls
        | OpenFailure::BackendUnreachable => None,
    }
}

#[cfg(test)]
mod tests;
