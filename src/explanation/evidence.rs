//! The evidence: messages lost, network figures, the limit that was hit, and who requested the end.

use super::facts::Facts;
use super::wording::{count, lasting, size};
use crate::contract::{LimitRecord, TcpRecord};
use crate::vocabulary::Kind;

/// Describes the messages sent, received and lost; `None` for an attempt.
pub(super) fn messages(facts: &Facts<'_>) -> Option<String> {
    let record = facts.record;
    let (Some(received), Some(sent)) = (record.messages_in, record.messages_out) else {
        return (!facts.is_attempt()).then(|| {
            "The numbers of messages are unknown, because the process that counted them died."
                .to_owned()
        });
    };
    let sized = |bytes: Option<u64>| bytes.map_or(String::new(), |b| format!(" ({})", size(b)));
    let mut text = vec![format!(
        "{received} received{}, {sent} sent{}.",
        sized(record.bytes_in),
        sized(record.bytes_out)
    )];
    let undelivered = record.undelivered_messages.unwrap_or(0);
    let discarded = record.discarded_messages.unwrap_or(0);
    let unacked = record.tcp.map_or(0, |tcp| tcp.unacked_bytes);
    if undelivered > 0 {
        let waited = record
            .oldest_queued_ms
            .map_or(String::new(), |ms| format!("; the oldest had waited for {}", lasting(ms)));
        text.push(format!(
            "Lost: {}{} accepted for the peer could not be sent completely{waited}.",
            count(undelivered, "message"),
            sized(record.undelivered_bytes)
        ));
    }
    if discarded > 0 {
        let were = if discarded == 1 { "was" } else { "were" };
        text.push(format!(
            "Lost: {} received from the peer {were} not delivered to the backend.",
            count(discarded, "message")
        ));
    }
    if undelivered == 0 && discarded == 0 {
        text.push("Nothing was lost here.".to_owned());
    }
    if unacked > 0 {
        text.push(format!(
            "The peer's system did not acknowledge the last {}, so the last messages sent may not \
             have reached it.",
            size(unacked.into())
        ));
    }
    Some(text.join(" "))
}

/// Describes the network as TCP and the Pings measured it.
pub(super) fn network(facts: &Facts<'_>) -> Option<String> {
    let record = facts.record;
    let mut text = Vec::new();
    if let Some(tcp) = &record.tcp {
        text.push(transmission(tcp));
    }
    match (record.ping_rtt_ms, facts.kind) {
        (Some(ms), _) => text.push(format!("The last answered Ping took {ms} ms.")),
        (None, Some(Kind::PongTimeout)) => text.push("No Ping was ever answered.".to_owned()),
        (None, _) => {}
    }
    if let Some(ms) = record.last_activity_ms {
        text.push(format!("The last message was sent or received {} before the end.", lasting(ms)));
    }
    (!text.is_empty()).then(|| text.join(" "))
}

fn transmission(tcp: &TcpRecord) -> String {
    let again = match tcp.retransmits {
        0 => "nothing was retransmitted".to_owned(),
        1 => "1 packet was retransmitted".to_owned(),
        packets => format!("{packets} packets were retransmitted"),
    };
    let unacked = match tcp.unacked_bytes {
        0 => "everything sent was acknowledged".to_owned(),
        unacked => format!("{} were not acknowledged", size(unacked.into())),
    };
    let round_trip = f64::from(tcp.rtt_us) / 1000.0;
    format!("TCP's round trip time was {round_trip} ms; {again}, {unacked}.")
}

/// Describes the limit that was hit.
pub(super) fn limit(facts: &Facts<'_>) -> Option<String> {
    let limit = facts.record.limit.as_ref()?;
    if limit.name == "ledger.on_failure" {
        return Some(
            "ledger.on_failure = \"refuse\": new connections are refused while endings cannot be \
             stored."
                .to_owned(),
        );
    }
    let (allowed, seen) = quantities(limit);
    if limit.name == "memory" && facts.kind == Some(Kind::SlowConsumer) {
        return Some(format!(
            "limits.memory allows {allowed} for all connections together; this one held {seen}."
        ));
    }
    Some(format!("{} allows {allowed}; there were {seen}.", limit.name))
}

/// Formats both numbers in the unit that the name of the limit implies.
fn quantities(limit: &LimitRecord<'_>) -> (String, String) {
    let name = &*limit.name;
    let time = ["timeout", "_age", "_interval", "_after", "within"];
    if name.ends_with("_size") || name.ends_with("_bytes") || name == "memory" {
        let (allowed, seen) = (size(limit.limit), size(limit.observed));
        if allowed == seen {
            return (count(limit.limit, "byte"), count(limit.observed, "byte"));
        }
        (allowed, seen)
    } else if time.iter().any(|unit| name.ends_with(unit)) {
        let (allowed, seen) = (lasting(limit.limit), lasting(limit.observed));
        if allowed == seen {
            return (format!("{} ms", limit.limit), format!("{} ms", limit.observed));
        }
        (allowed, seen)
    } else {
        (limit.limit.to_string(), limit.observed.to_string())
    }
}

/// Names who requested the end.
pub(super) fn requested_by(facts: &Facts<'_>) -> Option<String> {
    let by = facts.record.by.as_deref()?;
    Some(match by.split_once(':') {
        Some(("api", token)) => format!("The control API, with the token named {token}."),
        Some(("signal", name)) => format!("The signal SIG{name}, sent to the daemon."),
        Some(("drain", id)) => format!("The drain {id}."),
        Some(_) | None => format!("{by}."),
    })
}
