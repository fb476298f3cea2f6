//! The admission of a route, as it is written: its kind decides which other keys it takes.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use http::HeaderName;
use serde::Deserialize;
use serde::de::{self, Deserializer, SeqAccess, Visitor};

use crate::settings::{
    Algorithm, Auth, ByteSize, HttpAuth, HttpUrl, JwtAuth, JwtKeys, SecretSource, TokenSource,
    values,
};

/// The words that `auth.kind` knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AuthKind {
    /// A signed token.
    Jwt,
    /// An HTTP endpoint decides.
    Http,
}

/// Reads how the clients of a route prove that they may connect.
pub(super) fn some_auth<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Auth>, D::Error> {
    Written::deserialize(deserializer)?.auth().map(Some).map_err(de::Error::custom)
}

#[derive(Deserialize)]
#[serde(rename = "auth", deny_unknown_fields)]
struct Written {
    kind: AuthKind,
    key_file: Option<PathBuf>,
    jwks_file: Option<PathBuf>,
    jwks_url: Option<HttpUrl>,
    secret: Option<SecretSource>,
    algorithms: Option<Vec<Algorithm>>,
    #[serde(default, deserialize_with = "one_or_more")]
    issuer: Option<Vec<String>>,
    #[serde(default, deserialize_with = "one_or_more")]
    audience: Option<Vec<String>>,
    #[serde(default, deserialize_with = "values::some_duration")]
    leeway: Option<Duration>,
    require_exp: Option<bool>,
    from: Option<Vec<TokenSource>>,
    subject: Option<String>,
    tags: Option<BTreeMap<String, String>>,
    #[serde(default, deserialize_with = "values::some_duration")]
    jwks_timeout: Option<Duration>,
    #[serde(default, deserialize_with = "values::some_duration")]
    jwks_refresh: Option<Duration>,
    jwks_max_size: Option<ByteSize>,
    url: Option<HttpUrl>,
    #[serde(default, deserialize_with = "values::some_duration")]
    timeout: Option<Duration>,
    max_pending: Option<u32>,
    #[serde(default, deserialize_with = "some_names")]
    pass_headers: Option<Vec<HeaderName>>,
    max_answer: Option<ByteSize>,
    ca_file: Option<PathBuf>,
}

impl Written {
    /// Returns what was written, or what is wrong with it.
    fn auth(self) -> Result<Auth, String> {
        match self.kind {
            AuthKind::Jwt => self.jwt(),
            AuthKind::Http => self.http(),
        }
    }

    fn jwt(self) -> Result<Auth, String> {
        let others = [
            ("url", self.url.is_some()),
            ("timeout", self.timeout.is_some()),
            ("max_pending", self.max_pending.is_some()),
            ("pass_headers", self.pass_headers.is_some()),
            ("max_answer", self.max_answer.is_some()),
        ];
        none_of("jwt", &others)?;
        let keys = [
            self.key_file.map(JwtKeys::KeyFile),
            self.jwks_file.map(JwtKeys::JwksFile),
            self.jwks_url.map(JwtKeys::JwksUrl),
            self.secret.map(JwtKeys::Secret),
        ];
        let mut keys = keys.into_iter().flatten();
        let places = "key_file, jwks_file, jwks_url and secret";
        let first = keys.next().ok_or_else(|| format!("needs one of {places}"))?;
        if keys.next().is_some() {
            return Err(format!("has more than one of {places}: keep one"));
        }
        let default = JwtAuth::new(first);
        Ok(Auth::Jwt(Box::new(JwtAuth {
            algorithms: self.algorithms.unwrap_or_default(),
            issuer: self.issuer.unwrap_or_default(),
            audience: self.audience.unwrap_or_default(),
            leeway: self.leeway.unwrap_or(default.leeway),
            require_exp: self.require_exp.unwrap_or(default.require_exp),
            from: self.from.unwrap_or(default.from),
            subject: self.subject.unwrap_or(default.subject),
            tags: self.tags.unwrap_or_default(),
            ca_file: self.ca_file,
            jwks_timeout: self.jwks_timeout.unwrap_or(default.jwks_timeout),
            jwks_refresh: self.jwks_refresh.unwrap_or(default.jwks_refresh),
            jwks_max_size: self.jwks_max_size.unwrap_or(default.jwks_max_size),
            keys: default.keys,
        })))
    }

    fn http(self) -> Result<Auth, String> {
        let others = [
            ("key_file", self.key_file.is_some()),
            ("jwks_file", self.jwks_file.is_some()),
            ("jwks_url", self.jwks_url.is_some()),
            ("secret", self.secret.is_some()),
            ("algorithms", self.algorithms.is_some()),
            ("issuer", self.issuer.is_some()),
            ("audience", self.audience.is_some()),
            ("leeway", self.leeway.is_some()),
            ("require_exp", self.require_exp.is_some()),
            ("from", self.from.is_some()),
            ("subject", self.subject.is_some()),
            ("tags", self.tags.is_some()),
            ("jwks_timeout", self.jwks_timeout.is_some()),
            ("jwks_refresh", self.jwks_refresh.is_some()),
            ("jwks_max_size", self.jwks_max_size.is_some()),
        ];
        none_of("http", &others)?;
        let url = self.url.ok_or_else(|| "needs the url of the endpoint".to_owned())?;
        let default = HttpAuth::new(url);
        Ok(Auth::Http(Box::new(HttpAuth {
            timeout: self.timeout.unwrap_or(default.timeout),
            max_pending: self.max_pending.unwrap_or(default.max_pending),
            pass_headers: self.pass_headers.unwrap_or(default.pass_headers),
            max_answer: self.max_answer.unwrap_or(default.max_answer),
            ca_file: self.ca_file,
            url: default.url,
        })))
    }
}

fn none_of(kind: &str, keys: &[(&str, bool)]) -> Result<(), String> {
    match keys.iter().find(|(_, is_set)| *is_set) {
        Some((key, _)) => Err(format!("of kind {kind} takes no {key}: remove it")),
        None => Ok(()),
    }
}

fn some_names<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Vec<HeaderName>>, D::Error> {
    let names = Vec::<String>::deserialize(deserializer)?;
    let parsed = names.iter().map(|name| {
        name.parse()
            .map_err(|_| de::Error::custom(format!("{name:?} is no name of a header field")))
    });
    parsed.collect::<Result<_, _>>().map(Some)
}

/// Reads one text, or a list of them.
fn one_or_more<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Vec<String>>, D::Error> {
    struct Texts;
    impl<'de> Visitor<'de> for Texts {
        type Value = Vec<String>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("text, or a list of texts")
        }
        fn visit_str<E: de::Error>(self, text: &str) -> Result<Vec<String>, E> {
            Ok(vec![text.to_owned()])
        }
        fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Vec<String>, A::Error> {
            let mut texts = Vec::new();
            while let Some(text) = elements.next_element()? {
                texts.push(text);
            }
            Ok(texts)
        }
    }
    deserializer.deserialize_any(Texts).map(Some)
}
