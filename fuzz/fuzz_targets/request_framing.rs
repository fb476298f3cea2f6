//! Finds the end of a request's head: what is decided about a part of it stays when more comes.
#![no_main]

use lastword::protocol::request_framing::Head;
use libfuzzer_sys::fuzz_target;

// The first 2 bytes say how long the part is.
fuzz_target!(|data: &[u8]| {
    let Some((cut, bytes)) = data.split_first_chunk::<2>() else { return };
    let cut = usize::from(u16::from_be_bytes(*cut)).min(bytes.len());
    let whole = Head::read(bytes);
    match Head::read(&bytes[..cut]) {
        Ok(None) => {}
        decided => assert_eq!(decided, whole),
    }
    if let Ok(Some(head)) = whole {
        assert!(head.len <= bytes.len() && bytes[..head.len].ends_with(b"\r\n"));
        let _ = head.host_and_path();
    }
});
