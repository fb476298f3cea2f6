//! An issuer of tokens, a server of HTTP answers, and a daemon whose routes need them.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::support::SOON;
use crate::support::daemon::Daemon;
use crate::support::http::{Answer, exchange};

pub const PROGRAM: &str = env!("CARGO_BIN_EXE_lastword");

/// It must not stand in anything that the daemon says.
pub const PLANTED: &str = "hunter2";

/// An issuer with a key of its own.
pub struct Issuer {
    private: String,
    public: String,
    algorithm: Algorithm,
}

impl Issuer {
    /// With a P-256 key.
    pub fn new() -> Self {
        Self::of(Algorithm::ES256)
    }

    /// With a key for `RS256`, `ES256` or `EdDSA`.
    pub fn of(algorithm: Algorithm) -> Self {
        let pair = match algorithm {
            Algorithm::RS256 => {
                rcgen::KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048)
            }
            Algorithm::ES256 => rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256),
            Algorithm::EdDSA => rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519),
            other => panic!("no key for {other:?}"),
        };
        let pair = pair.unwrap();
        Self { private: pair.serialize_pem(), public: pair.public_key_pem(), algorithm }
    }

    fn key(&self) -> EncodingKey {
        let pem = self.private.as_bytes();
        let key = match self.algorithm {
            Algorithm::RS256 => EncodingKey::from_rsa_pem(pem),
            Algorithm::ES256 => EncodingKey::from_ec_pem(pem),
            _ => EncodingKey::from_ed_pem(pem),
        };
        key.unwrap()
    }

    pub fn public_pem(&self) -> &str {
        &self.public
    }

    /// A token of `ann` with the planted secret in a claim, valid for a minute but for what `claims` say.
    pub fn token(&self, claims: Value) -> String {
        self.token_of(None, claims)
    }

    pub fn token_of(&self, kid: Option<&str>, claims: Value) -> String {
        let mut all = json!({ "sub": "ann", "exp": in_seconds(60), "secret": PLANTED });
        all.as_object_mut().unwrap().extend(claims.as_object().unwrap().clone());
        let header = Header { kid: kid.map(str::to_owned), ..Header::new(self.algorithm) };
        jsonwebtoken::encode(&header, &all, &self.key()).unwrap()
    }

    pub fn jwk(&self, kid: &str) -> Value {
        let pem = self.public.as_bytes();
        let key = match self.algorithm {
            Algorithm::RS256 => DecodingKey::from_rsa_pem(pem),
            Algorithm::ES256 => DecodingKey::from_ec_pem(pem),
            _ => DecodingKey::from_ed_pem(pem),
        };
        let algorithm = Some(self.algorithm);
        let jwk = jsonwebtoken::jwk::Jwk::from_decoding_key(&key.unwrap(), algorithm).unwrap();
        let mut jwk = serde_json::to_value(jwk).unwrap();
        jwk["kid"] = kid.into();
        jwk
    }

    pub fn jwks(&self, kid: &str) -> String {
        json!({ "keys": [self.jwk(kid)] }).to_string()
    }
}

pub fn in_seconds(seconds: i64) -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    now.checked_add_signed(seconds).unwrap()
}

/// A folder with the public key of an issuer.
pub struct KeyFolder {
    folder: TempDir,
    pub issuer: Issuer,
}

impl KeyFolder {
    pub fn new() -> Self {
        let keys = Self { folder: tempfile::tempdir().unwrap(), issuer: Issuer::new() };
        keys.write("public.pem", keys.issuer.public_pem());
        keys
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn write(&self, name: &str, content: &str) -> PathBuf {
        let (path, new) = (self.path(name), self.path("new"));
        std::fs::write(&new, content).unwrap();
        std::fs::rename(new, &path).unwrap();
        path
    }

    /// A route to echo whose tokens are checked with the key file.
    pub fn route(&self, more: &str) -> String {
        let file = self.path("public.pem").display().to_string();
        let auth = format!("{{ kind = 'jwt', key_file = '{file}'{more} }}");
        route(&auth, "")
    }
}

/// A setting with one route to echo.
pub fn route(auth: &str, more: &str) -> String {
    format!(
        "routes=[{{ name = 'a', path = '/*', backend = {{ kind = 'echo' }}, auth = {auth}{more} }}]"
    )
}

/// A server that answers each request with what it is set to.
pub struct Server {
    pub address: SocketAddr,
    answer: Arc<Mutex<Reply>>,
    requests: Arc<Mutex<Vec<String>>>,
    connections: Arc<AtomicUsize>,
}

#[derive(Clone)]
pub enum Reply {
    Raw(String),
    /// Nothing comes.
    Silence,
}

impl Reply {
    pub fn status(status: u16, more: &str) -> Self {
        Self::Raw(format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\n{more}\r\n"))
    }

    pub fn json(body: &str) -> Self {
        Self::Raw(format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ))
    }
}

impl Server {
    pub async fn start(reply: Reply) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Self {
            address: listener.local_addr().unwrap(),
            answer: Arc::new(Mutex::new(reply)),
            requests: Arc::default(),
            connections: Arc::default(),
        };
        let (answer, requests) = (Arc::clone(&server.answer), Arc::clone(&server.requests));
        let connections = Arc::clone(&server.connections);
        tokio::spawn(async move {
            loop {
                let (mut socket, _) = listener.accept().await.unwrap();
                connections.fetch_add(1, Ordering::SeqCst);
                let (answer, requests) = (Arc::clone(&answer), Arc::clone(&requests));
                tokio::spawn(async move {
                    let mut request = vec![0; 16 * 1024];
                    while let Ok(read @ 1..) = socket.read(&mut request).await {
                        let text = String::from_utf8_lossy(&request[..read]).into_owned();
                        requests.lock().unwrap().push(text);
                        let reply = answer.lock().unwrap().clone();
                        match reply {
                            Reply::Raw(raw) => socket.write_all(raw.as_bytes()).await.unwrap(),
                            Reply::Silence => std::future::pending().await,
                        }
                    }
                });
            }
        });
        server
    }

    pub fn set(&self, reply: Reply) {
        *self.answer.lock().unwrap() = reply;
    }

    pub fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }

    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

/// A call of the control API.
pub async fn call(daemon: &Daemon, method: &str, path: &str, body: &str) -> (u16, Value) {
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: \
         application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let Answer { head, body } = exchange(daemon.control(), request, SOON).await;
    (head.status(), serde_json::from_str(&body).unwrap_or(Value::Null))
}

/// Waits until a condition holds.
pub async fn eventually(what: &str, condition: impl Fn() -> bool) {
    let waiting = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let waited = tokio::time::timeout(SOON, waiting).await;
    waited.unwrap_or_else(|_| panic!("awaited {what} in vain"));
}
