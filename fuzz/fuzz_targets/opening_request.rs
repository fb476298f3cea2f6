//! Reads a request for a WebSocket: it is accepted only if it is one, and every other gets an answer
//! or none because the peer has left.
#![no_main]

use std::time::Duration;

use lastword::transport::opening_handshake::{
    Agreement, HandshakeLimits, accept, check_method, check_upgrade,
};
use libfuzzer_sys::fuzz_target;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[path = "shared/paused.rs"]
mod paused;

fuzz_target!(|request: &[u8]| {
    paused::block_on(async {
        let (ours, mut theirs) = tokio::io::duplex(64 * 1024);
        let limits =
            HandshakeLimits { timeout: Duration::from_secs(10), ..HandshakeLimits::default() };
        let client = async {
            let _ = theirs.write_all(request).await;
            let _ = theirs.shutdown().await;
            let mut answer = Vec::new();
            let _ = theirs.read_to_end(&mut answer).await;
            answer
        };
        let opening = async {
            accept(ours, limits, |request| {
                check_method(request)?;
                Ok(Agreement::new(check_upgrade(request)?))
            })
            .await
            .map(|accepted| accepted.read_ahead)
        };
        let (opened, answer) = tokio::join!(opening, client);
        match opened {
            Ok(read_ahead) => {
                assert!(answer.starts_with(b"HTTP/1.1 101 "));
                assert!(request.ends_with(&read_ahead));
            }
            Err(failed) => {
                assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 4"), "{failed:?}");
                assert!(!failed.detail.contains('\n'), "{}", failed.detail);
            }
        }
    });
});
