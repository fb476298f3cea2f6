//! Revocations over the API: made, listed, deleted, refused.

use lastword::vocabulary::{Cause, Role};
use lastword::{Adopt, Backend, ConnectionHandle};
use serde_json::{Value, json};

use super::stage::{House, MAX_REVOCATIONS, settings};

impl House {
    /// A connection of this subject, and its peer.
    async fn of(&self, subject: &str) -> (ConnectionHandle, impl Sized) {
        let (peer, transport) = tokio::io::duplex(1024);
        let mut adopt = Adopt { settings: settings(), ..Adopt::new(Role::Server, transport) };
        adopt.origin.subject = Some(subject.to_owned());
        (self.supervisor.adopt(adopt, Backend::none()).await.unwrap(), peer)
    }

    async fn revoke(&self, body: Value) -> Value {
        self.client.post("/v1/revocations", &body.to_string()).await.expect(201)
    }

    async fn numbers(&self, query: &str) -> Vec<u64> {
        let page = self.client.get(&format!("/v1/revocations{query}")).await.expect(200);
        let revocations = page["revocations"].as_array().unwrap();
        revocations.iter().map(|revocation| revocation["number"].as_u64().unwrap()).collect()
    }
}

#[tokio::test]
async fn a_revocation_is_made_shown_and_deleted() {
    let house = House::new().await;
    let (ann, _peer) = house.of("ann").await;
    let (bob, _other) = house.of("bob").await;
    let body = r#"{"subject":"ann","expires_at":"2100-01-01T00:00:00Z"}"#;
    let made = house.client.post("/v1/revocations", body).await;
    assert_eq!(made.header("location"), Some("/v1/revocations/1"));
    let mut made = made.expect(201);
    assert!(made["created_at"].as_str().unwrap().ends_with('Z'));
    let shown = json!({
        "number": 1, "subject": "ann", "issued_before": null, "jti": null,
        "created_at": made["created_at"], "expires_at": "2100-01-01T00:00:00.000Z",
        "by": "api:local", "closed": 1,
    });
    assert_eq!(made, shown);
    let ending = ann.ended().await;
    assert_eq!(ending.outcome.cause, Cause::Revoked);
    assert_eq!(ending.outcome.by.as_ref().unwrap().to_string(), "api:local");
    assert_eq!(bob.state().as_str(), "open");

    made["closed"] = Value::Null;
    let page = house.client.get("/v1/revocations").await.expect(200);
    assert_eq!(page, json!({"revocations": [made], "next": null}));
    assert_eq!(house.client.get("/v1/revocations/1").await.expect(200), made);
    assert_eq!(house.client.delete("/v1/revocations/1").await.expect(200), made);
    house.client.delete("/v1/revocations/1").await.refused(404, "not_found");
    house.client.get("/v1/revocations/1").await.refused(404, "not_found");
    assert!(house.numbers("").await.is_empty());
}

#[tokio::test]
async fn only_what_was_granted_before_is_closed() {
    let house = House::new().await;
    let (ann, _peer) = house.of("ann").await;
    let before = house.revoke(json!({"subject": "ann", "issued_before": "1h"})).await;
    assert_eq!((&before["closed"], ann.state().as_str()), (&json!(0), "open"));
    let after = house.revoke(json!({"subject": "ann", "issued_before": "2100-01-01T00:00:00Z"}));
    assert_eq!(after.await["closed"], 1);
    ann.ended().await;
}

#[tokio::test]
async fn revocations_are_listed_in_pages_the_newest_first() {
    let house = House::new().await;
    for n in 0..5 {
        house.revoke(json!({"jti": format!("t{n}")})).await;
    }
    house.revoke(json!({"subject": "t1"})).await;
    assert_eq!(house.numbers("").await, [6, 5, 4, 3, 2, 1]);
    assert_eq!(house.numbers("?jti=t1").await, [2]);
    assert_eq!(house.numbers("?subject=t1").await, [6]);
    assert!(house.numbers("?subject=t2").await.is_empty());
    let page = house.client.get("/v1/revocations?limit=4").await.expect(200);
    assert_eq!(page["next"], "3");
    assert_eq!(house.numbers("?limit=4&cursor=3").await, [2, 1]);
    house.client.get("/v1/revocations?limit=0").await.refused(400, "invalid_request");
    house.client.get("/v1/revocations?cursor=x").await.refused(400, "invalid_request");
    house.client.get("/v1/revocations?who=x").await.refused(400, "invalid_request");
}

#[tokio::test]
async fn what_means_nothing_is_refused() {
    let house = House::new().await;
    let long = format!(r#"{{"subject":"{}"}}"#, "x".repeat(257));
    for body in [
        "",
        "{}",
        r#"{"subject":"ann","jti":"t1"}"#,
        r#"{"jti":"t1","issued_before":"1h"}"#,
        r#"{"subject":""}"#,
        r#"{"subject":"a\nb"}"#,
        r#"{"subject":7}"#,
        r#"{"subject":"ann","expires_at":"2001-01-01T00:00:00Z"}"#,
        r#"{"subject":"ann","expires_at":"1h"}"#,
        r#"{"subject":"ann","until":"2100-01-01T00:00:00Z"}"#,
        &long,
    ] {
        house.client.post("/v1/revocations", body).await.refused(400, "invalid_request");
    }
    house.client.delete("/v1/revocations/seven").await.refused(400, "invalid_request");
    assert!(house.numbers("").await.is_empty());
}

#[tokio::test]
async fn beyond_the_limit_none_is_made() {
    let house = House::new().await;
    house.revoke(json!({"subject": "ann"})).await;
    for n in 1..MAX_REVOCATIONS {
        house.revoke(json!({"jti": format!("t{n}")})).await;
    }
    let answer = house.client.post("/v1/revocations", r#"{"subject":"bob"}"#).await;
    let problem = answer.refused(429, "too_many_revocations");
    assert!(problem["detail"].as_str().unwrap().contains("control.max_revocations"), "{problem}");
    house.client.delete("/v1/revocations/1").await.expect(200);
    house.revoke(json!({"subject": "bob"})).await;
}
