//! What holds for one connection: the sections, overridden key by key by its route.

use std::time::Duration;

use serde::Deserialize;

use super::limits::{Limits, OnFull};
use super::schema::{Close, Keepalive, Records};
use super::values::{self, ByteSize};

/// What holds for one connection from its opening to its end; a reload does not change it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ConnectionSettings {
    /// The limits; those of the whole node are not applied here.
    pub limits: Limits,
    /// Pings, idle time and age.
    pub keepalive: Keepalive,
    /// The closing handshake.
    pub close: Close,
    /// What of the request is recorded.
    pub records: Records,
}

/// Defines the keys of a section that a route may set for itself.
macro_rules! overrides {
    (
        $(#[$outer:meta])*
        pub struct $name:ident over $section:ident {
            $( $(#[$inner:meta])* $field:ident: $type:ty ),+ $(,)?
        }
    ) => {
        $(#[$outer])*
        #[derive(Debug, Clone, PartialEq, Default, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct $name {
            $(
                #[doc = concat!(
                    "Overrides [`", stringify!($section), "::", stringify!($field), "`]."
                )]
                $(#[$inner])*
                pub $field: Option<$type>,
            )+
        }

        impl $name {
            /// Returns the section with what the route sets in place of what it had.
            pub fn over(&self, section: &$section) -> $section {
                let mut section = section.clone();
                $(
                    if let Some(value) = &self.$field {
                        section.$field = value.clone();
                    }
                )+
                section
            }
        }
    };
}

overrides! {
    /// The limits that a route may set for its connections; the others hold for the whole node.
    pub struct RouteLimits over Limits {
        max_message_size: ByteSize,
        max_frame_size: ByteSize,
        inbox_bytes: ByteSize,
        #[serde(deserialize_with = "values::some_duration")]
        inbox_timeout: Duration,
        outbox_bytes: ByteSize,
        #[serde(deserialize_with = "values::some_duration")]
        write_timeout: Duration,
        on_full: OnFull,
        messages_per_second: u64,
    }
}

overrides! {
    /// The keepalive that a route may set for its connections.
    pub struct RouteKeepalive over Keepalive {
        #[serde(deserialize_with = "values::some_duration")]
        ping_interval: Duration,
        #[serde(deserialize_with = "values::some_duration")]
        pong_timeout: Duration,
        #[serde(deserialize_with = "values::some_duration")]
        idle_timeout: Duration,
        #[serde(deserialize_with = "values::some_duration")]
        max_age: Duration,
    }
}

overrides! {
    /// The closing handshake that a route may set for its connections.
    pub struct RouteClose over Close {
        #[serde(deserialize_with = "values::some_duration")]
        timeout: Duration,
        #[serde(deserialize_with = "values::some_duration")]
        linger: Duration,
        reason_id: bool,
    }
}
