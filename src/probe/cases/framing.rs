//! Frames that no client may send, and the code that they are due (RFC 6455 sections 5.1 to 5.5).

use crate::probe::case::{Case, Exchange, Judgement};
use crate::probe::frame::Frame;
use crate::probe::judging::{answer, failed_with};
use crate::probe::script::Step;
use crate::probe::seen::Seen;

/// An exchange with frames that break a rule of framing; 1002 is due unless another judge is named.
macro_rules! violation {
    ($id:literal, $title:literal, $rfc:literal, $sent:literal, $frames:expr) => {
        violation!($id, $title, $rfc, $sent, $frames, "Close 1002", failed_with::<1002>)
    };
    (
        $id:literal,
        $title:literal,
        $rfc:literal,
        $sent:literal,
        $frames:expr,
        $due:literal,
        $judge:expr
    ) => {
        Exchange::new(
            &[Step::Test($frames), Step::AwaitClose, Step::AnswerClose, Step::AwaitEnd],
            &[Case::new($id, $title, $rfc)
                .sends($sent)
                .due(concat!($due, ", then the end of TCP"))
                .judged($judge)],
        )
    };
}

pub(super) const EXCHANGES: &[Exchange] = &[
    violation!(
        "frame-reserved-bit",
        "A reserved bit in a Ping fails the connection",
        "5.2",
        "Ping with RSV3",
        &[Frame::ping(b"x").with_rsv(0b001)]
    )
    .safe(),
    violation!(
        "frame-unmasked",
        "A frame that is not masked fails the connection",
        "5.1",
        "an unmasked text",
        &[Frame::text("x").wrongly_masked()]
    ),
    violation!(
        "frame-rsv1",
        "RSV1 without an extension fails the connection",
        "5.2",
        "text with RSV1",
        &[Frame::text("x").with_rsv(0b100)]
    ),
    violation!(
        "frame-rsv2",
        "RSV2 fails the connection",
        "5.2",
        "text with RSV2",
        &[Frame::text("x").with_rsv(0b010)]
    ),
    violation!(
        "frame-opcode-3",
        "A reserved data opcode fails the connection",
        "5.2",
        "a frame with opcode 3",
        &[Frame::new(3, b"x")]
    ),
    violation!(
        "frame-opcode-7",
        "The last reserved data opcode fails the connection",
        "5.2",
        "a frame with opcode 7",
        &[Frame::new(7, b"")]
    ),
    violation!(
        "frame-opcode-11",
        "A reserved control opcode fails the connection",
        "5.2",
        "a frame with opcode 11",
        &[Frame::new(11, b"x")]
    ),
    violation!(
        "frame-opcode-15",
        "The last reserved control opcode fails the connection",
        "5.2",
        "a frame with opcode 15",
        &[Frame::new(15, b"")]
    ),
    violation!(
        "frame-continuation",
        "A continuation of nothing fails the connection",
        "5.4",
        "a continuation frame without a message",
        &[Frame::continuation(b"x")]
    ),
    violation!(
        "frame-message-inside",
        "A message inside a fragmented one fails the connection",
        "5.4",
        "a first fragment, then a whole text",
        &[Frame::text("first").unfinished(), Frame::text("second")]
    ),
    violation!(
        "frame-ping-126",
        "A Ping of 126 bytes fails the connection",
        "5.5",
        "Ping of 126 bytes",
        &[Frame::long_ping(126)]
    ),
    violation!(
        "frame-ping-fragmented",
        "A fragmented Ping fails the connection",
        "5.5",
        "Ping without the FIN bit",
        &[Frame::ping(b"x").unfinished()]
    ),
    violation!(
        "frame-length-long",
        "A length that is not in its shortest form fails the connection",
        "5.2",
        "text of 1 byte with a length of 64 bits",
        &[Frame::text("x").with_long_length()],
        "Close 1002",
        long_length
    ),
    violation!(
        "frame-length-top-bit",
        "A length with its top bit set fails the connection",
        "5.2",
        "a header with the length 2^63",
        &[Frame::binary(0).claiming(1 << 63)],
        "Close 1002 or 1009",
        top_bit
    ),
];

/// The RFC binds the sender, and does not say what a receiver does.
fn long_length(seen: &Seen) -> Judgement {
    match (answer(seen), seen.end()) {
        (None, None) => Judgement::warn(
            "the server takes what no client may send: a stricter proxy in front of it ends such connections",
        ),
        _ => failed_with::<1002>(seen),
    }
}

/// It is a violation, and a message that is too big.
fn top_bit(seen: &Seen) -> Judgement {
    match answer(seen).and_then(|(_, close)| close.code) {
        Some(1009) => failed_with::<1009>(seen),
        Some(_) | None => failed_with::<1002>(seen),
    }
}
