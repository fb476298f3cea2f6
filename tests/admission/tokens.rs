//! A token lets a client in from each place, and stands nowhere afterwards.

use jsonwebtoken::Algorithm;
use serde_json::{Value, json};

use super::stage::{Issuer, KeyFolder, PROGRAM, call};
use crate::support::SOON;
use crate::support::daemon::Daemon;
use crate::support::http::{exchange, upgrade_request};
use crate::support::raw_peer::RawPeer;

#[tokio::test]
async fn a_token_lets_in_from_each_place_and_stands_nowhere_afterwards() {
    let keys = KeyFolder::new();
    let auth = ", from = ['header', 'cookie:session', 'query:token', 'subprotocol'], \
                tags = { room = 'room' }";
    let route = keys.route(auth).replace("name = 'a'", "name = 'a', subprotocols = ['v1']");
    // Whatever is recorded of a query: a token is not.
    let daemon = Daemon::start(PROGRAM, &[&route, "records.query=keep"]).await;
    let token = keys.issuer.token(json!({ "room": 7 }));
    for (target, header) in [
        ("/", format!("Authorization: Bearer {token}\r\n")),
        ("/", format!("Cookie: a=b; session={token}\r\n")),
        (&*format!("/?a=b&token={token}"), String::new()),
        ("/", format!("Sec-WebSocket-Protocol: bearer.{token}, v1\r\n")),
        ("/", format!("Sec-WebSocket-Protocol: bearer.{token}\r\n")),
    ] {
        let mut peer = RawPeer::connect_with(daemon.listener(), target, &header, &[]).await;
        let agreed = peer.head.header("sec-websocket-protocol").map(str::to_owned);
        assert_eq!(agreed.as_deref(), header.contains(", v1").then_some("v1"));
        peer.text("hello").await;
        peer.expect_text("hello").await;
        let (_, open) = call(&daemon, "GET", "/v1/connections", "").await;
        let open = &open["connections"][0];
        assert_eq!((&open["subject"], &open["tags"]["room"]), (&json!("ann"), &json!("7")));
        assert!(open["expires_at"].is_string(), "{open}");
        peer.close(1000, "bye").await;
        peer.expect_close(SOON).await;
        drop(peer);
        daemon.await_ending(|ending| ending["id"] == open["id"], SOON).await;
    }
    let (_, endings) = call(&daemon, "GET", "/v1/endings", "").await;
    let paths: Vec<&Value> =
        endings["endings"].as_array().unwrap().iter().map(|ending| &ending["path"]).collect();
    assert!(paths.contains(&&json!("/?a=b&token=***")), "{paths:?}");
    let said = [endings.to_string(), daemon.log().join("\n")].concat();
    assert!(!said.contains(&token) && !said.contains(token.rsplit('.').next().unwrap()), "{said}");
}

#[tokio::test]
async fn a_shared_secret_works_in_the_built_program_and_a_warning_names_its_file() {
    let keys = KeyFolder::new();
    let secret = "0123456789abcdef0123456789abcdef";
    let file = keys.write("secret", &format!("{secret}\n"));
    let auth = format!("{{ kind = 'jwt', secret = {{ file = '{}' }} }}", file.display());
    let world_readable = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    std::fs::set_permissions(&file, world_readable).unwrap();
    let daemon = Daemon::start(PROGRAM, &[&super::stage::route(&auth, "")]).await;
    let warns = |line: &str| line.contains("world-readable") && line.contains("/secret");
    daemon.await_line(warns, SOON).await;
    let claims = json!({ "sub": "ann", "exp": super::stage::in_seconds(60) });
    let key = jsonwebtoken::EncodingKey::from_secret(secret.as_bytes());
    let token = jsonwebtoken::encode(&jsonwebtoken::Header::default(), &claims, &key).unwrap();
    let header = format!("Authorization: Bearer {token}\r\n");
    let mut peer = RawPeer::connect_with(daemon.listener(), "/", &header, &[]).await;
    peer.text("hello").await;
    peer.expect_text("hello").await;
}

#[tokio::test]
async fn keys_of_each_kind_check_tokens_in_the_built_program() {
    // The library of tokens panics at its first use where no provider of cryptography is chosen.
    let issuers = [Algorithm::RS256, Algorithm::ES256, Algorithm::EdDSA].map(Issuer::of);
    let keys = KeyFolder::new();
    let set: Vec<_> = issuers.iter().zip(["a", "b", "c"]).map(|(it, id)| it.jwk(id)).collect();
    let set = keys.write("jwks.json", &json!({ "keys": set }).to_string());
    let of_set = format!("{{ kind = 'jwt', jwks_file = '{}' }}", set.display());
    let of_set = Daemon::start(PROGRAM, &[&super::stage::route(&of_set, "")]).await;
    for (issuer, id) in issuers.iter().zip(["a", "b", "c"]) {
        let file = keys.write("key.pem", issuer.public_pem());
        let of_file = format!("{{ kind = 'jwt', key_file = '{}' }}", file.display());
        let of_file = Daemon::start(PROGRAM, &[&super::stage::route(&of_file, "")]).await;
        let token = issuer.token_of(Some(id), json!({}));
        let cut = &token[..token.len() - 8];
        for daemon in [&of_file, &of_set] {
            let bearer = |token: &str| format!("Authorization: Bearer {token}\r\n");
            let mut peer =
                RawPeer::connect_with(daemon.listener(), "/", &bearer(&token), &[]).await;
            peer.text("hello").await;
            peer.expect_text("hello").await;
            let request = upgrade_request("a", "/", &bearer(cut));
            assert_eq!(exchange(daemon.listener(), request, SOON).await.head.status(), 401);
        }
    }
}
