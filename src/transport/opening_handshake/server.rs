//! The server's half: read a request, answer 101 or a refusal.

mod head;

use std::time::{Duration, SystemTime};

use bytes::{Bytes, BytesMut};
use http::{Method, StatusCode};
use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, timeout_at};

use super::answer::{Agreement, Farewell, Refusal, say_farewell};
use super::request::{Request, RequestFacts, Subprotocol};
use super::waiting::{Waiting, joined};
use crate::protocol::classification::LossKind;
use crate::protocol::request_framing::Head;
use crate::transport::socket::Transport;
use crate::vocabulary::{OpenFailure, TransportEnd};
pub use head::HeadRoom;
use head::{HeadRead, Patience, read_head, target_too_long};

/// What a request may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HandshakeLimits {
    /// From the first look at the socket to the last byte of the 101.
    pub timeout: Duration,
    /// The request line and all header lines together.
    pub max_header_bytes: usize,
    /// The path and the query.
    pub max_target_bytes: usize,
}

impl Default for HandshakeLimits {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(10),
            max_header_bytes: 16 * 1024,
            max_target_bytes: 8 * 1024,
        }
    }
}

/// A socket on which 101 was answered: a connection.
#[derive(Debug)]
pub struct Accepted<T> {
    /// The raw socket.
    pub socket: T,
    /// What came behind the request in the same reads: the first bytes of the first frames.
    pub read_ahead: Bytes,
    /// What was asked.
    pub request: RequestFacts,
    /// What was agreed on.
    pub subprotocol: Option<Subprotocol>,
}

/// An attempt that never became a connection, and how its socket ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{failure}: {detail}")]
pub struct FailedHandshake {
    /// Why.
    pub failure: OpenFailure,
    /// The HTTP status that was answered, if an answer left whole.
    pub status: Option<u16>,
    /// What was asked, if that much could be read.
    pub request: Option<RequestFacts>,
    /// One plain sentence for a person.
    pub detail: String,
    /// How the transport ended.
    pub transport_end: TransportEnd,
}

/// Reads a request and answers as `decide` says: [`receive`], then [`Received::agree`] or
/// [`Received::refuse`].
///
/// # Errors
///
/// The attempt to be recorded. By then the peer has its answer, as far as it could be given.
///
/// # Cancel safety
///
/// Dropping the future drops the socket, with whatever was read or written so far.
pub async fn accept<T: Transport>(
    socket: T,
    limits: HandshakeLimits,
    decide: impl FnOnce(&Request) -> Result<Agreement, Refusal>,
) -> Result<Accepted<T>, Box<FailedHandshake>> {
    let received = receive(socket, limits).await?;
    match decide(received.request()) {
        Ok(agreement) => received.agree(agreement).await,
        Err(refusal) => Err(received.refuse(refusal).await),
    }
}

/// Reads a request, and refuses by itself what is none: unparsable (400), headers too large (431),
/// target too long (414), too slow (408), no room for it (503).
///
/// # Errors
///
/// The attempt to be recorded.
///
/// # Cancel safety
///
/// As [`accept`].
pub async fn receive<T: Transport>(
    socket: T,
    limits: HandshakeLimits,
) -> Result<Received<T>, Box<FailedHandshake>> {
    receive_unless(socket, Bytes::new(), limits, &mut (), limits.timeout, || Ok(())).await
}

/// Like [`receive`], on a socket of which `before` was read already, and in `room`, where the memory of
/// the head is charged; where the request is not there after so long, `overdue` says whether to go on.
///
/// # Errors
///
/// As [`receive`], and the refusal of `overdue`.
///
/// # Cancel safety
///
/// As [`accept`].
pub async fn receive_unless<T: Transport>(
    socket: T,
    before: Bytes,
    limits: HandshakeLimits,
    room: &mut impl HeadRoom,
    after: Duration,
    overdue: impl FnOnce() -> Result<(), Refusal>,
) -> Result<Received<T>, Box<FailedHandshake>> {
    let began = Instant::now();
    let deadline = began + limits.timeout;
    let patience = Patience { until: deadline.min(began + after), overdue, deadline };
    let (socket, read_ahead, all_read, head) =
        read_head(socket, before, &limits, patience, room).await;
    let request = match head {
        HeadRead::Request(request) => Request::new(*request),
        HeadRead::Refused(refusal) => return Err(refuse(socket, refusal, None).await),
        HeadRead::Gone { detail, transport_end } => {
            return Err(Box::new(FailedHandshake {
                failure: OpenFailure::PeerGone,
                status: None,
                request: None,
                detail,
                transport_end,
            }));
        }
    };
    let early = BytesMut::new();
    let received = Received { socket, read_ahead, early, all_read, request, facts: None, deadline };
    if received.request.target().len() > limits.max_target_bytes {
        return Err(received.refuse(target_too_long(&limits)).await);
    }
    if let Err(malformed) = Head::read(&received.all_read) {
        let text = malformed.to_string();
        let refusal = Refusal::new(StatusCode::BAD_REQUEST, OpenFailure::BadRequest, text);
        return Err(received.refuse(refusal).await);
    }
    match received.request.check_host() {
        Ok(()) => Ok(received),
        Err(refusal) => Err(received.refuse(refusal).await),
    }
}

/// A request that waits for its answer.
#[derive(Debug)]
pub struct Received<T> {
    socket: T,
    read_ahead: Bytes,
    /// What came behind that while the peer waited for its answer.
    early: BytesMut,
    /// The request and what came behind it, as it was on the wire: hyper may have begun to take a
    /// body apart.
    all_read: Vec<u8>,
    request: Request,
    /// What a record keeps of it, once somebody has asked.
    facts: Option<RequestFacts>,
    deadline: Instant,
}

impl<T: Transport> Received<T> {
    /// Returns the request.
    pub fn request(&self) -> &Request {
        &self.request
    }

    /// Returns what a record keeps of the request.
    pub fn facts(&mut self) -> &RequestFacts {
        self.facts.get_or_insert_with(|| self.request.facts())
    }

    /// Returns when the 101 must have left.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Returns the request, and its peer, that waits for the answer.
    pub fn waiting(&mut self) -> (&Request, Waiting<'_, T>) {
        (&self.request, Waiting::new(&mut self.socket, &mut self.early))
    }

    /// Lets go of a peer that has left without an answer.
    pub fn gone(self, loss: &LossKind) -> Box<FailedHandshake> {
        Box::new(FailedHandshake {
            failure: OpenFailure::PeerGone,
            status: None,
            request: Some(self.request.facts()),
            detail: format!("the peer left before it was answered: {loss}"),
            transport_end: loss.transport_end(),
        })
    }

    /// Hands the socket on with the request in front, as if nothing had been read: for a request that
    /// opens no WebSocket and is somebody else's.
    pub fn rewind(self) -> (T, Bytes) {
        (self.socket, self.all_read.into())
    }

    /// Gives the peer this long, from now on, to take its answer.
    pub fn give_time(&mut self, timeout: Duration) {
        self.deadline = Instant::now() + timeout;
    }

    /// Answers 101 and hands on the raw socket, once the answer has left whole.
    ///
    /// # Errors
    ///
    /// The attempt to be recorded: the peer is gone, or too slow to take the answer.
    ///
    /// # Cancel safety
    ///
    /// As [`accept`].
    pub async fn agree(
        mut self,
        agreement: Agreement,
    ) -> Result<Accepted<T>, Box<FailedHandshake>> {
        let answer = agreement.to_bytes(SystemTime::now());
        let write = async {
            self.socket.write_all(&answer).await?;
            self.socket.flush().await
        };
        let (failure, detail, transport_end) = match timeout_at(self.deadline, write).await {
            Ok(Ok(())) => {
                return Ok(Accepted {
                    socket: self.socket,
                    read_ahead: joined(self.read_ahead, &self.early),
                    request: self.facts.unwrap_or_else(|| self.request.facts()),
                    subprotocol: agreement.agreed_subprotocol(),
                });
            }
            Ok(Err(error)) => {
                let end = LossKind::from(&error);
                let detail = format!("the peer was gone before the 101 could be written: {end}");
                (OpenFailure::PeerGone, detail, end.transport_end())
            }
            Err(_) => {
                let detail = "the peer did not take the 101 in time".to_owned();
                (OpenFailure::HandshakeTimeout, detail, TransportEnd::Local)
            }
        };
        let request = Some(self.request.facts());
        Err(Box::new(FailedHandshake { failure, status: None, request, detail, transport_end }))
    }

    /// Answers with a refusal, and sees the peer off for at most a second.
    ///
    /// # Cancel safety
    ///
    /// As [`accept`].
    pub async fn refuse(self, refusal: Refusal) -> Box<FailedHandshake> {
        refuse(self.socket, refusal, Some(&self.request)).await
    }
}

async fn refuse<T: Transport>(
    socket: T,
    mut refusal: Refusal,
    request: Option<&Request>,
) -> Box<FailedHandshake> {
    let to_head = request.is_some_and(|request| request.method() == Method::HEAD);
    let facts = request.map(Request::facts);
    let answer = refusal.to_bytes(SystemTime::now(), to_head);
    let rest = refusal.passed.as_mut().and_then(|passed| passed.body.rest.take());
    let rest = rest.filter(|_| !to_head);
    let Farewell { status, transport_end } =
        say_farewell(socket, &answer, refusal.status, rest).await;
    Box::new(FailedHandshake {
        failure: refusal.failure,
        status,
        request: facts,
        detail: refusal.text,
        transport_end,
    })
}

#[cfg(test)]
mod tests;
