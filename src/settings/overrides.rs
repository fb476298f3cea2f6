//! What holds for one connection: the sections, overridden key by key by its route.

use std::time::Duration;

use serde::Deserialize;

use super::close::Close;
use super::keepalive::Keepalive;
use super::limits::{Limits, OnFull, OnRate};
use super::records::Records;
use super::values::{self, ByteSize};
use crate::policy::admission::RouteCapacity;

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

impl ConnectionSettings {
    /// Cuts every duration to ten years, the longest that a configuration file may say.
    ///
    /// Settings made by a program are not read from one, and a deadline must fit into the clock.
    #[must_use]
    pub(crate) fn bounded(mut self) -> Self {
        let Self { limits, keepalive, close, records: _ } = &mut self;
        for duration in [
            &mut limits.handshake_timeout,
            &mut limits.message_timeout,
            &mut limits.inbox_timeout,
            &mut limits.write_timeout,
            &mut keepalive.ping_interval,
            &mut keepalive.pong_timeout,
            &mut keepalive.idle_timeout,
            &mut keepalive.max_age,
            &mut close.timeout,
            &mut close.linger,
        ] {
            *duration = (*duration).min(values::LONGEST);
        }
        self
    }

    /// Returns these settings with these limits, and with what a route or a dialer sets in place of
    /// what they had.
    pub fn overridden(
        &self,
        limits: Limits,
        keepalive: &RouteKeepalive,
        close: &RouteClose,
    ) -> Self {
        Self {
            limits,
            keepalive: keepalive.over(&self.keepalive),
            close: close.over(&self.close),
            records: self.records.clone(),
        }
    }
}

/// Defines the keys of a section that a route may set for itself.
macro_rules! overrides {
    (
        $(#[$outer:meta])*
        pub struct $name:ident over $section:ident {
            $( $(#[$inner:meta])* $field:ident: $type:ty ),+ $(,)?
        }
        $( and { $( $(#[$own_doc:meta])* $own:ident: $own_type:ty ),* $(,)? } )?
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
            $( $( $(#[$own_doc])* pub $own: Option<$own_type>, )* )?
        }

        impl $name {
            fn replace_in(&self, section: &mut $section) {
                $(
                    if let Some(value) = &self.$field {
                        section.$field = value.clone().into();
                    }
                )+
            }
        }
    };
}

/// Defines overrides of the limits that hold for one connection, with keys of their own beside them.
macro_rules! limits {
    ($(#[$outer:meta])* pub struct $name:ident { $($own:tt)* }) => {
        overrides! {
            $(#[$outer])*
            pub struct $name over Limits {
                #[serde(deserialize_with = "values::some_duration")]
                message_timeout: Duration,
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
                bytes_per_second: ByteSize,
                on_rate: OnRate,
            }
            and { $($own)* }
        }

        impl $name {
            /// Returns what holds where messages are passed on and none is held: their size is limited
            /// only by what is set here.
            #[must_use]
            pub(crate) fn passing(&self) -> Self {
                let mut limits = self.clone();
                if limits.max_message_size.is_none() {
                    limits.max_message_size = Some(ByteSize::MAX);
                    limits.max_frame_size = Some(limits.max_frame_size.unwrap_or(ByteSize::MAX));
                }
                limits
            }

            /// Returns the section with what is set here in place of what it had.
            ///
            /// `max_frame_size` follows `max_message_size` unless it is set here: a global frame limit
            /// that was equal stays equal, a smaller one stays unless the new message limit is smaller
            /// yet.
            pub fn over(&self, section: &Limits) -> Limits {
                let mut limits = section.clone();
                self.replace_in(&mut limits);
                if self.max_message_size.is_some() && self.max_frame_size.is_none() {
                    limits.max_frame_size = if section.max_frame_size == section.max_message_size {
                        limits.max_message_size
                    } else {
                        limits.max_frame_size.min(limits.max_message_size)
                    };
                }
                limits
            }
        }
    };
}

limits! {
    /// The limits that may be set for a single connection, such as that of a dialer.
    pub struct ConnectionLimits {}
}

limits! {
    /// The limits that a route may set: for each of its connections, and for their number. The others
    /// hold for the whole node.
    pub struct RouteLimits {
        /// Bounds the open connections of the route. See [`RouteCapacity::max_connections`].
        max_connections: u64,
        /// The same, from one IP address.
        max_connections_per_ip: u64,
        /// The same, of one subject.
        max_connections_per_subject: u64,
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

impl RouteLimits {
    /// Returns how many connections the route may have.
    pub fn capacity(&self) -> RouteCapacity {
        RouteCapacity {
            max_connections: self.max_connections.unwrap_or(0),
            max_connections_per_ip: self.max_connections_per_ip.unwrap_or(0),
            max_connections_per_subject: self.max_connections_per_subject.unwrap_or(0),
        }
    }
}

impl RouteKeepalive {
    /// Returns the section with what the route sets in place of what it had.
    pub fn over(&self, section: &Keepalive) -> Keepalive {
        let mut keepalive = section.clone();
        self.replace_in(&mut keepalive);
        keepalive
    }
}

impl RouteClose {
    /// Returns the section with what the route sets in place of what it had; `linger` is cut to a
    /// shorter `timeout` unless the route sets it.
    pub fn over(&self, section: &Close) -> Close {
        let mut close = section.clone();
        self.replace_in(&mut close);
        if self.timeout.is_some() && self.linger.is_none() {
            close.linger = close.linger.min(close.timeout);
        }
        close
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_overrides_single_keys() {
        let route = RouteLimits { outbox_bytes: Some(ByteSize(7)), ..RouteLimits::default() };
        let expected = Limits { outbox_bytes: ByteSize(7), ..Limits::default() };
        assert_eq!(route.over(&Limits::default()), expected);
        assert_eq!(RouteLimits::default().over(&expected), expected);
        let route = RouteKeepalive { max_age: Some(Duration::ZERO), ..RouteKeepalive::default() };
        let section = Keepalive { max_age: Duration::from_secs(1), ..Keepalive::default() };
        assert_eq!(route.over(&section), Keepalive::default());
    }

    #[test]
    fn the_frame_limit_follows_the_message_limit_of_a_route() {
        let frame_limit = |message: u64, section: &Limits| {
            let max_message_size = Some(ByteSize(message));
            RouteLimits { max_message_size, ..RouteLimits::default() }.over(section).max_frame_size
        };
        assert_eq!(frame_limit(64, &Limits::default()), ByteSize(64));
        assert_eq!(frame_limit(16 << 20, &Limits::default()), ByteSize::mib(16));
        let smaller = Limits { max_frame_size: ByteSize(100), ..Limits::default() };
        assert_eq!(frame_limit(64, &smaller), ByteSize(64));
        assert_eq!(frame_limit(200, &smaller), ByteSize(100));
    }

    #[test]
    fn what_is_passed_on_has_the_sizes_that_are_set_for_it() {
        let small = Limits { max_frame_size: ByteSize(100), ..Limits::default() };
        let sizes = |route: RouteLimits| {
            let limits = route.passing().over(&small);
            (limits.max_message_size, limits.max_frame_size)
        };
        assert_eq!(sizes(RouteLimits::default()), (ByteSize::MAX, ByteSize::MAX));
        let frame = RouteLimits { max_frame_size: Some(ByteSize(7)), ..RouteLimits::default() };
        assert_eq!(sizes(frame), (ByteSize::MAX, ByteSize(7)));
        let message = RouteLimits { max_message_size: Some(ByteSize(7)), ..RouteLimits::default() };
        assert_eq!(sizes(message), (ByteSize(7), ByteSize(7)));
    }

    #[test]
    fn a_short_timeout_of_a_route_cuts_the_linger() {
        let second = Duration::from_secs(1);
        let route = RouteClose { timeout: Some(second), ..RouteClose::default() };
        assert_eq!(route.over(&Close::default()).linger, second);
        let route = RouteClose { linger: Some(second * 9), ..route };
        assert_eq!(route.over(&Close::default()).linger, second * 9, "validation refuses it");
    }
}
