//! What does not go together in the admission of a route.

use std::time::Duration;

use super::findings::{Findings, Violation};
use crate::protocol::header_names::is_reserved;
use crate::settings::{Auth, ByteSize, HttpAuth, JwtAuth, JwtKeys};
use crate::vocabulary::{InvalidTag, MAX_TAGS, check_tag_name};

/// The longest leeway: clocks that differ by more are to be set.
const LONGEST_LEEWAY: Duration = Duration::from_secs(600);

/// The least time between two fetches of keys.
const LEAST_REFRESH: Duration = Duration::from_secs(10);

pub(super) fn check_auth(prefix: &str, auth: &Auth, found: &mut Findings) {
    match auth {
        Auth::Jwt(jwt) => check_jwt(prefix, jwt, found),
        Auth::Http(http) => check_http(prefix, http, found),
    }
}

fn check_jwt(prefix: &str, jwt: &JwtAuth, found: &mut Findings) {
    let key = |key: &str| [format!("{prefix}.{key}")];
    let has_secret = matches!(jwt.keys, JwtKeys::Secret(_));
    for algorithm in &jwt.algorithms {
        // With HS256 the published key would be the secret (RFC 8725 section 2.1).
        found.ensure(algorithm.is_symmetric() == has_secret, key("algorithms"), || {
            Violation::AlgorithmOfOtherKeys { algorithm: *algorithm, has_secret }
        });
    }
    found.ensure_distinct(&jwt.algorithms, |_| format!("{prefix}.algorithms"));
    found.ensure(!jwt.from.is_empty(), key("from"), || Violation::NoTokenSource);
    found.ensure_distinct(&jwt.from, |_| format!("{prefix}.from"));
    found.ensure(!jwt.subject.is_empty(), key("subject"), || Violation::NoClaim);
    found.ensure(jwt.tags.len() <= MAX_TAGS, key("tags"), || {
        Violation::Tag(InvalidTag::TooMany(jwt.tags.len()))
    });
    for (name, claim) in &jwt.tags {
        if let Err(error) = check_tag_name(name) {
            found.add(key("tags"), Violation::Tag(error));
        }
        found.ensure(!claim.is_empty(), key(&format!("tags.{name}")), || Violation::NoClaim);
    }
    found.ensure(jwt.leeway <= LONGEST_LEEWAY, key("leeway"), || Violation::TooLong {
        most: LONGEST_LEEWAY,
    });
    found.ensure(!jwt.jwks_timeout.is_zero(), key("jwks_timeout"), || Violation::NoDeadline);
    found.ensure(jwt.jwks_refresh >= LEAST_REFRESH, key("jwks_refresh"), || Violation::TooShort {
        least: LEAST_REFRESH,
    });
    found.ensure(jwt.jwks_max_size > ByteSize(0), key("jwks_max_size"), || Violation::NoRoom);
}

fn check_http(prefix: &str, http: &HttpAuth, found: &mut Findings) {
    let key = |key: &str| [format!("{prefix}.{key}")];
    found.ensure(!http.timeout.is_zero(), key("timeout"), || Violation::NoDeadline);
    found.ensure(http.max_pending > 0, key("max_pending"), || Violation::NoRoom);
    found.ensure(http.max_answer > ByteSize(0), key("max_answer"), || Violation::NoRoom);
    for (at, name) in http.pass_headers.iter().enumerate() {
        let passes = !is_reserved(name.as_str()) || name == "sec-websocket-protocol";
        found.ensure(passes, key(&format!("pass_headers[{at}]")), || {
            Violation::HeaderNotPassed(name.to_string())
        });
    }
    found.ensure_distinct(&http.pass_headers, |_| format!("{prefix}.pass_headers"));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{Algorithm, SecretSource, TokenSource};

    fn found(auth: &Auth) -> Option<(String, Violation)> {
        let mut found = Findings::default();
        check_auth("auth", auth, &mut found);
        let first = found.0.into_iter().next()?;
        Some((first.keys[0].clone(), first.violation))
    }

    fn jwt(keys: JwtKeys, change: impl FnOnce(&mut JwtAuth)) -> Option<(String, Violation)> {
        let mut jwt = JwtAuth::new(keys);
        change(&mut jwt);
        found(&Auth::Jwt(Box::new(jwt)))
    }

    fn key_file() -> JwtKeys {
        JwtKeys::KeyFile("public.pem".into())
    }

    #[test]
    fn algorithms_fit_the_kind_of_the_keys() {
        let secret = || JwtKeys::Secret(SecretSource::File("secret".into()));
        let url = || JwtKeys::JwksUrl("https://issuer.example.org/jwks".parse().unwrap());
        let algorithms = |keys, algorithms: &[Algorithm]| {
            let algorithms = algorithms.to_vec();
            jwt(keys, |jwt| jwt.algorithms = algorithms)
        };
        assert_eq!(algorithms(key_file(), &[Algorithm::RS256, Algorithm::PS256]), None);
        assert_eq!(algorithms(secret(), &[Algorithm::HS256]), None);
        for keys in [key_file(), url(), JwtKeys::JwksFile("jwks.json".into())] {
            let (key, violation) = algorithms(keys, &[Algorithm::RS256, Algorithm::HS256]).unwrap();
            assert_eq!(key, "auth.algorithms");
            let expected =
                Violation::AlgorithmOfOtherKeys { algorithm: Algorithm::HS256, has_secret: false };
            assert_eq!(violation, expected);
        }
        let (_, violation) = algorithms(secret(), &[Algorithm::ES256]).unwrap();
        assert!(matches!(violation, Violation::AlgorithmOfOtherKeys { has_secret: true, .. }));
    }

    #[test]
    fn a_token_is_looked_for_somewhere_and_claims_have_names() {
        let keys = |change: fn(&mut JwtAuth)| jwt(key_file(), change).map(|(key, _)| key);
        assert_eq!(keys(|_| ()), None);
        assert_eq!(keys(|jwt| jwt.from.clear()).unwrap(), "auth.from");
        assert_eq!(keys(|jwt| jwt.from = vec![TokenSource::Header; 2]).unwrap(), "auth.from");
        assert_eq!(keys(|jwt| jwt.subject.clear()).unwrap(), "auth.subject");
        let tag = |name: &str, claim: &str| [(name.to_owned(), claim.to_owned())].into();
        let tags = |name, claim| jwt(key_file(), |jwt| jwt.tags = tag(name, claim)).map(|it| it.0);
        assert_eq!(tags("room", "room"), None);
        assert_eq!(tags("a:b", "room").unwrap(), "auth.tags");
        assert_eq!(tags("room", "").unwrap(), "auth.tags.room");
        let second = Duration::from_secs(1);
        let leeway = |leeway| jwt(key_file(), |jwt| jwt.leeway = leeway).map(|it| it.0);
        assert_eq!(leeway(600 * second), None);
        assert_eq!(leeway(601 * second).unwrap(), "auth.leeway");
        assert_eq!(keys(|jwt| jwt.jwks_timeout = Duration::ZERO).unwrap(), "auth.jwks_timeout");
        let short = keys(|jwt| jwt.jwks_refresh = Duration::from_secs(9));
        assert_eq!(short.unwrap(), "auth.jwks_refresh");
        assert_eq!(keys(|jwt| jwt.jwks_max_size = ByteSize(0)).unwrap(), "auth.jwks_max_size");
    }

    #[test]
    fn an_endpoint_has_a_deadline_and_room_and_no_header_of_the_handshake() {
        let keys = |change: fn(&mut HttpAuth)| {
            let mut http = HttpAuth::new("http://127.0.0.1:3000/auth".parse().unwrap());
            change(&mut http);
            found(&Auth::Http(Box::new(http))).map(|(key, _)| key)
        };
        assert_eq!(keys(|_| ()), None);
        assert_eq!(keys(|http| http.timeout = Duration::ZERO).unwrap(), "auth.timeout");
        assert_eq!(keys(|http| http.max_pending = 0).unwrap(), "auth.max_pending");
        assert_eq!(keys(|http| http.max_answer = ByteSize(0)).unwrap(), "auth.max_answer");
        let host = keys(|http| http.pass_headers = vec![http::header::HOST]);
        assert_eq!(host.unwrap(), "auth.pass_headers[0]");
        let protocol = http::header::SEC_WEBSOCKET_PROTOCOL;
        let mut http = HttpAuth::new("http://127.0.0.1:3000/auth".parse().unwrap());
        http.pass_headers = vec![protocol];
        assert_eq!(found(&Auth::Http(Box::new(http))), None);
    }
}
