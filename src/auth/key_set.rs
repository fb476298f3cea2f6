//! Keys that tokens are checked with: a PEM file, a secret, or a JSON Web Key Set. Pure.

use std::collections::HashMap;

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyOperations, PublicKeyUse};
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey};

/// The most keys that a set may hold; issuers publish a handful.
const MOST_KEYS: usize = 1000;

/// The most keys that one token is checked with.
const MOST_TRIES: usize = 8;

/// The shortest secret, in bytes: as long as the hash (RFC 7518 section 3.2).
const SHORTEST_SECRET: usize = 32;

/// The smallest modulus of an RSA key, in bytes: 2048 bits (RFC 7518 section 3.3).
const SMALLEST_MODULUS: usize = 256;

/// Keys, by their ids.
#[derive(Debug)]
pub(super) struct KeySet {
    keys: Vec<Key>,
    by_id: HashMap<String, Vec<usize>>,
    without_id: Vec<usize>,
    /// It is one key, whatever id a token names.
    is_single: bool,
}

#[derive(Debug)]
struct Key {
    key: DecodingKey,
    kind: KeyKind,
    /// The only algorithm that it is for, if it says so.
    algorithm: Option<Algorithm>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum KeyKind {
    Secret,
    Rsa,
    P256,
    P384,
    Ed25519,
}

/// Why a file, a secret or an answer holds no keys. It repeats none of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum NoKeys {
    #[error("it is no public key in PEM: write RSA, P-256, P-384 or Ed25519 as BEGIN PUBLIC KEY")]
    NotPem,
    #[error("it holds a private key, which belongs to the issuer alone: name the public key")]
    Private,
    #[error("it holds a certificate: extract its public key with openssl x509 -pubkey -noout")]
    Certificate,
    #[error("its RSA key is shorter than 2048 bits: use a longer one")]
    ShortRsa,
    #[error("it holds a public key, with which anybody could sign: use key_file for it")]
    PublicSecret,
    #[error("it is shorter than {SHORTEST_SECRET} bytes: use a longer one (openssl rand -hex 32)")]
    ShortSecret,
    #[error("it is no JSON Web Key Set ({{\"keys\": [...]}})")]
    NotJwks,
    #[error("it holds {0} keys, and {MOST_KEYS} at most are read")]
    TooMany(usize),
    #[error("none of its {0} keys can check a signature: RSA, P-256, P-384 and Ed25519 can")]
    NoneUsable(usize),
    #[error("its key does not fit the algorithms of the route")]
    OtherAlgorithm,
}

impl KeySet {
    /// The algorithms of tokens that a JSON Web Key Set checks, where the route lists none.
    pub(super) const OF_SETS: [Algorithm; 3] =
        [Algorithm::RS256, Algorithm::ES256, Algorithm::EdDSA];

    /// Reads one public key.
    pub(super) fn from_pem(pem: &[u8]) -> Result<Self, NoKeys> {
        let text = String::from_utf8_lossy(pem);
        if text.contains("PRIVATE KEY-----") {
            return Err(NoKeys::Private);
        }
        if text.contains("BEGIN CERTIFICATE-----") {
            return Err(NoKeys::Certificate);
        }
        let read = [DecodingKey::from_rsa_pem, DecodingKey::from_ec_pem, DecodingKey::from_ed_pem];
        let key = read.iter().find_map(|read| read(pem).ok()).ok_or(NoKeys::NotPem)?;
        // This parses what the key is made of.
        let jwk = Jwk::from_decoding_key(&key, None).map_err(|_| NoKeys::NotPem)?;
        if is_short_rsa(&jwk) {
            return Err(NoKeys::ShortRsa);
        }
        Ok(Self::single(Key::of(&jwk).ok_or(NoKeys::NotPem)?))
    }

    /// Takes a secret that is shared with the issuer.
    pub(super) fn from_secret(secret: &[u8]) -> Result<Self, NoKeys> {
        if secret.windows(10).any(|window| window == b"-----BEGIN") {
            return Err(NoKeys::PublicSecret);
        }
        if secret.len() < SHORTEST_SECRET {
            return Err(NoKeys::ShortSecret);
        }
        let key = DecodingKey::from_secret(secret);
        Ok(Self::single(Key { key, kind: KeyKind::Secret, algorithm: None }))
    }

    /// Reads a key set (RFC 7517 section 5). Keys of other kinds and uses are passed over, and so are
    /// secrets, which have no place in what is published.
    pub(super) fn from_jwks(json: &[u8]) -> Result<Self, NoKeys> {
        let read: serde_json::Value = serde_json::from_slice(json).map_err(|_| NoKeys::NotJwks)?;
        let listed =
            read.get("keys").and_then(serde_json::Value::as_array).ok_or(NoKeys::NotJwks)?;
        if listed.len() > MOST_KEYS {
            return Err(NoKeys::TooMany(listed.len()));
        }
        let mut set = Self {
            keys: Vec::new(),
            by_id: HashMap::new(),
            without_id: Vec::new(),
            is_single: false,
        };
        for value in listed {
            let Ok(jwk) = serde_json::from_value::<Jwk>(value.clone()) else { continue };
            let Some(key) = Key::of(&jwk).filter(|_| verifies(&jwk)) else { continue };
            let at = set.keys.len();
            match jwk.common.key_id {
                Some(id) => set.by_id.entry(id).or_default().push(at),
                None => set.without_id.push(at),
            }
            set.keys.push(key);
        }
        match set.keys.is_empty() {
            true => Err(NoKeys::NoneUsable(listed.len())),
            false => Ok(set),
        }
    }

    fn single(key: Key) -> Self {
        Self { keys: vec![key], by_id: HashMap::new(), without_id: vec![0], is_single: true }
    }

    /// Returns the keys that may have signed a token: those of its id, else those without an id; all
    /// of them for a token without an id.
    pub(super) fn candidates(
        &self,
        id: Option<&str>,
        algorithm: Algorithm,
    ) -> impl Iterator<Item = &DecodingKey> {
        let named = id.filter(|_| !self.is_single).map(|id| match self.by_id.get(id) {
            Some(keys) => keys.as_slice(),
            None => &self.without_id,
        });
        let all = if named.is_none() { self.keys.len() } else { 0 };
        let named = named.unwrap_or_default().iter().copied();
        let keys = named.chain(0..all).filter_map(|at| self.keys.get(at));
        keys.filter(move |key| key.fits(algorithm)).map(|key| &key.key).take(MOST_TRIES)
    }

    /// Returns the algorithms of tokens that a single key checks, where the route lists none.
    pub(super) fn algorithms(&self) -> Vec<Algorithm> {
        match self.keys.first() {
            Some(key) if self.is_single => vec![key.kind.usual_algorithm()],
            Some(_) | None => Self::OF_SETS.to_vec(),
        }
    }

    /// Returns whether at least one key is for one of these algorithms.
    pub(super) fn fits_any(&self, algorithms: &[Algorithm]) -> bool {
        algorithms.iter().any(|algorithm| self.keys.iter().any(|key| key.fits(*algorithm)))
    }
}

impl Key {
    fn of(jwk: &Jwk) -> Option<Self> {
        let kind = match &jwk.algorithm {
            AlgorithmParameters::RSA(_) if !is_short_rsa(jwk) => KeyKind::Rsa,
            AlgorithmParameters::EllipticCurve(key) => match key.curve {
                EllipticCurve::P256 => KeyKind::P256,
                EllipticCurve::P384 => KeyKind::P384,
                _ => return None,
            },
            AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => {
                KeyKind::Ed25519
            }
            _ => return None,
        };
        let algorithm = jwk.common.key_algorithm.map(Algorithm::try_from);
        // One that is for an algorithm that is not known here is of no use.
        let algorithm = algorithm.transpose().ok()?;
        let key = DecodingKey::from_jwk(jwk).ok()?;
        Some(Self { key, kind, algorithm })
    }

    fn fits(&self, algorithm: Algorithm) -> bool {
        self.kind.fits(algorithm) && self.algorithm.is_none_or(|only| only == algorithm)
    }
}

impl KeyKind {
    fn fits(self, algorithm: Algorithm) -> bool {
        match self {
            Self::Secret => algorithm.family() == AlgorithmFamily::Hmac,
            Self::Rsa => algorithm.family() == AlgorithmFamily::Rsa,
            Self::P256 => algorithm == Algorithm::ES256,
            Self::P384 => algorithm == Algorithm::ES384,
            Self::Ed25519 => algorithm == Algorithm::EdDSA,
        }
    }

    const fn usual_algorithm(self) -> Algorithm {
        match self {
            Self::Secret => Algorithm::HS256,
            Self::Rsa => Algorithm::RS256,
            Self::P256 => Algorithm::ES256,
            Self::P384 => Algorithm::ES384,
            Self::Ed25519 => Algorithm::EdDSA,
        }
    }
}

/// Returns whether a key is there for checking signatures (RFC 7517 sections 4.2 and 4.3).
fn verifies(jwk: &Jwk) -> bool {
    let used = jwk.common.public_key_use.as_ref();
    let operations = jwk.common.key_operations.as_ref();
    used.is_none_or(|used| *used == PublicKeyUse::Signature)
        && operations.is_none_or(|operations| operations.contains(&KeyOperations::Verify))
}

/// Returns whether an RSA key is too short, by the length of its modulus in base64.
fn is_short_rsa(jwk: &Jwk) -> bool {
    match &jwk.algorithm {
        AlgorithmParameters::RSA(key) => key.n.len() * 3 / 4 < SMALLEST_MODULUS,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::testing::{self, Issuer};

    fn count(set: &KeySet, id: Option<&str>, algorithm: Algorithm) -> usize {
        set.candidates(id, algorithm).count()
    }

    #[test]
    fn a_public_key_is_read_whatever_its_kind() {
        for (issuer, algorithm) in [
            (Issuer::rsa(), Algorithm::RS256),
            (Issuer::p256(), Algorithm::ES256),
            (Issuer::ed25519(), Algorithm::EdDSA),
        ] {
            let set = KeySet::from_pem(issuer.public_pem().as_bytes()).unwrap();
            assert_eq!(set.algorithms(), [algorithm]);
            assert_eq!(count(&set, Some("whatever"), algorithm), 1);
            assert_eq!(count(&set, None, Algorithm::HS256), 0);
        }
    }

    #[test]
    fn what_is_no_public_key_is_refused_by_name() {
        let pem = |text: &str| KeySet::from_pem(text.as_bytes()).unwrap_err();
        assert_eq!(pem(""), NoKeys::NotPem);
        assert_eq!(
            pem("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----"),
            NoKeys::NotPem
        );
        assert_eq!(pem(&Issuer::p256().private_pem()), NoKeys::Private);
        assert_eq!(pem(&testing::certificate()), NoKeys::Certificate);
        assert_eq!(pem(testing::SHORT_RSA), NoKeys::ShortRsa);
        let secret = |secret: &[u8]| KeySet::from_secret(secret).map(|_| ());
        assert_eq!(secret(&[7; 32]), Ok(()));
        assert_eq!(secret(&[7; 31]), Err(NoKeys::ShortSecret));
        assert_eq!(secret(Issuer::rsa().public_pem().as_bytes()), Err(NoKeys::PublicSecret));
    }

    #[test]
    fn keys_are_found_by_their_id_and_those_without_one_for_any() {
        let (a, b) = (Issuer::p256().jwk(Some("a")), Issuer::p256().jwk(None));
        let set = KeySet::from_jwks(testing::jwks(&[a.clone(), b]).as_bytes()).unwrap();
        let es256 = Algorithm::ES256;
        assert_eq!(count(&set, Some("a"), es256), 1);
        assert_eq!(count(&set, Some("../../etc/passwd"), es256), 1, "that without an id");
        assert_eq!(count(&set, None, es256), 2);
        assert_eq!(count(&set, None, Algorithm::RS256), 0);
        let set = KeySet::from_jwks(testing::jwks(&[a]).as_bytes()).unwrap();
        assert_eq!(count(&set, Some("b"), es256), 0);
        let many: Vec<_> = (0..20).map(|_| Issuer::p256().jwk(None)).collect();
        let set = KeySet::from_jwks(testing::jwks(&many).as_bytes()).unwrap();
        assert_eq!(count(&set, None, es256), MOST_TRIES);
    }

    #[test]
    fn a_set_that_lies_has_no_keys_and_one_bad_key_spoils_no_other() {
        let jwks = |json: &str| KeySet::from_jwks(json.as_bytes()).map(|set| set.keys.len());
        for nonsense in ["", "<html>", "[]", "{}", r#"{"keys": {}}"#, r#"{"keys": "#] {
            assert_eq!(jwks(nonsense), Err(NoKeys::NotJwks), "{nonsense}");
        }
        assert_eq!(jwks(r#"{"keys": []}"#), Err(NoKeys::NoneUsable(0)));
        let good = Issuer::p256().jwk(Some("good")).to_string();
        for bad in [
            r#"{"kty": "EC", "crv": "P-256", "x": "AA"}"#,
            r#"{"kty": "RSA", "n": "AQAB", "e": "AQAB"}"#,
            r#"{"kty": "oct", "k": "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2Vj"}"#,
            r#"{"kty": "EC", "crv": "P-521", "x": "AA", "y": "AA"}"#,
            r#"{"kty": "unheard-of"}"#,
            r#"{"kid": 7}"#,
            "7",
        ] {
            assert_eq!(
                jwks(&format!(r#"{{"keys": [{bad}]}}"#)),
                Err(NoKeys::NoneUsable(1)),
                "{bad}"
            );
            assert_eq!(jwks(&format!(r#"{{"keys": [{bad}, {good}]}}"#)), Ok(1), "{bad}");
        }
        let mut encrypts = Issuer::p256().jwk(None);
        encrypts["use"] = "enc".into();
        assert_eq!(jwks(&testing::jwks(&[encrypts])), Err(NoKeys::NoneUsable(1)));
        let key = Issuer::p256().jwk(None);
        assert_eq!(jwks(&testing::jwks(&vec![key; 10_000])), Err(NoKeys::TooMany(10_000)));
    }
}
