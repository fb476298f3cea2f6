//! Keys: files that cannot be used, files that change, and key sets that are fetched.

use std::time::Duration;

use serde_json::json;

use super::stage::{Issuer, KeyFolder, PROGRAM, Reply, Server, eventually, route};
use crate::support::SOON;
use crate::support::daemon::Daemon;
use crate::support::http::{exchange, upgrade_request};

/// How a request with a token is answered.
async fn status(daemon: &Daemon, token: &str) -> u16 {
    let header = format!("Authorization: Bearer {token}\r\n");
    let request = upgrade_request("a", "/", &header);
    let mut peer = tokio::net::TcpStream::connect(daemon.listener()).await.unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut peer, request.as_bytes()).await.unwrap();
    let mut answer = vec![0; 4096];
    let read = tokio::io::AsyncReadExt::read(&mut peer, &mut answer).await.unwrap();
    let answer = String::from_utf8_lossy(&answer[..read]).into_owned();
    answer.split(' ').nth(1).unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_key_file_that_cannot_be_used_is_refused_at_the_start_and_by_check() {
    let keys = KeyFolder::new();
    let short = keys.write("short", "hunter2");
    let public = keys.path("public.pem").display().to_string();
    for (auth, sentence) in [
        ("key_file = '/nonexistent/key.pem'".to_owned(), "/nonexistent/key.pem cannot be read"),
        (format!("key_file = '{}'", short.display()), "it is no public key in PEM"),
        (format!("jwks_file = '{public}'"), "it is no JSON Web Key Set"),
        (format!("secret = {{ file = '{}' }}", short.display()), "it is shorter than 32 bytes"),
        (format!("secret = {{ file = '{public}' }}"), "with which anybody could sign"),
        (format!("key_file = '{public}', algorithms = ['RS256']"), "does not fit the algorithms"),
    ] {
        let setting = route(&format!("{{ kind = 'jwt', {auth} }}"), "");
        for command in ["serve", "check"] {
            let refusal = Daemon::refused(PROGRAM, &[command, "--set", &setting]).await;
            assert_eq!(refusal.code, Some(2), "{command} {auth}: {}", refusal.stderr);
            assert!(refusal.stderr.contains(sentence), "{command} {auth}: {}", refusal.stderr);
            assert!(!refusal.stderr.contains("hunter2"), "{}", refusal.stderr);
        }
    }
}

#[tokio::test]
async fn a_key_file_is_followed() {
    let keys = KeyFolder::new();
    let daemon = Daemon::start(PROGRAM, &[&keys.route("")]).await;
    let old = keys.issuer.token(json!({}));
    assert_eq!(status(&daemon, &old).await, 101);
    let new = Issuer::new();
    keys.write("public.pem", new.public_pem());
    let new = new.token(json!({}));
    let began = std::time::Instant::now();
    while status(&daemon, &new).await != 101 {
        assert!(began.elapsed() < Duration::from_secs(30));
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert_eq!(status(&daemon, &old).await, 401);
}

#[tokio::test]
async fn a_key_set_is_fetched_once_and_survives_its_server() {
    let issuer = Issuer::new();
    let server = Server::start(Reply::json(&issuer.jwks("k1"))).await;
    let auth = format!(
        "{{ kind = 'jwt', jwks_url = 'http://{}/jwks.json', jwks_timeout = '1s' }}",
        server.address
    );
    let daemon = Daemon::start(PROGRAM, &[&route(&auth, "")]).await;
    eventually("a fetch at the start", || server.requests().len() == 1).await;
    let good = issuer.token_of(Some("k1"), json!({}));
    assert_eq!(status(&daemon, &good).await, 101);
    server.set(Reply::Silence);
    for n in 0..50 {
        let kid = format!("../../unknown/{n}");
        let token = issuer.token_of(Some(&kid), json!({}));
        assert_eq!(status(&daemon, &token).await, 401);
    }
    assert_eq!(status(&daemon, &good).await, 101);
    assert_eq!(server.requests().len(), 1, "unknown ids cause no fetch so soon");
}

#[tokio::test]
async fn without_keys_no_client_gets_in_until_they_come() {
    let issuer = Issuer::new();
    let server = Server::start(Reply::status(500, "")).await;
    let auth = format!("{{ kind = 'jwt', jwks_url = 'http://{}/jwks.json' }}", server.address);
    let daemon = Daemon::start(PROGRAM, &[&route(&auth, "")]).await;
    let token = issuer.token_of(Some("k1"), json!({}));
    let header = format!("Authorization: Bearer {token}\r\n");
    let answer = exchange(daemon.listener(), upgrade_request("a", "/", &header), SOON).await;
    assert_eq!(answer.head.status(), 503);
    server.set(Reply::json(&issuer.jwks("k1")));
    let began = std::time::Instant::now();
    while status(&daemon, &token).await != 101 {
        assert!(began.elapsed() < Duration::from_secs(10));
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
