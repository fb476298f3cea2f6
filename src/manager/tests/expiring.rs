//! A connection ends when its grant expires, by a wall clock that may be set meanwhile.

use std::time::{Duration, SystemTime};

use super::bench::{Bench, Peer};
use crate::actor::backend::Backend;
use crate::connection::handle::ConnectionHandle;
use crate::policy::expiry::LOOK_EVERY;
use crate::protocol::frame_encoder::Opcode;
use crate::runtime::{now, wall_clock};
use crate::settings::{ConnectionSettings, Keepalive};
use crate::vocabulary::{Advice, Cause, CloseState, Role};

const SECOND: Duration = Duration::from_secs(1);

/// What the wall clock shows when a test begins.
fn noon() -> SystemTime {
    SystemTime::UNIX_EPOCH + 1_800_000_000 * SECOND
}

async fn opened(bench: &Bench) -> (Peer, ConnectionHandle) {
    wall_clock::testing::set(noon());
    let (peer, transport) = Peer::new(1024);
    let keepalive = Keepalive { ping_interval: Duration::ZERO, ..Default::default() };
    let settings = ConnectionSettings { keepalive, ..Default::default() };
    (peer, bench.adopt(Role::Server, transport, Backend::echo(), settings).await)
}

/// Reads our Close and answers it.
async fn expired(bench: &Bench, mut peer: Peer, connection: &ConnectionHandle) {
    let (opcode, payload) = peer.read().await;
    assert_eq!(opcode, 8);
    assert_eq!(&payload[..2], 3000_u16.to_be_bytes());
    assert_eq!(&payload[2..], b"token expired");
    peer.send(Opcode::Close, &payload).await;
    drop(peer);
    let ending = bench.only_ending(connection).await;
    assert!(ending.is_clean(), "{ending}");
    assert_eq!(ending.outcome.cause, Cause::AuthExpired);
    assert_eq!(ending.outcome.retry.advice(), Advice::Reauthenticate);
}

#[tokio::test(start_paused = true)]
async fn it_closes_within_a_second_of_its_expiry_and_never_early() {
    let bench = Bench::new().await;
    let (peer, connection) = opened(&bench).await;
    let began = now();
    connection.set_expires_at(Some(noon() + 3600 * SECOND));
    assert_eq!(connection.status().expires_at, Some(noon() + 3600 * SECOND));
    tokio::time::sleep(3600 * SECOND - Duration::from_millis(2)).await;
    assert_eq!(connection.state(), CloseState::Open);
    expired(&bench, peer, &connection).await;
    let took = now() - began;
    assert!(took >= 3600 * SECOND && took < 3601 * SECOND, "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_renewed_grant_moves_the_expiry_both_ways() {
    let bench = Bench::new().await;
    let (peer, connection) = opened(&bench).await;
    connection.set_expires_at(Some(noon() + 10 * SECOND));
    tokio::time::sleep(9 * SECOND).await;
    connection.set_expires_at(Some(noon() + 3600 * SECOND));
    tokio::time::sleep(100 * SECOND).await;
    assert_eq!(connection.state(), CloseState::Open);
    connection.set_expires_at(None);
    tokio::time::sleep(7200 * SECOND).await;
    assert_eq!(connection.state(), CloseState::Open);
    let began = now();
    connection.set_expires_at(Some(wall_clock::now() + 2 * SECOND));
    expired(&bench, peer, &connection).await;
    assert!((2 * SECOND..3 * SECOND).contains(&(now() - began)));
}

#[tokio::test(start_paused = true)]
async fn an_expiry_that_has_passed_closes_at_once() {
    let bench = Bench::new().await;
    let (peer, connection) = opened(&bench).await;
    let began = now();
    connection.set_expires_at(Some(noon() - SECOND));
    expired(&bench, peer, &connection).await;
    assert!(now() - began < SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_wall_clock_that_is_set_back_does_not_close_early() {
    let bench = Bench::new().await;
    let (peer, connection) = opened(&bench).await;
    connection.set_expires_at(Some(noon() + 100 * SECOND));
    tokio::time::sleep(50 * SECOND).await;
    wall_clock::testing::set(noon() - 1000 * SECOND);
    let set = now();
    tokio::time::sleep(1099 * SECOND).await;
    assert_eq!(connection.state(), CloseState::Open);
    expired(&bench, peer, &connection).await;
    assert!((1100 * SECOND..1101 * SECOND).contains(&(now() - set)));
}

#[tokio::test(start_paused = true)]
async fn a_wall_clock_that_is_set_forward_is_noticed_soon() {
    let bench = Bench::new().await;
    let (peer, connection) = opened(&bench).await;
    connection.set_expires_at(Some(noon() + 24 * 3600 * SECOND));
    tokio::time::sleep(50 * SECOND).await;
    wall_clock::testing::set(noon() + 25 * 3600 * SECOND);
    let set = now();
    tokio::time::sleep(LOOK_EVERY).await;
    expired(&bench, peer, &connection).await;
    assert!(now() - set <= LOOK_EVERY + SECOND);
}
