//! Closing: the answer to a Close, the end of TCP, and what stands around them.

use crate::probe::case::{Case, Exchange, Judgement, Needs, Stage};
use crate::probe::frame::Frame;
use crate::probe::judging::{
    answer, answered, answered_soon, answered_with, close_notified, ended_by_server,
    ended_with_fin, nothing_after_close,
};
use crate::probe::request::Request;
use crate::probe::script::Step;
use crate::probe::seen::{End, Event, Seen};

use super::opening;

/// The reason of 123 bytes that fits into a Close, with letters of two bytes.
const LONGEST_REASON: &str = "lastword probe closes with a reason that is as long as fits into a Close, \
                              letters of two bytes included: äöüßäöüßä";

/// The first exchange: a whole conversation, which many cases judge.
pub(super) const CONVERSATION: &[Exchange] = &[Exchange::new(
    &[
        Step::Send(&[Frame::ping(b"lastword")]),
        Step::AwaitPong(b"lastword"),
        Step::Send(&[Frame::pong(b"unsolicited"), Frame::ping(b"still there?")]),
        Step::AwaitPong(b"still there?"),
        Step::Test(&[Frame::close(1000, "lastword probe")]),
        Step::AwaitClose,
        Step::AwaitEnd,
    ],
    &[
        opening::SWITCHES,
        opening::ACCEPTS,
        opening::SUBPROTOCOL,
        opening::EXTENSION,
        Case::new("frames-legal", "The server's frames are legal, and not masked", "5.1, 5.2")
            .sends("a conversation of Pings, Pongs and a Close")
            .due("unmasked frames that break no rule")
            .from(Stage::Open)
            .judged(legal_frames),
        Case::new(
            "ping-pong",
            "A Ping is answered with a Pong of the same payload",
            "5.5.2, 5.5.3",
        )
        .sends("Ping \"lastword\"")
        .due("Pong \"lastword\"")
        .from(Stage::Open)
        .judged(|seen| ponged(seen, b"lastword")),
        Case::new("pong-unsolicited", "An unsolicited Pong is ignored", "5.5.3")
            .sends("Pong, then a Ping")
            .due("a Pong for the Ping, and an open connection")
            .from(Stage::Open)
            .judged(|seen| match seen.has_pong(b"lastword") && !seen.has_pong(b"still there?") {
                true => Judgement::fail(
                    "an unsolicited Pong ends the conversation: clients that send them as a \
                     heartbeat are disconnected",
                ),
                false => ponged(seen, b"still there?"),
            }),
        Case::new("close-answer", "A Close is answered with a Close", "5.5.1, 7.1.4")
            .sends("Close 1000 \"lastword probe\"")
            .due("Close, then the end of TCP")
            .judged(answered),
        Case::new("close-answer-code", "The answer carries the code of the Close", "5.5.1")
            .sends("Close 1000 \"lastword probe\"")
            .due("Close 1000")
            .judged(answered_with::<1000>),
        Case::new("close-answer-soon", "A Close is answered within a second", "5.5.1")
            .sends("Close 1000 \"lastword probe\"")
            .due("Close within 1 s")
            .judged(answered_soon),
        Case::new(
            "close-ends-tcp",
            "The server ends TCP after both Closes, and at once",
            "5.5.1, 7.1.1",
        )
        .sends("Close 1000, and then nothing")
        .due("the end of TCP by the server within 1 s")
        .judged(ended_by_server),
        Case::new("close-ends-with-fin", "TCP ends with FIN, and not with RST", "7.1.1")
            .sends("Close 1000, and then nothing")
            .due("FIN")
            .judged(ended_with_fin),
        Case::new("close-is-last", "Nothing follows the server's Close", "5.5.1")
            .sends("Close 1000")
            .due("no frame after the answer")
            .judged(nothing_after_close),
        Case::new("tls-close-notify", "TLS ends with close_notify", "RFC 8446 6.1")
            .sends("Close 1000 over TLS")
            .due("close_notify before FIN")
            .judged(close_notified),
    ],
)
.safe()];

pub(super) const EXCHANGES: &[Exchange] = &[
    Exchange::new(
        &[Step::Test(&[Frame::close_raw(b"")]), Step::AwaitClose, Step::AwaitEnd],
        &[
            opening::UNKNOWN_EXTENSION,
            opening::DEFLATE,
            Case::new("close-empty", "A Close without a code is answered", "5.5.1, 7.1.5")
                .sends("Close without a payload")
                .due("Close without a payload, or 1000")
                .judged(answered_when_empty),
        ],
    )
    .asking(Request {
        extensions: &["x-lastword-probe", "permessage-deflate; client_max_window_bits"],
        ..Request::RIGHT
    })
    .safe(),
    Exchange::new(
        &[Step::Test(&[Frame::close(4999, LONGEST_REASON)]), Step::AwaitClose, Step::AwaitEnd],
        &[Case::new(
            "close-longest-reason",
            "A Close 4999 with a reason of 123 bytes in UTF-8 is answered",
            "5.5, 7.4.2",
        )
        .sends("Close 4999 with 123 bytes, some of them letters of two bytes")
        .due("Close 4999")
        .judged(answered_with::<4999>)],
    )
    .safe(),
    Exchange::new(
        &[
            Step::Test(&[
                Frame::close(1000, ""),
                Frame::ping(b"too late"),
                Frame::close(1001, "again"),
            ]),
            Step::AwaitClose,
            Step::AwaitEnd,
        ],
        &[
            Case::new(
                "close-with-frames-behind",
                "A Close is answered whatever follows it in the segment",
                "5.5.1",
            )
            .sends("Close 1000, Ping, and Close 1001 in one segment")
            .due("Close 1000, and no RST that overtakes it")
            .judged(answered_with::<1000>),
            Case::new("close-once", "A second Close is not answered", "5.5.1")
                .sends("Close 1000, Ping, and Close 1001 in one segment")
                .due("one Close")
                .judged(closed_once),
            Case::new(
                "close-ping-behind",
                "A Ping after the Close is not answered",
                "5.5.1, 5.5.2",
            )
            .sends("Close 1000, Ping, and Close 1001 in one segment")
            .due("no Pong")
            .judged(no_pong_behind),
        ],
    )
    .safe(),
    Exchange::new(
        &[
            Step::Test(&[Frame::close(1000, ""), Frame::text("too late")]),
            Step::AwaitClose,
            Step::AwaitEnd,
        ],
        &[Case::new("close-with-text-behind", "Data after the Close is discarded", "5.5.1")
            .sends("Close 1000 and text in one segment")
            .due("Close 1000, and no echo of the text")
            .judged(discarded)],
    ),
    Exchange::new(
        &[Step::Test(&[Frame::close(1000, "")]), Step::Fin, Step::AwaitClose, Step::AwaitEnd],
        &[Case::new(
            "close-with-fin",
            "A Close is answered also if FIN stands right behind it",
            "5.5.1, 7.1.1",
        )
        .sends("Close 1000, then FIN; this end still reads")
        .due("Close 1000, then FIN")
        .judged(answered_with::<1000>)],
    ),
    Exchange::new(
        &[Step::TestBytewise(&[Frame::close(3000, "slowly")]), Step::AwaitClose, Step::AwaitEnd],
        &[Case::new("close-bytewise", "A Close that comes byte by byte is answered", "5.5.1")
            .sends("Close 3000 \"slowly\", each byte in a segment of its own")
            .due("Close 3000")
            .judged(answered_with::<3000>)],
    ),
    Exchange::new(
        &[
            Step::Test(&[Frame::text("never finished").unfinished(), Frame::close(1001, "")]),
            Step::AwaitClose,
            Step::AwaitEnd,
        ],
        &[Case::new(
            "close-inside-message",
            "A Close between two fragments is answered",
            "5.4, 5.5",
        )
        .sends("the first fragment of a text, then Close 1001")
        .due("Close 1001")
        .judged(answered_with::<1001>)],
    ),
    Exchange::new(
        &[Step::Test(&[Frame::close(1001, "")]), Step::AwaitClose, Step::AwaitEnd],
        &[Case::new("close-1001", "A Close of a page that is left is answered", "7.4.1")
            .sends("Close 1001, as browsers do when a page is left")
            .due("Close 1001")
            .judged(answered_with::<1001>)],
    ),
    Exchange::new(
        &[Step::Test(&[Frame::close(4000, "")]), Step::AwaitClose, Step::AwaitEnd],
        &[Case::new("close-4000", "A Close with a code of the application is answered", "7.4.2")
            .sends("Close 4000")
            .due("Close 4000")
            .judged(answered_with::<4000>)],
    ),
    Exchange::new(
        &[Step::Test(&[Frame::close(3000, "")]), Step::AwaitClose, Step::AwaitEnd],
        &[Case::new("close-3000", "A Close with a code of a library is answered", "7.4.2")
            .sends("Close 3000")
            .due("Close 3000")
            .judged(answered_with::<3000>)],
    ),
    Exchange::new(
        &[Step::Test(&[Frame::close(1012, "service restart")]), Step::AwaitClose, Step::AwaitEnd],
        &[Case::new(
            "close-1012",
            "A Close with a code that was registered later is answered",
            "11.7",
        )
        .sends("Close 1012 (IANA's registry)")
        .due("Close 1012")
        .judged(answered_with::<1012>)],
    ),
    Exchange::new(
        &[
            Step::Test(&[
                Frame::text("one"),
                Frame::text("two"),
                Frame::text("three"),
                Frame::close(1000, "after three"),
            ]),
            Step::AwaitClose,
            Step::AwaitEnd,
        ],
        &[Case::new(
            "close-after-data",
            "What came before the Close is still echoed",
            "5.5.1, 7.1.1",
        )
        .sends("three texts and a Close 1000 in one segment")
        .due("three echoes, then Close 1000")
        .judged(echoed_before_close)],
    )
    .needing(Needs::Echo),
    Exchange::new(
        &[Step::Test(&[Frame::ping(b"x").with_rsv(0b001)]), Step::AwaitClose, Step::AwaitEnd],
        &[Case::new(
            "fail-silent-client",
            "A client that does not answer the server's Close costs no socket",
            "7.1.1, 7.1.7",
        )
        .sends("a frame with a reserved bit, and no answer to the server's Close")
        .due("the end of TCP without the client's help")
        .judged(ends_alone)],
    ),
];

fn legal_frames(seen: &Seen) -> Judgement {
    match seen.violation() {
        None => Judgement::pass(),
        Some(what) => Judgement::fail(
            "the server breaks framing: every client fails the connection with 1002 and reports 1006",
        )
        .seeing(what),
    }
}

fn ponged(seen: &Seen, payload: &[u8]) -> Judgement {
    let other = seen.events.iter().find_map(|(_, event)| match event {
        Event::Pong(own) if own.as_slice() != payload => Some(own.len()),
        _ => None,
    });
    match (seen.has_pong(payload), other) {
        (true, _) => Judgement::pass().seeing("a Pong with the same payload"),
        (false, Some(len)) => Judgement::fail(
            "the Pong does not repeat the Ping: clients that check it take the connection for dead",
        )
        .seeing(format!("a Pong with another payload of {len} bytes")),
        (false, None) if seen.is_early() => {
            Judgement::skipped("the server ended the connection before it could answer")
        }
        (false, None) => Judgement::fail(
            "Pings are not answered: clients with a keepalive take the connection for dead and disconnect",
        )
        .seeing("no Pong"),
    }
}

fn answered_when_empty(seen: &Seen) -> Judgement {
    match answer(seen).and_then(|(_, close)| close.code) {
        None | Some(1000 | 1005) => answered(seen),
        Some(code) => Judgement::warn(format!(
            "a client that closes without a code is told {code} instead of 1005"
        )),
    }
}

fn closed_once(seen: &Seen) -> Judgement {
    match seen.closes().count() {
        0 => answered(seen),
        1 => Judgement::pass(),
        closes => Judgement::fail(
            "the server goes on reading after a Close: a well-behaved server stops at the first Close",
        )
        .seeing(format!("{closes} Closes")),
    }
}

fn no_pong_behind(seen: &Seen) -> Judgement {
    match seen.has_pong(b"too late") {
        false => Judgement::pass(),
        true => Judgement::warn(
            "the server goes on answering Pings after the Close, instead of ending the connection",
        ),
    }
}

fn discarded(seen: &Seen) -> Judgement {
    let digest = seen.sent.first();
    match seen.messages().any(|message| Some(message) == digest) {
        true => Judgement::fail(
            "the server handles data that follows a Close: a command that the client has taken back is \
             carried out",
        )
        .seeing("the text came back"),
        false => answered_with::<1000>(seen),
    }
}

fn echoed_before_close(seen: &Seen) -> Judgement {
    match (seen.echoed(), seen.end()) {
        (3, _) => answered_with::<1000>(seen),
        (back, Some((_, End::Reset))) => Judgement::fail(
            "answers are lost in a reset: a client that closes loses what it asked for",
        )
        .seeing(format!("{back} of 3 echoes, RST")),
        (back, _) => Judgement::warn("a client that closes loses the answers that were under way")
            .seeing(format!("{back} of 3 echoes")),
    }
}

fn ends_alone(seen: &Seen) -> Judgement {
    match seen.end() {
        Some(_) => Judgement::pass(),
        None => Judgement::warn(
            "the server waits for a client that does not answer: such clients hold sockets until its \
             timeout, if it has one",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_reason_is_as_long_as_may_be() {
        assert_eq!(LONGEST_REASON.len(), 123);
        assert!(!LONGEST_REASON.is_ascii());
    }
}
