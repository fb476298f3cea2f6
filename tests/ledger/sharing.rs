//! Each network has a share of the ledger, and both legs of a relay take that of the client.

use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpSocket};
use tokio::task::JoinSet;

use super::ledger_file::{LedgerFile, until};
use crate::support::SOON;
use crate::support::raw_peer::RawPeer;

/// Connects to the daemon from an address of this machine.
async fn client_from(ip: [u8; 4], daemon: SocketAddr, path: &str) -> RawPeer {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((ip, 0).into()).unwrap();
    RawPeer::upgrade(socket.connect(daemon).await.unwrap(), path, "", &[]).await
}

#[tokio::test]
async fn both_legs_of_a_relay_are_counted_for_the_client() {
    let ledger = LedgerFile::new();
    let application = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let routes = format!(
        "routes=[{{name=\"app\",path=\"/*\",backend={{kind=\"relay\",url=\"ws://{}\"}}}}]",
        application.local_addr().unwrap()
    );
    let mut daemon = ledger.daemon(&[&routes]).await;
    for ip in [[127, 0, 0, 2], [127, 0, 0, 3]] {
        let accepted = RawPeer::accept(&application);
        let (mut app, mut client) =
            tokio::join!(accepted, client_from(ip, daemon.listener(), "/chat"));
        client.close(1000, "bye").await;
        app.expect_close(SOON).await;
        app.close(1000, "bye").await;
        client.expect_close(SOON).await;
        client.fin().await;
        app.expect_end(SOON).await;
    }
    // The connections that the kill leaves open are counted likewise.
    let accepted = RawPeer::accept(&application);
    let (_app, _client) =
        tokio::join!(accepted, client_from([127, 0, 0, 4], daemon.listener(), "/chat"));
    until("both legs are recorded", || {
        ledger.number("SELECT count(*) FROM open_connections") == 2
            && ledger.number("SELECT count(*) FROM endings") == 4
    })
    .await;
    daemon.signal("KILL").await;
    daemon.await_exit(SOON).await;
    let _next = ledger.daemon(&[]).await;
    for network in ["127.0.0.2", "127.0.0.3", "127.0.0.4"] {
        let of = |direction: &str| {
            ledger.number(&format!(
                "SELECT count(*) FROM endings WHERE network = '{network}' \
                 AND json_extract(record, '$.direction') = '{direction}'"
            ))
        };
        assert_eq!((of("inbound"), of("outbound")), (1, 1), "{network}");
    }
    assert_eq!(ledger.number("SELECT count(*) FROM networks"), 3);
}

/// Opens and closes connections from one address, `count` of them.
async fn come_and_go_from(ip: [u8; 4], daemon: SocketAddr, path: &str, count: usize) {
    for _ in 0..count / 50 {
        let mut visits = JoinSet::new();
        for _ in 0..50 {
            let path = path.to_owned();
            visits.spawn(async move {
                let mut client = client_from(ip, daemon, &path).await;
                client.close(1000, "bye").await;
                client.expect_close(SOON).await;
            });
        }
        visits.join_all().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_client_that_opens_and_closes_deletes_only_its_own_endings() {
    let ledger = LedgerFile::new();
    let settings =
        ["ledger.max_size=\"4MiB\"", "routes=[{name=\"all\",path=\"/*\",backend={kind=\"echo\"}}]"];
    let daemon = ledger.daemon(&settings).await;
    let count = |network: &str| {
        ledger.number(&format!("SELECT count(*) FROM endings WHERE network = '{network}'"))
    };
    come_and_go_from([127, 0, 0, 3], daemon.listener(), "/calm", 100).await;
    let long = format!("/{}", "x".repeat(1000));
    come_and_go_from([127, 0, 0, 2], daemon.listener(), &long, 2000).await;
    let live = "SELECT ((SELECT page_count FROM pragma_page_count) \
                - (SELECT freelist_count FROM pragma_freelist_count)) * 4096";
    until("there is room again", || {
        ledger.number("SELECT sequence FROM ledger") >= 4200
            && ledger.number(live) <= (4 << 20) * 17 / 20
    })
    .await;
    assert_eq!(count("127.0.0.3"), 100);
    assert!((100..2000).contains(&count("127.0.0.2")), "{}", count("127.0.0.2"));
    ledger.check_integrity();
}
