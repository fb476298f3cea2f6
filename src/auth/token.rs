//! Finds the token in a request. Pure.

use http::header::{AUTHORIZATION, COOKIE};
use http::{HeaderMap, HeaderName};
use percent_encoding::percent_decode_str;

use crate::settings::TokenSource;
use crate::vocabulary::Secret;

/// What a token is looked for in.
#[derive(Debug, Clone, Copy)]
pub(super) struct Carrier<'a> {
    pub(super) headers: &'a HeaderMap,
    pub(super) query: Option<&'a str>,
    /// The tokens among the subprotocols, which were taken out of the request.
    pub(super) bearers: &'a [Secret],
}

/// Why a request has no token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum NoToken {
    #[error("there is no token: send one {0}")]
    Missing(String),
    #[error("there are several tokens in one place ({0}): send one")]
    Several(TokenSource),
}

/// Returns the token of the first place that has one. A place with several is refused: which of them
/// others would take is anybody's guess.
pub(super) fn find(carrier: Carrier<'_>, from: &[TokenSource]) -> Result<Secret, NoToken> {
    for source in from {
        let mut found = match source {
            TokenSource::Header => in_header(carrier.headers),
            TokenSource::Cookie(name) => in_cookie(carrier.headers, name),
            TokenSource::Query(name) => in_query(carrier.query.unwrap_or_default(), name),
            TokenSource::Subprotocol => carrier.bearers.to_vec(),
        };
        match (found.pop(), found.is_empty()) {
            (None, _) => {}
            (Some(token), true) => return Ok(token),
            (Some(_), false) => return Err(NoToken::Several(source.clone())),
        }
    }
    Err(NoToken::Missing(places(from)))
}

fn in_header(headers: &HeaderMap) -> Vec<Secret> {
    let bearer = |line: &str| {
        let (scheme, token) = line.trim().split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| Secret::new(token.trim()))
    };
    lines(headers, &AUTHORIZATION).filter_map(bearer).collect()
}

fn in_cookie(headers: &HeaderMap, name: &str) -> Vec<Secret> {
    let pairs = lines(headers, &COOKIE).flat_map(|line| line.split(';'));
    let values = pairs.filter_map(|pair| {
        let (found, value) = pair.trim().split_once('=')?;
        let value = value.strip_prefix('"').and_then(|it| it.strip_suffix('"')).unwrap_or(value);
        (found == name && !value.is_empty()).then(|| Secret::new(value))
    });
    values.collect()
}

fn in_query(query: &str, name: &str) -> Vec<Secret> {
    let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    let values = query.split('&').filter_map(|parameter| {
        let (found, value) = parameter.split_once('=')?;
        (decoded(found) == name && !value.is_empty()).then(|| Secret::new(decoded(value)))
    });
    values.collect()
}

fn lines<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    headers.get_all(name).into_iter().filter_map(|line| line.to_str().ok())
}

/// Says where a token may be sent.
fn places(from: &[TokenSource]) -> String {
    let places = from.iter().map(|source| match source {
        TokenSource::Header => "as Authorization: Bearer".to_owned(),
        TokenSource::Cookie(name) => format!("in the cookie {name}"),
        TokenSource::Query(name) => format!("in the query as {name}"),
        TokenSource::Subprotocol => "as the subprotocol bearer.TOKEN".to_owned(),
    });
    places.collect::<Vec<_>>().join(", or ")
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn headers(lines: &[(HeaderName, &'static str)]) -> HeaderMap {
        let lines =
            lines.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value)));
        lines.collect()
    }

    fn found(
        lines: &[(HeaderName, &'static str)],
        query: Option<&str>,
        from: &[&str],
    ) -> Result<String, NoToken> {
        let headers = lines.iter().fold(HeaderMap::new(), |mut all, line| {
            all.append(line.0.clone(), HeaderValue::from_static(line.1));
            all
        });
        let from: Vec<TokenSource> = from.iter().map(|source| source.parse().unwrap()).collect();
        let bearers = [Secret::new("from-subprotocol")];
        let carrier = Carrier { headers: &headers, query, bearers: &bearers };
        find(carrier, &from).map(|token| token.expose().to_owned())
    }

    #[test]
    fn a_token_is_found_where_the_route_says() {
        let bearer = (AUTHORIZATION, "bearer  abc ");
        let cookie = (COOKIE, "a=1; session=def; b=\"2\"");
        assert_eq!(found(std::slice::from_ref(&bearer), None, &["header"]).unwrap(), "abc");
        assert_eq!(found(std::slice::from_ref(&cookie), None, &["cookie:session"]).unwrap(), "def");
        assert_eq!(found(std::slice::from_ref(&cookie), None, &["cookie:b"]).unwrap(), "2");
        assert_eq!(found(&[], Some("x=1&token=g%2Eh"), &["query:token"]).unwrap(), "g.h");
        assert_eq!(found(&[], None, &["subprotocol"]).unwrap(), "from-subprotocol");
        let both = [bearer, cookie];
        assert_eq!(found(&both, None, &["cookie:session", "header"]).unwrap(), "def");
        assert_eq!(found(&both, None, &["cookie:other", "header"]).unwrap(), "abc");
    }

    #[test]
    fn a_request_without_a_token_hears_where_to_put_one() {
        let nothing = [
            (AUTHORIZATION, "Basic YTpi"),
            (AUTHORIZATION, "Bearer"),
            (COOKIE, "session=; other=x"),
        ];
        let from = ["header", "cookie:session", "query:token"];
        let missing = found(&nothing, Some("token=&token"), &from).unwrap_err();
        assert_eq!(
            missing.to_string(),
            "there is no token: send one as Authorization: Bearer, or in the cookie session, or in the \
             query as token"
        );
    }

    #[test]
    fn several_tokens_in_one_place_are_refused() {
        let two = [(AUTHORIZATION, "Bearer abc"), (AUTHORIZATION, "Bearer abc")];
        assert_eq!(found(&two, None, &["header"]), Err(NoToken::Several(TokenSource::Header)));
        let query = Some("token=a&token=b");
        assert!(matches!(found(&[], query, &["query:token"]), Err(NoToken::Several(_))));
        let cookies = [(COOKIE, "s=a; s=b")];
        assert!(matches!(found(&cookies, None, &["cookie:s"]), Err(NoToken::Several(_))));
        let headers = headers(&[]);
        let bearers = [Secret::new("a"), Secret::new("b")];
        let carrier = Carrier { headers: &headers, query: None, bearers: &bearers };
        let several = find(carrier, &[TokenSource::Subprotocol]);
        assert_eq!(several, Err(NoToken::Several(TokenSource::Subprotocol)));
    }
}
