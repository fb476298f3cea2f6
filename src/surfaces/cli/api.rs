//! A client of the control API: one request, one answer, every wait bounded.

mod address;
mod exchange;
mod paging;

use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue, USER_AGENT};
use http::{Method, Request, StatusCode};
use http_body_util::Full;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::arguments::Control;
use super::failure::Failure;
use crate::contract::ProblemRecord;
use crate::explanation::wording::safe;

use address::Address;
pub(super) use exchange::Lines;
pub(super) use paging::Page;

/// How long an answer may take unless `--timeout` says otherwise.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// A connection target: the daemon's address and credentials.
#[derive(Debug)]
pub(super) struct Daemon {
    address: Address,
    token: Option<HeaderValue>,
    timeout: Option<Duration>,
}

/// A successful answer of the daemon.
#[derive(Debug)]
pub(super) struct Answer {
    /// The status, 2xx.
    pub status: StatusCode,
    /// The body as received.
    pub body: Bytes,
    address: String,
}

impl Daemon {
    /// Determines the address and the token; sends nothing yet.
    ///
    /// # Errors
    /// [`Failure::Address`], and [`Failure::File`] for a token that cannot be read.
    pub(super) fn of(control: &Control) -> Result<Self, Failure> {
        Ok(Self {
            address: address::address(control.control.as_deref(), control.ca_file.as_deref())?,
            token: address::token(control.token_file.as_deref())?,
            timeout: control.timeout,
        })
    }

    /// Limits how long each answer may take, unless `--timeout` does.
    pub(super) fn answering_within(self, within: Duration) -> Self {
        Self { timeout: self.timeout.or(Some(within)), ..self }
    }

    /// Sends a GET request.
    ///
    /// # Errors
    /// Those of [`Daemon::call`].
    pub(super) async fn get(&self, target: &str) -> Result<Answer, Failure> {
        self.call(Method::GET, target, None, ANSWER_WITHIN).await
    }

    /// Sends a GET request; returns `None` for 404.
    ///
    /// # Errors
    /// Those of [`Daemon::call`], except for 404.
    pub(super) async fn find(&self, target: &str) -> Result<Option<Answer>, Failure> {
        match self.get(target).await {
            Ok(answer) => Ok(Some(answer)),
            Err(failure) if failure.is_not_found() => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    /// Sends a POST request.
    ///
    /// # Errors
    /// Those of [`Daemon::call`].
    pub(super) async fn post(
        &self,
        target: &str,
        body: &serde_json::Value,
    ) -> Result<Answer, Failure> {
        self.call(Method::POST, target, Some(body), ANSWER_WITHIN).await
    }

    /// Sends a DELETE request.
    ///
    /// # Errors
    /// Those of [`Daemon::call`].
    pub(super) async fn delete(&self, target: &str) -> Result<Answer, Failure> {
        self.call(Method::DELETE, target, None, ANSWER_WITHIN).await
    }

    /// Sends a request and reads its answer; `--timeout` overrides `within`.
    ///
    /// # Errors
    /// [`Failure::Unreachable`], [`Failure::Slow`], [`Failure::Lost`], [`Failure::Refused`] for
    /// everything but a 2xx, [`Failure::NotOurs`] for a refusal that is not `problem+json`.
    pub(super) async fn call(
        &self,
        method: Method,
        target: &str,
        body: Option<&serde_json::Value>,
        within: Duration,
    ) -> Result<Answer, Failure> {
        let request = self.request(method, target, body, None)?;
        let within = self.timeout.unwrap_or(within);
        let (status, body) = exchange::answer(&self.address, request, within).await?;
        if !status.is_success() {
            return Err(refusal(&self.address, status, &body));
        }
        Ok(Answer { status, body, address: self.address.to_string() })
    }

    /// Requests a stream of Server-Sent Events, after the event of this number if one is given.
    ///
    /// # Errors
    /// Those of [`Daemon::call`].
    pub(super) async fn stream(&self, target: &str, after: Option<u64>) -> Result<Lines, Failure> {
        let request = self.request(Method::GET, target, None, after)?;
        let within = self.timeout.unwrap_or(ANSWER_WITHIN);
        match exchange::stream(&self.address, request, within).await? {
            Ok(lines) => Ok(lines),
            Err((status, body)) => Err(refusal(&self.address, status, &body)),
        }
    }

    fn request(
        &self,
        method: Method,
        target: &str,
        body: Option<&serde_json::Value>,
        after: Option<u64>,
    ) -> Result<Request<Full<Bytes>>, Failure> {
        let target = format!("{}{target}", self.address.prefix());
        let agent = concat!("lastword/", env!("CARGO_PKG_VERSION"));
        let mut request = Request::builder()
            .method(method)
            .uri(target)
            .header(HOST, self.address.host())
            .header(USER_AGENT, agent);
        if let Some(token) = &self.token {
            request = request.header(AUTHORIZATION, token);
        }
        if let Some(after) = after {
            request = request.header("last-event-id", after);
        }
        request = match body {
            Some(_) => request.header(CONTENT_TYPE, "application/json"),
            None => request.header(ACCEPT, "*/*"),
        };
        let body = body.map(|body| Bytes::from(body.to_string())).unwrap_or_default();
        request.body(Full::new(body)).map_err(|error| Failure::Usage(error.to_string()))
    }
}

impl Answer {
    /// Parses the body as a record of the contract.
    ///
    /// # Errors
    /// [`Failure::NotOurs`].
    pub(super) fn read<T: serde::de::DeserializeOwned>(&self) -> Result<T, Failure> {
        serde_json::from_slice(&self.body).map_err(|error| Failure::NotOurs {
            address: self.address.clone(),
            why: format!("its answer is not the expected record: {error}"),
        })
    }
}

fn refusal(address: &Address, status: StatusCode, body: &Bytes) -> Failure {
    match serde_json::from_slice::<ProblemRecord<'static>>(body) {
        Ok(problem) => Failure::Refused { problem: Box::new(problem), body: body.clone() },
        Err(_) => Failure::NotOurs {
            address: address.to_string(),
            why: format!("it answered {status}{}", excerpt(body)),
        },
    }
}

/// Returns the first line of an unexpected body, which helps to find out who sent it.
fn excerpt(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let line = text.lines().next().unwrap_or_default();
    let line: String = line.chars().take(100).collect();
    if line.is_empty() { line } else { format!(": {}", safe(&line)) }
}

/// Builds a path of the API that contains a name given by the user.
pub(super) fn path(before: &str, name: &str, after: &str) -> String {
    format!("{before}/{}{after}", encoded(name))
}

/// Builds a query of the pairs that have a value.
pub(super) fn query<'a>(pairs: impl IntoIterator<Item = (&'a str, Option<String>)>) -> String {
    let mut query = String::new();
    for (name, value) in pairs {
        if let Some(value) = value {
            query.push(if query.is_empty() { '?' } else { '&' });
            query.push_str(name);
            query.push('=');
            query.push_str(&encoded(&value));
        }
    }
    query
}

/// All but the unreserved characters of RFC 3986 section 2.3.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, RESERVED).to_string()
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn every_request_gives_up_in_time_on_a_daemon_that_hangs() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let control = |timeout| Control {
            control: Some(format!("http://{}", listener.local_addr().unwrap())),
            token_file: None,
            ca_file: None,
            json: false,
            timeout,
        };
        let own = Duration::from_millis(20);
        for given in [None, Some(Duration::from_millis(10))] {
            let daemon = Daemon::of(&control(given)).unwrap().answering_within(own);
            let asked = async {
                [
                    daemon.get("/").await.err(),
                    daemon.find("/").await.err(),
                    daemon.post("/", &serde_json::Value::Null).await.err(),
                    daemon.delete("/").await.err(),
                    daemon.stream("/", None).await.err(),
                ]
            };
            for failure in asked.await {
                let Some(Failure::Slow { within, .. }) = failure else { panic!("{failure:?}") };
                assert_eq!(within, given.unwrap_or(own));
            }
        }
    }

    #[test]
    fn what_people_type_cannot_leave_its_place_in_the_target() {
        assert_eq!(path("/v1/endings", "a/../b?c#d e", ""), "/v1/endings/a%2F..%2Fb%3Fc%23d%20e");
        assert_eq!(
            query([
                ("kind", None),
                ("subject", Some("ann&kind=x".into())),
                ("tag", Some("ü".into()))
            ]),
            "?subject=ann%26kind%3Dx&tag=%C3%BC"
        );
        assert_eq!(query([("kind", None)]), "");
    }

    #[test]
    fn an_excerpt_is_one_short_line_that_a_terminal_may_see() {
        assert_eq!(excerpt(b"<html>\x1b[31m\r\n<body>"), ": <html>\\u{1b}[31m");
        assert_eq!(excerpt(b""), "");
        assert_eq!(excerpt(&[b'x'; 5000]).len(), 102);
    }
}
