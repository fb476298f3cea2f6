//! Text that is not UTF-8, and text that is (RFC 6455 section 8.1).

use crate::probe::case::{Case, Exchange, Needs};
use crate::probe::frame::{Frame, TEXT};
use crate::probe::judging::{echoed, failed_with};
use crate::probe::script::Step;

/// An exchange with a text that is not UTF-8.
macro_rules! not_utf8 {
    ($id:literal, $title:literal, $sent:literal, $frames:expr) => {
        Exchange::new(
            &[Step::Test($frames), Step::AwaitClose, Step::AnswerClose, Step::AwaitEnd],
            &[Case::new($id, $title, "5.6, 8.1")
                .sends($sent)
                .due("Close 1007, then the end of TCP")
                .judged(failed_with::<1007>)],
        )
    };
}

pub(super) const EXCHANGES: &[Exchange] = &[
    not_utf8!(
        "text-bad-utf8",
        "Text that is not UTF-8 fails the connection",
        "text with the bytes ce ba ff",
        &[Frame::new(TEXT, b"\xce\xba\xff")]
    ),
    not_utf8!(
        "text-bad-utf8-split",
        "Text that is not UTF-8 across fragments fails the connection",
        "ce in one fragment, 20 in the next",
        &[Frame::new(TEXT, b"a\xce").unfinished(), Frame::continuation(b" b")]
    ),
    not_utf8!(
        "text-cut-short",
        "Text that ends inside a character fails the connection",
        "text that ends with the byte ce",
        &[Frame::new(TEXT, b"a\xce")]
    ),
    not_utf8!(
        "text-surrogate",
        "Text with a surrogate fails the connection",
        "text with the bytes ed a0 80",
        &[Frame::new(TEXT, b"\xed\xa0\x80")]
    ),
    not_utf8!(
        "text-overlong",
        "Text with an overlong form fails the connection",
        "text with the bytes c0 af",
        &[Frame::new(TEXT, b"\xc0\xaf")]
    ),
    Exchange::new(
        &[
            Step::Send(&[
                Frame::new(TEXT, b"\xce").unfinished(),
                Frame::continuation(b"\xba").unfinished(),
                Frame::continuation(b"!"),
            ]),
            Step::AwaitEcho,
            Step::Test(&[Frame::close(1000, "")]),
            Step::AwaitClose,
            Step::AwaitEnd,
        ],
        &[Case::new("text-split-character", "A character may be split over fragments", "5.6, 8.1")
            .sends("ce in one fragment, ba in the next, ! in a third")
            .due("the text back in any fragments")
            .from(crate::probe::case::Stage::Open)
            .judged(echoed)],
    )
    .needing(Needs::Echo),
];
