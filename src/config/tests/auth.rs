//! Admission as it is written in a file.

use std::time::Duration;

use super::*;

fn auth(text: &str) -> Result<Auth, ConfigError> {
    let route = "[[routes]]\nname = 'a'\npath = '/a'\nbackend = { kind = 'echo' }\n";
    let config = load_text(&format!("{route}auth = {text}"))?;
    Ok(config.routes[0].auth.clone().unwrap())
}

#[test]
fn a_token_is_configured_key_by_key() {
    let keys = JwtKeys::KeyFile("public.pem".into());
    let written = auth("{ kind = 'jwt', key_file = 'public.pem' }").unwrap();
    assert_eq!(written, Auth::Jwt(Box::new(JwtAuth::new(keys.clone()))));
    let written = auth(
        "{ kind = 'jwt', key_file = 'public.pem', algorithms = ['RS256', 'EdDSA'], issuer = 'a', \
         audience = ['b', 'c'], leeway = '10s', require_exp = false, subject = 'user', \
         from = ['header', 'cookie:session', 'query:token', 'subprotocol'], tags = { room = 'r' } }",
    );
    let expected = JwtAuth {
        algorithms: vec![Algorithm::RS256, Algorithm::EdDSA],
        issuer: vec!["a".to_owned()],
        audience: vec!["b".to_owned(), "c".to_owned()],
        leeway: Duration::from_secs(10),
        require_exp: false,
        from: vec![
            TokenSource::Header,
            TokenSource::Cookie("session".to_owned()),
            TokenSource::Query("token".to_owned()),
            TokenSource::Subprotocol,
        ],
        subject: "user".to_owned(),
        tags: [("room".to_owned(), "r".to_owned())].into(),
        ..JwtAuth::new(keys)
    };
    assert_eq!(written.unwrap(), Auth::Jwt(Box::new(expected)));
}

#[test]
fn an_endpoint_is_configured_key_by_key() {
    let url = || "http://127.0.0.1:3000/auth".parse().unwrap();
    let written = auth("{ kind = 'http', url = 'http://127.0.0.1:3000/auth' }").unwrap();
    assert_eq!(written, Auth::Http(Box::new(HttpAuth::new(url()))));
    let written = auth(
        "{ kind = 'http', url = 'http://127.0.0.1:3000/auth', timeout = '3s', max_pending = 2, \
         pass_headers = ['X-Key'], max_answer = 99, ca_file = 'ca.pem' }",
    );
    let expected = HttpAuth {
        timeout: Duration::from_secs(3),
        max_pending: 2,
        pass_headers: vec!["x-key".parse().unwrap()],
        max_answer: ByteSize(99),
        ca_file: Some("ca.pem".into()),
        ..HttpAuth::new(url())
    };
    assert_eq!(written.unwrap(), Auth::Http(Box::new(expected)));
}

#[test]
fn what_cannot_admit_anybody_is_refused_with_a_sentence() {
    for (text, sentence) in [
        ("{ kind = 'jwt' }", "needs one of key_file, jwks_file, jwks_url and secret"),
        ("{ kind = 'jwt', key_file = 'a', jwks_file = 'b' }", "has more than one of key_file"),
        (
            "{ kind = 'jwt', key_file = 'a', url = 'http://a' }",
            "of kind jwt takes no url: remove it",
        ),
        ("{ kind = 'http', url = 'http://a', issuer = 'b' }", "of kind http takes no issuer"),
        ("{ kind = 'http' }", "needs the url of the endpoint"),
        ("{ kind = 'http', url = 'ws://a' }", "it begins with another scheme"),
        ("{ kind = 'http', url = 'http://a', timeout = '0s' }", "must have a deadline"),
        (
            "{ kind = 'http', url = 'http://a', pass_headers = ['Host'] }",
            "belongs to the connection",
        ),
        (
            "{ kind = 'http', url = 'http://a', pass_headers = ['a b'] }",
            "no name of a header field",
        ),
        ("{ kind = 'ldap' }", "is not one of jwt, http"),
        ("{ kind = 'jwt', key_file = 'a', issuer = 7 }", "expected text, or a list of texts"),
        ("{ kind = 'jwt', key_file = 'a', from = ['body'] }", "\"body\" is no place for a token"),
        ("{ kind = 'jwt', key_file = 'a', algorithms = ['none'] }", "is not one of HS256"),
        (
            "{ kind = 'jwt', key_file = 'a', algorithms = ['HS256'] }",
            "HS256 is for a shared secret, and anybody who knows the public key could sign",
        ),
        (
            "{ kind = 'jwt', secret = { file = 'a' }, algorithms = ['RS256'] }",
            "RS256 needs a public key",
        ),
        ("{ kind = 'jwt', key_file = 'a', isuer = 'b' }", "did you mean issuer?"),
    ] {
        let error = auth(text).unwrap_err().to_string();
        assert!(error.contains("routes[0].auth") && error.contains(sentence), "{text}: {error}");
    }
}

#[test]
fn no_message_repeats_a_secret() {
    for text in [
        "{ kind = 'jwt', secret = 'hunter2' }",
        "{ kind = 'jwt', secret = { value = 'hunter2' }, algorithms = ['RS256'] }",
        "{ kind = 'jwt', jwks_url = 'https://u:hunter2@a' }",
        "{ kind = 'http', url = 'http://u:hunter2@a' }",
    ] {
        let error = auth(text).unwrap_err().to_string();
        assert!(!error.contains("hunter2"), "{error}");
    }
}
