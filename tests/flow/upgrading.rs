//! Connections that another HTTP server has accepted.

use lastword::vocabulary::{Kind, TransportEnd};
use lastword::{Incoming, Upgrade};
use tokio::net::TcpListener;

use super::stage::{soon, supervisor};
use crate::support::SOON;
use crate::support::http::{exchange, upgrade_request};
use crate::support::raw_peer::{End, RawPeer};

#[path = "../../examples/axum_upgrade.rs"]
#[allow(dead_code)]
mod axum_upgrade;

#[tokio::test]
async fn an_axum_application_hands_its_websockets_over() {
    let supervisor = supervisor().await;
    let mut endings = supervisor.endings();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let service = axum_upgrade::app(supervisor.clone())
        .into_make_service_with_connect_info::<axum_upgrade::Client>();
    tokio::spawn(async move { axum::serve(listener, service).await });

    // Our own client checks the key of the answer.
    let url = format!("ws://{address}/chat?room=7&token=x");
    let (connection, mut messages) =
        soon("the dial", supervisor.dial(&url).receive()).await.unwrap();
    connection.send("hello").await.unwrap();
    assert_eq!(messages.receive().await.unwrap(), Incoming::Message("hello".into()));
    let port = connection.origin().local_addr.clone();
    assert!(connection.close(1000, "bye").unwrap().await.is_clean());
    let ending = loop {
        let ending = soon("the ending", endings.next()).await.unwrap().unwrap();
        if ending.origin.upstream.is_none() {
            break ending;
        }
    };
    assert!(ending.is_clean(), "{ending}");
    let origin = &ending.origin;
    assert_eq!(origin.path.as_deref(), Some("/chat?room=***&token=***"));
    assert_eq!(origin.host.as_deref(), Some(address.to_string().as_str()));
    assert_eq!((origin.peer.clone(), origin.tags["app"].as_str()), (port, "chat"));
    assert_eq!(origin.local_addr.as_deref(), Some(address.to_string().as_str()));
    assert!(ending.tcp.is_some());

    // An abort resets TCP: the socket itself is known.
    let mut peer = RawPeer::connect(address, "/chat").await;
    peer.text("there").await;
    peer.expect_text("there").await;
    supervisor.connections()[0].abort();
    assert_eq!(peer.expect_end(SOON).await, End::Reset);
    let ending = soon("the ending", endings.next()).await.unwrap().unwrap();
    assert_eq!(ending.outcome.kind, Kind::Aborted);
    assert_eq!(ending.outcome.transport_end, Some(TransportEnd::Local));

    let old = upgrade_request(&address.to_string(), "/chat", "Connection: close\r\n")
        .replace(": 13", ": 8");
    let answer = exchange(address, old, SOON).await;
    assert_eq!(answer.head.status(), 426);
    assert_eq!(answer.head.header("sec-websocket-version"), Some("13"));
}

#[test]
fn an_upgrade_is_answered_with_its_key_and_a_subprotocol_that_was_offered() {
    let request = http::Request::get("/chat")
        .header("host", "example.org")
        .header("connection", "keep-alive, Upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
        .header("sec-websocket-protocol", "v2.chat, v1.chat");
    let request = request.body(()).unwrap();
    let upgrade = Upgrade::of(&request).unwrap().subprotocol(&["v3.chat", "v1.chat"]);
    assert_eq!(upgrade.agreed_subprotocol(), Some("v1.chat"));
    let response: http::Response<String> = upgrade.response();
    assert_eq!(response.status(), 101);
    let headers = response.headers();
    assert_eq!(headers["sec-websocket-accept"], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    assert_eq!(headers["sec-websocket-protocol"], "v1.chat");
    assert_eq!(
        (&headers["upgrade"], &headers["connection"]),
        (&"websocket".parse().unwrap(), &"Upgrade".parse().unwrap())
    );

    let post = http::Request::post("/chat").body(()).unwrap();
    let refused = Upgrade::of(&post).unwrap_err().response::<String>();
    assert_eq!(
        (refused.status().as_u16(), &refused.headers()["allow"]),
        (405, &"GET".parse().unwrap())
    );
    assert!(refused.body().contains("open a WebSocket with GET"), "{}", refused.body());
}
