//! The tools of the integration tests, tested against each other and against stand-ins.

// What fails in a helper of a test fails the test.
#![allow(clippy::unwrap_used)]

mod support;

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use support::frame::{self, Frame, LengthForm, Masking, Side, take_frame};
use support::raw_peer::{End, RawPeer};
use support::{SOON, daemon::Daemon, http};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

async fn opened() -> (RawPeer, RawPeer) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::join!(RawPeer::connect(address, "/echo?room=7"), RawPeer::accept(&listener))
}

#[tokio::test]
async fn both_sides_open_by_hand_and_see_each_other_s_half() {
    let (client, server) = opened().await;
    assert_eq!(client.head.status(), 101);
    assert_eq!(server.head.target(), "/echo?room=7");
    assert!(server.head.header("host").unwrap().starts_with("127.0.0.1:"));
}

#[tokio::test]
async fn bytes_glued_to_either_half_of_the_opening_handshake_are_kept() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (early, reply) =
        (Frame::text("early").encode(Side::Client), Frame::text("reply").encode(Side::Server));
    let (mut client, mut server) = tokio::join!(
        RawPeer::connect_with(address, "/", "Sec-WebSocket-Protocol: a\r\n", &early),
        RawPeer::accept_with(&listener, "Sec-WebSocket-Protocol: a\r\n", &reply)
    );
    assert_eq!(server.head.header("sec-websocket-protocol"), Some("a"));
    assert_eq!(client.head.header("sec-websocket-protocol"), Some("a"));
    server.expect_text("early").await;
    client.expect_text("reply").await;
}

#[tokio::test]
async fn frames_of_every_length_cross_both_ways_masked_as_is_due() {
    let (mut client, mut server) = opened().await;
    for length in [0, 1, 125, 126, 65_535, 65_536, 200_000] {
        let payload: Vec<u8> = (0..length).map(|i| i as u8).collect();
        let (_, received) = tokio::join!(client.binary(payload.clone()), server.read_frame(SOON));
        assert_eq!((received.opcode, &received.payload), (frame::BINARY, &payload));
        assert!(matches!(received.masking, Masking::Key(_)));
        let (_, received) = tokio::join!(server.binary(payload.clone()), client.read_frame(SOON));
        assert_eq!((received.masking, &received.payload), (Masking::Plain, &payload));
    }
}

#[tokio::test]
async fn a_whole_closing_handshake() {
    let (mut client, mut server) = opened().await;
    client.send_frame(Frame::text("par").unfinished()).await;
    client.ping("here?").await;
    client.send_frame(Frame::continuation("t").rsv(4)).await;
    client.close(1014, "bye").await;
    assert!(!server.read_frame(SOON).await.fin);
    assert_eq!(server.read_frame(SOON).await.opcode, frame::PING);
    assert_eq!(server.read_frame(SOON).await.rsv, 4);
    assert_eq!(server.expect_close(SOON).await, (Some(1014), "bye".to_owned()));
    server.expect_silence().await;
    server.close_empty().await;
    server.fin().await;
    assert_eq!(client.expect_close(SOON).await, (None, String::new()));
    assert_eq!(client.expect_end(SOON).await, End::Fin);
    drop(client);
    assert_eq!(server.expect_end(SOON).await, End::Fin);
}

#[tokio::test]
async fn fin_reset_and_silence_are_told_apart_with_what_came_before() {
    let (mut client, mut server) = opened().await;
    client.text("a").await;
    client.send_part_of_payload(Frame::binary(vec![0; 4096]), 12).await;
    let rest = server.read_to_end(Duration::from_millis(100)).await;
    assert_eq!((rest.frames.len(), rest.tail.len(), rest.end), (1, 8 + 12, End::Timeout));
    client.fin().await;
    assert_eq!(server.expect_end(SOON).await, End::Fin);

    let (mut client, mut server) = opened().await;
    client.send_start(Frame::text("cut"), 1).await;
    let rest = server.read_to_end(Duration::from_millis(100)).await;
    assert_eq!(rest.tail, [0x81]);
    client.reset();
    assert_eq!(server.expect_end(SOON).await, End::Reset);
}

#[tokio::test]
async fn a_close_and_fin_can_share_a_segment() {
    let (mut client, mut server) = opened().await;
    client.send_frames_and_fin([Frame::text("last"), Frame::close(1000, "bye")]).await;
    let rest = server.read_to_end(SOON).await;
    assert_eq!((rest.frames.len(), rest.end), (2, End::Fin));
}

#[tokio::test]
async fn a_small_receive_buffer_stalls_the_other_side() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (mut slow, mut server) = tokio::join!(
        RawPeer::connect_with_receive_buffer(address, "/", 4096),
        RawPeer::accept(&listener)
    );
    let payload = vec![0; 8 << 20];
    let bytes = Frame::binary(payload.clone()).encode(Side::Server);
    let stalled = tokio::time::timeout(Duration::from_millis(100), server.send_raw(&bytes)).await;
    assert!(stalled.is_err(), "8 MiB went into a receive buffer of 4 KiB");
    drop(server);
    let rest = slow.read_to_end(SOON).await;
    assert_eq!((rest.frames.len(), rest.end), (0, End::Fin));
}

#[tokio::test]
async fn an_adopted_peer_needs_no_opening_handshake() {
    let (mut peer, mut theirs) = RawPeer::adopted(Side::Client).await;
    theirs.write_all(&Frame::pong("unasked").encode(Side::Server)).await.unwrap();
    assert_eq!(peer.read_frame(SOON).await.opcode, frame::PONG);
}

#[tokio::test]
#[should_panic(expected = "awaited a frame for 50ms, got Timeout after 0 bytes")]
async fn a_frame_that_does_not_come_is_named() {
    let (mut client, _server) = opened().await;
    client.read_frame(Duration::from_millis(50)).await;
}

#[tokio::test]
#[should_panic(expected = "the client did not mask text frame")]
async fn an_unmasked_client_is_caught() {
    let (mut client, mut server) = opened().await;
    client.send_frame(Frame::text("plain").masking(Masking::Plain)).await;
    server.read_frame(SOON).await;
}

#[tokio::test]
#[should_panic(expected = "awaited a Close, got text frame")]
async fn another_frame_than_the_close_is_named() {
    let (mut client, mut server) = opened().await;
    client.text("not yet").await;
    server.expect_close(SOON).await;
}

#[test]
fn lengths_are_written_in_every_form() {
    let key = Masking::Key([1, 2, 3, 4]);
    let encoded = Frame::text("ab").masking(key).encode(Side::Server);
    assert_eq!(encoded, [0x81, 0x82, 1, 2, 3, 4, b'a' ^ 1, b'b' ^ 2]);
    let form = |form| Frame::text("ab").encode_with_length(Side::Server, form);
    assert_eq!(form(LengthForm::Sixteen), [0x81, 126, 0, 2, b'a', b'b']);
    assert_eq!(form(LengthForm::SixtyFour), [0x81, 127, 0, 0, 0, 0, 0, 0, 0, 2, b'a', b'b']);
    assert_eq!(form(LengthForm::TopBit)[2..10], [0x80, 0, 0, 0, 0, 0, 0, 2]);
    let header = Frame::binary([]).header(Side::Client, 1 << 24, LengthForm::Minimal);
    assert_eq!(header[..10], [0x82, 0xFF, 0, 0, 0, 0, 1, 0, 0, 0]);
}

#[test]
#[should_panic(expected = "a length of 2 is not written minimally")]
fn a_length_that_is_too_long_is_caught_on_reading() {
    take_frame(&mut vec![0x81, 126, 0, 2, b'a', b'b']);
}

#[tokio::test]
async fn a_plain_http_answer_is_read() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let request = http::upgrade_request("example.org", "/none", "Origin: x\r\n");
    let serve = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let asked = http::read_request(&mut stream, &mut Vec::new()).await;
        stream.write_all(b"HTTP/1.1 404 Not Found\r\nConnection: close\r\n\r\nno").await.unwrap();
        asked
    };
    let (answer, asked) = tokio::join!(http::exchange(address, request, SOON), serve);
    assert_eq!((asked.target(), asked.header("origin")), ("/none", Some("x")));
    assert_eq!((answer.head.status(), answer.body.as_str()), (404, "no"));
    assert_eq!(answer.head.header("connection"), Some("close"));
}

/// A program that speaks on stdout and stderr as the daemon does, and obeys SIGTERM.
fn stand_in(directory: &tempfile::TempDir) -> std::path::PathBuf {
    let script = r#"#!/bin/sh
case "$*" in *refuse*) echo "key refuse" >&2; exit 2;; esac
args=$(printf '%s' "$*" | sed 's/"/\\"/g')
bye() { printf '%s\n' '{"event":"ended","ending":{"kind":"clean","args":"'"$args"'"}}' >&2; exit 0; }
trap bye TERM
echo "listener public ws://127.0.0.1:4711"
echo "health http://127.0.0.1:4712"
echo '{"level":"INFO","message":"starting"}' >&2
echo "ready"
echo '{"event":"open_failed","ending":{"kind":"open_failed"}}' >&2
while :; do sleep 0.05; done
"#;
    let path = directory.path().join("stand-in");
    std::fs::write(&path, script).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

#[tokio::test]
async fn a_daemon_is_started_read_signalled_and_awaited() {
    let directory = tempfile::tempdir().unwrap();
    let mut daemon = Daemon::start(stand_in(&directory), &[r#"close.timeout="1s""#]).await;
    assert_eq!(daemon.url("/echo"), "ws://127.0.0.1:4711/echo");
    assert_eq!(daemon.address("health").port(), 4712);
    let failed = daemon.await_ending(|e| e["kind"] == "open_failed", SOON).await;
    assert_eq!(failed["kind"], "open_failed");
    daemon.signal("TERM").await;
    let clean = daemon.await_ending(|e| e["kind"] == "clean", SOON).await;
    let arguments = clean["args"].as_str().unwrap_or_default();
    assert!(arguments.ends_with(r#"--set close.timeout="1s""#), "{arguments}");
    assert_eq!(daemon.await_exit(SOON).await.code(), Some(0));
    assert_eq!(daemon.endings().len(), 2);
}

#[tokio::test]
async fn a_daemon_that_refuses_to_start_is_read_to_its_end() {
    let directory = tempfile::tempdir().unwrap();
    let refusal = Daemon::refused(stand_in(&directory), &["serve", "--set", "refuse=1"]).await;
    assert_eq!((refusal.code, refusal.stderr.as_str()), (Some(2), "key refuse\n"));
}

#[tokio::test]
async fn a_dropped_daemon_is_gone() {
    let directory = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(stand_in(&directory), &[]).await;
    let process = format!("/proc/{}/cmdline", daemon.pid());
    drop(daemon);
    for _ in 0..100 {
        // A killed process is a zombie without a command line until it is reaped.
        if std::fs::read(&process).unwrap_or_default().is_empty() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("awaited the end of a killed process");
}
