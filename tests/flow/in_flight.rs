//! Room that is made while a write is under way, on real sockets, byte by byte.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use lastword::settings::{ByteSize, ConnectionSettings, OnFull};
use lastword::vocabulary::{Cause, CloseState, FirstClose, Kind, Role};
use lastword::{Adopt, ConnectionHandle, Receiver, Supervisor};
use tokio::io::AsyncReadExt;

use super::stage::{ended, sent_code, settings, soon, supervisor};
use crate::support::SOON;
use crate::support::frame::{CLOSE, Frame, Side, TEXT, take_frame};
use crate::support::raw_peer::{End, RawPeer};

/// A server's connection over TCP whose sockets buffer little, and the client at its other end.
async fn shallow(
    supervisor: &Supervisor,
    settings: ConnectionSettings,
) -> (ConnectionHandle, Receiver, RawPeer) {
    let (peer, socket) = RawPeer::adopted(Side::Client).await;
    socket2::SockRef::from(peer.stream()).set_recv_buffer_size(32 * 1024).unwrap();
    socket2::SockRef::from(&socket).set_send_buffer_size(32 * 1024).unwrap();
    let adopt = Adopt { settings, ..Adopt::new(Role::Server, socket) };
    let (connection, messages) = supervisor.adopt_receiving(adopt).await.unwrap();
    (connection, messages, peer)
}

/// A text of one letter: bytes of another message inside its frame would be seen.
fn letters(letter: u8, len: usize) -> String {
    char::from(letter).to_string().repeat(len)
}

fn assert_letters(frame: &Frame, len: usize) {
    assert_eq!((frame.opcode, frame.fin, frame.payload.len()), (TEXT, true, len), "{frame:?}");
    let letter = frame.payload[0];
    assert!(frame.payload.iter().all(|byte| *byte == letter), "{} is torn", char::from(letter));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_overflow_leaves_whole_frames_and_a_close_only_if_it_is_recorded() {
    const ROUNDS: usize = 300;
    let supervisor = supervisor().await;
    let began = Instant::now();
    for _ in 0..ROUNDS {
        let settings = settings(|s| {
            s.limits.outbox_bytes = ByteSize::kib(64);
            s.limits.on_full = OnFull::Close;
        });
        let (connection, _messages, mut peer) = shallow(&supervisor, settings).await;
        let sender = connection.clone();
        let sending = tokio::task::spawn_blocking(move || {
            let sent = (b'a'..=b'z')
                .cycle()
                .take_while(|letter| sender.try_send(letters(*letter, 30_000)).is_ok());
            sent.count() as u64
        });
        let sent = sending.await.unwrap();
        let mut rest = peer.read_to_end(SOON).await;
        assert!(rest.tail.is_empty(), "{} frames, then {:?}", rest.frames.len(), rest.tail);
        assert_eq!(rest.end, End::Fin);
        let close = rest.frames.pop_if(|frame| frame.opcode == CLOSE);
        rest.frames.iter().for_each(|frame| assert_letters(frame, 30_000));
        drop(peer);
        let ending = ended(&supervisor, &connection).await;
        assert_eq!(ending.outcome.kind, Kind::SlowConsumer, "{ending}");
        assert_eq!(close.and_then(|close| close.close_code_and_reason().0), sent_code(&ending));
        let traffic = ending.traffic.as_ref().unwrap();
        assert_eq!(traffic.messages_out, rest.frames.len() as u64);
        assert_eq!(traffic.messages_out + traffic.undelivered_messages, sent);
        if began.elapsed() > Duration::from_secs(10) {
            break; // a slow machine
        }
    }
}

#[tokio::test]
async fn a_close_that_an_overflow_could_not_send_is_not_recorded() {
    let supervisor = supervisor().await;
    let settings = settings(|s| {
        s.limits.outbox_bytes = ByteSize::kib(64);
        s.limits.on_full = OnFull::Close;
        s.close.linger = Duration::from_millis(200);
    });
    let (connection, _messages, mut peer) = shallow(&supervisor, settings).await;
    // The peer reads nothing, so the frame that has begun never leaves whole, nor a Close.
    while connection.try_send(letters(b'a', 30_000)).is_ok() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let ending = ended(&supervisor, &connection).await;
    let outcome = &ending.outcome;
    assert_eq!((outcome.kind, outcome.cause), (Kind::SlowConsumer, Cause::SlowConsumer));
    assert_eq!((outcome.first_close, &outcome.close_sent), (FirstClose::None, &None), "{ending}");
    assert_eq!((outcome.state, outcome.close_code()), (Some(CloseState::Open), Some(1006)));
    let rest = peer.read_to_end(SOON).await;
    assert_eq!(rest.end, End::Reset, "what we could not send whole is not to look like an end");
    rest.frames.iter().for_each(|frame| assert_letters(frame, 30_000));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn six_senders_whose_oldest_give_way_tear_no_frame() {
    const LEN: usize = 12_000;
    let supervisor = supervisor().await;
    let settings = settings(|s| {
        s.limits.outbox_bytes = ByteSize::kib(64);
        s.limits.on_full = OnFull::DropOldest;
    });
    let (connection, _messages, mut peer) = shallow(&supervisor, settings).await;
    let (began, while_busy, sent) = (Instant::now(), Duration::from_secs(3), AtomicU64::new(0));
    let mut bytes = Vec::new();
    let mut frames = 0;
    std::thread::scope(|scope| {
        for letter in b'a'..=b'f' {
            let (connection, sent) = (&connection, &sent);
            scope.spawn(move || {
                let text = letters(letter, LEN);
                while began.elapsed() < while_busy {
                    connection.try_send(text.as_str()).unwrap();
                    sent.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        tokio::task::block_in_place(|| {
            tokio::runtime::Handle::current().block_on(async {
                while began.elapsed() < while_busy {
                    soon("more", peer.stream_mut().read_buf(&mut bytes)).await.unwrap();
                    while let Some(frame) = take_frame(&mut bytes) {
                        assert_letters(&frame, LEN);
                        frames += 1;
                    }
                    tokio::time::sleep(Duration::from_micros(100)).await;
                }
            });
        });
    });
    connection.close_output(1000, "").unwrap();
    loop {
        while let Some(frame) = take_frame(&mut bytes) {
            if frame.opcode == CLOSE {
                let ending = finish(&supervisor, connection, peer).await;
                let traffic = ending.traffic.as_ref().unwrap();
                assert_eq!(traffic.messages_out, frames);
                let accepted = traffic.messages_out + traffic.undelivered_messages;
                assert_eq!(accepted, sent.into_inner());
                return;
            }
            assert_letters(&frame, LEN);
            frames += 1;
        }
        let read = soon("the rest", peer.stream_mut().read_buf(&mut bytes)).await.unwrap();
        assert!(read > 0, "the end of TCP before a Close, behind {} bytes", bytes.len());
    }
}

async fn finish(
    supervisor: &Supervisor,
    connection: ConnectionHandle,
    mut peer: RawPeer,
) -> std::sync::Arc<lastword::Ending> {
    peer.close(1000, "").await;
    drop(peer);
    ended(supervisor, &connection).await
}
