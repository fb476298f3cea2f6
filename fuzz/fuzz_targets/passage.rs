//! Passes any bytes on: what comes out holds the same messages as what came in, wherever it is cut.
#![no_main]

use cutting::pieces;
use lastword::protocol::frame_scanner::ScanLimits;
use lastword::protocol::passage::{Passage, PassagePiece, PassagePolicy, RunSource};
use lastword::transport::websocket::{self, MessageReader};
use lastword::vocabulary::{Message, Role};
use libfuzzer_sys::fuzz_target;

#[path = "shared/cutting.rs"]
mod cutting;

const LIMITS: ScanLimits = ScanLimits { max_frame_size: 512, max_message_size: 512 };

// The first 8 bytes say in which role it reads, and where the stream is cut.
fuzz_target!(|data: &[u8]| {
    let Some((&[flags, ref cuts @ ..], stream)) = data.split_first_chunk::<8>() else { return };
    let role = if flags & 1 == 0 { Role::Server } else { Role::Client };
    let (passed, ends) = pass(role, &pieces(stream, cuts));
    let messages = messages(role, stream);
    assert_eq!(self::messages(role, &passed), messages);
    assert_eq!(ends, messages.len());
});

/// Returns the bytes that pass, and how many messages end in them.
fn pass(role: Role, pieces: &[&[u8]]) -> (Vec<u8>, usize) {
    let policy = PassagePolicy { limits: LIMITS, allowed_rsv: 0, check_utf8: true };
    let mut passage = Passage::new(role, policy);
    let (mut passed, mut ends) = (Vec::new(), 0);
    for bytes in pieces {
        let mut at = 0;
        while at < bytes.len() || passage.has_pending() {
            let rest = &bytes[at..];
            let (consumed, piece) = passage.read(rest);
            at += consumed;
            if let PassagePiece::Run(run) = piece {
                ends += passage.ends().len();
                passed.extend_from_slice(match &run.source {
                    RunSource::Read(range) => &rest[range.clone()],
                    RunSource::Held => passage.held(),
                });
            }
        }
        passage.release_buffers();
    }
    (passed, ends)
}

/// Returns the messages in these bytes, up to the first that breaks a rule.
fn messages(role: Role, mut bytes: &[u8]) -> Vec<Message> {
    let mut reader = MessageReader::new(role, LIMITS);
    let mut messages = Vec::new();
    while !bytes.is_empty() {
        let (consumed, piece) = reader.read(bytes);
        bytes = &bytes[consumed..];
        if let websocket::Piece::Message(message) = piece {
            messages.push(message);
        }
    }
    messages
}
