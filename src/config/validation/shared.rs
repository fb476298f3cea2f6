//! Checks that routes and dialers share.

use super::findings::{Findings, Violation};
use crate::protocol::header_names::is_token;
use crate::settings::values::ByteSize;
use crate::settings::{Close, ConnectionSettings, Keepalive, Limits, RelayBackend};

pub(super) fn check_relay(key: &str, relay: &RelayBackend, found: &mut Findings) {
    let urls = [format!("{key}.urls")];
    found.ensure(!relay.urls.is_empty(), urls, || Violation::NoApplication);
    // Its failures would be counted apart, and it would be drained by halves.
    found.ensure_distinct(&relay.urls, |_| format!("{key}.urls"));
    for (name, duration) in [
        ("connect_timeout", relay.connect_timeout),
        ("response_timeout", relay.response_timeout),
        ("http_timeout", relay.http_timeout),
        ("eject_for", relay.eject_for),
        ("health_interval", relay.health_interval),
    ] {
        found.ensure(!duration.is_zero(), [format!("{key}.{name}")], || Violation::NoDeadline);
    }
    for (name, number) in [
        ("tries", u64::from(relay.tries)),
        ("max_pending", u64::from(relay.max_pending)),
        ("max_message_size", relay.max_message_size.map_or(u64::MAX, |size| size.0)),
    ] {
        found.ensure(number > 0, [format!("{key}.{name}")], || Violation::NoRoom);
    }
}

pub(super) fn check_subprotocols(prefix: &str, subprotocols: &[String], found: &mut Findings) {
    let key = |at| format!("{prefix}subprotocols[{at}]");
    for (at, subprotocol) in subprotocols.iter().enumerate() {
        found.ensure(is_token(subprotocol), [key(at)], || {
            Violation::Subprotocol(subprotocol.clone())
        });
    }
    found.ensure_distinct(subprotocols, key);
}

/// Checks what holds for one connection: the sections, or those of a route.
pub(super) fn check_settings(prefix: &str, settings: &ConnectionSettings, found: &mut Findings) {
    // A route may inherit one half of a contradiction.
    let keys = |keys: &[&str]| -> Vec<String> {
        let own = keys.iter().map(|key| format!("{prefix}{key}"));
        own.chain(keys.iter().map(|key| (*key).to_owned())).collect()
    };
    let ConnectionSettings { limits, keepalive, close, records: _ } = settings;
    let Limits { max_message_size, max_frame_size, inbox_bytes, outbox_bytes, .. } = limits;
    for (key, duration) in [
        ("limits.handshake_timeout", limits.handshake_timeout),
        ("limits.inbox_timeout", limits.inbox_timeout),
        ("limits.write_timeout", limits.write_timeout),
        ("close.timeout", close.timeout),
    ] {
        found.ensure(!duration.is_zero(), keys(&[key]), || Violation::NoDeadline);
    }
    for (key, size) in [
        ("limits.max_message_size", max_message_size),
        ("limits.max_frame_size", max_frame_size),
        ("limits.inbox_bytes", inbox_bytes),
        ("limits.outbox_bytes", outbox_bytes),
    ] {
        found.ensure(*size > ByteSize(0), keys(&[key]), || Violation::NoRoom);
    }
    let sizes = keys(&["limits.max_frame_size", "limits.max_message_size"]);
    found.ensure(max_frame_size <= max_message_size, sizes, || Violation::FrameAboveMessage {
        frame: *max_frame_size,
        message: *max_message_size,
    });
    let Keepalive { ping_interval, pong_timeout, .. } = keepalive;
    let pings = keys(&["keepalive.pong_timeout", "keepalive.ping_interval"]);
    found.ensure(ping_interval.is_zero() || !pong_timeout.is_zero(), pings, || {
        Violation::NoPongTimeout
    });
    let Close { timeout, linger, reason_id: _ } = *close;
    found.ensure(linger <= timeout, keys(&["close.linger", "close.timeout"]), || {
        Violation::LingerAboveTimeout { linger, timeout }
    });
}

pub(super) fn check_names(array: &str, names: &[&str], found: &mut Findings) {
    for (index, name) in names.iter().enumerate() {
        let key = format!("{array}[{index}].name");
        check_name(&key, name, found);
        if let Some(earlier) = names[..index].iter().position(|earlier| earlier == name) {
            let (name, other) = ((*name).to_owned(), format!("{array}[{earlier}]"));
            found.add([key], Violation::DuplicateName { name, other });
            continue;
        }
    }
}

pub(super) fn check_name(key: &str, name: &str, found: &mut Findings) {
    let printable = !name.contains(|c: char| c.is_whitespace() || c.is_control());
    let fits = (1..=64).contains(&name.chars().count());
    found.ensure(printable && fits, [key], || Violation::Name(name.to_owned()));
}
