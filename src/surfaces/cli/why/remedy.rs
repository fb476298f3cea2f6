//! What to do about an ending: for the operator here, and for the side that dialled.

mod attempt;

use super::facts::{Facts, limit_name};
use crate::surfaces::cli::words::{code_name, lasting, short_id, utc};
use crate::vocabulary::{Advice, Cause, CloseCode, CloseState, Fault, Kind};

/// Tells the operator what to do, in one or two sentences.
pub(super) fn of(facts: &Facts<'_>) -> String {
    let Some(kind) = facts.kind else {
        return "A newer `lastword why` tells what to do about it.".to_owned();
    };
    match kind {
        Kind::Clean => clean(facts),
        Kind::ClosedPrematurely => closed_prematurely(facts),
        Kind::ConnectionReset => connection_reset(facts),
        Kind::PathLost => {
            "Check the way to the peer. Mobile networks, VPNs and sleeping laptops do this to a \
             few; if many peers are lost at once, look at the network of this machine."
                .to_owned()
        }
        Kind::TlsTruncated => {
            "Find out whether the client's library, or a proxy in front of it, ends TLS without \
             close_notify. Do not take the data before the cut for complete."
                .to_owned()
        }
        Kind::TransportError => {
            "Look up the error that is named above. If it speaks of memory, buffers or \
             descriptors, this machine is short of them."
                .to_owned()
        }
        Kind::CloseTimeout => close_timeout(facts),
        Kind::PongTimeout if facts.outbound => {
            "Check whether the server is up, and the way to it. If it is only slow, raise \
             keepalive.pong_timeout."
                .to_owned()
        }
        Kind::PongTimeout => {
            "Nothing, if the client may vanish (a phone, a laptop that sleeps). If healthy clients \
             are hit, raise keepalive.pong_timeout."
                .to_owned()
        }
        Kind::ProtocolViolation => protocol_violation(facts),
        Kind::InvalidPayload => {
            format!("Let the {} send data that is no UTF-8 text in binary messages.", facts.peer())
        }
        Kind::MessageTooBig => {
            let (limit, peer) = (limit_name(facts, "max_message_size"), facts.peer());
            format!(
                "If such messages are meant to come, raise limits.{limit}; else let the {peer} \
                 send less at once."
            )
        }
        Kind::SlowConsumer => slow_consumer(facts),
        Kind::BackendFailed => backend_failed(facts),
        Kind::ActorFailed => format!(
            "Please report this as a defect of lastword, with the daemon's log around {}.",
            utc(facts.record.ended_at)
        ),
        Kind::Aborted if facts.cause == Some(Cause::Drain) => {
            "The daemon was told twice to stop, which ends all at once. One signal is enough; \
             drain.within sets how long it may take."
                .to_owned()
        }
        Kind::Aborted if facts.cause == Some(Cause::RelayPeer) => other_leg(facts),
        Kind::Aborted => {
            "Nothing: it was asked for. `lastword close` ends a connection gently.".to_owned()
        }
        Kind::DrainDeadline => drain_deadline(facts),
        Kind::ProcessDied => {
            "Find out why the daemon died: look at its log and at the kernel's (out of memory?), \
             for example with `journalctl -u lastword` and `journalctl -k`."
                .to_owned()
        }
        Kind::OpenFailed(failure) => attempt::remedy(facts, failure),
    }
}

/// Names the limit that was hit, or the usual one.
/// Younger connections than this were not cut by a timeout on the way, in milliseconds.
const SHORTEST_TIMEOUT: u64 = 1000;

/// Tells what many endings of the same age point to.
fn cut_by_a_timeout(facts: &Facts<'_>) -> String {
    if facts.record.open_ms < SHORTEST_TIMEOUT {
        return format!(
            "If many end so soon (this one after {}), look at what the {} does right after the \
             opening handshake.",
            lasting(facts.record.open_ms),
            facts.peer()
        );
    }
    format!(
        "If many end at about the same age (this one at {}), something on the way times out: set \
         keepalive.ping_interval to less than that.",
        lasting(facts.record.open_ms)
    )
}

fn other_leg(facts: &Facts<'_>) -> String {
    match &facts.record.relay_peer {
        Some(other) => {
            format!("Look at the other leg, which ended first: `lastword why {}`.", short_id(other))
        }
        None => "Look for the reason at the other leg of the relay, which ended first.".to_owned(),
    }
}

fn clean(facts: &Facts<'_>) -> String {
    match facts.cause {
        Some(Cause::Peer) => left_by_peer(facts),
        Some(Cause::Api | Cause::Embedder) => "Nothing: it was asked for.".to_owned(),
        Some(Cause::Drain) => "Nothing: it was part of a drain.".to_owned(),
        Some(Cause::IdleTimeout) if limit_name(facts, "") == "message_timeout" => format!(
            "Find out what the {} hung on in the middle of a message. If its messages are large and \
             its network is slow, raise limits.message_timeout.",
            facts.peer()
        ),
        Some(Cause::IdleTimeout) => {
            "Nothing, if idle connections are meant to end. Else raise keepalive.idle_timeout, or \
             let the client send a message now and then (Pings do not count)."
                .to_owned()
        }
        Some(Cause::MaxAge) => {
            "Nothing: keepalive.max_age says how old a connection may get.".to_owned()
        }
        Some(Cause::Backend) if facts.fault == Some(Fault::Backend) => format!(
            "Look at the backend's log around {}: it closed because it failed, restarted or was \
             overloaded.",
            utc(facts.record.ended_at)
        ),
        Some(Cause::Backend) => "Nothing: the backend closed it.".to_owned(),
        Some(Cause::RelayPeer) => other_leg(facts),
        Some(Cause::RateLimited) => {
            "If the peer is meant to send that much, raise limits.messages_per_second for the \
             route; else make it send less."
                .to_owned()
        }
        Some(Cause::AuthExpired) => {
            "Nothing, if the client comes back with fresh credentials by itself.".to_owned()
        }
        Some(Cause::Replaced) => {
            "Nothing, if it happens once. If two programs keep replacing each other, they share one \
             identity: give each its own."
                .to_owned()
        }
        Some(Cause::SlowConsumer) => slow_consumer(facts),
        Some(Cause::Keepalive) => {
            "Nothing, if the peer may fall silent; else raise keepalive.pong_timeout.".to_owned()
        }
        Some(Cause::Stale) => {
            "Check whether the feed sends at all. If it may be silent for longer, raise the \
             dialer's stale_after."
                .to_owned()
        }
        Some(Cause::Rotated) => "Nothing: a fresh connection has taken over.".to_owned(),
        Some(Cause::Violation | Cause::None) | None => "Nothing.".to_owned(),
    }
}

/// What a Close of the peer's own will says about this end.
fn left_by_peer(facts: &Facts<'_>) -> String {
    let code = facts.record.close_received.as_ref().and_then(|close| close.code);
    let Some(code) = code else { return "Nothing: the peer left of its own will.".to_owned() };
    let name = code_name(code);
    match code {
        1000 => "Nothing: the peer left of its own will.".to_owned(),
        1001 => {
            "Nothing: the peer left of its own will (a page that was left, a server that stops)."
                .to_owned()
        }
        1002 | 1003 | 1007 | 1009 | 1010 => format!(
            "The peer complains about what this end sent ({name}): look at what went out last, and \
             at what the peer accepts."
        ),
        1008 | 3003 => format!(
            "The peer did not want what this end did ({name}): look at its log, or at its \
             documentation."
        ),
        1011 | 1014 => format!("Something failed at the peer's side ({name}): look at its log."),
        1012 | 1013 => {
            format!("Nothing here: the peer is restarting or has too much to do ({name}).")
        }
        3000 => "The peer wants other credentials: renew them.".to_owned(),
        3001 | 3002 | 3004..=4999 => format!(
            "What {code} ({name}) means is for the peer's documentation to tell. To lastword it was \
             a proper end."
        ),
        _ => "Nothing.".to_owned(),
    }
}

fn closed_prematurely(facts: &Facts<'_>) -> String {
    let peer = facts.peer();
    match facts.state {
        Some(CloseState::CloseSent) => format!(
            "Nothing, if the connection was to end anyway. The {peer}'s library should answer a \
             Close before it ends TCP (RFC 6455 section 5.5.1)."
        ),
        Some(CloseState::CloseReceived) => {
            format!("Nothing: the {peer} closed and did not wait for the answer.")
        }
        Some(CloseState::Open | CloseState::Closed) | None if facts.outbound => ask_server(facts),
        Some(CloseState::Open | CloseState::Closed) | None => format!(
            "A few of these are normal (tabs and programs that are killed); let clients close \
             before they exit. {}",
            cut_by_a_timeout(facts)
        ),
    }
}

fn connection_reset(facts: &Facts<'_>) -> String {
    match facts.state {
        Some(CloseState::CloseSent | CloseState::CloseReceived) => format!(
            "Nothing, if the connection was to end anyway. The {} threw TCP away instead of \
             finishing the closing handshake, as programs do that exit with data unread.",
            facts.peer()
        ),
        Some(CloseState::Open | CloseState::Closed) | None if facts.outbound => ask_server(facts),
        Some(CloseState::Open | CloseState::Closed) | None => {
            format!("Check whether the client crashed or was killed. {}", cut_by_a_timeout(facts))
        }
    }
}

/// Tells where to look when a server was lost.
fn ask_server(facts: &Facts<'_>) -> String {
    format!(
        "Look at the server's log around {}: it stopped, crashed or cut the connection. {}",
        utc(facts.record.ended_at),
        cut_by_a_timeout(facts)
    )
}

fn close_timeout(facts: &Facts<'_>) -> String {
    let peer = facts.peer();
    if facts.cause == Some(Cause::Peer) {
        return format!(
            "Nothing, if the {peer} was leaving: it closed, then took nothing more, so that our \
             answer could not leave."
        );
    }
    if facts.record.close_sent.is_none() {
        return format!(
            "The {peer} has stopped reading, so that our Close was stuck behind other messages: \
             find out what it hangs on."
        );
    }
    format!(
        "The {peer}{} does not answer a Close, hangs, or is cut off. If many of its kind do this \
         (`lastword endings --kind close_timeout`), its library is at fault; if they are only \
         slow, raise close.timeout.",
        called(facts)
    )
}

fn protocol_violation(facts: &Facts<'_>) -> String {
    let peer = facts.peer();
    let received = facts.record.close_received.as_ref().and_then(|close| close.code);
    if let Some(code) = received.filter(|code| CloseCode::new(*code).is_err()) {
        return format!(
            "The {peer} closes with {code}, which may not be sent: let it use 1000 or a code from \
             3000 to 4999."
        );
    }
    format!(
        "The {peer}'s WebSocket library{}, or a proxy that alters the stream, is at fault: report \
         to its authors what is said above.",
        called(facts)
    )
}

/// Repeats what the client calls itself.
fn called(facts: &Facts<'_>) -> String {
    let agent = facts.record.origin.user_agent.as_deref().filter(|_| !facts.outbound);
    agent.map_or(String::new(), |agent| format!(" ({agent})"))
}

fn slow_consumer(facts: &Facts<'_>) -> String {
    let peer = facts.peer();
    match limit_name(facts, "write_timeout") {
        "write_timeout" => format!(
            "Find out what the {peer} hangs on, and whether its network keeps up. \
             limits.write_timeout says how long it may take nothing."
        ),
        "memory" => format!(
            "All connections together held what limits.memory allows, and this one the most: look \
             at what the {peer} sent or did not read, and for many like it. Else raise \
             limits.memory."
        ),
        _ => format!(
            "Send less to this {peer}, or make it read faster. limits.outbox_bytes says how much \
             may wait for it, limits.on_full what happens beyond that."
        ),
    }
}

fn backend_failed(facts: &Facts<'_>) -> String {
    let at = utc(facts.record.ended_at);
    let backend = facts.record.origin.backend.as_deref().unwrap_or("the route");
    if limit_name(facts, "") == "inbox_timeout" {
        return format!(
            "Find out what backend {backend} hung on around {at}: it took no message for \
             limits.inbox_timeout."
        );
    }
    if facts.cause == Some(Cause::RelayPeer) {
        return format!("{} Then look at the application's log around {at}.", other_leg(facts));
    }
    format!("Look at the log of backend {backend} around {at}.")
}

fn drain_deadline(facts: &Facts<'_>) -> String {
    match (facts.state, &facts.record.close_sent) {
        (Some(CloseState::CloseSent), Some(_)) => {
            "Give the next drain more time (--within, drain.within) if peers are only slow. A \
             peer that never answers a Close has a defective library."
        }
        (Some(CloseState::CloseReceived), _) | (Some(CloseState::CloseSent), None) => {
            "The peer took nothing more, so that our Close could not leave: find out what it hangs on."
        }
        (Some(CloseState::Open), _) => {
            "Give the next drain more time (--within, drain.within): its Close was not yet due, or \
             could not leave."
        }
        (Some(CloseState::Closed) | None, _) => {
            "Give the next drain more time (--within, drain.within)."
        }
    }
    .to_owned()
}

/// Tells the side that dialled whether and when to come back.
pub(super) fn retry(facts: &Facts<'_>) -> Option<String> {
    let who = facts.dialled_side();
    let retry = facts.retry?;
    Some(match (retry, facts.record.retry_after_ms) {
        (_, _) if facts.cause == Some(Cause::Rotated) => {
            "No need. A fresh connection has taken over.".to_owned()
        }
        (Advice::Never, _) if facts.cause == Some(Cause::Replaced) => {
            format!("No. {who} should stay away: a newer connection has taken its place.")
        }
        (Advice::Never, _) if left_by_itself(facts) => {
            format!("No need. {who} left of its own will.")
        }
        (Advice::Never, _) => {
            format!("No. {who} should not come back unchanged: it would end the same way.")
        }
        (Advice::Reauthenticate, _) => {
            format!("Yes, with new credentials. {who} should get them first.")
        }
        (Advice::Backoff, Some([min, max])) => format!(
            "Yes. {who} should wait for a random time between {} and {} first, so that many do not \
             come back at once.",
            lasting(min),
            lasting(max)
        ),
        (Advice::Backoff, None) => {
            format!(
                "Yes. {who} should wait for a random time first, and longer after each failure."
            )
        }
    })
}

/// Tells whether the client closed for no other reason than that it was done.
fn left_by_itself(facts: &Facts<'_>) -> bool {
    let code = facts.record.close_received.as_ref().and_then(|close| close.code);
    !facts.outbound && facts.cause == Some(Cause::Peer) && matches!(code, Some(1000 | 1001))
}
