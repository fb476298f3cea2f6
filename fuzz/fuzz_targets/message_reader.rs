//! Reads messages from any bytes: how they are cut changes nothing, and memory stays within the limit.
#![no_main]

use cutting::pieces;
use lastword::protocol::frame_scanner::ScanLimits;
use lastword::transport::websocket::{MessageReader, Piece};
use lastword::vocabulary::Role;
use libfuzzer_sys::fuzz_target;

#[path = "shared/cutting.rs"]
mod cutting;

const MAX_MESSAGE: u64 = 512;

// The first 8 bytes say in which role it reads, and where the stream is cut.
fuzz_target!(|data: &[u8]| {
    let Some((&[flags, ref cuts @ ..], stream)) = data.split_first_chunk::<8>() else { return };
    let role = if flags & 1 == 0 { Role::Server } else { Role::Client };
    let whole = read(role, &[stream]);
    let cut = read(role, &pieces(stream, cuts));
    // A breach of UTF-8 may be found earlier or later in a frame; what came before it is the same.
    assert_eq!(whole, cut);
});

/// Returns what was read, without what depends on the cuts.
fn read(role: Role, pieces: &[&[u8]]) -> Vec<String> {
    let limits = ScanLimits { max_frame_size: MAX_MESSAGE, max_message_size: MAX_MESSAGE };
    let mut reader = MessageReader::new(role, limits);
    let mut seen = Vec::new();
    let mut broken = false;
    for bytes in pieces {
        let mut at = 0;
        while at < bytes.len() {
            let (consumed, piece) = reader.read(&bytes[at..]);
            assert!(consumed > 0 || !matches!(piece, Piece::Part), "no progress");
            at += consumed;
            // What tungstenite buffers doubles, and it has the piece beside it.
            assert!(reader.held() <= 4 * MAX_MESSAGE + 16 * 1024, "{} bytes held", reader.held());
            match piece {
                Piece::Part | Piece::Fragment => {}
                Piece::Breach(_) if std::mem::replace(&mut broken, true) => {
                    panic!("a second breach")
                }
                Piece::Breach(breach) => seen.push(format!("{:?}", breach.close_code())),
                Piece::Message(_) | Piece::Discarded(_) if broken => panic!("data behind a breach"),
                piece => seen.push(format!("{piece:?}")),
            }
        }
        reader.release_buffers();
    }
    seen
}
