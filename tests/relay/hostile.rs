//! Hostile peers on either side of the daemon: what one of them does is on its own record, and what
//! the other one sees is right.

mod application;
mod client;
mod opening;

use std::future::Future;

use serde_json::Value;

use super::front::Front;
use crate::support::frame::{
    BINARY, CLOSE, CONTINUATION, Frame, LengthForm, Masking, PING, Side, TEXT,
};
use crate::support::raw_peer::RawPeer;

/// Waits are short, and messages are small.
const SETTINGS: &[&str] = &[
    r#"close.timeout="800ms""#,
    r#"close.linger="400ms""#,
    r#"limits.max_message_size=100000"#,
    r#"limits.max_frame_size=100000"#,
];
const BACKEND: &str = ",max_message_size=100000";

/// How both legs ended, by the name of the case.
struct Played {
    what: String,
    client: Value,
    application: Value,
}

/// Plays each case with a client and an application of its own, all of them at once.
async fn play<C, F, P>(front: &Front, cases: Vec<(impl ToString, C)>, act: F) -> Vec<Played>
where
    F: Fn(C, RawPeer, RawPeer) -> P,
    P: Future<Output = ()> + Send + 'static,
{
    let mut acts = Vec::new();
    for (n, (what, case)) in cases.into_iter().enumerate() {
        let path = format!("/case/{n}");
        let (client, application) = front.pair(&path).await;
        acts.push((what.to_string(), path, tokio::spawn(act(case, client, application))));
    }
    let mut played = Vec::new();
    for (what, path, act) in acts {
        act.await.unwrap_or_else(|_| panic!("in the case of: {what}"));
        let (client, application) = front.legs(&path).await;
        played.push(Played { what, client, application });
    }
    // Two endings for each and no more, and the daemon goes on.
    let status = front.daemon.get("/v1/status").await.body;
    let status: Value = serde_json::from_str(&status).unwrap();
    let ended = 2 * played.len();
    assert_eq!(status["accounting"]["open"], 0, "{status}");
    assert_eq!(status["accounting"]["ended"], ended, "{status}");
    let (mut client, mut application) = front.pair("/after").await;
    client.text("still there?").await;
    application.expect_text("still there?").await;
    played
}

/// Bytes that a side must not send, and the Close that it gets for them.
#[derive(Clone)]
struct Breach {
    bytes: Vec<u8>,
    kind: &'static str,
    code: u16,
}

fn breaches(side: Side) -> Vec<(&'static str, Breach)> {
    let masked = match side {
        Side::Client => Masking::Plain,
        Side::Server => Masking::Key([1, 2, 3, 4]),
    };
    let breach = |frames: &[Frame], kind, code| {
        let bytes = frames.iter().flat_map(|frame| frame.encode(side)).collect();
        Breach { bytes, kind, code }
    };
    let violation = |frames: &[Frame]| breach(frames, "protocol_violation", 1002);
    let payload = |frames: &[Frame]| breach(frames, "invalid_payload", 1007);
    let size = |frames: &[Frame]| breach(frames, "message_too_big", 1009);
    let written = |form| {
        let bytes = Frame::text("x").encode_with_length(side, form);
        Breach { bytes, ..violation(&[]) }
    };
    let half = || Frame::text("ok").unfinished();
    vec![
        ("RSV1", violation(&[Frame::text("x").rsv(4)])),
        ("RSV2", violation(&[Frame::text("x").rsv(2)])),
        ("RSV3 of a ping", violation(&[Frame::ping("x").rsv(1)])),
        ("RSV1 of a continuation", violation(&[half(), Frame::continuation("x").rsv(4)])),
        ("data opcode 3", violation(&[Frame::new(3, "x")])),
        ("control opcode 11", violation(&[Frame::new(11, "x")])),
        ("a wrong mask", violation(&[Frame::text("x").masking(masked)])),
        ("a wrong mask of a Close", violation(&[Frame::close(1000, "").masking(masked)])),
        ("a long ping", violation(&[Frame::ping(vec![0; 126])])),
        ("a long Close", violation(&[Frame::close(1000, [b'x'; 124])])),
        ("a ping in fragments", violation(&[Frame::ping("x").unfinished()])),
        ("a Close in fragments", violation(&[Frame::close(1000, "").unfinished()])),
        (
            "a Close behind a reserved bit",
            violation(&[Frame::text("x").rsv(4), Frame::close(1000, "")]),
        ),
        ("nothing to continue", violation(&[Frame::continuation("x")])),
        ("a message in a message", violation(&[half(), Frame::new(BINARY, "x")])),
        ("16 bits of length", written(LengthForm::Sixteen)),
        ("64 bits of length", written(LengthForm::SixtyFour)),
        ("a negative length", written(LengthForm::TopBit)),
        ("a Close of 1 byte", violation(&[Frame::new(CLOSE, [3])])),
        ("Close 0", violation(&[Frame::close(0, "")])),
        ("Close 999", violation(&[Frame::close(999, "")])),
        ("Close 1004", violation(&[Frame::close(1004, "")])),
        ("Close 1005", violation(&[Frame::close(1005, "")])),
        ("Close 1006", violation(&[Frame::close(1006, "lost")])),
        ("Close 1015", violation(&[Frame::close(1015, "")])),
        ("Close 2999", violation(&[Frame::close(2999, "")])),
        ("Close 5000", violation(&[Frame::close(5000, "")])),
        ("a reason that is not UTF-8", payload(&[Frame::close(1000, [0xff])])),
        ("text that is not UTF-8", payload(&[Frame::new(TEXT, [0xc3, 0x28])])),
        ("text that ends in a character", payload(&[Frame::new(TEXT, [0xe2, 0x98])])),
        (
            "a surrogate in fragments",
            payload(&[
                half(),
                Frame::new(CONTINUATION, [0xed]).unfinished(),
                Frame::new(PING, "between"),
                Frame::new(CONTINUATION, [0xa0, 0x80]),
            ]),
        ),
        ("a large frame", size(&[Frame::binary(vec![0; 100_001])])),
        (
            "a large message",
            size(&[
                half(),
                Frame::continuation(vec![b'x'; 60_000]).unfinished(),
                Frame::continuation(vec![b'x'; 60_000]),
            ]),
        ),
    ]
}

/// Where a side may be cut off: what it has sent then, what of that is passed on, and the words of
/// the record.
#[derive(Clone)]
struct Cut {
    sent: Vec<u8>,
    /// Frames that the other side gets whole.
    passed: usize,
    /// A large frame is passed on in part: no Close can follow it.
    in_part: bool,
    place: &'static str,
}

fn cuts(side: Side) -> Vec<(&'static str, Cut)> {
    let small = Frame::binary(vec![1; 1000]).encode(side);
    let large = Frame::binary(vec![1; 90_000]).encode(side);
    let header = large.len() - 90_000;
    let fragment = Frame::text("frag").unfinished().encode(side);
    let cut =
        |sent: &[u8], passed, in_part, place| Cut { sent: sent.into(), passed, in_part, place };
    vec![
        ("nothing", cut(&[], 0, false, "between messages")),
        ("a whole message", cut(&small, 1, false, "between messages")),
        ("a byte of a header", cut(&small[..1], 0, false, "inside a header")),
        ("a header, but for a byte", cut(&large[..header - 1], 0, false, "inside a header")),
        ("half of a small frame", cut(&small[..500], 0, false, "of 1000 bytes")),
        ("half of a large frame", cut(&large[..50_000], 0, true, "of 90000 bytes")),
        ("a fragment", cut(&fragment, 1, false, "between fragments")),
        (
            "a fragment and half another",
            cut(
                &[&fragment[..], &Frame::continuation("ment").encode(side)[..3]].concat(),
                1,
                false,
                "inside a",
            ),
        ),
    ]
}

/// What a side sends behind its Close.
#[derive(Debug, Clone, Copy)]
enum Behind {
    Nothing,
    Messages,
    Garbage,
    /// In the same segment.
    Fin,
    /// It does not read the answer either.
    End,
    Reset,
}

const BEHIND: [Behind; 6] =
    [Behind::Nothing, Behind::Messages, Behind::Garbage, Behind::Fin, Behind::End, Behind::Reset];

impl Behind {
    /// Closes with 4000 in this way; the peer is gone if it does not stay for the answer.
    async fn close(self, mut peer: RawPeer) -> Option<RawPeer> {
        let close = Frame::close(4000, "that is all");
        match self {
            Self::Nothing | Self::End | Self::Reset => peer.send_frame(close).await,
            Self::Messages => {
                peer.send_frames([close, Frame::text("more"), Frame::close(4001, "")]).await;
            }
            Self::Garbage => {
                peer.send_frames([close, Frame::text("x").rsv(7), Frame::new(15, "")]).await;
            }
            Self::Fin => peer.send_frames_and_fin([close]).await,
        }
        match self {
            Self::End => None,
            Self::Reset => {
                peer.reset();
                None
            }
            Self::Nothing | Self::Messages | Self::Garbage | Self::Fin => Some(peer),
        }
    }
}

/// What a side does instead of answering a Close.
#[derive(Debug, Clone, Copy)]
enum Instead {
    Nothing,
    Fin,
    Reset,
    /// It answers with a code that may not be sent.
    Illegal,
    Garbage,
    /// It begins a large frame, and never ends it.
    HalfAFrame,
}

const INSTEAD: [Instead; 6] = [
    Instead::Nothing,
    Instead::Fin,
    Instead::Reset,
    Instead::Illegal,
    Instead::Garbage,
    Instead::HalfAFrame,
];

impl Instead {
    /// Does it; the peer is gone if it does not stay.
    async fn act(self, mut peer: RawPeer, side: Side) -> Option<RawPeer> {
        match self {
            Self::Nothing => {}
            Self::Fin => return None,
            Self::Reset => {
                peer.reset();
                return None;
            }
            Self::Illegal => peer.close(1006, "").await,
            Self::Garbage => peer.send_frame(Frame::text("x").rsv(7)).await,
            Self::HalfAFrame => {
                let large = Frame::binary(vec![1; 90_000]).encode(side);
                peer.send_raw(&large[..50_000]).await;
            }
        }
        Some(peer)
    }

    /// The kind that is due for the leg of who does it.
    fn kind(self) -> &'static str {
        match self {
            Self::Nothing | Self::HalfAFrame => "close_timeout",
            Self::Fin => "closed_prematurely",
            Self::Reset => "connection_reset",
            Self::Illegal | Self::Garbage => "protocol_violation",
        }
    }
}
