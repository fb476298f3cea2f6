//! Sending into relayed connections.

use lastword::settings::RelayBackend;
use lastword::vocabulary::ListenAddress;
use lastword::{Relay, Route};
use tokio::net::TcpListener;

use super::stage::{House, free, settings};
use crate::support::raw_peer::RawPeer;

#[tokio::test]
async fn it_is_refused_unless_the_route_says_otherwise() {
    let house = House::new().await;
    for inject in [false, true] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("ws://{}", listener.local_addr().unwrap());
        let relay = Relay::new(RelayBackend::new(url.parse().unwrap())).unwrap();
        let mut route = Route::relay("/*".parse().unwrap(), relay).with_settings(settings());
        (route.name, route.inject) = (format!("inject-{inject}"), inject);
        let listening = house.supervisor.listen("relay", &free(), vec![route]).await.unwrap();
        let ListenAddress::Tcp(address) = *listening.address() else { panic!() };
        let (mut client, mut application) =
            tokio::join!(RawPeer::connect(address, "/"), RawPeer::accept(&listener));
        for leg in house.client.selected(&format!("route=inject-{inject}"), 2).await {
            let target = format!("/v1/connections/{}/messages", leg["id"].as_str().unwrap());
            let answer = house.client.post(&target, r#"{"text":"psst"}"#).await;
            if inject {
                answer.expect(202);
                continue;
            }
            let problem = answer.refused(403, "forbidden");
            // The remedy is the product.
            assert!(problem["detail"].as_str().unwrap().contains("inject = true"), "{problem}");
        }
        let broadcast = format!(r#"{{"select":{{"route":"inject-{inject}"}},"text":"all"}}"#);
        let report = house.client.post("/v1/broadcast", &broadcast).await.expect(200);
        let took = if inject { (2, 0) } else { (0, 2) };
        assert_eq!(
            (report["queued"].as_u64(), report["refused"].as_u64()),
            (Some(took.0), Some(took.1))
        );
        for peer in [&mut client, &mut application] {
            if inject {
                peer.expect_text("psst").await;
                peer.expect_text("all").await;
            } else {
                peer.expect_silence().await;
            }
        }
    }
}
