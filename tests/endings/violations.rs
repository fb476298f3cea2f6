//! Peers that break the protocol, send what is not UTF-8, or send too much.

use std::time::Duration;

use lastword::settings::{ByteSize, ConnectionSettings};
use lastword::vocabulary::{
    Advice, Cause, CloseState, Fault, FirstClose, Kind, Role, TransportEnd,
};
use lastword::{Backend, ConnectionHandle, Handler, HandlerFailure, Message};

use super::stage::{BOTH, BRIEF, Scene, Verdict, opposite, patient, said, settings};
use crate::support::SOON;
use crate::support::frame::{BINARY, CLOSE, Frame, LengthForm, Masking, PING, PONG, Side, TEXT};
use crate::support::raw_peer::End;

/// What a peer of this side sends, byte by byte, and what this end makes of it.
struct Breach {
    what: String,
    bytes: Vec<u8>,
}

fn breach(what: impl Into<String>, bytes: Vec<u8>) -> Breach {
    Breach { what: what.into(), bytes }
}

/// Sends each of them behind a good message, and awaits the failure with this code.
async fn fails(
    role: Role,
    with: fn() -> ConnectionSettings,
    breaches: impl IntoIterator<Item = Breach>,
    kind: Kind,
    code: u16,
) {
    for Breach { what, bytes } in breaches {
        let mut scene = Scene::open(role, with()).await;
        let good = Frame::text("good").encode(opposite(role));
        scene.peer.send_raw([good, bytes].concat()).await;
        let (sent, reason) = scene.peer.expect_close(SOON).await;
        assert_eq!(sent, Some(code), "{what}: {reason}");
        assert!(!reason.is_empty(), "{what}");
        // One Close, and nothing but FIN behind it.
        scene.peer.fin().await;
        assert_eq!(scene.peer.expect_end(SOON).await, End::Fin, "{what}");
        let ending = scene.ended().await;
        let verdict = Verdict {
            kind,
            fault: Fault::Peer,
            first_close: FirstClose::Local,
            cause: Cause::Violation,
            state: CloseState::CloseSent,
            transport_end: TransportEnd::Fin,
            close_code: 1006,
            close_sent: said(code, &reason),
            close_received: None,
        };
        verdict.assert(&ending, (role, &what));
        assert_eq!(ending.outcome.retry.advice(), Advice::Never, "{what}");
        // What came before the violation is delivered, and nothing else.
        scene.expect_messages(["good"]).await;
        scene.expect_no_more(Some(kind)).await;
    }
}

async fn fail_with_1002(frames: impl Fn(Side) -> Vec<Breach>) {
    for role in BOTH {
        fails(role, patient, frames(opposite(role)), Kind::ProtocolViolation, 1002).await;
    }
}

#[tokio::test]
async fn a_reserved_bit_in_any_frame_gets_1002() {
    fail_with_1002(|side| {
        let frames = [Frame::text("x"), Frame::binary("x"), Frame::ping("x")];
        let rsv = |frame: &Frame, rsv: u8| {
            breach(format!("{frame:?} rsv {rsv:03b}"), frame.clone().rsv(rsv).encode(side))
        };
        frames.iter().flat_map(|frame| [1, 2, 4, 7].map(|bits| rsv(frame, bits))).collect()
    })
    .await;
}

#[tokio::test]
async fn a_reserved_opcode_gets_1002() {
    fail_with_1002(|side| {
        let reserved = (3..=7).chain(0xB..=0xF);
        reserved
            .map(|opcode| {
                breach(format!("opcode {opcode:#x}"), Frame::new(opcode, "x").encode(side))
            })
            .collect()
    })
    .await;
}

#[tokio::test]
async fn an_unmasked_client_and_a_masking_server_get_1002() {
    fail_with_1002(|side| {
        let wrong = match side {
            Side::Client => Masking::Plain,
            Side::Server => Masking::Key([1, 2, 3, 4]),
        };
        [Frame::text("x"), Frame::ping("x"), Frame::text("")]
            .map(|frame| breach(format!("{frame:?} {wrong:?}"), frame.masking(wrong).encode(side)))
            .into()
    })
    .await;
}

#[tokio::test]
async fn an_oversized_control_frame_gets_1002() {
    fail_with_1002(|side| {
        [CLOSE, PING, PONG]
            .map(|opcode| {
                breach(format!("{opcode:#x}"), Frame::new(opcode, vec![b'x'; 126]).encode(side))
            })
            .into()
    })
    .await;
}

#[tokio::test]
async fn a_fragmented_control_frame_gets_1002() {
    fail_with_1002(|side| {
        [CLOSE, PING, PONG]
            .map(|opcode| {
                breach(format!("{opcode:#x}"), Frame::new(opcode, "").unfinished().encode(side))
            })
            .into()
    })
    .await;
}

#[tokio::test]
async fn a_stray_continuation_gets_1002() {
    fail_with_1002(|side| {
        vec![
            breach("the last of nothing", Frame::continuation("x").encode(side)),
            breach("one of nothing", Frame::continuation("x").unfinished().encode(side)),
        ]
    })
    .await;
}

#[tokio::test]
async fn a_new_message_inside_a_fragmented_one_gets_1002() {
    fail_with_1002(|side| {
        let begun = Frame::text("a").unfinished().encode(side);
        [Frame::text("b"), Frame::binary("b"), Frame::text("b").unfinished()]
            .map(|frame| breach(format!("{frame:?}"), [begun.clone(), frame.encode(side)].concat()))
            .into()
    })
    .await;
}

#[tokio::test]
async fn a_length_with_its_top_bit_set_gets_1002() {
    fail_with_1002(|side| {
        [TEXT, BINARY]
            .map(|opcode| {
                let frame = Frame::new(opcode, "x").encode_with_length(side, LengthForm::TopBit);
                breach(format!("{opcode:#x}"), frame)
            })
            .into()
    })
    .await;
}

#[tokio::test]
async fn a_length_that_is_not_minimal_gets_1002() {
    fail_with_1002(|side| {
        [
            (2, LengthForm::Sixteen),
            (125, LengthForm::Sixteen),
            (2, LengthForm::SixtyFour),
            (65_535, LengthForm::SixtyFour),
        ]
        .map(|(length, form)| {
            let frame = Frame::binary(vec![0; length]).encode_with_length(side, form);
            breach(format!("{length} as {form:?}"), frame)
        })
        .into()
    })
    .await;
}

#[tokio::test]
async fn text_that_is_not_utf8_gets_1007() {
    const BAD: [&[u8]; 6] = [
        b"\xFF",
        b"good \xC3\x28 until here",
        b"cut off \xE2\x82",
        b"a surrogate \xED\xA0\x80",
        b"overlong \xC0\xAF",
        b"beyond \xF4\x90\x80\x80",
    ];
    for role in BOTH {
        let side = opposite(role);
        let whole = BAD.map(|text| {
            breach(text.escape_ascii().to_string(), Frame::new(TEXT, text).encode(side))
        });
        fails(role, patient, whole, Kind::InvalidPayload, 1007).await;
        let fragmented = BAD.map(|text| {
            let frames = [
                Frame::new(TEXT, "fragmented ").unfinished().encode(side),
                Frame::continuation(text).encode(side),
            ];
            breach(format!("{}, fragmented", text.escape_ascii()), frames.concat())
        });
        fails(role, patient, fragmented, Kind::InvalidPayload, 1007).await;
    }
}

#[tokio::test]
async fn text_that_can_no_longer_become_utf8_gets_1007_before_it_is_whole() {
    for role in BOTH {
        let side = opposite(role);
        let frames = [
            Frame::text("good ").unfinished().encode(side),
            Frame::continuation(b"bad \xFF".as_slice()).unfinished().encode(side),
        ];
        let bytes = frames.concat();
        fails(role, patient, [breach("a bad fragment", bytes)], Kind::InvalidPayload, 1007).await;
    }
}

#[tokio::test]
async fn utf8_cut_between_fragments_is_no_violation() {
    for role in BOTH {
        let mut scene = Scene::open(role, patient()).await;
        let bytes = "€".as_bytes();
        let frames = [
            Frame::new(TEXT, &bytes[..1]).unfinished(),
            Frame::continuation(&bytes[1..2]).unfinished(),
            Frame::ping("between"),
            Frame::continuation(&bytes[2..]),
        ];
        scene.peer.send_frames(frames).await;
        scene.expect_messages(["€"]).await;
    }
}

fn small() -> ConnectionSettings {
    settings(|s| {
        s.limits.max_frame_size = ByteSize(1000);
        s.limits.max_message_size = ByteSize(1500);
    })
}

#[tokio::test]
async fn too_big_a_frame_or_message_gets_1009() {
    for role in BOTH {
        let side = opposite(role);
        let half = Frame::binary(vec![0; 800]).unfinished().encode(side);
        let too_big = [
            breach("a frame", Frame::binary(vec![0; 1001]).encode(side)),
            breach("a header", Frame::binary([]).header(side, 1 << 40, LengthForm::Minimal)),
            breach("fragments", [half, Frame::continuation(vec![0; 701]).encode(side)].concat()),
        ];
        fails(role, small, too_big, Kind::MessageTooBig, 1009).await;
    }
}

#[tokio::test]
async fn the_record_of_too_big_names_the_limit() {
    let mut scene = Scene::open(Role::Server, small()).await;
    let frames = [Frame::binary(vec![0; 800]).unfinished(), Frame::continuation(vec![0; 800])];
    scene.peer.send_frames(frames).await;
    assert_eq!(scene.peer.expect_close(SOON).await.0, Some(1009));
    scene.peer.fin().await;
    let ending = scene.ended().await;
    let limit = ending.outcome.limit.as_ref().unwrap();
    assert_eq!((limit.name, limit.limit, limit.observed), ("max_message_size", 1500, 1600));
}

#[tokio::test]
async fn what_just_fits_the_limits_is_no_violation() {
    for role in BOTH {
        let mut scene = Scene::open(role, small()).await;
        let frames =
            [Frame::text(&"x".repeat(1000)).unfinished(), Frame::continuation("x".repeat(500))];
        scene.peer.send_frames(frames).await;
        scene.expect_messages([&*"x".repeat(1500)]).await;
    }
}

/// A bad Close is the peer's Close all the same: it came first, and ours completes the handshake.
async fn bad_close(
    role: Role,
    payload: &[u8],
    kind: Kind,
    code: u16,
    received: (Option<u16>, &str),
) {
    let mut scene = Scene::open(role, patient()).await;
    scene.peer.close_raw(payload).await;
    let (sent, reason) = scene.peer.expect_close(SOON).await;
    assert_eq!(sent, Some(code), "{}: {reason}", payload.escape_ascii());
    scene.part().await;
    let ending = scene.ended().await;
    let verdict = Verdict {
        kind,
        fault: Fault::Peer,
        first_close: FirstClose::Peer,
        cause: Cause::Violation,
        state: CloseState::Closed,
        transport_end: TransportEnd::Fin,
        close_code: received.0.unwrap_or(1005),
        close_sent: said(code, &reason),
        close_received: Some((received.0, received.1.to_owned())),
    };
    verdict.assert(&ending, (role, payload.escape_ascii().to_string()));
    scene.expect_no_more(Some(kind)).await;
}

#[tokio::test]
async fn a_close_of_one_byte_gets_1002() {
    for role in BOTH {
        bad_close(role, b"\x03", Kind::ProtocolViolation, 1002, (None, "")).await;
    }
}

#[tokio::test]
async fn an_illegal_close_code_gets_1002_and_is_recorded_raw() {
    for role in BOTH {
        for code in [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535_u16] {
            let payload = [&code.to_be_bytes(), b"why".as_slice()].concat();
            bad_close(role, &payload, Kind::ProtocolViolation, 1002, (Some(code), "why")).await;
        }
    }
}

#[tokio::test]
async fn a_close_reason_that_is_not_utf8_gets_1007() {
    for role in BOTH {
        let received = (Some(1000), "b\u{fffd}d");
        bad_close(role, b"\x03\xE8b\xFFd", Kind::InvalidPayload, 1007, received).await;
    }
}

#[tokio::test]
async fn our_1007_and_1009_echoed_give_the_state_closed() {
    for role in BOTH {
        for (frame, kind, code) in [
            (Frame::new(TEXT, b"\xFF".as_slice()), Kind::InvalidPayload, 1007),
            (Frame::binary(vec![0; 1001]), Kind::MessageTooBig, 1009),
        ] {
            let mut scene = Scene::open(role, small()).await;
            scene.peer.send_frame(frame).await;
            assert_eq!(scene.peer.expect_close(SOON).await.0, Some(code));
            scene.peer.close(code, "").await;
            scene.part().await;
            let ending = scene.ended().await;
            assert_eq!(ending.outcome.kind, kind);
            assert_eq!(ending.outcome.state, Some(CloseState::Closed));
            assert_eq!(ending.outcome.close_code(), Some(code));
        }
    }
}

/// Never comes back from its first message.
struct Stuck;

impl Handler for Stuck {
    async fn on_message(
        &mut self,
        _connection: &ConnectionHandle,
        _message: Message,
    ) -> Result<(), HandlerFailure> {
        std::future::pending().await
    }
}

#[tokio::test]
async fn after_a_violation_it_is_gone_within_linger_without_help_from_the_application() {
    for role in BOTH {
        let backend = Backend::handler("stuck", Stuck);
        let brief = settings(|s| s.close.linger = BRIEF);
        let mut scene = Scene::with_backend(role, brief, backend).await;
        scene.peer.send_frames([Frame::text("stop"), Frame::text("x").rsv(4)]).await;
        assert_eq!(scene.peer.expect_close(SOON).await.0, Some(1002));
        assert_eq!(scene.peer.expect_end(SOON).await, End::Fin);
        let ending = scene.ended().await;
        assert_eq!(ending.outcome.kind, Kind::ProtocolViolation);
        assert_eq!(ending.outcome.transport_end, Some(TransportEnd::Timeout));
    }
}

#[tokio::test]
async fn a_peer_that_goes_on_talking_after_our_1002_reads_it_and_is_gone_within_linger() {
    for role in BOTH {
        let mut scene = Scene::open(role, settings(|s| s.close.linger = BRIEF)).await;
        scene.peer.send_frame(Frame::text("x").rsv(4)).await;
        let more = Frame::binary(vec![0; 1000]).encode(opposite(role));
        let peer = &mut scene.peer;
        let talk = async {
            while peer.try_send_raw(&more).await.is_ok() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let ending = tokio::select! {
            ending = super::stage::ended(&scene.connection) => ending,
            () = talk => super::stage::ended(&scene.connection).await,
        };
        assert_eq!(ending.outcome.kind, Kind::ProtocolViolation);
        assert_eq!(ending.traffic.as_ref().unwrap().messages_in, 0);
        assert_eq!(scene.peer.expect_close(SOON).await.0, Some(1002));
    }
}
