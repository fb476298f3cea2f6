//! Judgements that many cases share, pure.

use std::time::Duration;

use super::case::Judgement;
use super::seen::{CloseSeen, End, Event, Seen};
use crate::vocabulary::CloseCode;

/// An answer that takes longer than this keeps a client waiting.
const PROMPT: Duration = Duration::from_secs(1);

pub(super) const NO_ANSWER: &str =
    "clients wait for the answer until their own timeout, then report 1006";

/// Returns the peer's first Close after what was tested.
pub(super) fn answer(seen: &Seen) -> Option<(Duration, &CloseSeen)> {
    let tested = seen.tested_at()?;
    seen.closes().find(|(at, _)| *at >= tested)
}

/// Returns whether a code may stand in a Close (RFC 6455 section 7.4).
pub(super) fn is_legal(code: u16) -> bool {
    CloseCode::new(code).is_ok()
}

/// A Close has to be answered with a Close (section 5.5.1), and TCP has to end (section 7.1.1).
pub(super) fn answered(seen: &Seen) -> Judgement {
    let Some((_, close)) = answer(seen) else { return unanswered(seen) };
    if !close.well_formed {
        return Judgement::fail(
            "the answer's payload is malformed: clients fail with 1002 or 1007",
        );
    }
    match close.code {
        Some(code) if !is_legal(code) => Judgement::fail(format!(
            "the answer carries {code}, which must never be sent: clients fail with 1002 and report 1006"
        )),
        Some(_) | None => match seen.end() {
            Some(_) => Judgement::pass(),
            None => still_open(),
        },
    }
}

/// Does the same, and the answer echoes the code.
pub(super) fn answered_with<const CODE: u16>(seen: &Seen) -> Judgement {
    let judgement = answered(seen);
    let own = answer(seen).and_then(|(_, close)| close.code);
    if judgement != Judgement::pass() || own == Some(CODE) {
        return judgement;
    }
    let got = match own {
        Some(code @ (1002 | 1007)) => {
            return Judgement::warn(format!(
                "the server takes a correct Close for a violation ({code}), and a clean end for a failure"
            ));
        }
        Some(code) => code.to_string(),
        None => "no code".to_owned(),
    };
    Judgement::warn(format!(
        "the answer carries {got} instead of {CODE}: clients that read the code of the answer are told \
         another reason than their own"
    ))
}

fn unanswered(seen: &Seen) -> Judgement {
    match seen.end() {
        Some((_, End::Fin | End::Truncated)) => Judgement::fail(
            "the server ends TCP instead of answering the Close: browsers report 1006, and clients take it \
             for a failure",
        ),
        Some((_, End::Reset)) => Judgement::fail(
            "the server resets TCP instead of answering the Close: browsers report 1006, and what was \
             under way to the client is lost",
        ),
        Some((_, End::Error(_))) => {
            Judgement::fail("the connection breaks instead of a Close: browsers report 1006")
        }
        None => Judgement::fail(format!("the Close is not answered: {NO_ANSWER}")),
    }
}

fn still_open() -> Judgement {
    Judgement::fail(
        "TCP stays open after both Closes: the client waits for its timeout, and sockets pile up on the \
         server",
    )
}

/// A violation makes the server fail the connection with this code (section 7.1.7).
pub(super) fn failed_with<const CODE: u16>(seen: &Seen) -> Judgement {
    let end = seen.end();
    if seen.violation().is_some() || answer(seen).is_some_and(|(_, close)| !close.well_formed) {
        return Judgement::fail(
            "the server sends the violation back: every client fails the connection and reports 1006",
        );
    }
    let Some((_, close)) = answer(seen) else {
        return match end {
            Some(_) => Judgement::warn(format!(
                "the server ends TCP without a Close: browsers report 1006, and the client is not told \
                 that {CODE} is the reason"
            )),
            None => Judgement::fail(
                "the server goes on as if nothing had happened: a proxy or a client that reads the bytes \
                 otherwise can be made to see other messages",
            ),
        };
    };
    let ends = || match end {
        Some(_) => Judgement::pass(),
        None => Judgement::fail(
            "TCP stays open after the server has failed the connection and the client has answered: \
             sockets pile up on the server",
        ),
    };
    match close.code {
        Some(code) if code == CODE => ends(),
        Some(code) if !is_legal(code) => Judgement::fail(format!(
            "the server answers with {code}, which must never be sent: clients fail with 1002 and report \
             1006"
        )),
        Some(code) => match ends() {
            it if it == Judgement::pass() => Judgement::warn(format!(
                "the client is told {code} where {CODE} is due, and looks for the fault in the wrong place"
            )),
            it => it,
        },
        None => Judgement::warn(format!(
            "the client is told no code where {CODE} is due: browsers report 1005, as after a normal end"
        )),
    }
}

/// Does the same for codes that the RFC reserves and does not forbid: only sending them on is wrong.
pub(super) fn not_taken(seen: &Seen) -> Judgement {
    match answer(seen).and_then(|(_, close)| close.code) {
        Some(code) if !is_legal(code) => Judgement::warn(format!(
            "the server takes {code} for a code and sends it back: clients that check codes fail with 1002"
        )),
        Some(_) | None => match (answer(seen), seen.end()) {
            (None, None) => Judgement::fail(format!("the Close is not answered: {NO_ANSWER}")),
            (Some(_), None) => still_open(),
            (None, Some(_)) => Judgement::warn(
                "the server ends TCP without a Close: browsers report 1006 instead of the reason",
            ),
            (Some(_), Some(_)) => Judgement::pass(),
        },
    }
}

/// The answer to a Close comes soon.
pub(super) fn answered_soon(seen: &Seen) -> Judgement {
    let (Some(tested), Some((at, _))) = (seen.tested_at(), answer(seen)) else {
        return unanswered(seen);
    };
    match at.saturating_sub(tested) {
        took if took <= PROMPT => Judgement::pass(),
        took => Judgement::warn(format!(
            "the answer takes {} ms: each client that closes waits that long, and some give up",
            took.as_millis()
        )),
    }
}

/// TCP ends soon after both Closes, by the server (section 7.1.1).
pub(super) fn ended_by_server(seen: &Seen) -> Judgement {
    let Some((closed, _)) = answer(seen) else { return unanswered(seen) };
    match seen.end() {
        None => still_open(),
        Some((at, _)) if at.saturating_sub(closed) > PROMPT => Judgement::warn(format!(
            "TCP ends {} ms after both Closes: browsers keep the socket in CLOSING that long",
            at.saturating_sub(closed).as_millis()
        )),
        Some(_) => Judgement::pass(),
    }
}

/// TCP ends with FIN (section 7.1.1).
pub(super) fn ended_with_fin(seen: &Seen) -> Judgement {
    match (answer(seen), seen.end()) {
        (None, _) => unanswered(seen),
        (Some(_), None) => still_open(),
        (Some(_), Some((_, End::Reset))) => Judgement::warn(
            "TCP is reset after the Close: a reset overtakes what the client has not read, which may be \
             the Close itself; such clients report 1006 now and then",
        ),
        (Some(_), Some((_, End::Error(_)))) => {
            Judgement::warn("the connection breaks after the Close instead of ending")
        }
        (Some(_), Some((_, End::Fin | End::Truncated))) => Judgement::pass(),
    }
}

/// Nothing follows the server's Close (section 5.5.1).
pub(super) fn nothing_after_close(seen: &Seen) -> Judgement {
    let mut events = seen.events.iter().skip_while(|(_, event)| !matches!(event, Event::Close(_)));
    if events.next().is_none() {
        return unanswered(seen);
    }
    let late = events.find_map(|(_, event)| match event {
        Event::Message(_) => Some("a message"),
        Event::Ping(_) => Some("a Ping"),
        Event::Pong(_) => Some("a Pong"),
        Event::Close(_) => Some("another Close"),
        Event::Violation(_) => Some("bytes that are no frame"),
        Event::Tested | Event::NotSent | Event::Flood | Event::Reopened(_) | Event::End(_) => None,
    });
    match late {
        None => Judgement::pass(),
        Some(what) => Judgement::fail(format!(
            "the server sends {what} after its Close: clients drop it, and strict ones report a failure"
        ))
        .seeing(format!("{what} after the Close")),
    }
}

/// The server ends a connection whose client is gone.
pub(super) fn noticed(seen: &Seen) -> Judgement {
    match seen.end() {
        Some(_) => Judgement::pass(),
        None => Judgement::fail(
            "the server does not notice that the client has ended TCP: dead connections pile up until a \
             ping or an idle timeout finds them",
        ),
    }
}

/// The connection is still in order after what was tested: its Close is answered.
pub(super) fn survived(seen: &Seen) -> Judgement {
    match answered(seen) {
        it if it == Judgement::pass() => match answer(seen).and_then(|(_, close)| close.code) {
            Some(code @ (1002 | 1003 | 1007 | 1009)) => Judgement::fail(format!(
                "the server fails the connection with {code} over what is allowed: correct clients are \
                 disconnected"
            )),
            Some(_) | None => it,
        },
        it => it,
    }
}

/// Every message came back, and the Close after it was answered.
pub(super) fn echoed(seen: &Seen) -> Judgement {
    let (sent, back) = (seen.sent.len(), seen.echoed());
    if back == sent {
        return survived(seen);
    }
    match seen.close().and_then(|(_, close)| close.code) {
        Some(1009) => Judgement::warn(
            "the server takes no message of this size: clients must know its limit, or are disconnected",
        ),
        Some(code) => Judgement::fail(format!(
            "a message that is allowed ends the connection with {code}: correct clients are disconnected"
        )),
        None => Judgement::fail("a message is lost or changed: what clients send does not arrive"),
    }
    .seeing(format!("{back} of {sent} messages came back"))
}

/// TLS ends with close_notify (RFC 8446 section 6.1).
pub(super) fn close_notified(seen: &Seen) -> Judgement {
    if !seen.secure {
        return Judgement::skipped("the URL is not wss://");
    }
    match seen.end() {
        Some((_, End::Fin)) => Judgement::pass(),
        Some((_, End::Truncated)) => Judgement::warn(
            "TLS ends without close_notify: without a Close, clients could not tell an end from an attack",
        ),
        Some((_, End::Reset | End::Error(_))) => ended_with_fin(seen),
        None => still_open(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::case::Verdict::{self, Fail, Pass, Skipped, Warn};

    const FIN: Event = Event::End(End::Fin);

    fn close(payload: &[u8]) -> Event {
        Event::Close(CloseSeen::parse(payload))
    }

    /// What was seen if these events followed what was tested, a millisecond apart.
    fn seen(events: impl IntoIterator<Item = Event>) -> Seen {
        let mut seen = Seen::default();
        for (at, event) in std::iter::once(Event::Tested).chain(events).enumerate() {
            seen.add(Duration::from_millis(at as u64), event);
        }
        seen
    }

    #[track_caller]
    fn assert_judged(
        judge: fn(&Seen) -> Judgement,
        cases: impl IntoIterator<Item = (Vec<Event>, Verdict)>,
    ) {
        for (events, due) in cases {
            let judgement = judge(&seen(events.clone()));
            assert_eq!(judgement.verdict, due, "{events:?}: {judgement:?}");
            assert_eq!(judgement.consequence.is_empty(), due == Pass, "{judgement:?}");
        }
    }

    #[test]
    fn a_close_is_answered_by_a_close_and_the_end() {
        let bye = || close(b"\x03\xe8");
        let ends = |end| vec![bye(), Event::End(end)];
        assert_judged(
            answered_with::<1000>,
            [
                (ends(End::Fin), Pass),
                (ends(End::Reset), Pass),
                (vec![bye()], Fail),
                (vec![], Fail),
                (vec![FIN], Fail),
                (vec![Event::End(End::Reset)], Fail),
                (vec![close(b"\x03\xe9"), FIN], Warn),
                (vec![close(b""), FIN], Warn),
                (vec![close(b"\x03\xea"), FIN], Warn),
                (vec![close(b"\x03\xed"), FIN], Fail),
                (vec![close(b"\x03"), FIN], Fail),
            ],
        );
        assert_judged(
            ended_with_fin,
            [(ends(End::Fin), Pass), (ends(End::Reset), Warn), (vec![bye()], Fail), (vec![], Fail)],
        );
        assert_judged(
            nothing_after_close,
            [
                (ends(End::Fin), Pass),
                (vec![bye(), Event::Pong(vec![]), FIN], Fail),
                (vec![Event::Pong(vec![]), bye(), FIN], Pass),
            ],
        );
        assert_judged(survived, [(ends(End::Fin), Pass), (vec![close(b"\x03\xf1"), FIN], Fail)]);
    }

    #[test]
    fn a_violation_is_due_its_code_and_the_end() {
        assert_judged(
            failed_with::<1002>,
            [
                (vec![close(b"\x03\xea"), FIN], Pass),
                (vec![close(b"\x03\xea")], Fail),
                (vec![close(b"\x03\xe8"), FIN], Warn),
                (vec![close(b"\x03\xe8")], Fail),
                (vec![close(b""), FIN], Warn),
                (vec![close(b"\x03\xee"), FIN], Fail),
                (vec![Event::Violation("x".to_owned()), FIN], Fail),
                (vec![FIN], Warn),
                (vec![], Fail),
            ],
        );
        assert_judged(
            not_taken,
            [
                (vec![close(b"\x03\xea"), FIN], Pass),
                (vec![close(b"\x0b\xb7"), FIN], Warn),
                (vec![FIN], Warn),
                (vec![], Fail),
            ],
        );
    }

    #[test]
    fn slowness_is_a_warning() {
        let mut late = seen([]);
        late.add(Duration::from_millis(1500), close(b"\x03\xe8"));
        assert_eq!(answered_soon(&late).verdict, Warn);
        assert_eq!(ended_by_server(&late).verdict, Fail);
        late.add(Duration::from_millis(2600), FIN);
        assert_eq!(ended_by_server(&late).verdict, Warn);
        assert_eq!(close_notified(&late).verdict, Skipped);
        let truncated = seen([close(b""), Event::End(End::Truncated)]);
        assert_eq!(close_notified(&Seen { secure: true, ..truncated }).verdict, Warn);
    }
}
