//! Reads a server's answer to an opening handshake: without the right key it never opens.
#![no_main]

use std::time::Duration;

use http::HeaderValue;
use http::uri::PathAndQuery;
use lastword::transport::opening_handshake::{ClientRequest, open_or_answer};
use libfuzzer_sys::fuzz_target;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[path = "shared/paused.rs"]
mod paused;

fuzz_target!(|answer: &[u8]| {
    paused::block_on(async {
        let (ours, mut theirs) = tokio::io::duplex(64 * 1024);
        let host = HeaderValue::from_static("example.org");
        let request = ClientRequest::new(host, PathAndQuery::from_static("/"));
        let server = async {
            let mut head = [0; 1024];
            let _ = theirs.read(&mut head).await;
            let _ = theirs.write_all(answer).await;
            let _ = theirs.shutdown().await;
        };
        let opening = open_or_answer(ours, request, Duration::from_secs(10), 4096);
        let (opened, ()) = tokio::join!(opening, server);
        let failed = opened.expect_err("the key was answered by chance");
        assert!(!failed.detail.is_empty() && !failed.detail.contains('\n'), "{}", failed.detail);
    });
});
