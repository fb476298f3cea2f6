//! The matrix of refusals: each has its status, its header, its word, its metric and one sentence, and
//! repeats no secret.

use serde_json::{Value, json};

use super::stage::{Issuer, KeyFolder, PLANTED, PROGRAM, Reply, Server, call, in_seconds};
use crate::support::SOON;
use crate::support::daemon::Daemon;
use crate::support::http::{exchange, upgrade_request};

/// A refusal: its path and header lines, and what is said of it.
struct Row {
    what: &'static str,
    target: String,
    headers: String,
    status: u16,
    failure: &'static str,
    challenge: Option<&'static str>,
    detail: &'static str,
}

fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}\r\n")
}

/// A row about a token of the route with a key file.
fn token(what: &'static str, token: &str, detail: &'static str) -> Row {
    Row {
        what,
        target: "/jwt".to_owned(),
        headers: bearer(token),
        status: 401,
        failure: "unauthorized",
        challenge: Some("error=\"invalid_token\""),
        detail,
    }
}

/// A row about a route whose endpoint answers in a certain way.
fn asked(what: &'static str, path: &str, status: u16, detail: &'static str) -> Row {
    let is_decided = status != 503;
    Row {
        what,
        target: path.to_owned(),
        headers: bearer(PLANTED),
        status,
        failure: if is_decided { "unauthorized" } else { "auth_unavailable" },
        challenge: None,
        detail,
    }
}

fn rows(issuer: &Issuer) -> Vec<Row> {
    let good = issuer.token(json!({}));
    let forged = Issuer::new().token(json!({}));
    let unsigned = format!("{}.", good.rsplit_once('.').unwrap().0);
    let none = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJodW50ZXIyIn0.";
    let hs = {
        let key = jsonwebtoken::EncodingKey::from_secret(issuer.public_pem().as_bytes());
        let claims = json!({ "sub": PLANTED, "exp": in_seconds(60) });
        jsonwebtoken::encode(&jsonwebtoken::Header::default(), &claims, &key).unwrap()
    };
    let of = |claims: Value| issuer.token(claims);
    let huge = of(json!({ "big": "x".repeat(8000) }));
    let missing = Row {
        headers: String::new(),
        challenge: None,
        ..token("missing", "", "there is no token")
    };
    let twice = Row {
        headers: [bearer(&good), bearer(&good)].concat(),
        challenge: Some("error=\"invalid_request\""),
        ..token("twice", "", "there are several tokens in one place (header)")
    };
    let unfetched = Row {
        target: "/jwks".to_owned(),
        status: 503,
        failure: "auth_unavailable",
        challenge: None,
        ..token(
            "keys not fetched",
            &good,
            "the keys of jwks_url are not known: the server answered 500",
        )
    };
    vec![
        missing,
        twice,
        token("nonsense", PLANTED, "no signed JWT"),
        token("alg none", none, "no signed JWT"),
        token("signed by another", &forged, "the signature of the token is wrong"),
        token("no signature", &unsigned, "the signature of the token is wrong"),
        token("public key as secret", &hs, "signed with HS256, which the route does not allow"),
        token("expired", &of(json!({ "exp": in_seconds(-60) })), "has expired (exp)"),
        token("too early", &of(json!({ "nbf": in_seconds(60) })), "not valid yet (nbf)"),
        token("never expires", &of(json!({ "exp": null })), "no valid exp"),
        token("other audience", &of(json!({ "aud": PLANTED })), "another audience (aud)"),
        token("bad subject", &of(json!({ "sub": "hunter2\n" })), "cannot be a subject"),
        token("huge", &huge, "longer than 8192 bytes"),
        unfetched,
        Row {
            challenge: Some("Basic realm=\"theirs\""),
            ..asked("endpoint says 401", "/401", 401, "auth.url answered 401")
        },
        asked("endpoint says 403", "/403", 403, "auth.url answered 403"),
        asked("endpoint redirects", "/302", 503, "auth.url answered 302"),
        asked("endpoint fails", "/500", 503, "auth.url answered 500"),
        asked("endpoint lies", "/lie", 503, "its body is no JSON"),
        asked("endpoint talks too much", "/long", 503, "is longer than 16384 bytes"),
        asked("endpoint is silent", "/silent", 503, "no whole answer came within 200ms"),
        asked("endpoint is down", "/down", 503, "auth.url was asked"),
    ]
}

#[tokio::test]
async fn each_refusal_has_its_status_word_metric_and_sentence_and_repeats_no_secret() {
    let keys = KeyFolder::new();
    let failing = Server::start(Reply::status(500, "")).await;
    let mut routes = vec![
        format!(
            "{{ name = 'jwt', path = '/jwt', backend = {{ kind = 'echo' }}, auth = {{ kind = 'jwt', \
             key_file = '{}' }} }}",
            keys.path("public.pem").display()
        ),
        format!(
            "{{ name = 'jwks', path = '/jwks', backend = {{ kind = 'echo' }}, auth = {{ kind = 'jwt', \
             jwks_url = 'http://{}/' }} }}",
            failing.address
        ),
    ];
    let long = "x".repeat(20_000);
    let replies = [
        ("401", Reply::status(401, "WWW-Authenticate: Basic realm=\"theirs\"\r\n")),
        ("403", Reply::status(403, "")),
        ("302", Reply::status(302, &format!("Location: http://a/?{PLANTED}\r\n"))),
        ("500", Reply::status(500, "")),
        ("lie", Reply::json("<html>")),
        ("long", Reply::json(&long)),
        ("silent", Reply::Silence),
    ];
    let mut servers = Vec::new();
    let mut addresses = vec![("down", "127.0.0.1:1".parse().unwrap())];
    for (name, reply) in replies {
        let server = Server::start(reply).await;
        addresses.push((name, server.address));
        servers.push(server);
    }
    for (name, address) in addresses {
        routes.push(format!(
            "{{ name = 'r{name}', path = '/{name}', backend = {{ kind = 'echo' }}, auth = {{ kind = \
             'http', url = 'http://{address}/ask', timeout = '200ms' }} }}"
        ));
    }
    let daemon = Daemon::start(PROGRAM, &[&format!("routes=[{}]", routes.join(", "))]).await;
    let mut said = String::new();
    let rows = rows(&keys.issuer);
    for (n, row) in rows.iter().enumerate() {
        let what = row.what;
        let request = upgrade_request("a", &row.target, &row.headers);
        let answer = exchange(daemon.listener(), request, SOON).await;
        assert_eq!(answer.head.status(), row.status, "{what}: {answer:?}");
        let challenge = answer.head.header("www-authenticate");
        match row.challenge {
            Some(expected) => {
                assert!(challenge.unwrap().contains(expected), "{what}: {challenge:?}")
            }
            None if row.status == 401 => {
                assert!(challenge.unwrap().starts_with("Bearer"), "{what}")
            }
            None => assert_eq!(challenge, None, "{what}"),
        }
        assert_eq!(answer.head.header("retry-after").is_some(), row.status == 503, "{what}");
        // One line for the client.
        assert_eq!(answer.body.trim_end().lines().count(), 1, "{what}: {}", answer.body);
        let ending = daemon.await_endings(n + 1, |_| true, SOON).await.remove(n);
        assert_eq!(ending["open_failure"], row.failure, "{what}: {ending}");
        let detail = ending["detail"].as_str().unwrap();
        assert!(detail.contains(row.detail), "{what}: {detail}");
        let retry = if row.status == 503 { "backoff" } else { "reauthenticate" };
        assert_eq!(ending["retry"], retry, "{what}");
        let fault = if row.status == 503 { "backend" } else { "peer" };
        assert_eq!(ending["fault"], fault, "{what}");
        said.push_str(&format!("{answer:?}{ending}"));
    }
    for failure in ["unauthorized", "auth_unavailable"] {
        let expected = rows.iter().filter(|row| row.failure == failure).count();
        assert_eq!(daemon.count_refused(failure).await, expected as u64, "{failure}");
    }
    let exposed = daemon.metrics().await;
    let (_, endings) = call(&daemon, "GET", "/v1/endings?limit=1000", "").await;
    said.push_str(&format!("{endings}{exposed}{}", daemon.log().join("\n")));
    assert!(!said.contains(PLANTED), "{said}");
    for row in &rows {
        let token = row.headers.split("Bearer ").nth(1).map_or("", |token| token.trim_end());
        let signature = token.rsplit('.').next().unwrap();
        assert!(signature.len() < 8 || !said.contains(signature), "{}", row.what);
    }
}
