use std::sync::atomic::{AtomicUsize, Ordering};

use jsonwebtoken::Algorithm;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::auth::testing::{Issuer, jwks};
use crate::settings::{ByteSize, JwtKeys};

/// A server of key sets, whose answer can be changed, and which counts requests.
struct Server {
    answer: Arc<Mutex<Answer>>,
    requests: Arc<AtomicUsize>,
    keys: JwksUrl,
}

#[derive(Clone)]
enum Answer {
    Keys(String),
    Raw(String),
    /// The connection stays open.
    Nothing,
    /// It is closed.
    Close,
    /// As many bytes as are read.
    Endless,
}

impl Server {
    async fn start(answer: Answer) -> Self {
        Self::start_with(answer, |_| ()).await
    }

    async fn start_with(answer: Answer, change: impl FnOnce(&mut JwtAuth)) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url: HttpUrl =
            format!("http://{}/jwks.json", listener.local_addr().unwrap()).parse().unwrap();
        let mut settings = JwtAuth::new(JwtKeys::JwksUrl(url.clone()));
        settings.jwks_timeout = Duration::from_millis(500);
        change(&mut settings);
        let answer = Arc::new(Mutex::new(answer));
        let requests = Arc::new(AtomicUsize::new(0));
        let (answers, count) = (Arc::clone(&answer), Arc::clone(&requests));
        tokio::spawn(async move {
            loop {
                let (mut socket, _) = listener.accept().await.unwrap();
                let (answers, count) = (Arc::clone(&answers), Arc::clone(&count));
                tokio::spawn(async move {
                    let mut request = vec![0; 4096];
                    while socket.read(&mut request).await.is_ok_and(|read| read > 0) {
                        count.fetch_add(1, Ordering::SeqCst);
                        // Long enough for many clients to come meanwhile.
                        tokio::time::sleep(Duration::from_millis(20)).await;
                        let answer = answers.lock().clone();
                        let raw = match answer {
                            Answer::Keys(keys) => format!(
                                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{keys}",
                                keys.len()
                            ),
                            Answer::Raw(raw) => raw,
                            Answer::Nothing => std::future::pending().await,
                            Answer::Close => return,
                            Answer::Endless => {
                                let head = "HTTP/1.1 200 OK\r\n\r\n{\"keys\": [";
                                let _ = socket.write_all(head.as_bytes()).await;
                                while socket.write_all(&[b' '; 65536]).await.is_ok() {}
                                return;
                            }
                        };
                        let _ = socket.write_all(raw.as_bytes()).await;
                    }
                });
            }
        });
        Self { answer, requests, keys: JwksUrl::new(&url, &settings) }
    }

    fn set(&self, answer: Answer) {
        *self.answer.lock() = answer;
    }

    fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }

    /// Asks for the key of a token with this id.
    async fn ask(&self, id: &str) -> Result<bool, NotFetched> {
        let knows = |keys: &KeySet| keys.candidates(Some(id), Algorithm::ES256).next().is_some();
        self.keys.current(knows).await.map(|keys| knows(&keys))
    }

    /// Makes the last fetch look older.
    fn age(&self, by: Duration) {
        let mut state = self.keys.shared.state.lock();
        state.fetched_at = state.fetched_at.map(|at| at - by);
        match &mut state.last {
            LastFetch::Good { began } | LastFetch::Failed { began, .. } => *began -= by,
            LastFetch::None | LastFetch::UnderWay => {}
        }
    }
}

fn keys_of(ids: &[&str]) -> Answer {
    let keys: Vec<_> = ids.iter().map(|id| Issuer::p256().jwk(Some(id))).collect();
    Answer::Keys(jwks(&keys))
}

#[tokio::test]
async fn a_thousand_clients_cause_one_fetch() {
    let server = Server::start(keys_of(&["a"])).await;
    let asked = (0..1000).map(|_| server.ask("a"));
    let found = futures_util::future::join_all(asked).await;
    assert!(found.iter().all(|found| *found == Ok(true)));
    assert_eq!(server.requests(), 1);
    // Their ids are unknown, whatever is fetched: nobody has to wait for another fetch.
    let ids: Vec<String> = (0..1000).map(|n| n.to_string()).collect();
    let asked = ids.iter().map(|id| server.ask(id));
    let found = futures_util::future::join_all(asked).await;
    assert!(found.iter().all(|found| *found == Ok(false)));
    assert_eq!(server.requests(), 1);
    server.age(INTERVAL);
    let asked = ids.iter().map(|id| server.ask(id));
    let found = futures_util::future::join_all(asked).await;
    assert!(found.iter().all(|found| *found == Ok(false)));
    assert_eq!(server.requests(), 2);
}

#[tokio::test]
async fn a_new_key_is_found_without_waiting_for_the_refresh() {
    let server = Server::start(keys_of(&["a"])).await;
    assert_eq!(server.ask("a").await, Ok(true));
    server.set(keys_of(&["b"]));
    assert_eq!(server.ask("b").await, Ok(false), "it was fetched a moment ago");
    server.age(INTERVAL);
    assert_eq!(server.ask("b").await, Ok(true));
    assert_eq!(server.ask("a").await, Ok(false), "it was withdrawn");
}

#[tokio::test]
async fn old_keys_are_used_while_they_are_fetched_again() {
    let server = Server::start(keys_of(&["a"])).await;
    assert_eq!(server.ask("a").await, Ok(true));
    server.set(keys_of(&["b"]));
    server.age(Duration::from_secs(15 * 60));
    assert_eq!(server.ask("a").await, Ok(true));
    let fetched = async {
        while !matches!(server.keys.shared.state.lock().last, LastFetch::Good { .. }) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(Duration::from_secs(10), fetched).await.unwrap();
    assert_eq!(server.requests(), 2);
    assert_eq!(server.ask("b").await, Ok(true));
}

#[tokio::test]
async fn a_server_that_fails_leaves_the_old_keys_and_admits_no_unknown_one() {
    let html = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 6\r\n\r\n<html>";
    let lie = r#"{"keys": [{"kty": "RSA", "kid": "b"}]}"#;
    for bad in [
        Answer::Close,
        Answer::Nothing,
        Answer::Endless,
        Answer::Raw(html.to_owned()),
        Answer::Raw("HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n".to_owned()),
        Answer::Raw("HTTP/1.1 302 No\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n".to_owned()),
        Answer::Keys("{".to_owned()),
        Answer::Keys(lie.to_owned()),
        Answer::Keys(jwks(&vec![Issuer::p256().jwk(Some("b")); 2000])),
    ] {
        let server = Server::start(keys_of(&["a"])).await;
        assert_eq!(server.ask("a").await, Ok(true));
        server.set(bad);
        server.age(Duration::from_secs(15 * 60));
        assert_eq!(server.ask("a").await, Ok(true));
        let unknown = server.ask("b").await.unwrap_err();
        let requests = server.requests();
        assert_eq!(server.ask("a").await, Ok(true));
        assert_eq!(server.ask("b").await, Err(unknown), "without another fetch");
        assert_eq!(server.requests(), requests);
        server.set(keys_of(&["b"]));
        server.age(INTERVAL_AFTER_FAILURE);
        assert_eq!(server.ask("b").await, Ok(true), "it flaps");
    }
}

#[tokio::test]
async fn without_any_keys_clients_are_not_admitted_and_not_kept_waiting() {
    let server = Server::start(Answer::Nothing).await;
    let began = Instant::now();
    let asked = futures_util::future::join_all((0..100).map(|_| server.ask("a"))).await;
    assert!(asked.iter().all(Result::is_err));
    assert!(began.elapsed() < Duration::from_secs(3));
    assert_eq!(server.requests(), 1);
    let gone = Server::start_with(Answer::Close, |jwt| jwt.jwks_max_size = ByteSize(1)).await;
    assert!(gone.ask("a").await.is_err());
}

#[tokio::test]
async fn a_client_that_leaves_does_not_end_the_fetch_of_others() {
    let server = Server::start(keys_of(&["a"])).await;
    let first = server.ask("a");
    let brief = Duration::from_millis(5);
    timeout(brief, first).await.unwrap_err();
    assert_eq!(server.ask("a").await, Ok(true));
    assert_eq!(server.requests(), 1);
}
