//! Admission by a JSON Web Token: finds it, and checks it with the keys of the route.

use std::sync::Arc;

use http::StatusCode;

use super::answer::{Admitted, Denied};
use super::jwks_url::{JwksUrl, NotFetched};
use super::key_file::{BadKeys, KeyFile};
use super::key_set::KeySet;
use super::token::{self, Carrier, NoToken};
use super::verifier::{Rejected, Verified, Verifier};
use crate::runtime::wall_clock;
use crate::settings::{JwtAuth, JwtKeys, TokenSource};
use crate::vocabulary::OpenFailure;

/// Admission by tokens.
#[derive(Debug)]
pub(super) struct Jwt {
    from: Vec<TokenSource>,
    verifier: Verifier,
    keys: Keys,
}

#[derive(Debug)]
enum Keys {
    File(Arc<KeyFile>),
    Url(JwksUrl),
}

impl Jwt {
    /// Reads the keys, unless they are fetched.
    pub(super) fn new(settings: &JwtAuth) -> Result<Self, BadKeys> {
        // The library panics on its first use where the features of the whole program leave open which
        // provider it takes. An error means that the program has chosen one.
        let _ = jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER.install_default();
        let verifier = Verifier::new(settings);
        let algorithms = verifier.algorithms();
        let max_size = settings.jwks_max_size.0;
        let keys = match &settings.keys {
            JwtKeys::KeyFile(path) => Keys::file(KeyFile::pem(path, algorithms)?),
            JwtKeys::JwksFile(path) => Keys::file(KeyFile::jwks(path, max_size, algorithms)?),
            JwtKeys::Secret(source) => Keys::file(KeyFile::secret(source, algorithms)?),
            JwtKeys::JwksUrl(url) => Keys::Url(JwksUrl::new(url, settings)),
        };
        Ok(Self { from: settings.from.clone(), verifier, keys })
    }

    /// Returns the places where tokens are looked for.
    pub(super) fn sources(&self) -> &[TokenSource] {
        &self.from
    }

    /// Begins to fetch the keys, if they are fetched.
    pub(super) fn warm(&self) {
        match &self.keys {
            Keys::Url(url) => url.warm(),
            Keys::File(_) => {}
        }
    }

    /// Reads the key file again.
    pub(super) fn reload(&self) -> Result<(), BadKeys> {
        match &self.keys {
            Keys::File(file) => file.reload(),
            Keys::Url(_) => Ok(()),
        }
    }

    /// Checks the token of a request.
    pub(super) async fn admit(&self, carrier: Carrier<'_>) -> Result<Admitted, Denied> {
        let token = token::find(carrier, &self.from).map_err(no_token)?;
        self.check(token.expose()).await
    }

    /// Checks a token.
    pub(super) async fn check(&self, token: &str) -> Result<Admitted, Denied> {
        // A token that no key would make good waits for none.
        let unverified = self.verifier.read(token).map_err(rejected)?;
        let keys = match &self.keys {
            Keys::File(file) => file.current().await,
            Keys::Url(url) => {
                let knows = |keys: &KeySet| unverified.has_key_in(keys);
                url.current(knows).await.map_err(not_fetched)?
            }
        };
        let verified = self.verifier.verify(&unverified, &keys, wall_clock::now());
        let Verified { subject, tags, grant } = verified.map_err(rejected)?;
        Ok(Admitted { subject, tags, grant: Some(grant), limits: None })
    }
}

impl Keys {
    fn file(file: KeyFile) -> Self {
        Self::File(Arc::new(file))
    }
}

/// RFC 6750 section 3: without a token, the challenge says nothing of an error.
fn no_token(why: NoToken) -> Denied {
    let challenge = match why {
        NoToken::Missing(_) => "Bearer realm=\"lastword\"".to_owned(),
        NoToken::Several(_) => challenge("invalid_request", "several tokens"),
    };
    unauthorized(why.to_string(), &challenge)
}

fn rejected(why: Rejected) -> Denied {
    // A quoted string has no quotes inside.
    let text = why.to_string();
    let challenge = challenge("invalid_token", &text.replace('"', "'"));
    unauthorized(text, &challenge)
}

fn challenge(error: &str, description: &str) -> String {
    format!("Bearer realm=\"lastword\", error=\"{error}\", error_description=\"{description}\"")
}

fn unauthorized(text: String, challenge: &str) -> Denied {
    Denied::new(StatusCode::UNAUTHORIZED, OpenFailure::Unauthorized, text).with_challenge(challenge)
}

fn not_fetched(why: NotFetched) -> Denied {
    Denied::unavailable(why.to_string())
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use http::{HeaderMap, HeaderValue};
    use serde_json::json;

    use super::*;
    use crate::auth::testing::{Issuer, hs256};

    async fn denied(headers: &[(&'static str, &str)]) -> Denied {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("public.pem");
        std::fs::write(&path, Issuer::p256().public_pem()).unwrap();
        let jwt = Jwt::new(&JwtAuth::new(JwtKeys::KeyFile(path))).unwrap();
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_str(value).unwrap());
        }
        jwt.admit(Carrier { headers: &map, query: None, bearers: &[] }).await.unwrap_err()
    }

    #[tokio::test]
    async fn a_challenge_says_what_is_wrong_and_nothing_secret() {
        let token = Issuer::p256().token(&json!({ "sub": "hunter2", "exp": 1 }));
        let bearer = format!("Bearer {token}");
        for (headers, challenge) in [
            (vec![], "Bearer realm=\"lastword\""),
            (
                vec![("authorization", bearer.as_str())],
                "Bearer realm=\"lastword\", error=\"invalid_token\", error_description=\"the signature of \
                 the token is wrong\"",
            ),
            (
                vec![("authorization", bearer.as_str()), ("authorization", bearer.as_str())],
                "Bearer realm=\"lastword\", error=\"invalid_request\", error_description=\"several tokens\"",
            ),
        ] {
            let denied = denied(&headers).await;
            assert_eq!(denied.status, StatusCode::UNAUTHORIZED);
            assert_eq!(denied.failure, OpenFailure::Unauthorized);
            assert_eq!(denied.challenges[0], challenge);
            assert!(!denied.text.contains(&token) && !denied.text.contains("hunter2"));
        }
    }

    #[tokio::test]
    async fn a_token_that_no_key_makes_good_does_not_wait_for_keys() {
        let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", silent.local_addr().unwrap());
        let jwt = Jwt::new(&JwtAuth::new(JwtKeys::JwksUrl(url.parse().unwrap()))).unwrap();
        let symmetric = hs256(&[7; 32], &json!({}));
        for token in ["", "nonsense", "a.b.c", &"a".repeat(9000), &symmetric] {
            let denied = jwt.check(token).now_or_never().unwrap().unwrap_err();
            assert_eq!(denied.status, StatusCode::UNAUTHORIZED, "{denied:?}");
        }
        let signed = Issuer::p256().token(&json!({}));
        assert!(jwt.check(&signed).now_or_never().is_none());
    }
}
