//! The opening handshake (RFC 6455 section 4), in both roles.
//!
//! hyper parses what the peer sends, but this module writes the answers, and what hyper would answer
//! is discarded (`discard_writes`): its refusals have no text, and it has none for a slow peer. So
//! all answers have one form, and are known to be sent whole when the socket is handed on, together
//! with any bytes read after the peer's head.
//!
//! - [`server`]: read a request, answer 101 or a refusal.
//! - [`client`]: send a request, check the answer.
//! - [`request`]: a request and its checks, whose order the caller decides.
//! - [`Waiting`]: notices when a peer leaves before it is answered.
//! - [`answer`]: answers, and the lingering close that lets a refused peer read its answer.

pub mod answer;
mod answer_body;
pub mod client;
mod discard_writes;
pub mod names;
pub mod request;
pub mod server;
mod waiting;

use bytes::Bytes;

use crate::runtime::scratch::Scratch;

/// How many bytes are read at a time.
const READ_SIZE: usize = 16 * 1024;

thread_local! {
    /// Requests, and what refused peers still send, are read into one buffer, however many come at once.
    static READ: Scratch = Scratch::new(READ_SIZE);
}

pub(crate) use answer::value_of_retry_after;
pub use answer::{Agreement, Passed, Refusal};
pub(in crate::transport) use answer::{lingering_close, retry_after};
pub use answer_body::AnswerBody;
pub(super) use client::MAX_LINES;
pub use client::{
    Answer, ClientRequest, FailedOpening, OpenedSocket, ReservedHeader, open, open_or_answer,
};
pub use names::{AcceptKey, Subprotocol};
pub use request::{
    Request, RequestFacts, check_method, check_origin, check_upgrade, choose_subprotocol,
    extension_name, extensions,
};
pub use server::{
    Accepted, FailedHandshake, HandshakeLimits, HeadRoom, Received, accept, receive, receive_with,
    refuse_unread,
};
pub use waiting::{Waiting, joined};

/// How many bytes of a peer's string are recorded.
const RECORDED: usize = 1024;

/// Copies the bytes after a head out of hyper's buffer: even an empty slice would keep its 8 KiB alive
/// as long as the connection.
fn unpinned(read_buf: &Bytes) -> Bytes {
    Bytes::copy_from_slice(read_buf)
}

/// Cuts a peer's string to the length that is recorded.
fn cut(text: &str) -> String {
    text[..text.floor_char_boundary(RECORDED)].to_owned()
}
