//! One message to many connections: written at once where nothing waits, and always in order.

use std::time::Duration;

use lastword::settings::ByteSize;
use lastword::vocabulary::Role;
use lastword::{BroadcastReport, Message, Route, Supervisor};

use super::stage::{ended, piped, settings, soon, supervisor};
use crate::support::raw_peer::RawPeer;

const SOON: Duration = Duration::from_secs(10);

/// A supervisor that listens, with a route of small outboxes.
async fn listening() -> (Supervisor, std::net::SocketAddr) {
    let supervisor = supervisor().await;
    let narrow = settings(|s| s.limits.outbox_bytes = ByteSize::kib(64));
    let routes =
        vec![Route::echo("/echo").unwrap().with_settings(narrow), Route::echo("/other").unwrap()];
    let address = "127.0.0.1:0".parse().unwrap();
    let listener = supervisor.listen("public", &address, routes).await.unwrap();
    let lastword::vocabulary::ListenAddress::Tcp(address) = *listener.address() else {
        panic!("not TCP");
    };
    (supervisor, address)
}

/// Opens a connection that the supervisor knows of when this returns.
async fn peer(address: std::net::SocketAddr, path: &str) -> RawPeer {
    let mut peer = RawPeer::connect(address, path).await;
    peer.text("are you there").await;
    peer.expect_text("are you there").await;
    peer
}

#[tokio::test]
async fn everybody_who_is_selected_gets_it_and_it_is_counted() {
    let (supervisor, address) = listening().await;
    let mut peers = [peer(address, "/echo").await, peer(address, "/echo").await];
    let mut other = peer(address, "/other").await;
    let report = supervisor.broadcast("news", |origin| origin.route.as_deref() == Some("/echo"));
    assert_eq!(report, BroadcastReport { matched: 2, queued: 2, refused: 0 });
    for peer in &mut peers {
        peer.expect_text("news").await;
        peer.close(1000, "").await;
        peer.expect_close(SOON).await;
    }
    other.expect_silence().await;
    let mut left = supervisor.connections();
    left.retain(|connection| connection.origin().route.as_deref() == Some("/other"));
    let left = left.pop().unwrap();
    other.close(1000, "").await;
    let ending = ended(&supervisor, &left).await;
    assert_eq!(ending.traffic.as_ref().unwrap().messages_out, 1, "its echo, and no news");
}

#[tokio::test]
async fn what_is_broadcast_keeps_its_place_among_what_is_sent() {
    let (supervisor, address) = listening().await;
    let mut peer = peer(address, "/echo").await;
    let connection = supervisor.connections().pop().unwrap();
    for n in 0..300 {
        if n % 3 == 0 {
            connection.send(format!("{n}")).await.unwrap();
        } else {
            assert_eq!(supervisor.broadcast(format!("{n}"), |_| true).queued, 1);
        }
    }
    for n in 0..300 {
        peer.expect_text(&format!("{n}")).await;
    }
    peer.close(1000, "").await;
    peer.expect_close(SOON).await;
    drop(peer);
    let ending = ended(&supervisor, &connection).await;
    let traffic = ending.traffic.as_ref().unwrap();
    assert_eq!((traffic.messages_out, traffic.undelivered_messages), (301, 0));
}

#[tokio::test]
async fn a_peer_that_does_not_read_gets_whole_frames_and_the_rest_is_refused() {
    let (supervisor, address) = listening().await;
    let mut slow = RawPeer::connect_with_receive_buffer(address, "/echo", 4096).await;
    slow.text("are you there").await;
    slow.expect_text("are you there").await;
    let message = Message::binary(vec![7; 10_000]);
    let (mut queued, mut refused) = (0, 0);
    // Far more than the buffers of both kernels hold.
    while refused < 10 {
        let report = supervisor.broadcast(message.clone(), |_| true);
        queued += report.queued;
        refused += report.refused;
        assert!(queued < 10_000, "nothing is ever refused");
    }
    for _ in 0..queued {
        let frame = slow.read_frame(SOON).await;
        assert!(frame.payload.len() == 10_000 && frame.payload.iter().all(|byte| *byte == 7));
    }
    slow.expect_silence().await;
}

#[tokio::test]
async fn who_is_closing_is_counted_as_refused() {
    let (supervisor, address) = listening().await;
    let mut peer = peer(address, "/echo").await;
    let connection = supervisor.connections().pop().unwrap();
    connection.close_output(1000, "bye").unwrap();
    let report = supervisor.broadcast("late", |_| true);
    assert_eq!(report, BroadcastReport { matched: 1, queued: 0, refused: 1 });
    assert_eq!(peer.expect_close(SOON).await, (Some(1000), "bye".to_owned()));
    peer.expect_silence().await;
}

#[tokio::test]
async fn a_transport_without_a_direct_writer_is_served_by_the_outbox() {
    let supervisor = supervisor().await;
    for role in [Role::Server, Role::Client] {
        let (_connection, _messages, mut peer) =
            piped(&supervisor, role, 1000, settings(|_| {})).await;
        supervisor.broadcast("news", |_| true);
        peer.expect_text("news").await;
        supervisor.abort_all(None);
        soon("no connection", async {
            while supervisor.accounting().open > 0 {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
}
