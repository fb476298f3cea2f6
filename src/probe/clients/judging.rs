//! Judgements of clients, pure.

use super::super::case::Judgement;
use super::super::judging::{answer, is_legal};
use super::super::seen::{End, Event, Seen};

/// The client answers the server's Close with the same code (RFC 6455 section 5.5.1).
pub(super) fn answers<const CODE: u16>(seen: &Seen) -> Judgement {
    let Some((_, close)) = answer(seen) else {
        return match seen.end() {
            Some((_, End::Reset)) => Judgement::fail(
                "the client resets TCP instead of answering the Close: servers count it as a failure",
            ),
            Some(_) => Judgement::fail(
                "the client ends TCP without answering the Close: servers count it as a failure",
            ),
            None => Judgement::fail(
                "the client does not answer the Close: servers wait for their timeout, connection by connection",
            ),
        };
    };
    // An empty Close may be answered with 1000, and 1005 stands for none here.
    let is_right = match (CODE, close.code) {
        (1005, None | Some(1000)) => true,
        (due, Some(code)) => due == code,
        (_, None) => false,
    };
    let got = close.code.map_or("no code".to_owned(), |code| code.to_string());
    match close.code {
        Some(code) if !is_legal(code) => Judgement::fail(format!(
            "the client sends {code}, which must never be sent: servers fail the connection"
        )),
        _ if !is_right => Judgement::warn(format!(
            "the client answers with {got}: servers that read the answer record another reason"
        )),
        _ => ends(seen),
    }
}

fn ends(seen: &Seen) -> Judgement {
    match seen.end() {
        Some(_) => Judgement::pass(),
        None => Judgement::fail("the client keeps TCP open after both Closes and the server's FIN"),
    }
}

/// The client fails the connection with this code (section 7.1.7).
pub(super) fn fails_with<const CODE: u16>(seen: &Seen) -> Judgement {
    match (answer(seen).map(|(_, close)| close.code), seen.end()) {
        (Some(Some(code)), _) if code == CODE => ends(seen),
        (Some(Some(code)), _) if !is_legal(code) => Judgement::fail(format!(
            "the client takes {code} for a code and sends it back, which must never be sent: its page or program is \
             told an undefined code"
        )),
        (Some(Some(code)), _) => Judgement::warn(format!(
            "the client answers with {code} where {CODE} is due: the server looks for the fault elsewhere"
        )),
        (Some(None), _) => {
            Judgement::warn(format!("the client closes without a code where {CODE} is due"))
        }
        (None, Some(_)) => Judgement::warn(format!(
            "the client ends TCP without a Close: the server is not told that {CODE} is the reason"
        )),
        (None, None) => Judgement::fail(
            "the client takes what is illegal: it reads a stream differently from others, and can be deceived",
        ),
    }
}

/// The client answers a Ping with the same payload.
pub(super) fn pongs(seen: &Seen) -> Judgement {
    match seen.has_pong(b"lastword") {
        true => Judgement::pass(),
        false => Judgement::fail(
            "the client does not answer Pings: servers with a keepalive take it for dead and disconnect it",
        ),
    }
}

/// The client answers a Ping between two fragments, and stays.
pub(super) fn pongs_and_answers(seen: &Seen) -> Judgement {
    match pongs(seen) {
        it if it == Judgement::pass() => answers::<1000>(seen),
        it => it,
    }
}

/// The client closes, and ends TCP after the server's answer.
pub(super) fn closes(seen: &Seen) -> Judgement {
    match seen.close() {
        None => Judgement::skipped("the client did not close"),
        Some(_) => ends(seen),
    }
}

/// The client ends its half after the server's FIN.
pub(super) fn leaves(seen: &Seen) -> Judgement {
    match seen.end() {
        Some(_) => Judgement::pass(),
        None => Judgement::fail(
            "the client does not notice that the server has ended TCP, and keeps waiting",
        ),
    }
}

/// The client stops waiting for a server that does nothing more.
pub(super) fn gives_up(seen: &Seen) -> Judgement {
    let Some((closed, _)) = seen.close() else {
        return Judgement::skipped("the client did not close");
    };
    match seen.end() {
        Some((at, end)) => Judgement::pass().seeing(format!(
            "{} after {:.1} s",
            end.as_str(),
            at.saturating_sub(closed).as_secs_f32()
        )),
        None => {
            Judgement::warn("the client has not given up when this case ends: its sockets pile up")
        }
    }
}

/// The client waits for the server to end TCP, or ends it after a while.
pub(super) fn lets_server_end(seen: &Seen) -> Judgement {
    match (answer(seen), seen.end()) {
        (None, _) => answers::<1000>(seen),
        (Some(_), Some((at, end))) => Judgement::pass().seeing(format!(
            "{} after {:.1} s",
            end.as_str(),
            at.saturating_sub(seen.tested_at().unwrap_or_default()).as_secs_f32()
        )),
        (Some(_), None) => {
            Judgement::warn("the client waits for the server's FIN for as long as this case lasts")
        }
    }
}

/// The client does not use a connection whose opening handshake is wrong.
pub(super) fn refuses(seen: &Seen) -> Judgement {
    let used = seen.events.iter().any(|(_, event)| match event {
        Event::Message(_) | Event::Ping(_) | Event::Pong(_) | Event::Close(_) => true,
        Event::Tested
        | Event::Violation(_)
        | Event::NotSent
        | Event::Flood
        | Event::Reopened(_)
        | Event::End(_) => false,
    });
    match (used, seen.end()) {
        (false, Some(_)) => Judgement::pass(),
        (false, None) => Judgement::fail("the client keeps a connection that it has to refuse"),
        (true, _) => Judgement::fail(
            "the client uses a connection that it has to refuse: the server may not be a WebSocket server at all",
        ),
    }
}

/// Only the client itself can tell.
pub(super) fn told_by_client(_: &Seen) -> Judgement {
    Judgement::skipped("only the client can tell: it has to report 1006, and not a clean end")
}
