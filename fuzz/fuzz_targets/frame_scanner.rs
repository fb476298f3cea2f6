//! Holds the scanner to the reference parser, on any bytes cut at any position.
//!
//! With cargo-fuzz, on the stable toolchain (its sanitizer flag is a nightly one):
//!
//!     RUSTC_BOOTSTRAP=1 cargo fuzz run frame_scanner -- -max_len=1024 -max_total_time=60
//!
//! Without it, from the folder `fuzz`, and without the address sanitizer, which has little to find
//! in code that is free of `unsafe`:
//!
//!     RUSTFLAGS="--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
//!       -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
//!       -Cllvm-args=-sanitizer-coverage-pc-table \
//!       -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1" \
//!       cargo run --release --target x86_64-unknown-linux-gnu --bin frame_scanner -- \
//!       -max_len=1024 -max_total_time=60 corpus/frame_scanner
#![no_main]

use lastword::protocol::frame_scanner::{
    ControlOpcode, DataOpcode, Found, FrameHeader, FrameScanner, FramingViolation, Position,
    ScanLimits,
};
use lastword::vocabulary::{Limit, Role};
use libfuzzer_sys::fuzz_target;
use reference::{Setup, read_whole, scan_in_pieces};

#[path = "../../src/protocol/frame_scanner/tests/reference.rs"]
mod reference;

// The first 16 bytes say how the scanner is set and where the stream is cut.
fuzz_target!(|data: &[u8]| {
    let Some((&[flags, frame_limit, message_limit, seek, ref cuts @ ..], stream)) =
        data.split_first_chunk::<16>()
    else {
        return;
    };
    let setup = Setup {
        role: if flags & 1 == 0 { Role::Server } else { Role::Client },
        limits: ScanLimits {
            max_frame_size: limit(frame_limit),
            max_message_size: limit(message_limit),
        },
        allowed_rsv: flags >> 1 & 0b111,
        seek_at: if flags & 0x80 == 0 { usize::MAX } else { usize::from(seek) },
    };
    let cuts: Vec<usize> = cuts.iter().map(|cut| usize::from(*cut)).collect();

    let expected = read_whole(&setup, stream);
    assert_eq!(scan_in_pieces(&setup, stream, &[], |_, _| {}), expected, "uncut");
    let cut = scan_in_pieces(&setup, stream, &cuts, |at, so_far| {
        assert_eq!(*so_far, read_whole(&setup, &stream[..at]), "at {at}");
    });
    assert_eq!(cut, expected, "cut");
});

/// Spreads a byte over small limits, some around the steps of the length's forms, and none.
fn limit(byte: u8) -> u64 {
    match byte {
        0..200 => u64::from(byte),
        200..250 => 65_536 - 225 + u64::from(byte),
        250.. => u64::MAX,
    }
}
