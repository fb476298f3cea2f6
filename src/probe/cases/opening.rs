//! The opening handshake (RFC 6455 section 4).

use crate::probe::case::{Case, Exchange, Judgement, Stage};
use crate::probe::request::{Key, Request};
use crate::probe::script::CLOSES;
use crate::probe::seen::{Answer, Opening, Seen};

pub(super) const SWITCHES: Case = Case::new(
    "open-101",
    "The opening handshake is answered with 101 and its two headers",
    "4.2.2",
)
.sends("a correct request for an upgrade")
.due("101, Upgrade: websocket, Connection: Upgrade")
.from(Stage::Answered)
.judged(|seen| of_answer(seen, switches));

pub(super) const ACCEPTS: Case =
    Case::new("open-accept", "Sec-WebSocket-Accept answers the key", "4.2.2")
        .sends("a random Sec-WebSocket-Key")
        .due("Sec-WebSocket-Accept as derived from it, once")
        .from(Stage::Open)
        .judged(|seen| of_answer(seen, accepts));

pub(super) const SUBPROTOCOL: Case =
    Case::new("open-subprotocol", "Only a subprotocol that was offered is chosen", "4.1, 4.2.2")
        .sends("the subprotocols given with --subprotocol, by default none")
        .due("one of them, or none")
        .from(Stage::Open)
        .judged(|seen| of_answer(seen, |answer| subprotocol(answer, &seen.offered)));

pub(super) const EXTENSION: Case = Case::new(
    "open-extension-not-offered",
    "No extension is chosen if none was offered",
    "4.1, 9.1",
)
.sends("no Sec-WebSocket-Extensions")
.due("no Sec-WebSocket-Extensions")
.from(Stage::Open)
.judged(|seen| {
    of_answer(seen, |answer| match answer.list(EXTENSIONS).next() {
        None => Judgement::pass(),
        Some(chosen) => Judgement::fail(
            "the server chooses an extension that was not offered: every client fails the \
                     connection, and browsers report 1006",
        )
        .seeing(format!("Sec-WebSocket-Extensions: {chosen}")),
    })
});

pub(super) const UNKNOWN_EXTENSION: Case = Case::new(
    "open-extension-unknown",
    "An extension that the server does not know is not chosen",
    "9.1",
)
.sends("Sec-WebSocket-Extensions: x-lastword-probe")
.due("an answer without it")
.from(Stage::Open)
.judged(|seen| {
    of_answer(seen, |answer| match answer.list(EXTENSIONS).any(|it| it.starts_with("x-lastword")) {
        false => Judgement::pass(),
        true => Judgement::fail(
            "the server repeats offers without understanding them: clients then send frames \
                         that it cannot read",
        )
        .seeing("x-lastword-probe was chosen"),
    })
});

pub(super) const DEFLATE: Case = Case::new(
    "open-deflate",
    "permessage-deflate is chosen with legal parameters, or not at all",
    "RFC 7692 7.1",
)
.sends("Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits")
.due("known parameters, each once, windows of 8 to 15 bits")
.from(Stage::Open)
.judged(|seen| of_answer(seen, deflate));

const EXTENSIONS: &str = "sec-websocket-extensions";

pub(super) const EXCHANGES: &[Exchange] = &[
    Exchange::new(
        CLOSES,
        &[Case::new(
            "open-version",
            "Another version is refused, and the right one is named",
            "4.2.2, 4.4",
        )
        .sends("Sec-WebSocket-Version: 12")
        .due("426 (or another 4xx) with Sec-WebSocket-Version: 13")
        .from(Stage::Answered)
        .judged(|seen| of_answer(seen, version))],
    )
    .asking(Request { version: "12", ..Request::RIGHT })
    .safe(),
    Exchange::new(
        CLOSES,
        &[Case::new("open-key-missing", "A request without a key is refused", "4.2.1")
            .sends("no Sec-WebSocket-Key")
            .due("400, or another 4xx")
            .from(Stage::Answered)
            .judged(refused::<true>)],
    )
    .asking(Request { key: Key::Missing, ..Request::RIGHT })
    .safe(),
    Exchange::new(
        CLOSES,
        &[Case::new("open-key-short", "A key that is not 16 bytes is refused", "4.2.1")
            .sends("Sec-WebSocket-Key: dG9vIHNob3J0")
            .due("400, or another 4xx")
            .from(Stage::Answered)
            .judged(refused::<false>)],
    )
    .asking(Request { key: Key::Of("dG9vIHNob3J0"), ..Request::RIGHT }),
    Exchange::new(
        CLOSES,
        &[Case::new("open-method", "Only GET opens a WebSocket", "4.2.1")
            .sends("POST with the headers of an upgrade")
            .due("405, 400, or another refusal")
            .from(Stage::Answered)
            .judged(refused::<true>)],
    )
    .asking(Request { method: "POST", ..Request::RIGHT }),
    Exchange::new(
        CLOSES,
        &[Case::new("open-no-upgrade", "A request without Upgrade is not upgraded", "4.2.1")
            .sends("no Upgrade header")
            .due("426, 400, or a plain page")
            .from(Stage::Answered)
            .judged(refused::<true>)],
    )
    .asking(Request { upgrade: None, ..Request::RIGHT }),
    Exchange::new(
        CLOSES,
        &[Case::new(
            "open-no-connection",
            "A request without Connection: Upgrade is not upgraded",
            "4.2.1",
        )
        .sends("Connection: close")
        .due("400, 426, or a plain page")
        .from(Stage::Answered)
        .judged(refused::<true>)],
    )
    .asking(Request { connection: "close", ..Request::RIGHT }),
    Exchange::new(
        CLOSES,
        &[Case::new("open-http-10", "A request in HTTP/1.0 is not upgraded", "4.2.1")
            .sends("GET … HTTP/1.0 with the headers of an upgrade")
            .due("400, or another refusal")
            .from(Stage::Answered)
            .judged(refused::<false>)],
    )
    .asking(Request { protocol: "HTTP/1.0", ..Request::RIGHT }),
    Exchange::new(
        CLOSES,
        &[Case::new("open-any-case", "Upgrade and Connection are lists, and in any case", "4.2.1")
            .sends("Upgrade: WebSocket, Connection: keep-alive, Upgrade (as Firefox does)")
            .due("101")
            .from(Stage::Answered)
            .judged(any_case)],
    )
    .asking(Request {
        upgrade: Some("WebSocket"),
        connection: "keep-alive, Upgrade",
        ..Request::RIGHT
    }),
];

fn of_answer(seen: &Seen, judge: impl Fn(&Answer) -> Judgement) -> Judgement {
    match &seen.opening {
        Opening::Answered(answer) => {
            let judgement = judge(answer);
            match judgement.observed {
                Some(_) => judgement,
                None => {
                    let (status, took) = (answer.status, answer.after.as_millis());
                    judgement.seeing(format!("HTTP {status} after {took} ms"))
                }
            }
        }
        Opening::Silent => Judgement::fail(
            "the server does not answer the opening handshake: clients wait for their timeout",
        ),
        Opening::NotAsked | Opening::NotConnected(_) | Opening::NotHttp(_) | Opening::Ended(_) => {
            Judgement::warn(
                "the server gives no answer in HTTP: a developer is not told what is wrong",
            )
        }
    }
}

fn switches(answer: &Answer) -> Judgement {
    let lacks = |name: &str, word: &str| !answer.list(name).any(|it| it.eq_ignore_ascii_case(word));
    let lacking = match answer.status {
        101 if lacks("upgrade", "websocket") => "Upgrade: websocket",
        101 if lacks("connection", "upgrade") => "Connection: Upgrade",
        101 => return Judgement::pass(),
        _ => return Judgement::fail("the server does not open a WebSocket"),
    };
    Judgement::fail(format!(
        "the 101 lacks {lacking}: clients refuse the connection, and browsers report 1006"
    ))
    .seeing(format!("101 without {lacking}"))
}

fn accepts(answer: &Answer) -> Judgement {
    match answer.accept_is_right {
        true => Judgement::pass(),
        false => Judgement::fail(
            "Sec-WebSocket-Accept is missing or wrong: every client refuses the connection, and browsers \
             report 1006",
        )
        .seeing(match answer.header("sec-websocket-accept").next() {
            Some(_) => "another Sec-WebSocket-Accept",
            None => "no Sec-WebSocket-Accept",
        }),
    }
}

fn subprotocol(answer: &Answer, offered: &[String]) -> Judgement {
    let chosen: Vec<_> = answer.header("sec-websocket-protocol").collect();
    match &chosen[..] {
        [] if offered.is_empty() => Judgement::pass(),
        [] => Judgement::warn(
            "the server chooses none of the subprotocols that were offered: browsers report 1006, because \
             they must not go on without one",
        ),
        [one] if offered.iter().any(|it| it == one) => Judgement::pass(),
        [..] => Judgement::fail(
            "the server chooses a subprotocol that was not offered: every client refuses the connection, \
             and browsers report 1006",
        )
        .seeing(format!("Sec-WebSocket-Protocol: {}", chosen.join(", "))),
    }
}

fn deflate(answer: &Answer) -> Judgement {
    let Some(chosen) = answer.list(EXTENSIONS).find(|it| it.starts_with("permessage-deflate"))
    else {
        return Judgement::pass().seeing("not chosen");
    };
    let mut known = Vec::new();
    for parameter in chosen.split(';').skip(1).map(str::trim) {
        let (name, value) = match parameter.split_once('=') {
            Some((name, value)) => (name.trim(), Some(value.trim().trim_matches('"'))),
            None => (parameter, None),
        };
        let bits = value.and_then(|value| value.parse::<u8>().ok());
        let is_legal = match name {
            "server_no_context_takeover" | "client_no_context_takeover" => value.is_none(),
            "server_max_window_bits" | "client_max_window_bits" => {
                bits.is_some_and(|bits| (8..=15).contains(&bits))
            }
            _ => false,
        };
        if !is_legal || known.contains(&name) {
            return Judgement::fail(
                "the server chooses permessage-deflate with a parameter that is not legal: every client \
                 refuses the connection, and browsers report 1006",
            )
            .seeing(format!("Sec-WebSocket-Extensions: {chosen}"));
        }
        known.push(name);
    }
    Judgement::pass().seeing(format!("Sec-WebSocket-Extensions: {chosen}"))
}

fn version(answer: &Answer) -> Judgement {
    let named = answer.list("sec-websocket-version").any(|version| version == "13");
    match answer.status {
        101 => Judgement::fail(
            "the server accepts a version that it does not speak: old clients get frames that they cannot read",
        ),
        400..=499 if named => Judgement::pass(),
        400..=499 => Judgement::warn(
            "the refusal does not name version 13, so a client cannot try again with it",
        ),
        _ => Judgement::warn(
            "the refusal is not a 4xx: monitoring counts a bad request as a fault of the server",
        ),
    }
}

/// Refused with a 4xx; to upgrade is a failure where `MUST`, else only a reason to warn.
fn refused<const MUST: bool>(seen: &Seen) -> Judgement {
    let sentence = "the server upgrades a request that it must refuse: programs other than WebSocket clients \
                    can be made to open a connection";
    of_answer(seen, |answer| match answer.status {
        101 if MUST => Judgement::fail(sentence),
        101 => Judgement::warn(sentence),
        500..=599 => Judgement::warn(
            "a wrong request is answered with 5xx: monitoring counts it as a fault of the server",
        ),
        _ => Judgement::pass(),
    })
}

fn any_case(seen: &Seen) -> Judgement {
    of_answer(seen, |answer| match answer.status {
        101 => Judgement::pass(),
        _ => Judgement::fail(
            "the server compares headers letter by letter: Firefox and others cannot connect",
        ),
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::probe::case::Verdict::{self, Fail, Pass, Warn};

    fn answer(status: u16, headers: &[(&str, &str)]) -> Answer {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Answer { status, headers: headers.collect(), accept_is_right: false, after: Duration::ZERO }
    }

    #[test]
    fn parameters_of_deflate_are_checked() {
        let judged = |chosen: &str| deflate(&answer(101, &[(EXTENSIONS, chosen)])).verdict;
        for legal in [
            "x-other",
            "permessage-deflate",
            "permessage-deflate; server_no_context_takeover; client_max_window_bits=15",
            "permessage-deflate;server_max_window_bits=\"8\"",
        ] {
            assert_eq!(judged(legal), Pass, "{legal}");
        }
        for illegal in [
            "permessage-deflate; client_max_window_bits",
            "permessage-deflate; client_max_window_bits=16",
            "permessage-deflate; server_max_window_bits=7",
            "permessage-deflate; server_no_context_takeover=1",
            "permessage-deflate; server_no_context_takeover; server_no_context_takeover",
            "permessage-deflate; x",
        ] {
            assert_eq!(judged(illegal), Fail, "{illegal}");
        }
    }

    #[test]
    fn one_of_the_offered_subprotocols_is_chosen() {
        let judged = |offered: &[&str], chosen: &[&str]| {
            let offered: Vec<_> = offered.iter().map(|it| (*it).to_owned()).collect();
            let headers: Vec<_> = chosen.iter().map(|it| ("sec-websocket-protocol", *it)).collect();
            subprotocol(&answer(101, &headers), &offered).verdict
        };
        assert_eq!(judged(&[], &[]), Pass);
        assert_eq!(judged(&["a", "b"], &["b"]), Pass);
        assert_eq!(judged(&["a", "b"], &[]), Warn);
        assert_eq!(judged(&["a", "b"], &["c"]), Fail);
        assert_eq!(judged(&["a", "b"], &["a, b"]), Fail);
        assert_eq!(judged(&["a", "b"], &["a", "b"]), Fail);
    }

    #[test]
    fn refusals_are_judged_by_their_status() {
        let seen = |answer: Answer| Seen { opening: Opening::Answered(answer), ..Seen::default() };
        let refusal = |status: u16| -> [Verdict; 2] {
            let seen = seen(answer(status, &[]));
            [refused::<true>(&seen).verdict, refused::<false>(&seen).verdict]
        };
        assert_eq!(refusal(101), [Fail, Warn]);
        assert_eq!([refusal(200), refusal(400), refusal(426)], [[Pass; 2]; 3]);
        assert_eq!(refusal(500), [Warn; 2]);
        let named = [("sec-websocket-version", "13, 8")];
        let judged = |status, headers: &[_]| version(&answer(status, headers)).verdict;
        assert_eq!([judged(101, &named), judged(426, &named)], [Fail, Pass]);
        assert_eq!([judged(426, &[]), judged(502, &named)], [Warn; 2]);
        let silent = Seen { opening: Opening::Silent, ..Seen::default() };
        assert_eq!(
            [any_case(&silent).verdict, any_case(&seen(answer(400, &[]))).verdict],
            [Fail; 2]
        );
    }

    #[test]
    fn an_upgrade_needs_both_headers() {
        let judged = |headers: &[_]| switches(&answer(101, headers)).verdict;
        let (upgrade, connection) =
            (("upgrade", "WebSocket"), ("connection", "keep-alive, Upgrade"));
        assert_eq!(judged(&[upgrade, connection]), Pass);
        assert_eq!([judged(&[upgrade]), judged(&[connection]), judged(&[])], [Fail; 3]);
        assert_eq!(switches(&answer(200, &[upgrade, connection])).verdict, Fail);
    }
}
