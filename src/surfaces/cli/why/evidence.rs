//! What was lost, what the network said, which limit was hit, and who asked.

use super::facts::Facts;
use crate::contract::{LimitRecord, TcpRecord};
use crate::surfaces::cli::words::{count, lasting, size};
use crate::vocabulary::Kind;

/// Tells what was carried and what was lost; nothing of an attempt.
pub(super) fn messages(facts: &Facts<'_>) -> Option<String> {
    let record = facts.record;
    let (Some(received), Some(sent)) = (record.messages_in, record.messages_out) else {
        return (!facts.is_attempt()).then(|| {
            "What was carried and what was lost is not known: nobody was left to count.".to_owned()
        });
    };
    let sized = |bytes: Option<u64>| bytes.map_or(String::new(), |b| format!(" ({})", size(b)));
    let mut said = vec![format!(
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
        said.push(format!(
            "Lost: {}{} accepted for the peer did not leave this machine whole{waited}.",
            count(undelivered, "message"),
            sized(record.undelivered_bytes)
        ));
    }
    if discarded > 0 {
        let were = if discarded == 1 { "was" } else { "were" };
        said.push(format!(
            "Lost: {} received from the peer {were} not delivered to the backend.",
            count(discarded, "message")
        ));
    }
    if undelivered == 0 && discarded == 0 {
        said.push("Nothing was lost here.".to_owned());
    }
    if unacked > 0 {
        said.push(format!(
            "The peer's system has not acknowledged the last {}, so the newest of what was sent \
             may not have reached it.",
            size(unacked.into())
        ));
    }
    Some(said.join(" "))
}

/// Tells what TCP and the Pings knew of the way to the peer.
pub(super) fn network(facts: &Facts<'_>) -> Option<String> {
    let record = facts.record;
    let mut said = Vec::new();
    if let Some(tcp) = &record.tcp {
        said.push(transmission(tcp));
    }
    match (record.ping_rtt_ms, facts.kind) {
        (Some(ms), _) => said.push(format!("The last Ping that was answered took {ms} ms.")),
        (None, Some(Kind::PongTimeout)) => said.push("No Ping was ever answered.".to_owned()),
        (None, _) => {}
    }
    if let Some(ms) = record.last_activity_ms {
        said.push(format!("The last message travelled {} before the end.", lasting(ms)));
    }
    (!said.is_empty()).then(|| said.join(" "))
}

fn transmission(tcp: &TcpRecord) -> String {
    let again = match tcp.retransmits {
        0 => "nothing had to be sent twice".to_owned(),
        again => format!("{} had to be sent again", count(again.into(), "packet")),
    };
    let unacked = match tcp.unacked_bytes {
        0 => "everything sent was acknowledged".to_owned(),
        unacked => format!("{} were not acknowledged", size(unacked.into())),
    };
    let round_trip = f64::from(tcp.rtt_us) / 1000.0;
    format!("TCP's round trip was {round_trip} ms; {again}, {unacked}.")
}

/// Tells which limit was hit.
pub(super) fn limit(facts: &Facts<'_>) -> Option<String> {
    let limit = facts.record.limit.as_ref()?;
    if limit.name == "ledger.on_failure" {
        return Some(
            "ledger.on_failure = \"refuse\": no new connections while endings cannot be stored."
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

/// Writes both numbers in the unit that the name of the limit implies.
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

/// Tells who asked for the end.
pub(super) fn asked_by(facts: &Facts<'_>) -> Option<String> {
    let by = facts.record.by.as_deref()?;
    Some(match by.split_once(':') {
        Some(("api", token)) => format!("The control API, with the token named {token}."),
        Some(("signal", name)) => format!("The signal SIG{name}, sent to the daemon."),
        Some(("drain", id)) => format!("The drain {id}."),
        Some(_) | None => format!("{by}."),
    })
}
