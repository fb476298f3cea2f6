//! The `[limits]` section: what one process, one listener and one connection may take.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::Deserialize;
use serde::de::Deserializer;

use super::values::{self, ByteSize, InvalidValue};

/// Bounds what peers and backends can make this process hold, wait for or do.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Bounds the open connections of the node: those of clients, those to applications (so a
    /// relayed client takes two) and those that were dialled, which are never refused.
    ///
    /// Unit: connections; 0 = what the descriptor limit allows, less 256 (the effective value is
    /// logged). Default: 0. Cost: a descriptor and about 15 KiB for each idle connection; beyond
    /// the limit handshakes get 503.
    pub max_connections: u64,
    /// Bounds the open connections from one IP address; an IPv6 network (/64) counts as one.
    ///
    /// Unit: connections; 0 = no limit. Default: 0. Cost: one counter per address that is
    /// connected; users behind one NAT share it. Beyond the limit handshakes get 503.
    pub max_connections_per_ip: u64,
    /// Bounds the sockets from one IP address whose request has not come after a quarter of a
    /// second; an IPv6 network (/64) counts as one. When half of the room for handshakes is taken,
    /// newer ones count as well.
    ///
    /// Unit: sockets; 0 = no limit. Default: 64. Cost: one counter per address; users behind one NAT
    /// share it, and so does all that comes through a proxy. Beyond the limit they get 503.
    pub half_open_per_ip: u64,
    /// Bounds the opening handshakes that begin per second, over all listeners.
    ///
    /// Unit: handshakes per second; 0 = no limit. Default: 1000. A second's worth may begin at once, of
    /// which an eighth is kept for addresses that take little, so that a flood from one address keeps
    /// no others out. Cost: after a mass disconnect clients come back at this rate at most; beyond it
    /// they get 429.
    pub handshakes_per_second: u64,
    /// Bounds the dials that begin per second, over all dialers, evenly spaced; single dials are not counted.
    ///
    /// Unit: dials per second; 0 = no limit. Default: 50. Cost: when an upstream of many dialers
    /// comes back, they are back after their number divided by this, in seconds.
    pub dials_per_second: u64,
    /// Bounds the connections accepted per second from one IP address; an IPv6 network (/64) counts
    /// as one.
    ///
    /// Unit: connections per second; 0 = no limit. Default: 0. Cost: one counter per address seen
    /// of late; users behind one NAT share it. Beyond the limit handshakes get 429.
    pub accept_rate_per_ip: u64,
    /// Bounds the clients whose requests are passed on as plain HTTP (`http = "proxy"`), beside
    /// `max_connections`; from one address at most `max_connections_per_ip`.
    ///
    /// Unit: clients; 0 = an eighth of what the descriptor limit allows, less what an explicit
    /// `max_connections` takes (the effective value is logged). Default: 0. Cost: two descriptors and
    /// about 30 KiB each; where all are taken, one without a request under way makes way, else new
    /// ones get 503.
    pub max_http_connections: u64,
    /// Bounds the requests that are passed on as plain HTTP per second, over all listeners.
    ///
    /// Unit: requests per second; 0 = no limit. Default: 0. Cost: one lock per request; beyond it they
    /// get 429.
    pub http_requests_per_second: u64,
    /// Bounds the opening handshake, from accepted to answered.
    ///
    /// Unit: duration, above zero. Default: 10s. Cost: a slow or hostile client holds a descriptor
    /// for as long; too short refuses clients on bad networks (408).
    #[serde(deserialize_with = "values::duration")]
    pub handshake_timeout: Duration,
    /// Bounds the time of one received message, from its first byte to its last.
    ///
    /// Unit: duration; 0s = no limit. Time in which reading is paused does not count. A relay holds no
    /// messages: there it bounds a frame of up to 16 KiB, and in a larger one the time without a
    /// byte. Default: 60s. Cost: a peer that stops in the middle holds what it has sent for as long;
    /// then the connection is closed with 3008 and cause `idle_timeout`. Too short ends uploads on
    /// slow networks.
    #[serde(deserialize_with = "values::duration")]
    pub message_timeout: Duration,
    /// Bounds a received message, over all its fragments.
    ///
    /// Unit: size, above zero. Default: 1MiB; take 16MiB from upstream feeds. Cost: echo and embedded
    /// backends hold a whole message in memory; a larger one ends the connection with 1009. Routes
    /// with a relay backend have no limit unless it is set.
    pub max_message_size: ByteSize,
    /// Bounds the payload of a received frame.
    ///
    /// Unit: size, above zero, at most `max_message_size`. Default: as `max_message_size`.
    /// Cost: none; a larger frame ends the connection with 1009 at its header.
    pub max_frame_size: ByteSize,
    /// Bounds the memory of what was received and the backend has not taken; beyond it reading pauses.
    ///
    /// It counts with its bookkeeping, about 100 bytes a message, however small.
    /// Unit: size, above zero; one message is always admitted, so it may be smaller than
    /// `max_message_size`. Default: 256KiB. Cost: as much memory for each connection whose backend
    /// is slow, charged to `memory`.
    pub inbox_bytes: ByteSize,
    /// Bounds how long a backend may take nothing while the inbox is full.
    ///
    /// Unit: duration, above zero. Default: 30s. Cost: a stuck backend holds its inboxes for as
    /// long; then the connection ends as `backend_failed`.
    #[serde(deserialize_with = "values::duration")]
    pub inbox_timeout: Duration,
    /// Bounds the memory of what was accepted for sending and the kernel has not taken.
    ///
    /// It counts with its bookkeeping, about 100 bytes a message, however small.
    /// Unit: size, above zero; one message is always admitted when the outbox is empty. Default:
    /// 256KiB. Cost: as much memory for each slow reader, charged to `memory`.
    pub outbox_bytes: ByteSize,
    /// Bounds how long writing may make no progress.
    ///
    /// Unit: duration, above zero: every write has a deadline. Default: 15s. Cost: a reader that
    /// stalled holds its outbox for as long; then the connection ends as `slow_consumer`.
    #[serde(deserialize_with = "values::duration")]
    pub write_timeout: Duration,
    /// Chooses what happens to a message when the outbox is full.
    ///
    /// One of `refuse`, `close`, `drop_oldest`, `drop_newest`. Default: refuse. Cost: `close` ends
    /// slow readers at once; the two that drop lose messages, counted in the ending.
    pub on_full: OnFull,
    /// Bounds the bytes that all inboxes, outboxes, messages received in part and opening handshakes
    /// take together.
    ///
    /// Unit: percentage of the least of the machine's memory, the cgroup's limit and that of the
    /// address space, or a size of several times `max_message_size`. Default: 60%. Cost: what is
    /// left is for connections and the rest of the machine. Where it stays used up for 100 ms, the
    /// connections that hold most are closed with 1013 and end as `slow_consumer`. Opening
    /// handshakes may take a quarter of it; beyond that, and while it is used up, new ones get 503.
    /// Beside it the process takes at most 64 MiB, and 14 KiB for each connection or attempt (with
    /// TLS some 8 KiB more); while the log hangs 32 MiB more, and while the disk does up to
    /// `ledger.queue_bytes`.
    pub memory: MemoryLimit,
    /// Bounds the messages received per second on one connection. A fragment, a Ping, and a Pong
    /// that were not asked for count as messages.
    ///
    /// Unit: messages per second; 0 = no limit. Default: 0. Cost: one counter per connection; what
    /// becomes of a peer that exceeds it is up to `on_rate`.
    pub messages_per_second: u64,
    /// Bounds the bytes received per second on one connection, with the headers of frames and
    /// without those of TLS.
    ///
    /// Unit: size per second; 0 = no limit. A second's worth may come at once. Default: 0. Cost: one
    /// counter and a timer per connection that is over it.
    pub bytes_per_second: ByteSize,
    /// Chooses what happens to a peer that exceeds `bytes_per_second` or `messages_per_second`.
    ///
    /// One of `slow`, `close`. Default: `slow` for bytes, `close` for messages; where it is set it
    /// holds for both. Cost: with `slow`, reading waits, so that TCP holds the peer back and its Pings and
    /// its Close wait behind what it has sent; `close` ends the connection with 1013 and cause
    /// `rate_limited`.
    pub on_rate: Option<OnRate>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_connections: 0,
            max_connections_per_ip: 0,
            half_open_per_ip: 64,
            handshakes_per_second: 1000,
            max_http_connections: 0,
            http_requests_per_second: 0,
            dials_per_second: 50,
            accept_rate_per_ip: 0,
            handshake_timeout: Duration::from_secs(10),
            message_timeout: Duration::from_secs(60),
            max_message_size: ByteSize::mib(1),
            max_frame_size: ByteSize::mib(1),
            inbox_bytes: ByteSize::kib(256),
            inbox_timeout: Duration::from_secs(30),
            outbox_bytes: ByteSize::kib(256),
            write_timeout: Duration::from_secs(15),
            on_full: OnFull::Refuse,
            memory: MemoryLimit::default(),
            messages_per_second: 0,
            bytes_per_second: ByteSize(0),
            on_rate: None,
        }
    }
}

/// What happens to a message when the outbox is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum OnFull {
    /// The message is refused; the connection goes on.
    #[default]
    Refuse,
    /// The connection ends as `slow_consumer`.
    Close,
    /// The oldest queued messages give way.
    DropOldest,
    /// The message is dropped.
    DropNewest,
}

/// What happens to a peer that sends more per second than it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum OnRate {
    /// Reading waits until it is within the rate again.
    Slow,
    /// The connection is closed with 1013.
    Close,
}

/// How much memory all that peers and backends make a node hold may take together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MemoryLimit {
    /// Percent of the least of the machine's memory, the cgroup's limit and that of the address
    /// space; from 1 to 100.
    Percent(u8),
    /// A number of bytes.
    Bytes(ByteSize),
}

impl Default for MemoryLimit {
    fn default() -> Self {
        Self::Percent(60)
    }
}

impl FromStr for MemoryLimit {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let invalid = || InvalidValue::Memory(text.to_owned());
        match text.trim().strip_suffix('%') {
            Some(number) => match number.trim_end().parse() {
                Ok(percent @ 1..=100) => Ok(Self::Percent(percent)),
                _ => Err(invalid()),
            },
            None => match text.parse() {
                Ok(size) if size > ByteSize(0) => Ok(Self::Bytes(size)),
                _ => Err(invalid()),
            },
        }
    }
}

impl fmt::Display for MemoryLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Percent(percent) => write!(f, "{percent}%"),
            Self::Bytes(size) => size.fmt(f),
        }
    }
}

impl<'de> Deserialize<'de> for MemoryLimit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MemoryVisitor;
        impl serde::de::Visitor<'_> for MemoryVisitor {
            type Value = MemoryLimit;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a percentage such as \"60%\" or a size such as \"512MiB\"")
            }
            fn visit_i64<E: serde::de::Error>(self, bytes: i64) -> Result<MemoryLimit, E> {
                // As text, so that zero and negative numbers get the same answer.
                self.visit_str(&bytes.to_string())
            }
            fn visit_u64<E: serde::de::Error>(self, bytes: u64) -> Result<MemoryLimit, E> {
                self.visit_str(&bytes.to_string())
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<MemoryLimit, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_any(MemoryVisitor)
    }
}
