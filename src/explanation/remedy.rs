//! What to do about an ending: for the operator here, and for the side that dialled.

mod attempt;

use super::facts::{Facts, limit_name};
use super::wording::{code_name, lasting, short_id, utc};
use crate::vocabulary::{Advice, Cause, CloseCode, CloseState, Fault, Kind};

/// Says what the operator can do, in one or two sentences.
pub(super) fn of(facts: &Facts<'_>) -> String {
    let Some(kind) = facts.kind else {
        return "Use a newer version of `lastword why`, which knows this kind.".to_owned();
    };
    match kind {
        Kind::Clean => clean(facts),
        Kind::ClosedPrematurely => closed_prematurely(facts),
        Kind::ConnectionReset => connection_reset(facts),
        Kind::PathLost => {
            "Check the network path to the peer. A few are normal with mobile networks, VPNs and \
             sleeping laptops; if many peers are lost at once, check the network of this machine."
                .to_owned()
        }
        Kind::TlsTruncated => {
            "Find out whether the client's library, or a proxy in front of it, ends TLS without \
             close_notify. The data received may be incomplete."
                .to_owned()
        }
        Kind::TransportError => {
            "Look up the error named above. If it mentions memory, buffers or descriptors, this \
             machine is short of them."
                .to_owned()
        }
        Kind::CloseTimeout => close_timeout(facts),
        Kind::PongTimeout if facts.outbound => {
            "Check whether the server is up, and the network path to it. If it is only slow, raise \
             keepalive.pong_timeout."
                .to_owned()
        }
        Kind::PongTimeout => {
            "Nothing, if the client can be expected to vanish (a phone, a sleeping laptop). If \
             healthy clients are affected, raise keepalive.pong_timeout."
                .to_owned()
        }
        Kind::ProtocolViolation => protocol_violation(facts),
        Kind::InvalidPayload => {
            format!(
                "Make the {} send data that is not UTF-8 text in binary messages.",
                facts.peer()
            )
        }
        Kind::MessageTooBig => {
            let (limit, peer) = (limit_name(facts, "max_message_size"), facts.peer());
            format!(
                "If such messages are intended, raise limits.{limit}; otherwise make the {peer} \
                 send smaller ones."
            )
        }
        Kind::SlowConsumer => slow_consumer(facts),
        Kind::BackendFailed => backend_failed(facts),
        Kind::ActorFailed => format!(
            "Please report this as a bug in lastword, with the daemon's log around {}.",
            utc(facts.record.ended_at)
        ),
        Kind::Aborted if facts.cause == Some(Cause::Drain) => {
            "The daemon received a second stop signal, which aborts all connections. One signal is \
             enough; drain.within sets how long the drain may take."
                .to_owned()
        }
        Kind::Aborted if facts.cause == Some(Cause::RelayPeer) => check_other_leg(facts),
        Kind::Aborted => {
            "Nothing: it was requested. `lastword close` ends a connection with a closing \
             handshake."
                .to_owned()
        }
        Kind::DrainDeadline => drain_deadline(facts),
        Kind::ProcessDied => {
            "Find out why the daemon died: check its log and the kernel's (out of memory?), for \
             example with `journalctl -u lastword` and `journalctl -k`."
                .to_owned()
        }
        Kind::OpenFailed(failure) => attempt::remedy(facts, failure),
    }
}

/// Names the limit that was hit, or the usual one.
/// Younger connections than this were not cut by a timeout on the way, in milliseconds.
const SHORTEST_TIMEOUT: u64 = 1000;

/// Says what many endings at the same age would indicate.
fn age_hint(facts: &Facts<'_>) -> String {
    if facts.record.open_ms < SHORTEST_TIMEOUT {
        return format!(
            "If many end this early (this one after {}), check what the {} does right after the \
             opening handshake.",
            lasting(facts.record.open_ms),
            facts.peer()
        );
    }
    format!(
        "If many end at about the same age (this one at {}), something in between times out: set \
         keepalive.ping_interval to less than that.",
        lasting(facts.record.open_ms)
    )
}

fn check_other_leg(facts: &Facts<'_>) -> String {
    match &facts.record.relay_peer {
        Some(other) => {
            format!("Check the other leg, which ended first: `lastword why {}`.", short_id(other))
        }
        None => "Check the other leg of the relay, which ended first.".to_owned(),
    }
}

fn clean(facts: &Facts<'_>) -> String {
    match facts.cause {
        Some(Cause::Peer) => peer_closed(facts),
        Some(Cause::Api | Cause::Embedder) => "Nothing: it was requested.".to_owned(),
        Some(Cause::Drain) => "Nothing: it was part of a drain.".to_owned(),
        Some(Cause::IdleTimeout) if limit_name(facts, "") == "message_timeout" => format!(
            "Find out why the {} stopped in the middle of a message. If its messages are large and \
             its network is slow, raise limits.message_timeout.",
            facts.peer()
        ),
        Some(Cause::IdleTimeout) => {
            "Nothing, if idle connections are meant to end. Otherwise raise keepalive.idle_timeout, \
             or make the client send a message from time to time (Pings do not count)."
                .to_owned()
        }
        Some(Cause::MaxAge) => {
            "Nothing: keepalive.max_age limits the age of connections.".to_owned()
        }
        Some(Cause::Backend) if facts.fault == Some(Fault::Backend) => format!(
            "Check the backend's log around {}: it closed because it failed, restarted or was \
             overloaded.",
            utc(facts.record.ended_at)
        ),
        Some(Cause::Backend) => "Nothing: the backend closed it.".to_owned(),
        Some(Cause::RelayPeer) => check_other_leg(facts),
        Some(Cause::RateLimited) => {
            let limit = limit_name(facts, "messages_per_second");
            let what = if limit == "bytes_per_second" { "much" } else { "many messages" };
            format!(
                "If the peer is meant to send that {what}, raise limits.{limit} for the route; \
                 otherwise make it send less, or let it wait (limits.on_rate = \"slow\")."
            )
        }
        Some(Cause::AuthExpired) => {
            "Nothing, if the client reconnects with new credentials by itself. A new token of the same \
             subject lets an open connection go on (POST /v1/connections/{id}/token)."
                .to_owned()
        }
        Some(Cause::Replaced) => {
            "Nothing, if it happens once. If two programs keep replacing each other, they use the \
             same identity: give each its own."
                .to_owned()
        }
        Some(Cause::Revoked) => {
            "Nothing: it was requested. `lastword revocations` lists what is revoked, and until when."
                .to_owned()
        }
        Some(Cause::SlowConsumer) => slow_consumer(facts),
        Some(Cause::Keepalive) => {
            "Nothing, if the peer may go silent; otherwise raise keepalive.pong_timeout.".to_owned()
        }
        Some(Cause::Stale) => {
            "Check whether the feed sends anything. If it may be silent for longer, raise the \
             dialer's stale_after."
                .to_owned()
        }
        Some(Cause::Rotated) => "Nothing: a new connection has taken over.".to_owned(),
        Some(Cause::Violation | Cause::None) | None => "Nothing.".to_owned(),
    }
}

/// Says what a Close that the peer chose to send means for this end.
fn peer_closed(facts: &Facts<'_>) -> String {
    let code = facts.record.close_received.as_ref().and_then(|close| close.code);
    let Some(code) = code else { return "Nothing: the peer chose to close.".to_owned() };
    let name = code_name(code);
    match code {
        1000 => "Nothing: the peer chose to close.".to_owned(),
        1001 => "Nothing: the peer chose to close (the user left the page, or a server stops)."
            .to_owned(),
        1002 | 1003 | 1007 | 1009 | 1010 => format!(
            "The peer rejected what this end sent ({name}): check the last messages sent, and what \
             the peer accepts."
        ),
        1008 | 3003 => format!(
            "The peer does not allow what this end did ({name}): check its log or its \
             documentation."
        ),
        1011 | 1014 => format!("Something failed at the peer ({name}): check its log."),
        1012 | 1013 => {
            format!("Nothing here: the peer is restarting or overloaded ({name}).")
        }
        3000 => "The peer requires other credentials: renew them.".to_owned(),
        3001 | 3002 | 3004..=4999 => format!(
            "See the peer's documentation for the meaning of {code} ({name}). To lastword it was a \
             normal end."
        ),
        _ => "Nothing.".to_owned(),
    }
}

fn closed_prematurely(facts: &Facts<'_>) -> String {
    let peer = facts.peer();
    match facts.state {
        Some(CloseState::CloseSent) => format!(
            "Nothing, if the connection was meant to end. The {peer}'s library should answer a \
             Close before it ends TCP (RFC 6455 section 5.5.1)."
        ),
        Some(CloseState::CloseReceived) => {
            format!("Nothing: the {peer} closed and did not wait for the answer.")
        }
        Some(CloseState::Open | CloseState::Closed) | None if facts.outbound => check_server(facts),
        Some(CloseState::Open | CloseState::Closed) | None => format!(
            "A few of these are normal (tabs and programs that are killed); make clients close \
             before they exit. {}",
            age_hint(facts)
        ),
    }
}

fn connection_reset(facts: &Facts<'_>) -> String {
    match facts.state {
        Some(CloseState::CloseSent | CloseState::CloseReceived) => format!(
            "Nothing, if the connection was meant to end. The {} reset TCP instead of completing \
             the closing handshake, as programs do that exit with unread data.",
            facts.peer()
        ),
        Some(CloseState::Open | CloseState::Closed) | None if facts.outbound => check_server(facts),
        Some(CloseState::Open | CloseState::Closed) | None => {
            format!("Check whether the client crashed or was killed. {}", age_hint(facts))
        }
    }
}

/// Says where to look when a server was lost.
fn check_server(facts: &Facts<'_>) -> String {
    format!(
        "Check the server's log around {}: it stopped, crashed or cut the connection. {}",
        utc(facts.record.ended_at),
        age_hint(facts)
    )
}

fn close_timeout(facts: &Facts<'_>) -> String {
    let peer = facts.peer();
    if facts.cause == Some(Cause::Peer) {
        return format!(
            "Nothing, if the {peer} was leaving: it sent a Close and then stopped reading, so this \
             end's answer could not be sent."
        );
    }
    if facts.record.close_sent.is_none() {
        return format!(
            "The {peer} stopped reading, so this end's Close was stuck behind other messages: find \
             out why."
        );
    }
    format!(
        "The {peer}{} does not answer a Close, hangs, or is unreachable. If many of its kind do \
         this (`lastword endings --kind close_timeout`), its library is at fault; if they are only \
         slow, raise close.timeout.",
        user_agent(facts)
    )
}

fn protocol_violation(facts: &Facts<'_>) -> String {
    let peer = facts.peer();
    let received = facts.record.close_received.as_ref().and_then(|close| close.code);
    if let Some(code) = received.filter(|code| CloseCode::new(*code).is_err()) {
        return format!(
            "The {peer} closed with {code}, which must not be sent: make it use 1000 or a code \
             from 3000 to 4999."
        );
    }
    format!(
        "The {peer}'s WebSocket library{}, or a proxy that alters the stream, is at fault: report \
         the details above to its authors.",
        user_agent(facts)
    )
}

/// Returns the client's User-Agent in parentheses.
fn user_agent(facts: &Facts<'_>) -> String {
    let agent = facts.record.origin.user_agent.as_deref().filter(|_| !facts.outbound);
    agent.map_or(String::new(), |agent| format!(" ({agent})"))
}

fn slow_consumer(facts: &Facts<'_>) -> String {
    let peer = facts.peer();
    match limit_name(facts, "write_timeout") {
        "write_timeout" => format!(
            "Find out why the {peer} stopped reading, and whether its network is fast enough. \
             limits.write_timeout sets how long it may read nothing."
        ),
        "memory" => format!(
            "All connections together reached limits.memory, and this one held the most: check \
             what the {peer} sent or did not read, and whether there are many like it. Otherwise \
             raise limits.memory."
        ),
        _ => format!(
            "Send less to this {peer}, or make it read faster. limits.outbox_bytes sets how much \
             may be queued for it, limits.on_full what happens beyond that."
        ),
    }
}

fn backend_failed(facts: &Facts<'_>) -> String {
    let at = utc(facts.record.ended_at);
    let backend = facts.record.origin.backend.as_deref().unwrap_or("the route");
    if limit_name(facts, "") == "inbox_timeout" {
        return format!(
            "Find out why backend {backend} took no message for limits.inbox_timeout around {at}."
        );
    }
    if facts.cause == Some(Cause::RelayPeer) {
        return format!("{} Then check the application's log around {at}.", check_other_leg(facts));
    }
    format!("Check the log of backend {backend} around {at}.")
}

fn drain_deadline(facts: &Facts<'_>) -> String {
    match (facts.state, &facts.record.close_sent) {
        (Some(CloseState::CloseSent), Some(_)) => {
            "Give the next drain more time (--within, drain.within) if peers are only slow. The \
             library of a peer that never answers a Close is defective."
        }
        (Some(CloseState::CloseReceived), _) | (Some(CloseState::CloseSent), None) => {
            "The peer stopped reading, so this end's Close could not be sent: find out why."
        }
        (Some(CloseState::Open), _) => {
            "Give the next drain more time (--within, drain.within): the Close of this connection \
             was not due yet, or could not be sent."
        }
        (Some(CloseState::Closed) | None, _) => {
            "Give the next drain more time (--within, drain.within)."
        }
    }
    .to_owned()
}

/// Says whether and when the side that dialled should reconnect.
pub(super) fn retry(facts: &Facts<'_>) -> Option<String> {
    let who = facts.dialled_side();
    let retry = facts.retry?;
    Some(match (retry, facts.record.retry_after_ms) {
        (_, _) if facts.cause == Some(Cause::Rotated) => {
            "Not needed. A new connection has taken over.".to_owned()
        }
        (Advice::Never, _) if facts.cause == Some(Cause::Replaced) => {
            format!("No. {who} should not reconnect: another connection of its subject is open.")
        }
        (Advice::Never, _) if is_normal_leave(facts) => {
            format!("Not needed. {who} chose to close.")
        }
        (Advice::Never, _) => {
            format!("No. {who} should not reconnect unchanged: it would end the same way.")
        }
        (Advice::Reauthenticate, _) if facts.cause == Some(Cause::Revoked) => {
            format!(
                "Yes, with new credentials, unless those are revoked too. {who} should get them first."
            )
        }
        (Advice::Reauthenticate, _) => {
            format!("Yes, with new credentials. {who} should get them first.")
        }
        (Advice::Backoff, Some([min, max])) => format!(
            "Yes. {who} should first wait for a random time between {} and {}, so that many do not \
             reconnect at once.",
            lasting(min),
            lasting(max)
        ),
        (Advice::Backoff, None) => {
            format!(
                "Yes. {who} should first wait for a random time, and longer after each failure."
            )
        }
    })
}

/// Returns whether the client closed simply because it was done.
fn is_normal_leave(facts: &Facts<'_>) -> bool {
    let code = facts.record.close_received.as_ref().and_then(|close| close.code);
    !facts.outbound && facts.cause == Some(Cause::Peer) && matches!(code, Some(1000 | 1001))
}
