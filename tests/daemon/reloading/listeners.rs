//! Listeners that come, go, move, and get other certificates.

use std::net::SocketAddr;

use serde_json::{Value, json};
use tokio::net::TcpStream;

use super::stage::Stage;
use crate::daemon::process::echo;
use crate::support::SOON;
use crate::support::raw_peer::RawPeer;

const ROUTE: &str = "[[routes]]\nname = \"echo\"\npath = \"/echo\"\nbackend.kind = \"echo\"\n";

fn listeners(all: &[(&str, &str)]) -> String {
    let listener = |(name, listen): &(&str, &str)| {
        format!("[[listeners]]\nname = \"{name}\"\nlisten = \"{listen}\"\n")
    };
    all.iter().map(listener).collect::<String>() + ROUTE
}

/// Waits until an address refuses connections.
async fn until_closed(address: SocketAddr) {
    let deadline = tokio::time::Instant::now() + SOON;
    while TcpStream::connect(address).await.is_ok() {
        assert!(tokio::time::Instant::now() < deadline, "{address} still accepts");
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_listener_comes_and_goes_and_its_connections_live_on() {
    let stage = Stage::start_with(&listeners(&[("a", "127.0.0.1:0")])).await;
    let two = listeners(&[("a", "127.0.0.1:0"), ("b", "127.0.0.1:0")]);
    let answer = stage.reload_whole(&two).await.expect(200);
    assert_eq!(answer["listeners"], json!({ "added": ["b"], "removed": [] }));
    assert_eq!(answer["changed"], json!(["listeners.b"]));
    let b = stage.added("b", 1).await;
    let mut of_a = RawPeer::connect(stage.listener(), "/echo").await;
    let mut of_b = RawPeer::connect(b, "/echo").await;
    // An opening handshake under way goes on, too.
    let begun = TcpStream::connect(b).await.unwrap();
    stage.until_arrived(b).await;

    let answer = stage.reload_whole(&listeners(&[("a", "127.0.0.1:0")])).await.expect(200);
    assert_eq!(answer["listeners"], json!({ "added": [], "removed": ["b"] }));
    until_closed(b).await;
    let mut begun = RawPeer::upgrade(begun, "/echo", "", &[]).await;
    for peer in [&mut of_a, &mut of_b, &mut begun] {
        echo(peer, "still here").await;
    }
    of_b.close(1000, "").await;
    let is_it = |ending: &Value| ending["listener"] == "b" && ending["kind"] == "clean";
    stage.daemon.await_ending(is_it, SOON).await;
    // It may come back.
    stage.reload_whole(&two).await.expect(200);
    echo(&mut RawPeer::connect(stage.added("b", 2).await, "/echo").await, "again").await;
}

#[tokio::test]
async fn an_address_that_cannot_be_bound_refuses_the_whole_reload() {
    let stage = Stage::start_with(&listeners(&[("a", "127.0.0.1:0")])).await;
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let more = listeners(&[("b", "127.0.0.1:0"), ("c", &taken)]);
    let problem = stage.reload_whole(&more).await.expect(422);
    let expected = format!(
        "listener c: {taken} is in use: stop what listens there, or choose another address"
    );
    assert_eq!(problem["detail"], expected.as_str());
    echo(&mut RawPeer::connect(stage.listener(), "/echo").await, "a is still there").await;
    assert!(stage.daemon.events("the listener accepts").is_empty());
}

#[tokio::test]
async fn a_listener_gets_another_name_without_a_refused_client() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let address = port.to_string();
    let stage = Stage::start_with(&listeners(&[("a", &address)])).await;
    let clients = tokio::spawn(async move {
        for _ in 0..200 {
            let mut peer = RawPeer::connect(port, "/echo").await;
            echo(&mut peer, "hello").await;
            peer.close(1000, "").await;
            assert_eq!(peer.expect_close(SOON).await.0, Some(1000));
        }
    });
    for name in ["b", "c", "d", "e"] {
        let answer = stage.reload_whole(&listeners(&[(name, &address)])).await.expect(200);
        assert_eq!(answer["listeners"]["added"], json!([name]));
    }
    clients.await.expect("every client is served");
    let mut peer = RawPeer::connect(port, "/echo").await;
    peer.close(1000, "").await;
    stage.daemon.await_ending(|ending| ending["listener"] == "e", SOON).await;
    assert!(stage.daemon.endings().iter().all(|ending| ending["kind"] == "clean"));
}

#[tokio::test]
async fn an_address_that_overlaps_one_in_use_is_told_to_need_a_restart() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let stage = Stage::start_with(&listeners(&[("a", &port.to_string())])).await;
    let wider = listeners(&[("a", &format!("0.0.0.0:{}", port.port()))]);
    for _ in 0..2 {
        let answer = stage.reload_whole(&wider).await.expect(200);
        assert_eq!(answer["needs_restart"], json!(["listeners.a"]));
        assert_eq!(answer["changed"], json!([]));
    }
    echo(&mut RawPeer::connect(port, "/echo").await, "where it was").await;
}

#[tokio::test]
async fn a_listener_is_told_who_is_in_front_of_it_without_being_bound_again() {
    let stage = Stage::start("").await;
    let mut old = RawPeer::connect(stage.listener(), "/echo").await;
    let file = listeners(&[("public", "127.0.0.1:0")]).replacen(
        ROUTE,
        "trusted_proxies = [\"127.0.0.1\"]\nforwarded = \"trust\"\n",
        1,
    ) + ROUTE;
    let answer = stage.reload_whole(&file).await.expect(200);
    assert_eq!(answer["changed"], json!(["listeners.public"]));
    assert_eq!(answer["listeners"], json!({ "added": [], "removed": [] }));
    let header = "X-Forwarded-For: 203.0.113.9\r\n";
    let mut peer = RawPeer::connect_with(stage.listener(), "/echo", header, &[]).await;
    echo(&mut peer, "through a proxy").await;
    peer.close(1000, "").await;
    let ending = stage.daemon.await_ending(|ending| ending["via"] != json!(null), SOON).await;
    assert!(ending["peer"].as_str().unwrap().starts_with("203.0.113.9"), "{ending}");
    echo(&mut old, "not a proxy").await;
}
