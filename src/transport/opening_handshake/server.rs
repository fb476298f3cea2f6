//! The server's half of the opening handshake: read a request, answer 101 or a refusal (RFC 6455
//! section 4.2).

mod head;

use std::time::{Duration, SystemTime};

use bytes::{Bytes, BytesMut};
use http::{Method, StatusCode};
use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, timeout_at};

use super::answer::{Agreement, Lingered, Refusal, answer_and_linger};
use super::names::Subprotocol;
use super::request::{Request, RequestFacts};
use super::waiting::{Waiting, joined};
use crate::protocol::classification::LossKind;
use crate::protocol::request_framing::Head;
use crate::transport::socket::Transport;
use crate::vocabulary::{OpenFailure, TransportEnd};
use head::{Deadlines, HeadRead, read_head, target_too_long};
pub use head::{HandshakeLimits, HeadRoom};

/// A socket on which 101 was answered: an open connection.
#[derive(Debug)]
pub struct Accepted<T> {
    /// The raw socket.
    pub socket: T,
    /// The bytes after the request that were already read: the beginning of the first frames.
    pub read_ahead: Bytes,
    /// The request.
    pub request: RequestFacts,
    /// The subprotocol that was agreed on.
    pub subprotocol: Option<Subprotocol>,
}

/// A failed opening handshake, and how its socket ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{failure}: {detail}")]
pub struct FailedHandshake {
    /// The failure.
    pub failure: OpenFailure,
    /// The HTTP status that was answered, if the answer was sent whole.
    pub status: Option<u16>,
    /// The request, if it could be read.
    pub request: Option<RequestFacts>,
    /// One sentence for people.
    pub detail: String,
    /// How the transport ended.
    pub transport_end: TransportEnd,
}

impl FailedHandshake {
    /// Makes the failure of a handshake whose request was neither read nor answered.
    pub fn unread(failure: OpenFailure, transport_end: TransportEnd, detail: String) -> Box<Self> {
        Box::new(Self { failure, status: None, request: None, detail, transport_end })
    }
}

/// Reads a request and answers it as `decide` returns: [`receive`], then [`Received::agree`] or
/// [`Received::refuse`].
///
/// # Errors
///
/// The failure to record. The peer was answered by then, if possible.
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

/// Reads a request, and refuses it if it is unparsable (400), its headers are too large (431), its
/// target is too long (414), it is too slow (408), or there is no memory for it (503).
///
/// # Errors
///
/// The failure to record.
///
/// # Cancel safety
///
/// As [`accept`].
pub async fn receive<T: Transport>(
    socket: T,
    limits: HandshakeLimits,
) -> Result<Received<T>, Box<FailedHandshake>> {
    let began = Instant::now();
    receive_with(socket, Bytes::new(), limits, began, &mut (), limits.timeout, || Ok(())).await
}

/// Like [`receive`], for a socket from which `before` was read already. The time runs from `began`. The
/// memory of the head is charged to `room`, and if the request is incomplete `after` that time, `overdue`
/// decides whether to go on.
///
/// # Errors
///
/// As [`receive`], and the refusal of `overdue`.
///
/// # Cancel safety
///
/// As [`accept`].
pub async fn receive_with<T: Transport>(
    socket: T,
    before: Bytes,
    limits: HandshakeLimits,
    began: Instant,
    room: &mut impl HeadRoom,
    after: Duration,
    overdue: impl FnOnce() -> Result<(), Refusal>,
) -> Result<Received<T>, Box<FailedHandshake>> {
    let deadline = began + limits.timeout;
    let deadlines = Deadlines { overdue_at: deadline.min(began + after), overdue, deadline };
    let (socket, read_ahead, all_read, head) =
        read_head(socket, before, &limits, deadlines, room).await;
    let request = match head {
        HeadRead::Request(request) => Request::new(*request),
        HeadRead::Refused(refusal) => return Err(refuse(socket, refusal, None).await),
        HeadRead::Gone { detail, transport_end } => {
            return Err(FailedHandshake::unread(OpenFailure::PeerGone, transport_end, detail));
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

/// A request that was read and is not answered yet.
#[derive(Debug)]
pub struct Received<T> {
    socket: T,
    read_ahead: Bytes,
    /// What the peer sent after that, while it waited for its answer.
    early: BytesMut,
    /// Everything that was read, as it was on the wire; hyper may have begun to parse a body.
    all_read: Vec<u8>,
    request: Request,
    /// The recorded part of the request, computed on first use.
    facts: Option<RequestFacts>,
    deadline: Instant,
}

impl<T: Transport> Received<T> {
    /// Returns the request.
    pub fn request(&self) -> &Request {
        &self.request
    }

    /// Takes the offered subprotocols that `is_taken` names out of the request, and returns them.
    pub fn take_subprotocols(&mut self, is_taken: impl Fn(&str) -> bool) -> Vec<String> {
        self.facts = None;
        self.request.take_subprotocols(is_taken)
    }

    /// Returns the recorded part of the request.
    pub fn facts(&mut self) -> &RequestFacts {
        self.facts.get_or_insert_with(|| self.request.facts())
    }

    /// Returns when the 101 must have been sent.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Returns the request, and a way to notice when its peer leaves.
    pub fn waiting(&mut self) -> (&Request, Waiting<'_, T>) {
        (&self.request, Waiting::new(&mut self.socket, &mut self.early))
    }

    /// Drops the request of a peer that left before it was answered.
    pub fn peer_left(self, loss: &LossKind) -> Box<FailedHandshake> {
        Box::new(FailedHandshake {
            failure: OpenFailure::PeerGone,
            status: None,
            request: Some(self.request.facts()),
            detail: format!("the peer left before it was answered: {loss}"),
            transport_end: loss.transport_end(),
        })
    }

    /// Returns the socket and everything that was read, for a request that is forwarded as plain HTTP.
    pub fn rewind(self) -> (T, Bytes) {
        (self.socket, self.all_read.into())
    }

    /// Sets the deadline for sending the answer to `timeout` from now.
    pub fn extend_deadline(&mut self, timeout: Duration) {
        self.deadline = Instant::now() + timeout;
    }

    /// Answers 101, and returns the raw socket once the answer was sent whole.
    ///
    /// # Errors
    ///
    /// The failure to record: the peer is gone, or too slow to take the answer.
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

    /// Answers with a refusal, followed by a lingering close of at most a second.
    ///
    /// # Cancel safety
    ///
    /// As [`accept`].
    pub async fn refuse(self, refusal: Refusal) -> Box<FailedHandshake> {
        refuse(self.socket, refusal, Some(&self.request)).await
    }
}

/// Answers a peer whose request was not read with a refusal, followed by a lingering close.
///
/// # Cancel safety
///
/// As [`accept`].
pub async fn refuse_unread<T: Transport>(socket: T, refusal: Refusal) -> Box<FailedHandshake> {
    refuse(socket, refusal, None).await
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
    let Lingered { status, transport_end } =
        answer_and_linger(socket, &answer, refusal.status, rest).await;
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
