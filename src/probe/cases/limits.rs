//! Limits of size and of time (RFC 6455 section 10.4).

use std::time::Duration;

use crate::probe::case::{Case, Exchange, Judgement, Needs, Stage};
use crate::probe::frame::Frame;
use crate::probe::judging::{answer, echoed, failed_with};
use crate::probe::script::Step;
use crate::probe::seen::Seen;

pub(super) const EXCHANGES: &[Exchange] = &[
    Exchange::new(
        &[
            Step::Test(&[Frame::binary(0).claiming(1 << 40)]),
            Step::AwaitClose,
            Step::AnswerClose,
            Step::AwaitEnd,
        ],
        &[Case::new(
            "limit-message-size",
            "A message of 1 TiB is refused by its header",
            "7.4.1, 10.4",
        )
        .sends("a header that announces 2^40 bytes, and no payload")
        .due("Close 1009, then the end of TCP")
        .judged(limited)],
    ),
    Exchange::new(
        &[
            Step::TestUnread(&[
                Frame::binary(60_000),
                Frame::binary(60_000),
                Frame::binary(60_000),
                Frame::binary(60_000),
            ]),
            Step::Wait(Duration::from_millis(800)),
            Step::AwaitEcho,
            Step::Send(&[Frame::close(1000, "")]),
            Step::AwaitClose,
            Step::AwaitEnd,
        ],
        &[Case::new("limit-slow-reader", "A client that reads late gets everything", "6.1")
            .sends("240 kB of messages, and no reading for 800 ms")
            .due("all of them back, then Close 1000")
            .judged(echoed)],
    )
    .needing(Needs::Echo),
    Exchange::new(
        &[
            Step::Tested,
            Step::Idle,
            Step::Send(&[Frame::close(1000, "")]),
            Step::AwaitClose,
            Step::AwaitEnd,
        ],
        &[Case::new(
            "limit-idle",
            "A silent connection is left open, or closed with a Close",
            "7.1.1, 7.4.1",
        )
        .sends("nothing for as long as --idle says")
        .due("nothing, or Pings, or a Close before the end of TCP")
        .from(Stage::Open)
        .judged(idle)],
    )
    .needing(Needs::Idle)
    .safe(),
];

fn limited(seen: &Seen) -> Judgement {
    match (answer(seen), seen.end()) {
        (None, None) => Judgement::fail(
            "the server waits for 1 TiB: one client can fill its memory, unless something in front of it \
             has a limit",
        ),
        _ => failed_with::<1009>(seen),
    }
}

fn idle(seen: &Seen) -> Judgement {
    match (seen.close(), seen.end()) {
        (None, Some((at, end))) => Judgement::warn(format!(
            "an idle connection is cut without a Close: browsers report 1006; ping more often than every {} s",
            at.as_secs().max(1)
        ))
        .seeing(format!("{} after {:.1} s of silence, without a Close", end.as_str(), at.as_secs_f32())),
        (Some(_), None) => Judgement::fail(
            "the server closes an idle connection and leaves TCP open: sockets pile up on the server",
        ),
        (Some(_), Some(_)) | (None, None) => Judgement::pass(),
    }
}
