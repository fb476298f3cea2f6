//! Codes and reasons at their bounds (RFC 6455 sections 5.5.1 and 7.4).

use crate::probe::case::{Case, Exchange};
use crate::probe::frame::Frame;
use crate::probe::judging::{failed_with, not_taken};
use crate::probe::script::Step;

/// An exchange with a Close that is illegal, which is due this code.
macro_rules! illegal {
    ($id:literal, $title:literal, $rfc:literal, $sent:literal, $due:literal, $frames:expr) => {
        Exchange::new(
            &[Step::Test($frames), Step::AwaitClose, Step::AwaitEnd],
            &[Case::new($id, $title, $rfc)
                .sends($sent)
                .due(concat!("Close ", $due, ", then the end of TCP"))
                .judged(failed_with::<$due>)],
        )
    };
}

/// An exchange with a Close whose code is undefined.
macro_rules! undefined {
    ($id:literal, $title:literal, $sent:literal, $frames:expr) => {
        Exchange::new(
            &[Step::Test($frames), Step::AwaitClose, Step::AwaitEnd],
            &[Case::new($id, $title, "7.4.2")
                .sends($sent)
                .due("Close 1002, or another Close with a legal code")
                .judged(not_taken)],
        )
    };
}

pub(super) const EXCHANGES: &[Exchange] = &[
    illegal!(
        "close-1005",
        "A Close with the reserved code 1005 fails the connection",
        "7.4.1",
        "Close 1005",
        1002,
        &[Frame::close(1005, "")]
    )
    .safe(),
    illegal!(
        "close-bad-utf8",
        "A reason that is not UTF-8 fails the connection",
        "5.5.1, 8.1",
        "Close 1000 with the bytes ce ba e1 ff",
        1007,
        &[Frame::close_with(1000, b"\xce\xba\xe1\xff")]
    )
    .safe(),
    illegal!(
        "close-one-byte",
        "A Close with half a code fails the connection",
        "5.5.1",
        "Close with a payload of 1 byte",
        1002,
        &[Frame::close_raw(b"\x03")]
    ),
    illegal!(
        "close-0",
        "A Close with code 0 fails the connection",
        "7.4.2",
        "Close 0",
        1002,
        &[Frame::close(0, "")]
    ),
    illegal!(
        "close-999",
        "A Close with a code below 1000 fails the connection",
        "7.4.2",
        "Close 999",
        1002,
        &[Frame::close(999, "")]
    ),
    illegal!(
        "close-1004",
        "A Close with the reserved code 1004 fails the connection",
        "7.4.1",
        "Close 1004",
        1002,
        &[Frame::close(1004, "")]
    ),
    illegal!(
        "close-1006",
        "A Close with the reserved code 1006 fails the connection",
        "7.4.1",
        "Close 1006",
        1002,
        &[Frame::close(1006, "")]
    ),
    illegal!(
        "close-1015",
        "A Close with the reserved code 1015 fails the connection",
        "7.4.1",
        "Close 1015",
        1002,
        &[Frame::close(1015, "")]
    ),
    illegal!(
        "close-126-bytes",
        "A Close of 126 bytes fails the connection",
        "5.5",
        "Close 1000 with a reason of 124 bytes",
        1002,
        &[Frame::close_with(1000, &[b'r'; 124])]
    ),
    illegal!(
        "close-fragmented",
        "A fragmented Close fails the connection",
        "5.4, 5.5",
        "Close 1000 without the FIN bit",
        1002,
        &[Frame::close(1000, "").unfinished()]
    ),
    undefined!(
        "close-2999",
        "A Close with a code for later versions is not passed on",
        "Close 2999",
        &[Frame::close(2999, "")]
    ),
    undefined!(
        "close-5000",
        "A Close with a code above all ranges is not passed on",
        "Close 5000",
        &[Frame::close(5000, "")]
    ),
];
