//! Reads a PROXY header piece by piece, and the lines in which proxies name a client.
#![no_main]

use http::{HeaderMap, HeaderName, HeaderValue};
use lastword::protocol::forwarded;
use lastword::protocol::proxy_header::{LONGEST_READ, Parsed, parse};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    // No more is read than belongs to the header for certain.
    let mut taken = 0;
    while let Ok(Parsed::Incomplete(more)) = parse(&data[..taken]) {
        assert!(more > 0 && taken + more <= LONGEST_READ);
        taken += more;
        if taken > data.len() {
            break;
        }
    }
    let mut headers = HeaderMap::new();
    for (name, line) in
        ["forwarded", "x-forwarded-for"].into_iter().zip(data.split(|c| *c == b'\n'))
    {
        if let Ok(line) = HeaderValue::from_bytes(line) {
            headers.append(HeaderName::from_static(name), line);
        }
    }
    let _ = forwarded::read(&headers, |ip| ip.is_loopback());
});
