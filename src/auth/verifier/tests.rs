use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::auth::testing::{self, Issuer, hs256};
use crate::settings::{Algorithm as Listed, JwtKeys};

const NOW: u64 = 1_800_000_000;

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

fn verifier(change: impl FnOnce(&mut JwtAuth)) -> Verifier {
    let mut settings = JwtAuth::new(JwtKeys::KeyFile("public.pem".into()));
    change(&mut settings);
    Verifier::new(&settings)
}

impl Verifier {
    /// Reads and checks a token.
    fn check(&self, token: &str, keys: &KeySet, now: SystemTime) -> Result<Verified, Rejected> {
        self.verify(&self.read(token)?, keys, now)
    }
}

fn keys(issuer: &Issuer) -> KeySet {
    KeySet::from_pem(issuer.public_pem().as_bytes()).unwrap()
}

/// Checks a token of `claims`, with those that every token has.
fn checked(verifier: &Verifier, claims: Value) -> Result<Verified, Rejected> {
    let issuer = Issuer::ed25519();
    let mut all = json!({ "sub": "ann", "exp": NOW + 60 });
    all.as_object_mut().unwrap().extend(claims.as_object().unwrap().clone());
    verifier.check(&issuer.token(&all), &keys(&issuer), at(NOW))
}

fn token_with_header(header: &Value, claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}.", part(header), part(claims))
}

#[test]
fn a_good_token_says_who_and_until_when() {
    let verifier = verifier(|jwt| {
        jwt.tags =
            [("room".to_owned(), "room".to_owned()), ("n".to_owned(), "n".to_owned())].into();
    });
    for issuer in [Issuer::rsa(), Issuer::p256(), Issuer::ed25519()] {
        let claims = json!({
            "sub": "ann", "exp": NOW + 60, "iat": NOW - 5, "jti": "t1", "room": "7", "n": 5,
        });
        let verified = verifier.check(&issuer.token(&claims), &keys(&issuer), at(NOW)).unwrap();
        assert_eq!(verified.subject.as_deref(), Some("ann"));
        let tags: Vec<_> = verified.tags.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        assert_eq!(tags, [("n", "5"), ("room", "7")]);
        let leeway = 5;
        assert_eq!(verified.grant.expires_at, Some(at(NOW + 60 + leeway)));
        assert_eq!(verified.grant.issued_at, Some(at(NOW - 5)));
        assert_eq!(verified.grant.token_id.as_deref(), Some("t1"));
    }
    let secret = [7; 32];
    let verifier = Verifier::new(&JwtAuth {
        algorithms: vec![Listed::HS256],
        ..JwtAuth::new(JwtKeys::KeyFile("x".into()))
    });
    let token = hs256(&secret, &json!({ "exp": NOW + 60 }));
    let verified = verifier.check(&token, &KeySet::from_secret(&secret).unwrap(), at(NOW)).unwrap();
    assert_eq!((verified.subject, verified.tags.len()), (None, 0));
}

#[test]
fn a_token_without_a_signature_is_none() {
    let (verifier, keys) = (verifier(|_| ()), keys(&Issuer::p256()));
    let claims = json!({ "sub": "ann", "exp": NOW + 60 });
    for algorithm in ["none", "None", "NONE", "nOnE", "", "HS257"] {
        let token = token_with_header(&json!({ "alg": algorithm }), &claims);
        assert_eq!(verifier.check(&token, &keys, at(NOW)), Err(Rejected::Malformed), "{algorithm}");
    }
    // The signature is left out of a token that names a good algorithm.
    let token = token_with_header(&json!({ "alg": "ES256" }), &claims);
    assert_eq!(verifier.check(&token, &keys, at(NOW)), Err(Rejected::Signature));
}

#[test]
fn a_public_key_is_no_secret() {
    let issuer = Issuer::rsa();
    let claims = json!({ "sub": "ann", "exp": NOW + 60 });
    let forged = hs256(issuer.public_pem().as_bytes(), &claims);
    let keys = keys(&issuer);
    let listed: [&[Listed]; 3] = [&[], &[Listed::RS256], &[Listed::RS256, Listed::PS256]];
    for algorithms in listed {
        let verifier = verifier(|jwt| jwt.algorithms = algorithms.to_vec());
        let rejected = verifier.check(&forged, &keys, at(NOW));
        assert_eq!(rejected, Err(Rejected::Algorithm(Algorithm::HS256)));
    }
    // Though validation refuses it: the kind of the key holds all the same.
    let confused = verifier(|jwt| jwt.algorithms = vec![Listed::HS256, Listed::RS256]);
    assert_eq!(confused.check(&forged, &keys, at(NOW)), Err(Rejected::UnknownKey));
}

#[test]
fn another_key_and_a_changed_token_have_a_wrong_signature() {
    let issuer = Issuer::p256();
    let token = issuer.token(&json!({ "sub": "ann", "exp": NOW + 60 }));
    let verifier = verifier(|_| ());
    let other = verifier.check(&token, &keys(&Issuer::p256()), at(NOW));
    assert_eq!(other, Err(Rejected::Signature));
    let mut parts: Vec<&str> = token.split('.').collect();
    let eve = URL_SAFE_NO_PAD.encode(json!({ "sub": "eve", "exp": NOW + 60 }).to_string());
    parts[1] = &eve;
    let changed = verifier.check(&parts.join("."), &keys(&issuer), at(NOW));
    assert_eq!(changed, Err(Rejected::Signature));
}

#[test]
fn a_kid_is_a_name_and_nothing_else() {
    let issuer = Issuer::p256();
    let set = testing::jwks(&[issuer.jwk(Some("good"))]);
    let set = KeySet::from_jwks(set.as_bytes()).unwrap();
    let verifier = verifier(|_| ());
    let claims = json!({ "sub": "ann", "exp": NOW + 60 });
    let verify = |id| verifier.check(&issuer.token_of(id, &claims), &set, at(NOW));
    assert!(verify(Some("good")).is_ok() && verify(None).is_ok());
    for id in ["/dev/null", "../../etc/passwd", "http://127.0.0.1/key", "good'; --", ""] {
        assert_eq!(verify(Some(id)), Err(Rejected::UnknownKey), "{id}");
        assert!(!verifier.read(&issuer.token_of(Some(id), &claims)).unwrap().has_key_in(&set));
    }
    assert!(verifier.read(&issuer.token_of(Some("good"), &claims)).unwrap().has_key_in(&set));
}

#[test]
fn what_is_no_token_is_refused_before_anything_is_computed() {
    let (verifier, keys) = (verifier(|_| ()), keys(&Issuer::p256()));
    let huge = "a".repeat(8 * 1024 + 1);
    for (token, rejected) in [
        ("", Rejected::Malformed),
        ("a.b", Rejected::Malformed),
        ("a.b.c", Rejected::Malformed),
        ("a.b.c.d.e", Rejected::Malformed),
        ("....", Rejected::Malformed),
        (&huge, Rejected::TooLong),
    ] {
        assert_eq!(verifier.check(token, &keys, at(NOW)), Err(rejected), "{token}");
    }
    let header = json!({ "alg": "ES256", "crit": ["b64"], "b64": false });
    let token = token_with_header(&header, &json!({ "exp": NOW + 60 }));
    assert_eq!(verifier.check(&token, &keys, at(NOW)), Err(Rejected::Critical));
}

#[test]
fn times_are_held_to_the_second_with_the_leeway() {
    let verifier = verifier(|_| ());
    assert!(checked(&verifier, json!({ "exp": NOW - 4 })).is_ok());
    assert_eq!(checked(&verifier, json!({ "exp": NOW - 5 })), Err(Rejected::Expired));
    assert_eq!(checked(&verifier, json!({ "exp": 0 })), Err(Rejected::Expired));
    assert!(checked(&verifier, json!({ "nbf": NOW + 5 })).is_ok());
    assert_eq!(checked(&verifier, json!({ "nbf": NOW + 6 })), Err(Rejected::NotYet));
    let fraction = checked(&verifier, json!({ "exp": NOW as f64 + 0.5 })).unwrap();
    let half = Duration::from_millis(500);
    assert_eq!(fraction.grant.expires_at, Some(at(NOW + 5) + half));
    for nonsense in [json!("tomorrow"), json!(-1), json!(1e300), json!(u64::MAX)] {
        for claim in ["exp", "nbf", "iat"] {
            let rejected = checked(&verifier, json!({ claim: nonsense }));
            assert_eq!(rejected, Err(Rejected::NoClaim(claim.to_owned())), "{nonsense}");
        }
    }
}

#[test]
fn a_token_that_never_expires_needs_permission() {
    let without = || json!({ "exp": null });
    let required = checked(&verifier(|_| ()), without());
    assert_eq!(required, Err(Rejected::NoClaim("exp".to_owned())));
    let verified = checked(&verifier(|jwt| jwt.require_exp = false), without()).unwrap();
    // Nor does it say when it was issued: it is older than any revocation.
    let issued_at = Some(SystemTime::UNIX_EPOCH);
    assert_eq!(verified.grant, Grant { issued_at, ..Grant::default() });
}

#[test]
fn issuer_and_audience_are_those_of_the_route() {
    let strict = verifier(|jwt| {
        jwt.issuer = vec!["https://a".to_owned(), "https://b".to_owned()];
        jwt.audience = vec!["chat".to_owned()];
    });
    let iss = |issuer: &str, audience: Value| json!({ "iss": issuer, "aud": audience });
    assert!(checked(&strict, iss("https://b", json!("chat"))).is_ok());
    assert!(checked(&strict, iss("https://a", json!(["x", "chat"]))).is_ok());
    assert_eq!(checked(&strict, iss("https://c", json!("chat"))), Err(Rejected::Issuer));
    assert_eq!(checked(&strict, iss("https://a", json!("x"))), Err(Rejected::Audience));
    let missing = |claim: &str| Err(Rejected::NoClaim(claim.to_owned()));
    assert_eq!(checked(&strict, json!({ "aud": "chat" })), missing("iss"));
    assert_eq!(checked(&strict, json!({ "iss": "https://a" })), missing("aud"));
    assert_eq!(checked(&strict, json!({ "iss": 7, "aud": "chat" })), missing("iss"));
    // RFC 7519 section 4.1.3: it is for somebody else.
    assert_eq!(checked(&verifier(|_| ()), json!({ "aud": "chat" })), Err(Rejected::Audience));
}

#[test]
fn a_claim_that_cannot_be_a_subject_or_tag_is_refused() {
    let by_user = verifier(|jwt| jwt.subject = "user_id".to_owned());
    assert_eq!(checked(&by_user, json!({ "user_id": 7 })).unwrap().subject.as_deref(), Some("7"));
    assert_eq!(checked(&by_user, json!({})).unwrap().subject, None);
    let long = "x".repeat(257);
    for bad in [json!(""), json!("a\nb"), json!(["ann"]), json!({}), json!(long)] {
        let rejected = checked(&by_user, json!({ "user_id": bad }));
        assert_eq!(rejected, Err(Rejected::Label("user_id".to_owned())), "{bad}");
    }
}

#[test]
fn no_reason_repeats_the_token() {
    let issuer = Issuer::p256();
    let planted = "hunter2";
    let claims = json!({ "sub": "ann\n", "exp": NOW + 60, "iss": planted, "aud": planted });
    let token = issuer.token_of(Some(planted), &claims);
    let (verifier, keys) = (verifier(|_| ()), keys(&issuer));
    for token in [token.as_str(), &format!("{planted}.{token}"), planted] {
        let rejected = verifier.check(token, &keys, at(NOW)).unwrap_err();
        assert!(
            !rejected.to_string().contains(planted) && !format!("{rejected:?}").contains(planted)
        );
    }
}

proptest! {
    #[test]
    fn no_token_and_no_key_set_makes_the_parsers_panic(
        token in "\\PC*",
        parts in prop::collection::vec("[A-Za-z0-9_-]{0,40}", 0..6),
        header in "\\PC{0,60}",
        claims in "\\PC{0,60}",
    ) {
        let (verifier, keys) = (verifier(|_| ()), KeySet::from_secret(&[7; 32]).unwrap());
        let made = [&header, &claims].map(|part| URL_SAFE_NO_PAD.encode(part)).join(".");
        for token in [token.clone(), parts.join("."), format!("{made}.AA")] {
            prop_assert!(verifier.check(&token, &keys, at(NOW)).is_err());
        }
        let _ = KeySet::from_jwks(token.as_bytes());
        let _ = KeySet::from_pem(token.as_bytes());
    }

    /// What is signed is decided about by the claims alone.
    #[test]
    fn claims_of_any_value_are_accepted_or_refused(
        exp in any::<f64>(), nbf in any::<i64>(), text in "\\PC{0,300}", number in any::<u64>(),
    ) {
        let secret = [7; 32];
        let keys = KeySet::from_secret(&secret).unwrap();
        let verifier = verifier(|jwt| jwt.algorithms = vec![Listed::HS256]);
        let numbers = json!({ "sub": text, "exp": exp, "nbf": nbf, "iat": number, "jti": number });
        for claims in [numbers, json!({ "exp": text, "sub": number }), json!({ "exp": number })] {
            let token = hs256(&secret, &claims);
            if let Ok(verified) = verifier.check(&token, &keys, at(NOW)) {
                prop_assert!(verified.grant.expires_at.is_some_and(|time| time > at(NOW)));
            }
        }
    }
}
