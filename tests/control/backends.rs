//! The applications behind relays: listed, drained, and put back into service.

use lastword::settings::RelayBackend;
use lastword::{ListenerHandle, Relay, Route};
use tokio::net::TcpListener;

use super::stage::{House, free};
use crate::support::SOON;
use crate::support::raw_peer::RawPeer;

/// A route `apps` to two applications, which the test serves on demand.
async fn relaying(house: &House) -> ([TcpListener; 2], ListenerHandle) {
    let apps = [
        TcpListener::bind("127.0.0.1:0").await.unwrap(),
        TcpListener::bind("127.0.0.1:0").await.unwrap(),
    ];
    let urls = apps.iter().map(|app| format!("ws://{}/x?token=s", app.local_addr().unwrap()));
    let urls = urls.map(|url| url.parse().unwrap()).collect();
    let relay = Relay::new(RelayBackend::of_all(urls)).unwrap();
    let mut route = Route::relay("/*".parse().unwrap(), relay);
    route.name = "apps".to_owned();
    let listening = house.supervisor.listen("apps", &free(), vec![route]).await.unwrap();
    (apps, listening)
}

/// Two applications that differ in a masked query only.
#[tokio::test]
async fn one_of_two_with_the_same_recorded_url_is_selected_by_its_number() {
    let house = House::new().await;
    let app = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = app.local_addr().unwrap();
    let urls = ["1", "2"].map(|k| format!("ws://{address}/?k={k}").parse().unwrap());
    let relay = Relay::new(RelayBackend::of_all(urls.to_vec())).unwrap();
    let mut route = Route::relay("/*".parse().unwrap(), relay);
    route.name = "apps".to_owned();
    let listening = house.supervisor.listen("apps", &free(), vec![route]).await.unwrap();
    let lastword::vocabulary::ListenAddress::Tcp(address) = *listening.address() else { panic!() };
    let (mut first, _app) = tokio::join!(RawPeer::connect(address, "/"), RawPeer::accept(&app));
    let (mut second, _app) = tokio::join!(RawPeer::connect(address, "/"), RawPeer::accept(&app));

    let filter = "/v1/connections?route=apps&upstream_number=1";
    let listed = house.client.get(filter).await.expect(200);
    assert_eq!(listed["connections"].as_array().unwrap().len(), 1, "{listed}");
    let select = r#"{"select":{"route":"apps","upstream_number":1},"within":"9s"}"#;
    let drain = house.client.post("/v1/drain", select).await.expect(202);
    assert_eq!((&drain["total"], &drain["select"]["upstream_number"]), (&1.into(), &1.into()));
    assert_eq!(second.expect_close(SOON).await.0, Some(1012));
    first.expect_silence().await;
    house.client.delete("/v1/drain").await.expect(200);

    // Resuming one does not cancel the drain of the other.
    let drain = house.client.post("/v1/backends/apps/0/drain", "{}").await.expect(202);
    assert!(!drain.to_string().contains("k=1"), "{drain}");
    house.client.delete("/v1/backends/apps/1/drain").await.expect(200);
    assert_eq!(house.client.get("/v1/drain").await.expect(200)["phase"], "running");
    house.client.delete("/v1/backends/apps/0/drain").await.expect(200);
    assert_eq!(house.client.get("/v1/drain").await.expect(200)["phase"], "cancelled");
}

#[tokio::test]
async fn an_application_is_listed_drained_and_resumed() {
    let house = House::new().await;
    let none = house.client.get("/v1/backends").await.expect(200);
    assert_eq!(none["backends"].as_array().unwrap().len(), 0);
    let (apps, listening) = relaying(&house).await;
    let lastword::vocabulary::ListenAddress::Tcp(address) = *listening.address() else { panic!() };
    let (mut client, mut app) =
        tokio::join!(RawPeer::connect(address, "/"), RawPeer::accept(&apps[0]));

    let listed = house.client.get("/v1/backends").await.expect(200);
    let first = &listed["backends"][0];
    let url = format!("ws://{}/x?token=***", apps[0].local_addr().unwrap());
    assert_eq!((&first["route"], &first["number"]), (&"apps".into(), &0.into()));
    assert_eq!((&first["url"], &first["state"]), (&(&*url).into(), &"serving".into()));
    assert_eq!((&first["connections"], &first["chosen"]), (&1.into(), &1.into()));
    assert_eq!(listed["backends"][1]["connections"], 0);
    let query = url.replace('?', "%3F").replace('=', "%3D").replace('*', "%2A");
    let clients = house.client.get(&format!("/v1/connections?upstream={query}")).await.expect(200);
    assert_eq!(clients["connections"].as_array().unwrap().len(), 1, "{clients}");
    assert_eq!(clients["connections"][0]["direction"], "inbound");

    let target = "/v1/backends/apps/0/drain";
    let drain = house.client.post(target, r#"{"within":"9s","code":1001}"#).await.expect(202);
    assert_eq!((&drain["total"], &drain["select"]["upstream"]), (&1.into(), &(&*url).into()));
    assert_eq!((&drain["select"]["route"], &drain["within_ms"]), (&"apps".into(), &9000.into()));
    assert_eq!(client.expect_close(SOON).await.0, Some(1001));
    let listed = house.client.get("/v1/backends").await.expect(200);
    assert_eq!(listed["backends"][0]["state"], "draining");
    assert_eq!(listed["backends"][1]["state"], "serving");
    house.client.post("/v1/backends/apps/1/drain", "{}").await.refused(409, "drain_under_way");

    let resumed = house.client.delete(target).await.expect(200);
    assert_eq!((&resumed["state"], &resumed["number"]), (&"serving".into(), &0.into()));
    let drain = house.client.get("/v1/drain").await.expect(200);
    assert_eq!(drain["phase"], "cancelled", "its drain is called off with it");
    client.close(1001, "").await;
    assert_eq!(app.expect_close(SOON).await.0, Some(1001));
}

#[tokio::test]
async fn what_names_no_application_is_refused() {
    let house = House::new().await;
    let (_apps, _listening) = relaying(&house).await;
    for target in ["/v1/backends/chat/0/drain", "/v1/backends/apps/2/drain"] {
        house.client.post(target, "{}").await.refused(404, "not_found");
        house.client.delete(target).await.refused(404, "not_found");
    }
    for number in ["x", "-1", "99999999999999999999"] {
        let target = format!("/v1/backends/apps/{number}/drain");
        house.client.post(&target, "{}").await.refused(404, "not_found");
    }
    let of_others = r#"{"select":{"route":"echo"}}"#;
    let target = "/v1/backends/apps/0/drain";
    house.client.post(target, of_others).await.refused(400, "invalid_request");
    house.client.post(target, r#"{"within":"soon"}"#).await.refused(400, "invalid_request");
    let listed = house.client.get("/v1/backends").await.expect(200);
    assert_eq!(listed["backends"][0]["state"], "serving", "nothing has changed");
}
