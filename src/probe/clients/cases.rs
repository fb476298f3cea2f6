//! All cases that are served to clients.

use std::time::Duration;

use super::super::frame::{Frame, TEXT};
use super::super::script::Step;
use super::case::{ClientCase, Upgrade};
use super::judging::{
    answers, closes, fails_with, gives_up, leaves, lets_server_end, pongs, pongs_and_answers,
    refuses, told_by_client,
};

/// The steps of a server that closes first, and of one that breaks a rule.
macro_rules! sends {
    ($frames:expr) => {
        &[Step::Test($frames), Step::AwaitClose, Step::Fin, Step::AwaitEnd]
    };
}

/// All cases.
pub const ALL: &[ClientCase] = &[
    ClientCase::new(
        "close-1000",
        "closes with 1000 \"bye\"",
        "5.5.1",
        sends!(&[Frame::close(1000, "bye")]),
    )
    .due("Close 1000, then the end of TCP", answers::<1000>)
    .clean(1000),
    ClientCase::new(
        "close-empty",
        "closes without a code",
        "5.5.1, 7.1.5",
        sends!(&[Frame::close_raw(b"")]),
    )
    .due("Close without a code, or 1000", answers::<1005>)
    .clean(1005),
    ClientCase::new("close-1001", "closes with 1001", "7.4.1", sends!(&[Frame::close(1001, "")]))
        .due("Close 1001", answers::<1001>)
        .clean(1001),
    ClientCase::new("close-1011", "closes with 1011", "7.4.1", sends!(&[Frame::close(1011, "")]))
        .due("Close 1011", answers::<1011>)
        .clean(1011),
    ClientCase::new(
        "close-1012",
        "closes with 1012 \"service restart\"",
        "11.7",
        sends!(&[Frame::close(1012, "service restart")]),
    )
    .due("Close 1012", answers::<1012>)
    .clean(1012),
    ClientCase::new("close-3000", "closes with 3000", "7.4.2", sends!(&[Frame::close(3000, "")]))
        .due("Close 3000", answers::<3000>)
        .clean(3000),
    ClientCase::new(
        "close-longest-reason",
        "closes with 4999 and a reason of 123 bytes",
        "5.5",
        sends!(&[Frame::close_with(4999, &[b'r'; 123])]),
    )
    .due("Close 4999", answers::<4999>)
    .clean(4999),
    ClientCase::new(
        "close-late",
        "is silent for 1.5 s, and closes with 1000",
        "5.5.1",
        &[
            Step::Wait(Duration::from_millis(1500)),
            Step::Test(&[Frame::close(1000, "")]),
            Step::AwaitClose,
            Step::Fin,
            Step::AwaitEnd,
        ],
    )
    .due("Close 1000", answers::<1000>)
    .clean(1000),
    ClientCase::new(
        "close-bytewise",
        "sends Close 1000 byte by byte",
        "5.5.1",
        &[
            Step::TestBytewise(&[Frame::close(1000, "slow")]),
            Step::AwaitClose,
            Step::Fin,
            Step::AwaitEnd,
        ],
    )
    .due("Close 1000", answers::<1000>)
    .clean(1000),
    ClientCase::new(
        "close-after-data",
        "sends three texts and Close 1000 in one segment",
        "5.5.1",
        sends!(&[
            Frame::text("one"),
            Frame::text("two"),
            Frame::text("three"),
            Frame::close(1000, "")
        ]),
    )
    .due("Close 1000", answers::<1000>)
    .clean(1000),
    ClientCase::new(
        "close-with-data-behind",
        "sends Close 1000 and a text in one segment",
        "5.5.1",
        sends!(&[Frame::close(1000, ""), Frame::text("too late")]),
    )
    .due("Close 1000", answers::<1000>)
    .clean(1000),
    ClientCase::new(
        "close-with-fin",
        "sends Close 1000 and ends its half of TCP",
        "7.1.1",
        &[Step::Test(&[Frame::close(1000, "")]), Step::Fin, Step::AwaitClose, Step::AwaitEnd],
    )
    .due("Close 1000", answers::<1000>)
    .clean(1000),
    ClientCase::new(
        "close-keeps-tcp",
        "closes with 1000, and leaves TCP open",
        "7.1.1",
        &[Step::Test(&[Frame::close(1000, "")]), Step::AwaitClose, Step::Idle],
    )
    .due("Close 1000, and in the end FIN", lets_server_end)
    .clean(1000),
    ClientCase::new(
        "client-closes",
        "waits for the client's Close, and answers it",
        "5.5.1, 7.1.1",
        &[Step::Tested, Step::AwaitClose, Step::AnswerClose, Step::Fin, Step::AwaitEnd],
    )
    .due("Close, then the end of TCP", closes)
    .clean(1000)
    .closed_by_client(),
    ClientCase::new(
        "client-is-not-answered",
        "waits for the client's Close, and never answers it",
        "7.1.1",
        &[Step::Tested, Step::AwaitClose, Step::Idle],
    )
    .due("the end of TCP after a while", gives_up)
    .closed_by_client(),
    ClientCase::new(
        "fin-without-close",
        "ends TCP with FIN, without a Close",
        "7.1.5",
        &[Step::Tested, Step::Fin, Step::AwaitEnd],
    )
    .due("the end of TCP", leaves),
    ClientCase::new("reset", "resets TCP", "7.1.5", &[Step::Tested, Step::Reset])
        .due("a report of 1006", told_by_client),
    ClientCase::new(
        "close-1005",
        "closes with the reserved code 1005",
        "7.4.1",
        sends!(&[Frame::close(1005, "")]),
    )
    .due("Close 1002", fails_with::<1002>),
    ClientCase::new(
        "close-999",
        "closes with the code 999",
        "7.4.2",
        sends!(&[Frame::close(999, "")]),
    )
    .due("Close 1002", fails_with::<1002>),
    ClientCase::new(
        "close-one-byte",
        "closes with a payload of 1 byte",
        "5.5.1",
        sends!(&[Frame::close_raw(b"\x03")]),
    )
    .due("Close 1002", fails_with::<1002>),
    ClientCase::new(
        "close-bad-utf8",
        "closes with a reason that is not UTF-8",
        "5.5.1, 8.1",
        sends!(&[Frame::close_with(1000, b"\xce\xff")]),
    )
    .due("Close 1007", fails_with::<1007>),
    ClientCase::new(
        "frame-masked",
        "sends a masked text",
        "5.1",
        sends!(&[Frame::text("x").wrongly_masked()]),
    )
    .due("Close 1002", fails_with::<1002>),
    ClientCase::new(
        "frame-reserved-bit",
        "sends a text with RSV2",
        "5.2",
        sends!(&[Frame::text("x").with_rsv(0b010)]),
    )
    .due("Close 1002", fails_with::<1002>),
    ClientCase::new(
        "frame-opcode-3",
        "sends a frame with opcode 3",
        "5.2",
        sends!(&[Frame::new(3, b"x")]),
    )
    .due("Close 1002", fails_with::<1002>),
    ClientCase::new(
        "frame-continuation",
        "sends a continuation without a message",
        "5.4",
        sends!(&[Frame::continuation(b"x")]),
    )
    .due("Close 1002", fails_with::<1002>),
    ClientCase::new(
        "frame-ping-126",
        "sends a Ping of 126 bytes",
        "5.5",
        sends!(&[Frame::long_ping(126)]),
    )
    .due("Close 1002", fails_with::<1002>),
    ClientCase::new(
        "text-bad-utf8",
        "sends a text that is not UTF-8",
        "8.1",
        sends!(&[Frame::new(TEXT, b"\xce\xba\xff")]),
    )
    .due("Close 1007", fails_with::<1007>),
    ClientCase::new(
        "ping",
        "sends a Ping, and closes with 1000 after the Pong",
        "5.5.2, 5.5.3",
        &[
            Step::Test(&[Frame::ping(b"lastword")]),
            Step::AwaitPong(b"lastword"),
            Step::Send(&[Frame::close(1000, "")]),
            Step::AwaitClose,
            Step::Fin,
            Step::AwaitEnd,
        ],
    )
    .due("Pong with the same payload", pongs)
    .clean(1000),
    ClientCase::new(
        "pong-unsolicited",
        "sends an unsolicited Pong, then closes with 1000",
        "5.5.3",
        sends!(&[Frame::pong(b"unsolicited"), Frame::close(1000, "")]),
    )
    .due("Close 1000", answers::<1000>)
    .clean(1000),
    ClientCase::new(
        "ping-between-fragments",
        "sends a fragment, a Ping, the last fragment, and Close 1000",
        "5.4, 5.5",
        &[
            Step::Test(&[Frame::text("in two ").unfinished(), Frame::ping(b"lastword")]),
            Step::AwaitPong(b"lastword"),
            Step::Send(&[Frame::continuation(b"parts"), Frame::close(1000, "")]),
            Step::AwaitClose,
            Step::Fin,
            Step::AwaitEnd,
        ],
    )
    .due("Pong before the message is whole, then Close 1000", pongs_and_answers)
    .clean(1000),
    ClientCase::new(
        "message-1-mib",
        "sends a text of 1 MiB, then closes with 1000",
        "5.2",
        sends!(&[Frame::long_text(1 << 20), Frame::close(1000, "")]),
    )
    .due("Close 1000", answers::<1000>)
    .clean(1000),
    wrong_opening(
        "open-wrong-accept",
        "answers with the Sec-WebSocket-Accept of another key",
        "4.1",
        Upgrade::WrongAccept,
    ),
    wrong_opening(
        "open-subprotocol",
        "chooses a subprotocol that was not offered",
        "4.1",
        Upgrade::Subprotocol,
    ),
    wrong_opening(
        "open-extension",
        "chooses an extension that was not offered",
        "4.1, 9.1",
        Upgrade::Extension,
    ),
];

/// A case whose opening handshake the client has to refuse.
const fn wrong_opening(
    id: &'static str,
    does: &'static str,
    rfc: &'static str,
    upgrade: Upgrade,
) -> ClientCase {
    ClientCase::new(id, does, rfc, &[Step::Tested, Step::AwaitEnd])
        .due("the end of TCP, and no frame", refuses)
        .answering(upgrade)
}
