//! Reads the payload of a Close: what is legal can be sent back as it came, and what is not has a
//! breach with a code of its own.
#![no_main]

use lastword::protocol::classification::read_close;
use lastword::vocabulary::CloseFrame;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|payload: &[u8]| {
    // A control frame has at most 125 bytes (RFC 6455 section 5.5).
    let payload = &payload[..payload.len().min(125)];
    let (close, breach) = read_close(payload);
    assert_eq!(close.code.is_some(), payload.len() >= 2);
    match breach {
        None => {
            let frame = close.in_kind();
            match close.code {
                None => assert!(matches!(frame, CloseFrame::Empty)),
                Some(code) => {
                    assert_eq!(frame.code().map(|code| code.get()), Some(code));
                    assert_eq!(close.reason.as_bytes(), &payload[2..]);
                }
            }
        }
        Some(breach) => assert!(matches!(breach.close_code().get(), 1002 | 1007)),
    }
});
