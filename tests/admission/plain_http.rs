//! Plain HTTP of a relay route needs what its WebSockets need.

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::stage::{KeyFolder, PROGRAM, Reply, Server, route};
use crate::support::SOON;
use crate::support::daemon::Daemon;
use crate::support::http::{Answer, exchange};

/// An application that answers `page` to everything.
async fn application() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let mut request = vec![0; 4096];
                while socket.read(&mut request).await.is_ok_and(|read| read > 0) {
                    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\npage";
                    socket.write_all(answer.as_bytes()).await.unwrap();
                }
            });
        }
    });
    url
}

async fn get(daemon: &Daemon, method: &str, headers: &str) -> Answer {
    let request =
        format!("{method} /page HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{headers}\r\n");
    exchange(daemon.listener(), request, SOON).await
}

fn proxied(route: &str, url: &str) -> String {
    route.replace("kind = 'echo'", &format!("kind = 'relay', url = '{url}', http = 'proxy'"))
}

#[tokio::test]
async fn a_page_needs_a_token_as_a_websocket_does() {
    let keys = KeyFolder::new();
    let setting = proxied(&keys.route(", from = ['header', 'subprotocol']"), &application().await);
    let daemon = Daemon::start(PROGRAM, &[&setting, "log.filter='debug'"]).await;
    let refused = get(&daemon, "GET", "").await;
    assert_eq!(refused.head.status(), 401);
    assert!(refused.head.header("www-authenticate").unwrap().starts_with("Bearer"));
    assert!(refused.body.contains("there is no token"), "{}", refused.body);
    let expired = keys.issuer.token(json!({ "exp": 1 }));
    let refused = get(&daemon, "POST", &format!("Authorization: Bearer {expired}\r\n")).await;
    assert_eq!(refused.head.status(), 401);
    daemon.await_line(|line| line.contains("was refused: the token has expired"), SOON).await;
    assert!(!daemon.log().join("\n").contains(&expired));
    let token = keys.issuer.token(json!({}));
    let page = get(&daemon, "GET", &format!("Authorization: Bearer {token}\r\n")).await;
    assert_eq!((page.head.status(), page.body.as_str()), (200, "page"));
    let exposed = daemon.metrics().await;
    assert!(
        exposed.contains("lastword_http_requests_total{outcome=\"unauthorized\"} 2"),
        "{exposed}"
    );
    assert!(daemon.endings().is_empty(), "plain HTTP is not recorded");
}

#[tokio::test]
async fn an_endpoint_is_asked_about_each_page() {
    let endpoint = Server::start(Reply::status(200, "")).await;
    let auth = format!("{{ kind = 'http', url = 'http://{}/auth' }}", endpoint.address);
    let setting = proxied(&route(&auth, ""), &application().await);
    let daemon = Daemon::start(PROGRAM, &[&setting, "log.filter='debug'"]).await;
    assert_eq!(get(&daemon, "POST", "").await.body, "page");
    assert!(endpoint.requests()[0].to_lowercase().contains("x-original-method: post"));
    endpoint.set(Reply::status(500, ""));
    let refused = get(&daemon, "GET", "").await;
    assert_eq!(refused.head.status(), 503);
    assert!(refused.head.header("retry-after").is_some());
    assert!(!refused.body.contains("500"), "{}", refused.body);
    let says_why = |line: &str| line.contains("was refused: auth.url answered 500");
    let line = daemon.await_line(says_why, SOON).await;
    assert!(line.contains("127.0.0.1:"), "{line}");
}
