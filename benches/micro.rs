//! The pure code on the path of every byte and every ending: `cargo bench --bench micro`.
//!
//! The outbox is not part of the public API: it is measured through a connection whose transport
//! accepts all bytes at once, so that the mover's share is small.
#![allow(missing_docs, reason = "criterion's macros make public items")]

use std::hint::black_box;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use lastword::protocol::classification::{Loss, LossKind, read_close};
use lastword::protocol::closing_handshake::{
    ClosePolicy, CloseRequest, ClosingHandshake, Input, ReplyPolicy,
};
use lastword::protocol::frame_encoder::apply_mask;
use lastword::protocol::frame_scanner::{Found, FrameScanner, Position, ScanLimits};
use lastword::settings::{self, ByteSize, JwtAuth, JwtKeys};
use lastword::transport::socket::Transport;
use lastword::transport::websocket::MessageReader;
use lastword::vocabulary::{Cause, CloseFrame, Role, Secret};
use lastword::{Adopt, Auth, Message, Supervisor};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::runtime::Builder;

const LIMITS: ScanLimits = ScanLimits { max_frame_size: 1 << 20, max_message_size: 1 << 20 };

fn closing_handshake(c: &mut Criterion) {
    let policy = ClosePolicy {
        timeout: Duration::from_secs(10),
        linger: Duration::from_secs(2),
        reply: ReplyPolicy::AtOnce,
        signature: None,
    };
    let fin = || Loss { how: LossKind::Fin, position: Position::BetweenMessages };
    let now = Instant::now();
    let mut group = c.benchmark_group("closing handshake");
    group.bench_function("clean close, ours first", |b| {
        let mut actions = Vec::new();
        b.iter(|| {
            let mut handshake = ClosingHandshake::new(Role::Server, policy.clone());
            let request = CloseRequest::new(CloseFrame::Empty, Cause::Embedder);
            handshake.handle_input(now, Input::CloseAccepted(request), &mut actions);
            handshake.handle_input(now, Input::CloseFlushed, &mut actions);
            let (close, breach) = read_close(b"");
            handshake.handle_input(now, Input::PeerClose { close, breach }, &mut actions);
            handshake.handle_input(now, Input::TransportEnded(fin()), &mut actions);
            assert!(handshake.is_ended());
            black_box(&actions);
            actions.clear();
        });
    });
    group.bench_function("clean close, the peer's first", |b| {
        let mut actions = Vec::new();
        b.iter(|| {
            let mut handshake = ClosingHandshake::new(Role::Server, policy.clone());
            let (close, breach) = read_close(b"\x03\xe8bye");
            handshake.handle_input(now, Input::PeerClose { close, breach }, &mut actions);
            handshake.handle_input(now, Input::CloseFlushed, &mut actions);
            handshake.handle_input(now, Input::TransportEnded(fin()), &mut actions);
            assert!(handshake.is_ended());
            black_box(&actions);
            actions.clear();
        });
    });
    group.finish();
}

fn scanner(c: &mut Criterion) {
    let mut group = c.benchmark_group("frame scanner");
    let small = frame(32).repeat(1000);
    group.throughput(Throughput::Elements(1000));
    group.bench_function("frames of 32 B", |b| {
        let mut scanner = FrameScanner::new(Role::Server, LIMITS);
        b.iter(|| assert_eq!(scan(&mut scanner, &small), 1000));
    });
    let large = frame(1 << 20);
    group.throughput(Throughput::Bytes(large.len() as u64));
    group.bench_function("a frame of 1 MiB in pieces of 4 KiB", |b| {
        let mut scanner = FrameScanner::new(Role::Server, LIMITS);
        b.iter(|| {
            let found: usize = large.chunks(4096).map(|piece| scan(&mut scanner, piece)).sum();
            assert_eq!(found, 1);
        });
    });
    group.finish();
}

fn reader(c: &mut Criterion) {
    let mut group = c.benchmark_group("message reader");
    for (name, size, count) in [("32 B", 32, 1000), ("1 KiB", 1024, 100), ("16 KiB", 16 << 10, 10)]
    {
        let bytes = frame(size).repeat(count);
        group.throughput(Throughput::Elements(count as u64));
        group.bench_function(format!("messages of {name}"), |b| {
            let mut reader = MessageReader::new(Role::Server, LIMITS);
            b.iter(|| {
                let mut bytes = &bytes[..];
                while !bytes.is_empty() {
                    let (consumed, piece) = reader.read(bytes);
                    black_box(piece);
                    bytes = &bytes[consumed..];
                }
                reader.release_buffers();
            });
        });
    }
    group.finish();
}

fn masking(c: &mut Criterion) {
    let mut group = c.benchmark_group("masking");
    group.throughput(Throughput::Bytes(16 << 10));
    group.bench_function("16 KiB", |b| {
        b.iter_batched_ref(
            || vec![7; 16 << 10],
            |payload| apply_mask(payload, black_box([1, 2, 3, 4])),
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

#[allow(clippy::expect_used, reason = "a benchmark that cannot begin has nothing else to say")]
fn outbox(c: &mut Criterion) {
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    let supervisor = runtime.block_on(Supervisor::builder().start()).expect("a supervisor");
    let mut adopt = Adopt::new(Role::Server, TakesAll);
    adopt.settings.limits.outbox_bytes = ByteSize::mib(1);
    let adopted = runtime.block_on(supervisor.adopt_receiving(adopt));
    let (connection, _messages) = adopted.expect("it was not shut down");
    let mut group = c.benchmark_group("outbox");
    for (name, size, count) in [("32 B", 32, 1000), ("1 KiB", 1024, 100), ("64 KiB", 64 << 10, 10)]
    {
        let message = Message::from(vec![7_u8; size]);
        group.throughput(Throughput::Elements(count));
        group.bench_function(format!("queue and write messages of {name}"), |b| {
            b.iter(|| {
                runtime.block_on(async {
                    for _ in 0..count {
                        connection.try_send(message.clone()).expect("there is room");
                    }
                    while connection.queued_bytes() > 0 {
                        tokio::task::yield_now().await;
                    }
                });
            });
        });
    }
    group.finish();
}

/// A transport that accepts all writes and never has anything to read.
struct TakesAll;

impl Transport for TakesAll {}

impl AsyncRead for TakesAll {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        _: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Poll::Pending
    }
}

impl AsyncWrite for TakesAll {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Scans all of `bytes`; returns how many messages ended in them.
fn scan(scanner: &mut FrameScanner, mut bytes: &[u8]) -> usize {
    let mut ended = 0;
    while !bytes.is_empty() {
        let scanned = scanner.scan(bytes);
        if let Found::Payload { message_end: true, .. } = scanned.found {
            ended += 1;
        }
        bytes = &bytes[scanned.consumed..];
    }
    ended
}

/// A masked binary frame.
fn frame(size: usize) -> Vec<u8> {
    let mut frame = vec![0x82];
    match size {
        0..=125 => frame.push(0x80 | size as u8),
        126..=0xffff => {
            frame.push(0x80 | 126);
            frame.extend_from_slice(&(size as u16).to_be_bytes());
        }
        _ => {
            frame.push(0x80 | 127);
            frame.extend_from_slice(&(size as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(&[1, 2, 3, 4]);
    frame.resize(frame.len() + size, 7);
    frame
}

/// What a token adds to an opening handshake.
#[allow(clippy::expect_used, reason = "a bench that cannot be set up has nothing to say")]
fn admission(c: &mut Criterion) {
    let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).expect("a key");
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), pair.public_key_pem()).expect("a key file");
    let settings = JwtAuth {
        issuer: vec!["https://issuer.example.org".to_owned()],
        ..JwtAuth::new(JwtKeys::KeyFile(file.path().to_owned()))
    };
    let claims = serde_json::json!({
        "sub": "ann", "iss": "https://issuer.example.org", "exp": 4_000_000_000_u64, "iat": 1, "jti": "x",
    });
    let key = EncodingKey::from_ec_pem(pair.serialize_pem().as_bytes()).expect("a key");
    let token = jsonwebtoken::encode(&Header::new(Algorithm::ES256), &claims, &key);
    let token = Secret::new(token.expect("a token"));
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    let _entered = runtime.enter();
    let auth = Auth::new(&settings::Auth::Jwt(Box::new(settings))).expect("keys");
    assert!(runtime.block_on(auth.accepts(&token)));
    c.benchmark_group("admission").bench_function("token, ES256", |b| {
        b.iter(|| runtime.block_on(auth.accepts(black_box(&token))));
    });
}

criterion_group!(benches, closing_handshake, scanner, reader, masking, outbox, admission);
criterion_main!(benches);
