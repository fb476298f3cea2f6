//! Issuers of tokens, for tests.

use std::sync::LazyLock;

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

/// An issuer with a key of its own.
pub(crate) struct Issuer {
    private: String,
    public: String,
    pub(crate) algorithm: Algorithm,
}

impl Issuer {
    pub(crate) fn rsa() -> Self {
        // It takes long to make, so there is one.
        static RSA: LazyLock<rcgen::KeyPair> = LazyLock::new(|| {
            let (kind, size) = (&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048);
            rcgen::KeyPair::generate_rsa_for(kind, size).unwrap()
        });
        Self::of(&RSA, Algorithm::RS256)
    }

    pub(crate) fn p256() -> Self {
        Self::generated(&rcgen::PKCS_ECDSA_P256_SHA256, Algorithm::ES256)
    }

    pub(crate) fn ed25519() -> Self {
        Self::generated(&rcgen::PKCS_ED25519, Algorithm::EdDSA)
    }

    fn generated(kind: &'static rcgen::SignatureAlgorithm, algorithm: Algorithm) -> Self {
        Self::of(&rcgen::KeyPair::generate_for(kind).unwrap(), algorithm)
    }

    fn of(pair: &rcgen::KeyPair, algorithm: Algorithm) -> Self {
        Self { private: pair.serialize_pem(), public: pair.public_key_pem(), algorithm }
    }

    pub(crate) fn public_pem(&self) -> &str {
        &self.public
    }

    pub(crate) fn private_pem(&self) -> String {
        self.private.clone()
    }

    fn key(&self) -> EncodingKey {
        let pem = self.private.as_bytes();
        match self.algorithm {
            Algorithm::RS256 => EncodingKey::from_rsa_pem(pem),
            Algorithm::ES256 => EncodingKey::from_ec_pem(pem),
            _ => EncodingKey::from_ed_pem(pem),
        }
        .unwrap()
    }

    pub(crate) fn jwk(&self, id: Option<&str>) -> Value {
        let jwk = jsonwebtoken::jwk::Jwk::from_encoding_key(&self.key(), self.algorithm).unwrap();
        let mut jwk = serde_json::to_value(jwk).unwrap();
        if let Some(id) = id {
            jwk["kid"] = id.into();
        }
        jwk
    }

    pub(crate) fn token(&self, claims: &Value) -> String {
        self.token_of(None, claims)
    }

    pub(crate) fn token_of(&self, id: Option<&str>, claims: &Value) -> String {
        let mut header = Header::new(self.algorithm);
        header.kid = id.map(str::to_owned);
        jsonwebtoken::encode(&header, claims, &self.key()).unwrap()
    }
}

/// A token that is signed with a shared secret.
pub(crate) fn hs256(secret: &[u8], claims: &Value) -> String {
    jsonwebtoken::encode(&Header::default(), claims, &EncodingKey::from_secret(secret)).unwrap()
}

pub(crate) fn jwks(keys: &[Value]) -> String {
    json!({ "keys": keys }).to_string()
}

/// A certificate in place of a key.
pub(crate) fn certificate() -> String {
    rcgen::generate_simple_self_signed(["a.example".to_owned()]).unwrap().cert.pem()
}

/// A public RSA key of 1024 bits.
pub(crate) const SHORT_RSA: &str = "\
-----BEGIN PUBLIC KEY-----
MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQCgk3SO3s6fZ4gARs6nTxis1O+R
43HU5wGkaEXBOji9VVLihQSYUKwd4odmY7tufmkaYx3erJtdxtCUxSQKTysdH+Y+
MDsO9bifN8Ovl+qgi0pGAaU3neDGGA4lX7Ppeid8scgM3FXr38cKCfgCv1sCMacZ
bN9du5I6w+ot+z8RIwIDAQAB
-----END PUBLIC KEY-----
";
