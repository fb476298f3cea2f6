use proptest::prelude::*;

use super::*;
use crate::vocabulary::Limit;
use reference::{Setup, Step, Trace, read_whole, scan_in_pieces};

mod reference;

const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
const ROOMY: ScanLimits = ScanLimits { max_frame_size: 1 << 20, max_message_size: 1 << 20 };
const FIN: u8 = 0x80;

/// Encodes a frame as a client sends it.
fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    frame(first, Some(MASK), payload)
}

/// Encodes a frame as a server sends it.
fn plain(first: u8, payload: &[u8]) -> Vec<u8> {
    frame(first, None, payload)
}

fn frame(first: u8, mask: Option<[u8; 4]>, payload: &[u8]) -> Vec<u8> {
    let form = match payload.len() {
        0..126 => 0,
        126..65536 => 2,
        _ => 8,
    };
    let mut frame = header(first, mask, form, payload.len() as u64);
    let key = mask.unwrap_or_default().into_iter().cycle();
    frame.extend(payload.iter().zip(key).map(|(byte, key)| byte ^ key));
    frame
}

/// Encodes a header whose length takes `form` bytes beyond the second.
fn header(first: u8, mask: Option<[u8; 4]>, form: usize, len: u64) -> Vec<u8> {
    let short = match form {
        0 => len as u8 & 0x7f,
        2 => 126,
        _ => 127,
    };
    let mut header = vec![first, short | if mask.is_some() { 0x80 } else { 0 }];
    header.extend_from_slice(&len.to_be_bytes()[8 - form..]);
    header.extend(mask.into_iter().flatten());
    header
}

fn setup(role: Role, limits: ScanLimits) -> Setup {
    Setup { role, limits, allowed_rsv: 0, seek_at: usize::MAX }
}

/// Scans in one piece and byte by byte, and holds both to the reference.
fn trace(setup: &Setup, stream: &[u8]) -> Trace {
    let whole = scan_in_pieces(setup, stream, &[], |_, _| {});
    let bytewise = scan_in_pieces(setup, stream, &vec![1; stream.len()], |at, so_far| {
        assert_eq!(*so_far, read_whole(setup, &stream[..at]));
    });
    assert_eq!(whole, bytewise);
    whole
}

/// Scans what breaks a rule, with a Close behind it; returns the index of the offending byte, the
/// violation, and whether the Close was found.
fn violation(setup: &Setup, offence: &[u8]) -> (usize, FramingViolation, bool) {
    let close = match setup.role {
        Role::Server => masked(FIN | 0x8, b"\x03\xe8bye"),
        Role::Client => plain(FIN | 0x8, b"\x03\xe8bye"),
    };
    let found = trace(setup, &[offence, &close].concat());
    let mut steps = found
        .steps
        .into_iter()
        .skip_while(|step| matches!(step, Step::Header { .. } | Step::Payload { .. }));
    let Some(Step::Violation { at, violation }) = steps.next() else { panic!("no violation") };
    let close = steps.next();
    assert_eq!(steps.next(), None);
    let end = offence.len() + if setup.role == Role::Server { 11 } else { 7 };
    let expected =
        Step::Control { end, opcode: ControlOpcode::Close, payload: b"\x03\xe8bye".to_vec() };
    (at, violation, close == Some(expected))
}

fn too_big(name: &'static str, limit: u64, observed: u64) -> FramingViolation {
    FramingViolation::MessageTooBig(Limit { name, limit, observed })
}

#[test]
fn a_reserved_bit_is_refused_at_the_first_byte() {
    for rsv in 1..8 {
        let found = violation(&setup(Role::Server, ROOMY), &masked(FIN | rsv << 4 | 1, b"hello"));
        assert_eq!(found, (0, FramingViolation::ReservedBit { rsv }, true));
    }
}

#[test]
fn a_reserved_bit_that_an_extension_uses_may_mark_the_first_frame_of_a_message_only() {
    let deflate = Setup { allowed_rsv: 0b100, ..setup(Role::Client, ROOMY) };
    let compressed = plain(0x41, b"x");
    let found = trace(&deflate, &compressed);
    assert!(matches!(found.steps[0], Step::Header { rsv: 0b100, .. }));

    let reserved = FramingViolation::ReservedBit { rsv: 0b100 };
    let continued = [compressed, plain(FIN | 0x40, b"y")].concat();
    assert_eq!(violation(&deflate, &continued), (3, reserved.clone(), true));
    assert_eq!(violation(&deflate, &plain(FIN | 0x49, b"")), (0, reserved, true));
    let other = FramingViolation::ReservedBit { rsv: 0b010 };
    assert_eq!(violation(&deflate, &plain(FIN | 0x21, b"")), (0, other, true));
}

#[test]
fn an_unknown_opcode_is_refused_at_the_first_byte() {
    for opcode in (0x3..0x8).chain(0xb..0x10) {
        let found = violation(&setup(Role::Client, ROOMY), &plain(FIN | opcode, b"hello"));
        assert_eq!(found, (0, FramingViolation::UnknownOpcode(opcode), true));
    }
    assert_eq!(FramingViolation::UnknownOpcode(3).to_string(), "unknown opcode 0x3");
}

#[test]
fn masks_are_refused_and_demanded_by_role_at_the_second_byte() {
    let found = violation(&setup(Role::Server, ROOMY), &plain(FIN | 0x1, b"hello"));
    assert_eq!(found, (1, FramingViolation::UnmaskedFrame, true));
    let found = violation(&setup(Role::Client, ROOMY), &masked(FIN | 0x1, b"hello"));
    assert_eq!(found, (1, FramingViolation::MaskedFrame, true));
}

#[test]
fn a_fragmented_control_frame_is_refused_and_never_reported() {
    for opcode in 0x8..0xb {
        let found = violation(&setup(Role::Server, ROOMY), &masked(opcode, b"hello"));
        assert_eq!(found, (0, FramingViolation::FragmentedControl, true));
    }
}

#[test]
fn a_control_frame_of_more_than_125_bytes_is_refused_at_the_second_byte_and_skipped() {
    for opcode in 0x8..0xb {
        let found = violation(&setup(Role::Server, ROOMY), &masked(FIN | opcode, &[0; 126]));
        assert_eq!(found, (1, FramingViolation::ControlTooLong, true));
        let found = violation(&setup(Role::Client, ROOMY), &plain(FIN | opcode, &[0; 70_000]));
        assert_eq!(found, (1, FramingViolation::ControlTooLong, true));
    }
}

#[test]
fn a_continuation_needs_a_message() {
    let offence = [plain(FIN | 0x1, b"a"), plain(FIN, b"b")].concat();
    let found = violation(&setup(Role::Client, ROOMY), &offence);
    assert_eq!(found, (3, FramingViolation::ContinuationOfNothing, true));
}

#[test]
fn a_message_may_not_begin_inside_a_fragmented_one() {
    for opcode in [0x1, 0x2] {
        let offence = [plain(0x1, b"a"), plain(FIN | opcode, b"b")].concat();
        let found = violation(&setup(Role::Client, ROOMY), &offence);
        assert_eq!(found, (3, FramingViolation::MessageInsideMessage, true));
    }
}

#[test]
fn a_length_must_be_in_its_shortest_form() {
    let client = setup(Role::Client, ROOMY);
    for (form, len, at) in [(2, 0, 3), (2, 125, 3), (8, 0, 7), (8, 125, 7), (8, 65_535, 7)] {
        let offence = [header(FIN | 0x2, None, form, len), vec![0; len as usize]].concat();
        assert_eq!(violation(&client, &offence), (at, FramingViolation::LengthNotShortest, true));
    }
    for len in [125, 126, 65_535, 65_536] {
        let found = trace(&client, &plain(FIN | 0x2, &vec![0; len]));
        assert!(matches!(found.steps[..], [Step::Header { .. }, Step::Payload { .. }]), "{len}");
    }
}

#[test]
fn behind_a_length_with_its_top_bit_set_nothing_is_found() {
    let offence = header(FIN | 0x2, None, 8, 1 << 63);
    let found = trace(&setup(Role::Client, ROOMY), &[offence, plain(FIN | 0x8, b"")].concat());
    assert_eq!(found.steps, [Step::Violation { at: 2, violation: FramingViolation::LengthTopBit }]);
    assert_eq!(found.position, Position::InHeader { have: 3 });
}

#[test]
fn a_frame_over_its_limit_is_refused_before_its_payload() {
    let limits = ScanLimits { max_frame_size: 200, max_message_size: 1000 };
    let offence = [plain(FIN | 0x2, &[0; 200]), plain(FIN | 0x2, &[0; 201])].concat();
    let found = violation(&setup(Role::Client, limits), &offence);
    assert_eq!(found, (204 + 3, too_big("max_frame_size", 200, 201), true));
    assert!(found.1.is_too_big());
}

#[test]
fn the_frames_of_a_message_are_counted_against_its_limit() {
    let limits = ScanLimits { max_frame_size: 8, max_message_size: 10 };
    let fragments =
        [masked(0x1, &[0; 8]), masked(FIN | 0x9, &[0; 20]), masked(FIN, &[0; 2])].concat();
    let server = setup(Role::Server, limits);
    let twice = trace(&server, &[&fragments[..], &fragments[..]].concat());
    assert!(!twice.steps.iter().any(|step| matches!(step, Step::Violation { .. })));

    let offence = [masked(0x1, &[0; 8]), masked(0, &[0; 3])].concat();
    let found = violation(&server, &offence);
    assert_eq!(found, (14 + 1, too_big("max_message_size", 10, 11), true));
    assert_eq!(found.1.to_string(), "11 bytes announced, over max_message_size of 10 bytes");
}

#[test]
fn over_both_limits_the_message_is_named() {
    let limits = ScanLimits { max_frame_size: 8, max_message_size: 8 };
    let found = violation(&setup(Role::Client, limits), &plain(FIN | 0x1, &[0; 9]));
    assert_eq!(found, (1, too_big("max_message_size", 8, 9), true));
}

#[test]
fn the_largest_length_does_not_overflow() {
    let limits = ScanLimits { max_frame_size: u64::MAX, max_message_size: u64::MAX };
    let stream = [plain(0x2, b"x"), header(FIN, None, 8, (1 << 63) - 1), vec![0; 5]].concat();
    let found = trace(&setup(Role::Client, limits), &stream);
    assert_eq!(found.position, Position::InPayload { read: 5, len: (1 << 63) - 1 });
    assert_eq!(found.message_bytes, 6);
}

#[test]
fn a_close_that_breaks_a_rule_itself_is_still_found() {
    let payload = b"\x03\xe8bye".to_vec();
    for (role, close, at, violation) in [
        (Role::Server, plain(FIN | 0x8, &payload), 1, FramingViolation::UnmaskedFrame),
        (Role::Client, masked(FIN | 0x8, &payload), 1, FramingViolation::MaskedFrame),
        (
            Role::Client,
            plain(FIN | 0x48, &payload),
            0,
            FramingViolation::ReservedBit { rsv: 0b100 },
        ),
    ] {
        let found = trace(&setup(role, ROOMY), &close);
        let (end, payload) = (close.len(), payload.clone());
        let close = Step::Control { end, opcode: ControlOpcode::Close, payload };
        assert_eq!(found.steps, [Step::Violation { at, violation }, close]);
    }
}

#[test]
fn seeking_a_close_drops_the_rest_and_keeps_a_close_in_progress() {
    let stream = [plain(FIN | 0x9, b"ping"), plain(FIN | 0x8, b"\x03\xe8")].concat();
    let close =
        Step::Control { end: 10, opcode: ControlOpcode::Close, payload: b"\x03\xe8".to_vec() };
    for seek_at in [0, 1, 2, 5, 8, 9] {
        let client = Setup { seek_at, ..setup(Role::Client, ROOMY) };
        let found = trace(&client, &stream);
        let pings = usize::from(seek_at >= 6);
        assert_eq!(found.steps.len(), pings + 1, "{seek_at}");
        assert_eq!(found.steps[pings], close);
    }
}

#[test]
fn places_name_where_a_stream_ends() {
    let client = setup(Role::Client, ROOMY);
    let position = |stream: &[u8]| trace(&client, stream).position.to_string();
    assert_eq!(position(b""), "between messages");
    assert_eq!(position(&plain(FIN | 0x1, b"hello")), "between messages");
    assert_eq!(position(&plain(FIN | 0x1, b"")), "between messages");
    assert_eq!(position(&plain(0x1, b"hello")), "between fragments");
    assert_eq!(position(&plain(0x1, b"")), "between fragments");
    assert_eq!(position(b"\x81"), "inside a header");
    assert_eq!(position(b"\x82\x7e\x10"), "inside a header");
    let cut = [header(FIN | 0x2, None, 2, 4096), vec![0; 12]].concat();
    assert_eq!(position(&cut), "inside a payload (12 of 4096 bytes)");
    assert_eq!(position(b"\x82\x05"), "inside a payload (0 of 5 bytes)");
    assert_eq!(position(b"\x01\x00\x89\x05abc"), "inside a payload (3 of 5 bytes)");
    assert_eq!(position(b"\x01\x00\x89\x00"), "between fragments");
}

#[test]
fn message_bytes_count_the_message_in_progress() {
    let client = setup(Role::Client, ROOMY);
    let bytes = |stream: &[u8]| trace(&client, stream).message_bytes;
    assert_eq!(bytes(b"\x01\x03abc\x89\x02pi"), 3);
    assert_eq!(bytes(b"\x01\x03abc\x00\x05de"), 5);
    assert_eq!(bytes(b"\x01\x03abc\x80\x02de"), 0);
}

#[test]
fn an_empty_frame_ends_with_its_header() {
    let mut scanner = FrameScanner::new(Role::Client, ROOMY);
    let mut ends = Vec::new();
    let mut bytes: &[u8] = b"\x01\x00\x80\x00\x82\x00";
    while !bytes.is_empty() {
        let scanned = scanner.scan(bytes);
        bytes = &bytes[scanned.consumed..];
        ends.push(scanned.found.ends_message());
    }
    assert_eq!(ends, [false, true, true]);
}

#[test]
fn a_header_is_the_same_whatever_is_behind_it() {
    for mask in [None, Some(MASK)] {
        let role = if mask.is_some() { Role::Server } else { Role::Client };
        for (form, len) in [(0, 100), (2, 200), (8, 70_000)] {
            let header = header(FIN | 0x2, mask, form, len);
            let alone = FrameScanner::new(role, ROOMY).scan(&header);
            let crowded = FrameScanner::new(role, ROOMY).scan(&[&header[..], &[0xff; 20]].concat());
            assert_eq!(alone, crowded);
            let Found::Header(found) = alone.found else { panic!("no header") };
            assert_eq!(found.raw(), header);
        }
    }
}

#[test]
fn the_scanner_stays_small() {
    assert!(size_of::<FrameScanner>() <= 72, "{}", size_of::<FrameScanner>());
    assert!(size_of::<Scanned>() <= 64, "{}", size_of::<Scanned>());
}

/// A frame of a valid sequence.
#[derive(Debug, Clone)]
enum TestFrame {
    Data { text: bool, fin: bool, payload: Vec<u8> },
    Control { opcode: u8, payload: Vec<u8> },
}

fn pieces() -> impl Strategy<Value = Vec<TestFrame>> {
    let payload = prop_oneof![
        4 => prop::collection::vec(any::<u8>(), 0..8),
        2 => prop::collection::vec(any::<u8>(), 120..130),
        1 => (65_530usize..65_540).prop_map(|len| vec![0x55; len]),
    ];
    let piece = prop_oneof![
        3 => (any::<bool>(), any::<bool>(), payload)
            .prop_map(|(text, fin, payload)| TestFrame::Data { text, fin, payload }),
        1 => (8u8..11, prop::collection::vec(any::<u8>(), 0..=125))
            .prop_map(|(opcode, payload)| TestFrame::Control { opcode, payload }),
    ];
    prop::collection::vec(piece, 0..12)
}

/// A stream that looks like frames, with a few rules broken.
fn near_frames() -> impl Strategy<Value = Vec<u8>> {
    let opcode = prop_oneof![8 => 0u8..3, 4 => 8u8..11, 1 => 0u8..16];
    let rsv = prop_oneof![20 => Just(0u8), 1 => 0u8..8];
    let form = prop_oneof![6 => Just(None), 1 => Just(Some(2)), 1 => Just(Some(8))];
    let len = prop_oneof![9 => 0u64..12, 2 => 120u64..130, 1 => any::<u64>()];
    let frame =
        (opcode, rsv, any::<bool>(), prop::bool::weighted(0.8), form, len, any::<[u8; 4]>());
    let frames = prop::collection::vec(frame, 0..10).prop_map(|frames| {
        let mut stream = Vec::new();
        for (opcode, rsv, fin, is_masked, form, len, mask) in frames {
            let first = opcode | rsv << 4 | if fin { FIN } else { 0 };
            let form = form.unwrap_or(if len < 126 { 0 } else { 2 });
            stream.extend(header(first, is_masked.then_some(mask), form, len));
            stream.extend(std::iter::repeat_n(0x2a, len.min(200) as usize));
        }
        stream
    });
    (frames, prop::option::weighted(0.2, any::<(prop::sample::Index, u8)>())).prop_map(
        |(mut stream, flip)| {
            if let Some((index, byte)) = flip
                && !stream.is_empty()
            {
                let index = index.index(stream.len());
                stream[index] = byte;
            }
            stream
        },
    )
}

fn setups() -> impl Strategy<Value = Setup> {
    let limit = || prop_oneof![Just(u64::MAX), Just(1024u64), 0u64..300];
    let rsv = prop_oneof![3 => Just(0u8), 1 => 0u8..8];
    let seek_at = prop_oneof![4 => Just(usize::MAX), 1 => 0usize..200];
    (prop::bool::weighted(0.7), limit(), limit(), rsv, seek_at).prop_map(
        |(server, max_frame_size, max_message_size, allowed_rsv, seek_at)| Setup {
            role: if server { Role::Server } else { Role::Client },
            limits: ScanLimits { max_frame_size, max_message_size },
            allowed_rsv,
            seek_at,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_cut_anywhere_are_read_as_the_reference_reads_them(
        setup in setups(),
        stream in prop_oneof![
            4 => near_frames(),
            1 => prop::collection::vec(any::<u8>(), 0..400),
        ],
        cuts in prop::collection::vec(0usize..40, 0..40),
    ) {
        let reference = read_whole(&setup, &stream);
        prop_assert_eq!(&scan_in_pieces(&setup, &stream, &[], |_, _| {}), &reference);
        let cut = scan_in_pieces(&setup, &stream, &cuts, |at, so_far| {
            assert_eq!(*so_far, read_whole(&setup, &stream[..at]));
        });
        prop_assert_eq!(&cut, &reference);
    }
}

proptest! {
    #[test]
    fn valid_frames_come_out_whole(
        role in prop_oneof![Just(Role::Server), Just(Role::Client)],
        pieces in pieces(),
        mask: [u8; 4],
        cuts in prop::collection::vec(0usize..200, 0..40),
    ) {
        let mask = (role == Role::Server).then_some(mask);
        let mut stream = Vec::new();
        let (mut messages, mut controls) = (vec![Vec::new()], Vec::new());
        let mut inside = false;
        for piece in pieces {
            match piece {
                TestFrame::Data { text, fin, payload } => {
                    let opcode = if inside { 0 } else { 2 - u8::from(text) };
                    inside = !fin;
                    let first = opcode | if fin { FIN } else { 0 };
                    stream.extend(frame(first, mask, &payload));
                    messages.last_mut().unwrap().extend(payload);
                    if fin {
                        messages.push(Vec::new());
                    }
                }
                TestFrame::Control { opcode, payload } => {
                    stream.extend(frame(FIN | opcode, mask, &payload));
                    controls.push(payload);
                }
            }
        }

        let found = scan_in_pieces(&setup(role, ScanLimits {
            max_frame_size: u64::MAX,
            max_message_size: u64::MAX,
        }), &stream, &cuts, |_, _| {});

        let (mut messages_out, mut controls_out) = (vec![Vec::new()], Vec::new());
        let mut key = None;
        for step in found.steps {
            match step {
                Step::Header { fin, len, mask, .. } => {
                    key = mask;
                    if fin && len == 0 {
                        messages_out.push(Vec::new());
                    }
                }
                Step::Payload { from, to, message_end, .. } => {
                    let key = key.unwrap_or_default().into_iter().cycle();
                    let payload = stream[from..to].iter().zip(key).map(|(byte, key)| byte ^ key);
                    messages_out.last_mut().unwrap().extend(payload);
                    if message_end {
                        messages_out.push(Vec::new());
                    }
                }
                Step::Control { payload, .. } => controls_out.push(payload),
                Step::Violation { violation, .. } => prop_assert!(false, "{violation}"),
            }
        }
        prop_assert_eq!(found.message_bytes, messages.last().unwrap().len() as u64 * u64::from(inside));
        prop_assert!(messages_out == messages, "messages differ");
        prop_assert!(controls_out == controls, "control frames differ");
    }
}
