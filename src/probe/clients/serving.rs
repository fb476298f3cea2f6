//! Serves the cases, the page that tries them in a browser, and the report.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{self, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::super::describing::observed;
use super::super::peer::Peer;
use super::super::script::{Waits, play};
use super::super::seen::{Answer, Opening, Seen};
use super::case::{ClientCase, Upgrade};
use super::cases::ALL;
use super::results::{Results, Tested, kept};
use crate::contract::{ClientCaseRecord, ProbedClientsRecord};
use crate::manager;
use crate::vocabulary::Role;

/// How many connections are served at a time; others wait to be accepted.
const MOST_CONNECTIONS: usize = 128;
/// How many times as long as for an answer a client may take to give up; browsers take up to 10 s.
const PATIENCE: u32 = 3;
/// How long a request may take.
const REQUEST_WITHIN: Duration = Duration::from_secs(10);
/// How long a connection may last: longer than any case.
const LONGEST: Duration = Duration::from_secs(90);

/// The page may load what stands beside it, and connect to its own server. Older browsers do not count
/// ws: as the same origin.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self' ws: wss:; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The `Sec-WebSocket-Accept` of "another key", which no client sends.
const ANOTHER_ACCEPT: &str = "Vrguz3TUn9ngPf9JpcYLpRwPtcc=";

/// How the cases are served.
#[derive(Debug, Clone, Copy)]
pub struct ServeOptions {
    /// How long to wait for each answer of a client.
    pub wait: Duration,
}

/// Serves the cases until the future is dropped, which ends all connections. `told` gets each result.
pub async fn serve(
    listener: TcpListener,
    options: ServeOptions,
    results: Arc<Mutex<Results>>,
    told: impl Fn(&Tested) + Send + Sync + 'static,
) {
    let server = Arc::new(Server { options, results, told: Box::new(told) });
    let room = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        // It fails only if the semaphore is closed, which never happens.
        let Ok(place) = Arc::clone(&room).acquire_owned().await else { return };
        let socket = match listener.accept().await {
            Ok((socket, _)) => socket,
            Err(_) => {
                // Out of descriptors, for one: connections that end make room.
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let server = Arc::clone(&server);
        connections.spawn(async move {
            let _place = place;
            // A connection that takes longer has no more to tell.
            let _ = timeout(LONGEST, server.connection(socket)).await;
        });
        while connections.try_join_next().is_some() {}
    }
}

struct Server {
    options: ServeOptions,
    results: Arc<Mutex<Results>>,
    told: Box<dyn Fn(&Tested) + Send + Sync>,
}

impl Server {
    /// Serves HTTP on a socket, and then the case that was asked for.
    async fn connection(&self, socket: TcpStream) {
        // It fails only on a socket that has already ended.
        let _ = socket.set_nodelay(true);
        let upgraded: Mutex<Option<(&'static ClientCase, String, hyper::upgrade::OnUpgrade)>> =
            Mutex::new(None);
        let service = service_fn(|mut request: Request<Incoming>| {
            let case = case_of(&request);
            let response = match case {
                Some(case) => upgrade(case, &request),
                None => self.answer(&request),
            };
            if let Some(case) = case
                && response.status() == StatusCode::SWITCHING_PROTOCOLS
            {
                let agent = request.headers().get(header::USER_AGENT);
                let agent = agent.map(|value| String::from_utf8_lossy(value.as_bytes()));
                let agent = kept(&agent.unwrap_or_default());
                *upgraded.lock() = Some((case, agent, hyper::upgrade::on(&mut request)));
            }
            async { Ok::<_, Infallible>(response) }
        });
        let served = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(REQUEST_WITHIN)
            .max_buf_size(16 * 1024)
            .serve_connection(TokioIo::new(socket), service)
            .with_upgrades()
            .await;
        let (Ok(()), Some((case, agent, upgrade))) = (served, upgraded.into_inner()) else {
            return;
        };
        let Ok(upgrade) = upgrade.await else { return };
        let Ok(parts) = upgrade.downcast::<TokioIo<TcpStream>>() else { return };
        let tested = self.test(case, agent, parts.io.into_inner(), &parts.read_buf).await;
        let tested = self.results.lock().add(tested);
        (self.told)(&tested);
    }

    /// Plays a case with a client.
    async fn test(
        &self,
        case: &'static ClientCase,
        agent: String,
        socket: TcpStream,
        received: &[u8],
    ) -> Tested {
        let opening = Opening::Answered(Answer {
            status: 101,
            headers: Vec::new(),
            accept_is_right: case.upgrade != Upgrade::WrongAccept,
            after: Duration::ZERO,
        });
        let seen = Seen { opening, ..Seen::default() };
        let received = BytesMut::from(received);
        let mut peer = Peer::new(Role::Server, Some(Box::new(socket)), received, 0, seen);
        let waits = Waits {
            answer: self.options.wait,
            idle: PATIENCE * self.options.wait,
            settle: Duration::ZERO,
        };
        play(&mut peer, case.steps, waits).await;
        let seen = peer.into_seen();
        let mut judgement = case.judge(&seen);
        let observed = judgement.observed.take().unwrap_or_else(|| observed(&seen));
        Tested { number: 0, agent, id: case.id, judgement, observed }
    }

    /// Answers a request for something else than a case.
    fn answer(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        if request.method() != Method::GET {
            return text(StatusCode::METHOD_NOT_ALLOWED, "only GET is served here\n".to_owned());
        }
        let wants_json = || {
            let accept = request.headers().get(header::ACCEPT);
            accept.is_some_and(|accept| accept.as_bytes().starts_with(b"application/json"))
        };
        match request.uri().path() {
            "/" => page("text/html; charset=utf-8", include_str!("page/index.html")),
            "/page.js" => page("text/javascript; charset=utf-8", include_str!("page/page.js")),
            "/page.css" => page("text/css; charset=utf-8", include_str!("page/page.css")),
            "/cases.json" => json(ClientCaseRecord::to_json(&cases())),
            "/report.json" => json(self.report().to_json()),
            "/report" if wants_json() => json(self.report().to_json()),
            "/report" => text(StatusCode::OK, self.results.lock().to_text()),
            path if path.starts_with("/case/") => {
                text(StatusCode::NOT_FOUND, "no such case: GET /cases.json lists them\n".to_owned())
            }
            _ => text(
                StatusCode::NOT_FOUND,
                "open / in a browser, GET /report, or open a WebSocket at /case/ID\n".to_owned(),
            ),
        }
    }

    fn report(&self) -> ProbedClientsRecord {
        let results = self.results.lock();
        let clients = results
            .iter()
            .flat_map(|(_, results)| results.into_iter().map(|tested| tested.to_record()));
        ProbedClientsRecord { results: clients.collect() }
    }
}

fn cases() -> Vec<ClientCaseRecord> {
    let record = |case: &ClientCase| ClientCaseRecord {
        id: case.id,
        does: case.does,
        rfc: case.rfc,
        due: case.due,
        code: case.code,
        clean: case.clean,
        client_closes: case.client_closes,
    };
    ALL.iter().map(record).collect()
}

/// Returns the case that a request asks for.
fn case_of(request: &Request<Incoming>) -> Option<&'static ClientCase> {
    let id = request.uri().path().strip_prefix("/case/")?;
    ALL.iter().find(|case| case.id == id)
}

/// Answers the opening handshake, as right or wrong as the case wants it.
fn upgrade(case: &ClientCase, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let mut response = match manager::Upgrade::of(request) {
        Ok(upgrade) => upgrade.response(),
        Err(refused) => return with_policy(refused.response()),
    };
    let (name, value) = match case.upgrade {
        Upgrade::Right => return response,
        Upgrade::WrongAccept => (header::SEC_WEBSOCKET_ACCEPT, ANOTHER_ACCEPT),
        Upgrade::Subprotocol => (header::SEC_WEBSOCKET_PROTOCOL, "lastword-not-offered"),
        Upgrade::Extension => (header::SEC_WEBSOCKET_EXTENSIONS, "x-lastword-not-offered"),
    };
    response.headers_mut().insert(name, HeaderValue::from_static(value));
    response
}

fn page(kind: &'static str, content: &'static str) -> Response<Full<Bytes>> {
    answer(StatusCode::OK, kind, Bytes::from_static(content.as_bytes()))
}

fn text(status: StatusCode, text: String) -> Response<Full<Bytes>> {
    answer(status, "text/plain; charset=utf-8", Bytes::from(text))
}

fn json(json: String) -> Response<Full<Bytes>> {
    answer(StatusCode::OK, "application/json", Bytes::from(json))
}

fn answer(status: StatusCode, kind: &'static str, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    with_policy(response)
}

/// Adds what every answer says to browsers.
fn with_policy(mut response: Response<Full<Bytes>>) -> Response<Full<Bytes>> {
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}
