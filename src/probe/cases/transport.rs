//! TCP that ends without a Close (RFC 6455 section 7.1.5).

use crate::probe::case::{Case, Exchange, Judgement};
use crate::probe::frame::Frame;
use crate::probe::judging::noticed;
use crate::probe::script::Step;
use crate::probe::seen::{Event, Seen};

const LONG: Frame = Frame::long_text(4096);

pub(super) const EXCHANGES: &[Exchange] = &[
    Exchange::new(
        &[Step::Tested, Step::Fin, Step::AwaitEnd],
        &[Case::new(
            "fin-without-close",
            "FIN without a Close ends the connection on the server, too",
            "7.1.5, 7.2.1",
        )
        .sends("FIN; this end still reads")
        .due("the end of TCP")
        .judged(noticed)],
    )
    .safe(),
    Exchange::new(
        &[Step::TestPart(&LONG, 1000), Step::Fin, Step::AwaitEnd],
        &[Case::new(
            "fin-inside-frame",
            "FIN inside a frame ends the connection on the server, too",
            "7.1.5, 7.2.1",
        )
        .sends("1000 bytes of a longer frame, then FIN")
        .due("the end of TCP, and no echo of the part")
        .judged(nothing_of_the_part)],
    ),
    Exchange::new(
        &[Step::TestPart(&LONG, 1000), Step::Reset],
        &[Case::new(
            "reset-inside-frame",
            "A reset does not affect other connections",
            "7.1.5, 7.2.1",
        )
        .sends("1000 bytes of a longer frame, then RST, then a new connection")
        .due("101 for the new connection, and its Close answered")
        .judged(reopened)],
    )
    .reopening(),
];

fn nothing_of_the_part(seen: &Seen) -> Judgement {
    match seen.messages().any(|message| message.text && message.len < 4096 && message.len > 900) {
        true => Judgement::fail(
            "a message that was cut off is taken for whole: half a command is carried out",
        )
        .seeing("a part of the message came back"),
        false => noticed(seen),
    }
}

fn reopened(seen: &Seen) -> Judgement {
    match seen.events.iter().any(|(_, event)| *event == Event::Reopened(true)) {
        true => Judgement::pass(),
        false => Judgement::fail(
            "a reset by one client affects others: check whether the server still runs",
        ),
    }
}
