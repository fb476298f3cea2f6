use super::*;
use crate::protocol::frame_encoder::apply_mask;
use crate::protocol::frame_scanner::{ControlOpcode, FramingViolation};
use proptest::prelude::*;

const LIMITS: ScanLimits = ScanLimits { max_frame_size: 1 << 20, max_message_size: 1 << 20 };

fn passage(role: Role) -> Passage {
    Passage::new(role, PassagePolicy { limits: LIMITS, allowed_rsv: 0, check_utf8: true })
}

/// A frame, masked as a client does if there is a mask.
fn frame(first: u8, payload: &[u8], mask: Option<[u8; 4]>) -> Vec<u8> {
    let bit = if mask.is_some() { 0x80 } else { 0 };
    let mut bytes = vec![first];
    match payload.len() {
        len @ 0..=125 => bytes.push(bit | len as u8),
        len @ 126..=0xffff => {
            bytes.push(bit | 126);
            bytes.extend((len as u16).to_be_bytes());
        }
        len => {
            bytes.push(bit | 127);
            bytes.extend((len as u64).to_be_bytes());
        }
    }
    let mut payload = payload.to_vec();
    if let Some(mask) = mask {
        bytes.extend(mask);
        apply_mask(&mut payload, mask);
    }
    bytes.extend(payload);
    bytes
}

/// What came out of a passage.
#[derive(Debug, Default, PartialEq, Eq)]
struct Out {
    passed: Vec<u8>,
    /// Where frames were known to end.
    mid_frame: bool,
    messages: Vec<u64>,
    fragments: u32,
    unfinished: Option<u64>,
    controls: Vec<(usize, ControlOpcode, Vec<u8>)>,
    breach: Option<Breach>,
}

fn run(passage: &mut Passage, bytes: &[u8], out: &mut Out) {
    run_frames(passage, bytes, u32::MAX, out);
}

/// Reads so many frames at a time.
fn run_frames(passage: &mut Passage, bytes: &[u8], frames: u32, out: &mut Out) {
    let mut at = 0;
    while at < bytes.len() || passage.has_pending() {
        let (taken, piece) = passage.read_frames(&bytes[at..], &mut frames.clone());
        assert!(passage.ends().len() <= frames as usize && passage.fragments() <= frames);
        out.fragments += passage.fragments();
        match piece {
            PassagePiece::Part => {}
            PassagePiece::Run(run) => {
                let passed = match run.source {
                    RunSource::Read(range) => bytes[at..][range].to_vec(),
                    RunSource::Held => passage.held().to_vec(),
                };
                assert!(!passed.is_empty());
                assert!(passage.ends().iter().all(|end| end.at <= passed.len() && end.at > 0));
                out.messages.extend(passage.ends().iter().map(|end| end.payload));
                out.passed.extend(passed);
                out.mid_frame = !run.ends_frame;
                out.unfinished = run.unfinished;
            }
            PassagePiece::Control(frame) => {
                assert!(!out.mid_frame, "a control frame inside a frame");
                out.controls.push((out.passed.len(), frame.opcode, frame.payload().to_vec()));
            }
            PassagePiece::Breach(breach) => out.breach = Some(breach),
        }
        at += taken;
    }
}

fn all(role: Role, bytes: &[u8]) -> Out {
    let mut out = Out::default();
    run(&mut passage(role), bytes, &mut out);
    out
}

const MASK: Option<[u8; 4]> = Some([0x37, 0xfa, 0x21, 0x3d]);

#[test]
fn frames_pass_as_they_are_and_control_frames_do_not() {
    let (hello, ping) = (frame(0x01, b"Hel", MASK), frame(0x89, b"p", MASK));
    let (rest, empty) = (frame(0x80, b"lo", MASK), frame(0x82, b"", MASK));
    let out = all(Role::Server, &[hello.clone(), ping, rest.clone(), empty.clone()].concat());
    assert_eq!(out.passed, [&hello[..], &rest, &empty].concat());
    assert_eq!(out.messages, [5, 0]);
    assert_eq!(out.controls, [(hello.len(), ControlOpcode::Ping, b"p".to_vec())]);
    assert_eq!((out.breach, out.unfinished), (None, None));
}

#[test]
fn a_small_frame_passes_only_when_it_is_whole() {
    let mut passage = passage(Role::Client);
    let bytes = frame(0x82, &[7; 1000], None);
    let mut out = Out::default();
    run(&mut passage, &bytes[..600], &mut out);
    assert_eq!(out, Out::default());
    run(&mut passage, &bytes[600..], &mut out);
    assert_eq!((out.passed, out.messages), (bytes, vec![1000]));
    assert!(passage.read(b"\x89").1 == PassagePiece::Part && passage.held.capacity() == 0);
}

#[test]
fn a_large_frame_passes_piece_by_piece() {
    let mut passage = passage(Role::Client);
    let bytes = frame(0x82, &[7; 100_000], None);
    let mut out = Out::default();
    // The header alone does not pass: nothing is begun that has not begun to come.
    run(&mut passage, &bytes[..10], &mut out);
    assert!(out.passed.is_empty());
    for piece in bytes[10..].chunks(30_000) {
        let before = out.passed.len();
        run(&mut passage, piece, &mut out);
        assert!(out.passed.len() >= before + piece.len());
    }
    assert_eq!((out.passed, out.messages, out.mid_frame), (bytes, vec![100_000], false));
}

#[test]
fn what_breaks_a_rule_does_not_pass_and_what_came_before_does() {
    let good = frame(0x82, b"good", MASK);
    type IsRight = fn(&Breach) -> bool;
    let bad: [(Vec<u8>, IsRight); 4] = [
        (frame(0xc2, b"x", MASK), |breach| {
            matches!(breach, Breach::Framing(FramingViolation::ReservedBit { .. }))
        }),
        (frame(0x82, b"x", None), |breach| {
            *breach == Breach::Framing(FramingViolation::UnmaskedFrame)
        }),
        (frame(0x81, b"ab\xff", MASK), |breach| *breach == Breach::InvalidText),
        (frame(0x81, b"\xf0\x9f", MASK), |breach| *breach == Breach::InvalidText),
    ];
    for (bad, is_right) in bad {
        let close = frame(0x88, b"\x03\xea", MASK);
        let out = all(Role::Server, &[&good[..], &bad, &good, &close].concat());
        assert_eq!(out.passed, good, "before {bad:x?}");
        assert!(is_right(out.breach.as_ref().unwrap()), "{:?}", out.breach);
        // The peer's Close is still found.
        assert_eq!(out.controls.len(), 1);
    }
}

#[test]
fn text_is_checked_over_fragments_and_binary_and_compressed_are_not() {
    let cut = [frame(0x01, b"\xe2\x82", MASK), frame(0x80, b"\xac", MASK)].concat();
    assert_eq!(all(Role::Server, &cut).messages, [3]);
    let wrong = [frame(0x01, b"\xe2\x82", MASK), frame(0x80, b"", MASK)].concat();
    assert_eq!(all(Role::Server, &wrong).breach, Some(Breach::InvalidText));
    assert_eq!(all(Role::Server, &frame(0x82, b"\xff", MASK)).breach, None);

    let policy = PassagePolicy { limits: LIMITS, allowed_rsv: 0b100, check_utf8: true };
    let mut out = Out::default();
    run(&mut Passage::new(Role::Server, policy), &frame(0xc1, b"\xff", MASK), &mut out);
    assert_eq!((out.breach, out.messages), (None, vec![1]));
    let policy = PassagePolicy { limits: LIMITS, allowed_rsv: 0, check_utf8: false };
    let mut out = Out::default();
    run(&mut Passage::new(Role::Server, policy), &frame(0x81, b"\xff", MASK), &mut out);
    assert_eq!((out.breach, out.messages), (None, vec![1]));
}

#[test]
fn too_large_a_message_is_refused_at_its_header() {
    let limits = ScanLimits { max_frame_size: 100, max_message_size: 100 };
    let policy = PassagePolicy { limits, allowed_rsv: 0, check_utf8: true };
    let mut out = Out::default();
    let (first, second) = (frame(0x02, &[0; 60], MASK), frame(0x80, &[0; 60], MASK));
    run(&mut Passage::new(Role::Server, policy), &[&first[..], &second].concat(), &mut out);
    assert_eq!((out.passed, out.unfinished), (first, Some(60)));
    assert!(matches!(out.breach, Some(Breach::Framing(violation)) if violation.is_too_big()));
}

prop_compose! {
    fn messages()(sizes in prop::collection::vec((0_usize..40_000, 1_usize..4, any::<bool>()), 1..6))
        -> (Vec<u8>, Vec<u8>, Vec<u64>, u32) {
        let (mut sent, mut passes, mut payloads) = (Vec::new(), Vec::new(), Vec::new());
        let mut unfinished = 0;
        for (size, fragments, ping) in sizes {
            let payload = "aäa€".repeat(size / 7);
            let parts: Vec<&[u8]> = payload.as_bytes().chunks(payload.len() / fragments + 1).collect();
            let parts = if parts.is_empty() { vec![&b""[..]] } else { parts };
            for (i, part) in parts.iter().enumerate() {
                let opcode = u8::from(i == 0) | if i + 1 == parts.len() { 0x80 } else { 0 };
                let bytes = frame(opcode, part, MASK);
                sent.extend(&bytes);
                passes.extend(bytes);
                if ping {
                    sent.extend(frame(0x89, b"ping", MASK));
                }
            }
            payloads.push(payload.len() as u64);
            unfinished += parts.len() as u32 - 1;
        }
        (sent, passes, payloads, unfinished)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// However the stream is cut, and however few frames are read at a time, the same bytes pass,
    /// and the same messages are counted.
    #[test]
    fn cuts_change_nothing(
        (sent, passes, payloads, fragments) in messages(),
        cuts in prop::collection::vec(1_usize..70_000, 0..12),
        frames in prop_oneof![1_u32..4, Just(u32::MAX)],
    ) {
        let mut passage = passage(Role::Server);
        let (mut out, mut rest) = (Out::default(), &sent[..]);
        for cut in cuts {
            let (now, later) = rest.split_at(cut.min(rest.len()));
            run_frames(&mut passage, now, frames, &mut out);
            rest = later;
        }
        run_frames(&mut passage, rest, frames, &mut out);
        prop_assert_eq!(&out.breach, &None);
        prop_assert_eq!(out.fragments, fragments);
        prop_assert!(out.passed == passes);
        prop_assert_eq!(out.messages, payloads);
        prop_assert!(!out.mid_frame && out.unfinished.is_none());
    }
}

proptest! {
    /// However the bytes of a server are cut, what is masked of them is what a client could have
    /// sent: the same messages, fragments and lengths, and the ends where they were.
    #[test]
    fn what_is_masked_reads_the_same(
        payloads in proptest::collection::vec(
            (prop_oneof![0_usize..10, 120_usize..130, 65_530_usize..65_540, Just(MAX_BUFFERED as usize + 7)],
             any::<bool>()), 1..6),
        cut in prop_oneof![1_usize..20, 1000_usize..50_000],
    ) {
        let (mut bytes, mut begun) = (Vec::new(), false);
        for (len, fin) in &payloads {
            let opcode = if begun { 0 } else { 2 } | if *fin { 0x80 } else { 0 };
            bytes.extend(frame(opcode, &vec![7; *len], None));
            begun = !fin;
        }
        let (mut passage, mut masker, mut keys) = (passage(Role::Client), Masker::default(), 0_u32);
        let (mut masked, mut told) = (Vec::new(), Vec::new());
        for chunk in bytes.chunks(cut) {
            let mut at = 0;
            while at < chunk.len() || passage.has_pending() {
                let (taken, piece) = passage.read(&chunk[at..]);
                if let PassagePiece::Run(run) = piece {
                    let read = match run.source {
                        RunSource::Read(range) => &chunk[at..][range],
                        RunSource::Held => passage.held(),
                    };
                    let key = || { keys = keys.wrapping_add(0x0102_0305); keys.to_be_bytes() };
                    let (more, ends) = masker.mask(read, passage.ends(), key);
                    told.extend(ends.iter().map(|end| (masked.len() + end.at, end.payload)));
                    masked.extend_from_slice(more);
                }
                at += taken;
            }
        }
        let (plain, out) = (all(Role::Client, &bytes), all(Role::Server, &masked));
        prop_assert_eq!((&out.messages, out.unfinished), (&plain.messages, plain.unfinished));
        prop_assert_eq!(out.breach, None);
        prop_assert_eq!(unmasked(&masked), bytes);
        let ends: Vec<u64> = told.iter().map(|(_, payload)| *payload).collect();
        prop_assert_eq!(ends, plain.messages);
        prop_assert!(told.iter().all(|(at, _)| all(Role::Server, &masked[..*at]).unfinished.is_none()));
    }
}

/// Takes the masks off whole frames.
fn unmasked(mut bytes: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    while !bytes.is_empty() {
        let (head, len) = match bytes[1] & 0x7f {
            126 => (4, usize::from(u16::from_be_bytes([bytes[2], bytes[3]]))),
            127 => (10, u64::from_be_bytes(bytes[2..10].try_into().unwrap()) as usize),
            len => (2, usize::from(len)),
        };
        assert_eq!(bytes[1] & 0x80, 0x80);
        let mask = bytes[head..head + 4].try_into().unwrap();
        let mut payload = bytes[head + 4..head + 4 + len].to_vec();
        apply_mask(&mut payload, mask);
        plain.extend([bytes[0], bytes[1] & 0x7f]);
        plain.extend(&bytes[2..head]);
        plain.extend(payload);
        bytes = &bytes[head + 4 + len..];
    }
    plain
}
