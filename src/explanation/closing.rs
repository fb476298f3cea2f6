//! Describes who closed, the Close frames, and the end of TCP.

use super::facts::{Facts, frame, limit_name};
use super::wording::lasting;
use crate::contract::CloseRecord;
use crate::vocabulary::{Cause, CloseState, Fault, FirstClose, Kind, TransportEnd};

/// The sentence for a missing Close, with the code that browsers show.
const NO_CLOSE: &str = "No Close frame came from the peer (browsers report this as 1006).";

/// Describes whose Close came first, and both frames; `None` for an attempt.
pub(super) fn who_closed(facts: &Facts<'_>) -> Option<String> {
    if facts.is_attempt() {
        return None;
    }
    let (sent, received) = (&facts.record.close_sent, &facts.record.close_received);
    Some(match (facts.first_close, sent, received) {
        (Some(FirstClose::Peer), sent, Some(received)) => {
            let first = format!("The peer closed first, with {}.", frame(received));
            format!("{first} {}", answered(facts, sent.as_ref(), received))
        }
        (Some(FirstClose::Local), Some(sent), received) => {
            let why = because(facts).map_or(String::new(), |why| format!(", {why}"));
            let first = format!("This end closed first, with {}{why}.", frame(sent));
            let second = match received {
                Some(received) if received == sent => {
                    "The peer answered with the same Close.".to_owned()
                }
                Some(received) if received.code == sent.code => {
                    "The peer answered with the same code.".to_owned()
                }
                Some(received) => format!("The peer's Close came with {}.", frame(received)),
                None => NO_CLOSE.to_owned(),
            };
            format!("{first} {second}")
        }
        (_, None, None) => no_close(facts),
        // A combination outside the contract is shown as it is.
        (_, sent, received) => {
            let shown = |close: &Option<CloseRecord<'_>>| {
                close.as_ref().map_or("no Close".to_owned(), frame)
            };
            format!("This end sent {}; the peer sent {}.", shown(sent), shown(received))
        }
    })
}

fn answered(
    facts: &Facts<'_>,
    sent: Option<&CloseRecord<'_>>,
    received: &CloseRecord<'_>,
) -> String {
    let why = match facts.cause {
        // An illegal Close is answered with the code for the violation.
        Some(Cause::Peer | Cause::Violation | Cause::None) | None => None,
        Some(_) => because(facts),
    };
    match (why, sent) {
        (None, Some(sent)) if sent == received => {
            "This end answered with the same Close.".to_owned()
        }
        (None, Some(sent)) if sent.code == received.code && sent.reason.is_empty() => {
            "This end answered with the same code.".to_owned()
        }
        (None, Some(sent)) => format!("This end answered with {}.", frame(sent)),
        (None, None) => "This end's answer could not be sent completely.".to_owned(),
        (Some(why), Some(sent)) => format!(
            "This end was about to close as well, {why}; its own Close, {}, was the answer.",
            frame(sent)
        ),
        (Some(why), None) => format!(
            "This end was about to close as well, {why}; its own Close could not be sent completely."
        ),
    }
}

fn no_close(facts: &Facts<'_>) -> String {
    let why = because(facts);
    let ours = match (facts.kind, why) {
        (Some(Kind::ProcessDied), _) => {
            return "Whether a Close frame was sent or received is unknown.".to_owned();
        }
        (Some(Kind::Aborted), _) => "This end sent no Close frame: an abort sends none.".to_owned(),
        (Some(Kind::ActorFailed), _) => {
            "This end sent no Close frame, because the connection's task had died.".to_owned()
        }
        (Some(Kind::SlowConsumer), _) => {
            "This end could not send a Close frame, because the peer had stopped reading."
                .to_owned()
        }
        (Some(Kind::PongTimeout), _) => {
            "This end tried to send a Close frame with 1011, but could not.".to_owned()
        }
        (_, Some(why)) => {
            format!("This end wanted to close, {why}, but its Close frame could not be sent.")
        }
        (_, None) => "This end sent no Close frame.".to_owned(),
    };
    format!("{ours} {NO_CLOSE}")
}

/// Says why this end acted, if not because of the peer's Close.
fn because(facts: &Facts<'_>) -> Option<&'static str> {
    Some(match facts.cause? {
        Cause::Peer | Cause::None => return None,
        Cause::Api => "because of a request to the control API",
        Cause::Embedder => "because the embedding program requested it",
        Cause::Drain => "because of a drain",
        Cause::IdleTimeout if limit_name(facts, "") == "message_timeout" => {
            "because the peer took too long to send the rest of a message"
        }
        Cause::IdleTimeout => "because no message had been sent or received for too long",
        Cause::MaxAge => "because it had reached its maximum age",
        Cause::Backend if facts.fault == Some(Fault::Backend) => {
            "because its backend failed or was gone"
        }
        Cause::Backend => "because its backend closed it",
        Cause::RelayPeer => "because the other leg of the relay had ended",
        Cause::RateLimited if limit_name(facts, "") == "bytes_per_second" => {
            "because the peer sent too many bytes per second"
        }
        Cause::RateLimited => "because the peer sent too many messages per second",
        Cause::AuthExpired => "because the peer's authentication had expired",
        Cause::Replaced => "because its subject may have one connection, and another one stays",
        Cause::Revoked => "because the peer's access was revoked",
        Cause::SlowConsumer => "because the peer did not read fast enough",
        Cause::Keepalive => "because the peer was silent",
        Cause::Violation => "because the peer violated the protocol",
        Cause::Stale => "because the feed had gone silent",
        Cause::Rotated => "because the dialer had replaced it with a new connection",
    })
}

/// Describes how TCP ended, and the state of the closing handshake then.
pub(super) fn transport(facts: &Facts<'_>) -> Option<String> {
    let stood = match facts.kind {
        Some(Kind::ProcessDied) => None,
        Some(_) | None => facts.state.map(|state| stood(facts, state)),
    };
    let ended = facts.transport_end.map(|end| ended(facts, end));
    match (stood, ended) {
        (None, None) => None,
        (Some(one), None) | (None, Some(one)) => Some(one),
        (Some(stood), Some(ended)) => Some(format!("{ended} {stood}")),
    }
}

fn stood(facts: &Facts<'_>, state: CloseState) -> String {
    match (state, &facts.record.close_sent, facts.record.handshake_ms) {
        (CloseState::Open, _, _) => "No closing handshake was under way (state open).".to_owned(),
        (CloseState::CloseSent, Some(_), _) => {
            "The peer's Close was still missing (state close_sent).".to_owned()
        }
        (CloseState::CloseSent, None, _) => {
            "This end had begun to close, but its Close had not been sent (state close_sent)."
                .to_owned()
        }
        (CloseState::CloseReceived, _, _) => {
            "The peer had closed, and this end had not answered yet (state close_received)."
                .to_owned()
        }
        (CloseState::Closed, _, Some(ms)) => format!(
            "The closing handshake was complete: one Close each way, {} apart (state closed).",
            lasting(ms)
        ),
        (CloseState::Closed, _, None) => {
            "The closing handshake was complete: one Close each way (state closed).".to_owned()
        }
    }
}

fn ended(facts: &Facts<'_>, end: TransportEnd) -> String {
    let cut = matches!(facts.kind, Some(Kind::Aborted | Kind::DrainDeadline));
    let through = facts.state == Some(CloseState::Closed);
    match end {
        TransportEnd::Fin => "The peer ended TCP normally (FIN).",
        TransportEnd::Reset if through => {
            "The peer reset TCP (RST), which does no harm after a complete closing handshake."
        }
        TransportEnd::Reset => "The peer reset TCP (RST).",
        TransportEnd::TlsTruncated => "TLS ended without close_notify.",
        TransportEnd::Timeout if facts.kind == Some(Kind::PathLost) => {
            "TCP gave up: the peer could not be reached any more."
        }
        TransportEnd::Timeout if through => {
            "The peer did not end TCP in time, so this end did; that does no harm after a complete \
             closing handshake."
        }
        TransportEnd::Timeout => "The peer did not end TCP in time, so this end dropped it.",
        TransportEnd::Error => "TCP failed with an error.",
        TransportEnd::Local if cut => "This end reset TCP at once (RST).",
        TransportEnd::Local => "This end dropped TCP.",
        TransportEnd::Unknown => "How TCP ended is unknown.",
    }
    .to_owned()
}
