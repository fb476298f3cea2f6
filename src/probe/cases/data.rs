//! Messages of all sizes, and control frames between their fragments; what comes back shows whether they
//! arrived (RFC 6455 sections 5.4 to 5.6).

use crate::probe::case::{Case, Exchange, Judgement, Needs, Stage};
use crate::probe::frame::Frame;
use crate::probe::judging::{echoed, survived};
use crate::probe::script::Step;
use crate::probe::seen::Seen;

/// An exchange with frames that an echo sends back, and a Close.
macro_rules! echo {
    ($id:literal, $title:literal, $rfc:literal, $sent:literal, $frames:expr) => {
        Exchange::new(
            &[
                Step::Send($frames),
                Step::AwaitEcho,
                Step::Test(&[Frame::close(1000, "")]),
                Step::AwaitClose,
                Step::AwaitEnd,
            ],
            &[Case::new($id, $title, $rfc)
                .sends($sent)
                .due("the same back, then Close 1000")
                .from(Stage::Open)
                .judged(echoed)],
        )
        .needing(Needs::Echo)
    };
}

/// The first shows whether the server echoes.
pub(super) const EXCHANGES: &[Exchange] = &[
    echo!(
        "echo-text",
        "A text message arrives",
        "5.6",
        "text \"lastword probe\"",
        &[Frame::text("lastword probe")]
    ),
    echo!("echo-empty", "An empty message arrives", "5.6", "an empty text", &[Frame::text("")]),
    echo!(
        "echo-125",
        "A message of 125 bytes arrives",
        "5.2",
        "binary of 125 bytes",
        &[Frame::binary(125)]
    ),
    echo!(
        "echo-126",
        "A message of 126 bytes arrives",
        "5.2",
        "binary of 126 bytes",
        &[Frame::binary(126)]
    ),
    echo!(
        "echo-65535",
        "A message of 65535 bytes arrives",
        "5.2",
        "binary of 65535 bytes",
        &[Frame::binary(65_535)]
    ),
    echo!(
        "echo-65536",
        "A message of 65536 bytes arrives",
        "5.2",
        "binary of 65536 bytes",
        &[Frame::binary(65_536)]
    ),
    echo!(
        "echo-1-mib",
        "A message of 1 MiB arrives",
        "5.2, 10.4",
        "text of 1 MiB",
        &[Frame::long_text(1 << 20)]
    ),
    echo!(
        "echo-fragments",
        "A fragmented message arrives whole",
        "5.4",
        "text in four fragments, two of them empty",
        &[
            Frame::text("one ").unfinished(),
            Frame::continuation(b"").unfinished(),
            Frame::continuation(b"message").unfinished(),
            Frame::continuation(b"")
        ]
    ),
    echo!(
        "echo-many",
        "Many messages in one segment arrive in order",
        "5.4",
        "16 texts in one segment",
        &[
            Frame::text("1"),
            Frame::text("2"),
            Frame::text("3"),
            Frame::text("4"),
            Frame::text("5"),
            Frame::text("6"),
            Frame::text("7"),
            Frame::text("8"),
            Frame::text("9"),
            Frame::text("10"),
            Frame::text("11"),
            Frame::text("12"),
            Frame::text("13"),
            Frame::text("14"),
            Frame::text("15"),
            Frame::text("16")
        ]
    ),
    Exchange::new(
        &[
            Step::Send(&[Frame::text("in two ").unfinished(), Frame::ping(b"between")]),
            Step::AwaitPong(b"between"),
            Step::Send(&[Frame::continuation(b"parts")]),
            Step::Test(&[Frame::close(1000, "")]),
            Step::AwaitClose,
            Step::AwaitEnd,
        ],
        &[Case::new(
            "ping-between-fragments",
            "A Ping between two fragments is answered at once",
            "5.4, 5.5",
        )
        .sends("a fragment, a Ping, and after the Pong the last fragment")
        .due("Pong before the message is whole")
        .from(Stage::Open)
        .judged(|seen| ponged(seen, b"between"))],
    ),
    Exchange::new(
        &[
            Step::Send(&[
                Frame::ping(b"1"),
                Frame::ping(b"2"),
                Frame::ping(b"3"),
                Frame::ping(b"4"),
                Frame::ping(b"5"),
                Frame::ping(b"6"),
                Frame::ping(b"7"),
                Frame::ping(b"8"),
                Frame::ping(b""),
                Frame::ping(&[b'p'; 125]),
                Frame::ping(b"last"),
            ]),
            Step::AwaitPong(b"last"),
            Step::Test(&[Frame::close(1000, "")]),
            Step::AwaitClose,
            Step::AwaitEnd,
        ],
        &[Case::new("ping-many", "Of many Pings at least the last is answered", "5.5.3")
            .sends("11 Pings of 0 to 125 bytes in one segment")
            .due("a Pong for the last at least")
            .from(Stage::Open)
            .judged(|seen| ponged(seen, b"last"))],
    ),
];

fn ponged(seen: &Seen, payload: &[u8]) -> Judgement {
    match seen.has_pong(payload) {
        true => survived(seen),
        false => Judgement::fail(
            "the Ping is not answered: clients with a keepalive take the connection for dead and disconnect",
        )
        .seeing("no Pong"),
    }
}
