//! A second, slow reading of RFC 6455 section 5 over a whole buffer, and the trace by which it and
//! the scanner are compared. The fuzz target includes this file too, so it names the scanner's
//! types by `super`.

use super::{
    ControlOpcode, DataOpcode, Found, FrameHeader, FrameScanner, FramingViolation, Limit, Position,
    Role, ScanLimits,
};

/// What both are set to.
#[derive(Debug, Clone)]
pub(super) struct Setup {
    pub role: Role,
    pub limits: ScanLimits,
    pub allowed_rsv: u8,
    /// `seek_close` is called in front of the byte with this index.
    pub seek_at: usize,
}

/// What was found, by the indices of its bytes in the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    Header { end: usize, fin: bool, rsv: u8, opcode: DataOpcode, mask: Option<[u8; 4]>, len: u64 },
    Payload { from: usize, to: usize, frame_end: bool, message_end: bool },
    Control { end: usize, opcode: ControlOpcode, payload: Vec<u8> },
    Violation { at: usize, violation: FramingViolation },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Trace {
    pub steps: Vec<Step>,
    pub position: Position,
    pub message_bytes: u64,
}

/// Runs the scanner over `stream`, in pieces of the lengths of `cuts` and then the rest.
/// `at_cut` sees how much was scanned and the trace of it after each piece.
pub(super) fn scan_in_pieces(
    setup: &Setup,
    stream: &[u8],
    cuts: &[usize],
    mut at_cut: impl FnMut(usize, &Trace),
) -> Trace {
    let mut ends = vec![stream.len(), setup.seek_at.min(stream.len())];
    ends.extend(cuts.iter().scan(0usize, |at, cut| {
        *at = at.saturating_add(*cut);
        (*at < stream.len()).then_some(*at)
    }));
    ends.sort_unstable();

    let mut scanner = FrameScanner::new(setup.role, setup.limits).allow_rsv(setup.allowed_rsv);
    let mut steps = Vec::new();
    let mut at = 0;
    for end in ends {
        while at < end {
            let from = at;
            let scanned = scanner.scan(&stream[at..end]);
            at += scanned.consumed;
            note(&mut steps, stream, from..at, scanned.found, end);
        }
        if at == setup.seek_at {
            scanner.seek_close();
        }
        let nothing = scanner.scan(&[]);
        assert_eq!((nothing.consumed, nothing.found), (0, Found::Nothing));
        let (position, message_bytes) = (scanner.position(), scanner.message_bytes());
        at_cut(at, &Trace { steps: steps.clone(), position, message_bytes });
    }
    Trace { steps, position: scanner.position(), message_bytes: scanner.message_bytes() }
}

fn note(
    steps: &mut Vec<Step>,
    stream: &[u8],
    consumed: std::ops::Range<usize>,
    found: Found,
    piece_end: usize,
) {
    let (from, at) = (consumed.start, consumed.end);
    match found {
        Found::Nothing => assert_eq!(at, piece_end, "bytes were left without a finding"),
        Found::Header(header) => {
            assert_eq!(header.raw(), &stream[at - header.raw().len()..at]);
            let FrameHeader { fin, rsv, opcode, mask, len, .. } = header;
            steps.push(Step::Header { end: at, fin, rsv, opcode, mask, len });
        }
        Found::Payload { frame_end, message_end, offset } => {
            assert!(at > from, "payload without bytes");
            match steps.last_mut() {
                Some(Step::Payload { from: begin, to, frame_end: ended, message_end: whole })
                    if !*ended =>
                {
                    assert_eq!((*to, offset), (from, (from - *begin) as u64));
                    (*to, *ended, *whole) = (at, frame_end, message_end);
                }
                Some(_) | None => {
                    assert_eq!(offset, 0);
                    steps.push(Step::Payload { from, to: at, frame_end, message_end });
                }
            }
        }
        Found::Control(control) => {
            let (opcode, payload) = (control.opcode, control.payload().to_vec());
            steps.push(Step::Control { end: at, opcode, payload });
        }
        Found::Violation(violation) => {
            assert!(at < piece_end, "the offending byte was consumed");
            steps.push(Step::Violation { at, violation });
        }
    }
}

/// Reads the whole of `stream`, frame by frame.
pub(super) fn read_whole(setup: &Setup, stream: &[u8]) -> Trace {
    let mut steps = Vec::new();
    let mut seek_at = setup.seek_at;
    let mut message = None;
    let mut at = 0;
    let position = loop {
        let frame = &stream[at..];
        let broken = broken_rules(setup, message, frame);
        if let Some((index, violation)) = broken.into_iter().min_by_key(|(index, _)| *index)
            && at + index < seek_at
        {
            seek_at = at + index;
            steps.push(Step::Violation { at: seek_at, violation });
        }
        if frame.is_empty() {
            break if message.is_some() {
                Position::BetweenFragments
            } else {
                Position::BetweenMessages
            };
        }
        if frame.len() < 2 {
            break Position::InHeader { have: 1 };
        }
        let extended = match frame[1] & 0x7f {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        if extended == 8 && frame.len() > 2 && frame[2] >= 0x80 {
            break Position::InHeader { have: 3 };
        }
        let masked = frame[1] >= 0x80;
        let size = 2 + extended + if masked { 4 } else { 0 };
        if frame.len() < size {
            break Position::InHeader { have: frame.len() as u8 };
        }
        let mut len = u64::from(frame[1] & 0x7f);
        if extended > 0 {
            len = frame[2..2 + extended].iter().fold(0, |len, byte| len << 8 | u64::from(*byte));
        }
        let mask: Option<[u8; 4]> = masked.then(|| frame[size - 4..size].try_into().unwrap());
        let read = len.min((frame.len() - size) as u64);
        let (from, end) = (at + size, at + size + read as usize);
        let fin = frame[0] >= 0x80;
        match frame[0] % 16 {
            opcode @ 0..=2 => {
                if from <= seek_at {
                    let opcode = [DataOpcode::Continuation, DataOpcode::Text, DataOpcode::Binary]
                        [usize::from(opcode)];
                    let rsv = frame[0] / 16 % 8;
                    steps.push(Step::Header { end: from, fin, rsv, opcode, mask, len });
                }
                let to = end.min(seek_at);
                if to > from {
                    let frame_end = to == end && read == len;
                    let message_end = frame_end && fin;
                    steps.push(Step::Payload { from, to, frame_end, message_end });
                }
                let before = if opcode == 0 { message.unwrap_or(0) } else { 0 };
                message = if fin && read == len { None } else { Some(before + read) };
            }
            opcode @ 8..=10 => {
                let readable = opcode == 8 && fin && extended == 0;
                if read == len && (end <= seek_at || readable) {
                    let opcode = [ControlOpcode::Close, ControlOpcode::Ping, ControlOpcode::Pong]
                        [usize::from(opcode - 8)];
                    let key = mask.unwrap_or([0; 4]).into_iter().cycle();
                    let payload = stream[from..end].iter().zip(key).map(|(b, k)| b ^ k).collect();
                    steps.push(Step::Control { end, opcode, payload });
                }
            }
            _ => {}
        }
        if read < len {
            break Position::InPayload { read, len };
        }
        at = end;
    };
    Trace { steps, position, message_bytes: message.unwrap_or(0) }
}

/// Returns every rule that the header at the front of `frame` breaks, as far as it has come, with
/// the index of the byte that shows it; at the same index, the first counts.
fn broken_rules(
    setup: &Setup,
    message: Option<u64>,
    frame: &[u8],
) -> Vec<(usize, FramingViolation)> {
    let mut broken = Vec::new();
    let Some(&first) = frame.first() else { return broken };
    let opcode = first % 16;
    let (is_control, is_data) = ((8..=10).contains(&opcode), opcode <= 2);
    let rsv = first / 16 % 8;
    let allowed = if opcode == 1 || opcode == 2 { setup.allowed_rsv } else { 0 };
    for (breaks, violation) in [
        (rsv & !allowed != 0, FramingViolation::ReservedBit { rsv }),
        (!is_control && !is_data, FramingViolation::UnknownOpcode(opcode)),
        (is_control && first < 0x80, FramingViolation::FragmentedControl),
        (opcode == 0 && message.is_none(), FramingViolation::ContinuationOfNothing),
        ((opcode == 1 || opcode == 2) && message.is_some(), FramingViolation::MessageInsideMessage),
    ] {
        if breaks {
            broken.push((0, violation));
        }
    }

    let Some(&second) = frame.get(1) else { return broken };
    match setup.role {
        Role::Server if second < 0x80 => broken.push((1, FramingViolation::UnmaskedFrame)),
        Role::Client if second >= 0x80 => broken.push((1, FramingViolation::MaskedFrame)),
        Role::Server | Role::Client => {}
    }
    let short = second & 0x7f;
    if is_control && short > 125 {
        broken.push((1, FramingViolation::ControlTooLong));
    }

    if short == 127 && frame.get(2).is_some_and(|byte| byte & 0x80 != 0) {
        broken.push((2, FramingViolation::LengthTopBit));
    }
    if short == 126 && frame.len() >= 4 && frame[2] == 0 && frame[3] < 126 {
        broken.push((3, FramingViolation::LengthNotShortest));
    }
    if short == 127 && frame.len() >= 8 && frame[2..8] == [0; 6] {
        broken.push((7, FramingViolation::LengthNotShortest));
    }

    let (last, len) = match short {
        126 if frame.len() >= 4 => (3, u64::from(frame[2]) << 8 | u64::from(frame[3])),
        127 if frame.len() >= 10 => (9, u64::from_be_bytes(frame[2..10].try_into().unwrap())),
        126 | 127 => return broken,
        short => (1, u64::from(short)),
    };
    let ScanLimits { max_frame_size, max_message_size } = setup.limits;
    for (name, limit, observed) in [
        ("max_message_size", max_message_size, message.unwrap_or(0).saturating_add(len)),
        ("max_frame_size", max_frame_size, len),
    ] {
        if is_data && observed > limit {
            broken.push((last, FramingViolation::MessageTooBig(Limit { name, limit, observed })));
        }
    }
    broken
}
