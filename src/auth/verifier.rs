//! Checks of tokens: pure, `now` is an argument. The crate `jsonwebtoken` checks signature, issuer and
//! audience; times are checked here, since it reads the clock itself.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, TokenData, Validation, decode, decode_header};
use serde_json::{Map, Value};

use super::key_set::KeySet;
use crate::settings::{self, JwtAuth, JwtKeys};
use crate::vocabulary::timestamp::LAST_SECOND;
use crate::vocabulary::{Grant, LONGEST_TAG, is_label};

/// The longest token, in bytes. Header fields are bounded, too, but not by this much.
const LONGEST_TOKEN: usize = 8 * 1024;

/// What a token must say.
#[derive(Debug)]
pub(super) struct Verifier {
    algorithms: Vec<Algorithm>,
    validation: Validation,
    leeway: Duration,
    require_exp: bool,
    subject: String,
    tags: BTreeMap<String, String>,
}

/// A token whose header was read, and nothing checked with a key.
#[derive(Debug)]
pub(super) struct Unverified<'a> {
    token: &'a str,
    key_id: Option<String>,
    algorithm: Algorithm,
}

/// What a token that passed says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Verified {
    pub(super) subject: Option<String>,
    pub(super) tags: BTreeMap<String, String>,
    pub(super) grant: Grant,
}

/// Which check a token failed. The message repeats nothing of the token but the name of a known
/// algorithm.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Rejected {
    #[error("the token is longer than {LONGEST_TOKEN} bytes")]
    TooLong,
    #[error("the token is no signed JWT with a known algorithm")]
    Malformed,
    #[error("the token requires an extension that is not known here (crit)")]
    Critical,
    #[error("the token is signed with {0:?}, which the route does not allow")]
    Algorithm(Algorithm),
    #[error("no key fits the token's kid and algorithm")]
    UnknownKey,
    #[error("the signature of the token is wrong")]
    Signature,
    #[error("the token has no valid {0}")]
    NoClaim(String),
    #[error("the token is of another issuer (iss)")]
    Issuer,
    #[error("the token is for another audience (aud)")]
    Audience,
    #[error("the token has expired (exp)")]
    Expired,
    #[error("the token is not valid yet (nbf)")]
    NotYet,
    #[error(
        "the claim {0:?} cannot be a subject or a tag: it is not 1 to {LONGEST_TAG} printable bytes"
    )]
    Label(String),
}

impl Verifier {
    pub(super) fn new(settings: &JwtAuth) -> Self {
        let algorithms = match &settings.keys {
            // The keys are not known yet, and make no difference.
            JwtKeys::JwksUrl(_) if settings.algorithms.is_empty() => KeySet::OF_SETS.to_vec(),
            _ => settings.algorithms.iter().copied().map(algorithm).collect(),
        };
        let mut validation = Validation::default();
        // These read the clock.
        (validation.validate_exp, validation.validate_nbf) = (false, false);
        let mut required = Vec::new();
        if !settings.issuer.is_empty() {
            validation.set_issuer(&settings.issuer);
            required.push("iss");
        }
        if !settings.audience.is_empty() {
            validation.set_audience(&settings.audience);
            required.push("aud");
        }
        validation.set_required_spec_claims(&required);
        Self {
            algorithms,
            validation,
            leeway: settings.leeway,
            require_exp: settings.require_exp,
            subject: settings.subject.clone(),
            tags: settings.tags.clone(),
        }
    }

    /// Returns the algorithms of tokens; empty where the keys of a file decide.
    pub(super) fn algorithms(&self) -> &[Algorithm] {
        &self.algorithms
    }

    /// Reads the header of a token, which needs no keys.
    pub(super) fn read<'a>(&self, token: &'a str) -> Result<Unverified<'a>, Rejected> {
        if token.len() > LONGEST_TOKEN {
            return Err(Rejected::TooLong);
        }
        let header = decode_header(token).map_err(|_| Rejected::Malformed)?;
        // RFC 7515 section 4.1.11: no extension is understood here.
        if header.crit.is_some() {
            return Err(Rejected::Critical);
        }
        let algorithm = header.alg;
        if !self.algorithms.is_empty() && !self.algorithms.contains(&algorithm) {
            return Err(Rejected::Algorithm(algorithm));
        }
        Ok(Unverified { token, key_id: header.kid, algorithm })
    }

    /// Checks a token.
    pub(super) fn verify(
        &self,
        unverified: &Unverified<'_>,
        keys: &KeySet,
        now: SystemTime,
    ) -> Result<Verified, Rejected> {
        let Unverified { token, algorithm, .. } = *unverified;
        if self.algorithms.is_empty() && !keys.algorithms().contains(&algorithm) {
            return Err(Rejected::Algorithm(algorithm));
        }
        let validation = Validation { algorithms: vec![algorithm], ..self.validation.clone() };
        let mut rejected = Rejected::UnknownKey;
        for key in unverified.candidates(keys) {
            match decode::<Map<String, Value>>(token, key, &validation) {
                Ok(TokenData { claims, .. }) => return self.claims(&claims, now),
                Err(error) => rejected = reason(error.into_kind()),
            }
            if rejected != Rejected::Signature {
                break;
            }
        }
        Err(rejected)
    }

    fn claims(&self, claims: &Map<String, Value>, now: SystemTime) -> Result<Verified, Rejected> {
        let expires_at = time(claims, "exp")?.map(|time| time + self.leeway);
        if expires_at.is_none() && self.require_exp {
            return Err(Rejected::NoClaim("exp".to_owned()));
        }
        // A token that does not say when it was issued is older than any revocation.
        let issued_at = Some(time(claims, "iat")?.unwrap_or(UNIX_EPOCH));
        let grant = Grant { expires_at, issued_at, token_id: label(claims, "jti")? };
        if grant.has_expired(now) {
            return Err(Rejected::Expired);
        }
        if time(claims, "nbf")?.is_some_and(|time| time > now + self.leeway) {
            return Err(Rejected::NotYet);
        }
        let subject = label(claims, &self.subject)?;
        let mut tags = BTreeMap::new();
        for (name, claim) in &self.tags {
            if let Some(value) = label(claims, claim)? {
                tags.insert(name.clone(), value);
            }
        }
        Ok(Verified { subject, tags, grant })
    }
}

impl Unverified<'_> {
    /// Returns whether the key of the token may be among these, so that fetching them anew is of no use.
    pub(super) fn has_key_in(&self, keys: &KeySet) -> bool {
        self.candidates(keys).next().is_some()
    }

    fn candidates<'k>(&'k self, keys: &'k KeySet) -> impl Iterator<Item = &'k DecodingKey> {
        keys.candidates(self.key_id.as_deref(), self.algorithm)
    }
}

/// Returns the library's name of an algorithm.
fn algorithm(algorithm: settings::Algorithm) -> Algorithm {
    use settings::Algorithm as Known;
    match algorithm {
        Known::HS256 => Algorithm::HS256,
        Known::HS384 => Algorithm::HS384,
        Known::HS512 => Algorithm::HS512,
        Known::RS256 => Algorithm::RS256,
        Known::RS384 => Algorithm::RS384,
        Known::RS512 => Algorithm::RS512,
        Known::PS256 => Algorithm::PS256,
        Known::PS384 => Algorithm::PS384,
        Known::PS512 => Algorithm::PS512,
        Known::ES256 => Algorithm::ES256,
        Known::ES384 => Algorithm::ES384,
        Known::EdDSA => Algorithm::EdDSA,
    }
}

fn reason(kind: ErrorKind) -> Rejected {
    match kind {
        ErrorKind::InvalidSignature => Rejected::Signature,
        ErrorKind::InvalidIssuer => Rejected::Issuer,
        ErrorKind::InvalidAudience => Rejected::Audience,
        ErrorKind::MissingRequiredClaim(claim) => Rejected::NoClaim(claim),
        // An enum of the library that grows.
        _ => Rejected::Malformed,
    }
}

/// Reads a time (RFC 7519 section 2: seconds since 1970, perhaps with a fraction).
fn time(claims: &Map<String, Value>, name: &str) -> Result<Option<SystemTime>, Rejected> {
    let Some(value) = claims.get(name).filter(|value| !value.is_null()) else { return Ok(None) };
    let seconds = value.as_f64().filter(|seconds| (0.0..=LAST_SECOND as f64).contains(seconds));
    let seconds = seconds.ok_or_else(|| Rejected::NoClaim(name.to_owned()))?;
    Ok(Some(SystemTime::UNIX_EPOCH + Duration::from_secs_f64(seconds)))
}

/// Reads a claim that becomes a subject or a tag: text, a number, or true or false.
fn label(claims: &Map<String, Value>, name: &str) -> Result<Option<String>, Rejected> {
    let text = match claims.get(name) {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::String(text)) => text.clone(),
        Some(value @ (Value::Number(_) | Value::Bool(_))) => value.to_string(),
        Some(Value::Array(_) | Value::Object(_)) => String::new(),
    };
    match !text.is_empty() && is_label(&text) {
        true => Ok(Some(text)),
        false => Err(Rejected::Label(name.to_owned())),
    }
}

#[cfg(test)]
mod tests;
