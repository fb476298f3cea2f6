//! The opening handshake (RFC 6455 section 4), in both roles.
//!
//! hyper reads, and we write. hyper parses what the peer sent, and nothing it would answer by
//! itself reaches the wire (`muted`): its own refusals have no text, and it has none for a peer
//! that is too slow. So every answer has one shape, and is known to have left whole when the raw
//! socket, and the bytes that were glued behind the peer's last header line, are handed on.
//!
//! - [`server`]: read a request, answer 101 or a refusal.
//! - [`client`]: send a request, judge the answer.
//! - [`request`]: what was asked, and the pure checks of it; the owner puts them in order.
//! - [`Waiting`]: a peer whose answer takes time, until it leaves.
//! - [`answer`]: what is answered, and how a refused peer is let go so that it reads the answer.

pub mod answer;
mod answer_body;
pub mod client;
mod muted;
pub mod request;
pub mod server;
mod waiting;

use bytes::Bytes;

pub use answer::{Agreement, Passed, Refusal};
pub(in crate::transport) use answer::{retry_after, see_off};
pub use answer_body::AnswerBody;
pub(super) use client::MAX_LINES;
pub use client::{
    Answer, ClientRequest, FailedOpening, Opened, ReservedHeader, open, open_or_answer,
};
pub use request::{
    AcceptKey, Request, RequestFacts, Subprotocol, check_method, check_origin, check_upgrade,
    choose_subprotocol, extension_name, extensions,
};
pub use server::{
    Accepted, FailedHandshake, HandshakeLimits, HeadRoom, Received, accept, receive, receive_unless,
};
pub use waiting::{Waiting, joined};

/// How much of a text that a peer chose is kept in a record.
const RECORDED: usize = 1024;

/// Copies what came behind a head out of hyper's buffer: even an empty slice of that would hold its
/// 8 KiB for as long as the connection lives.
fn unpinned(read_buf: &Bytes) -> Bytes {
    Bytes::copy_from_slice(read_buf)
}

/// Cuts a text that a peer chose to what a record keeps of it.
fn cut(text: &str) -> String {
    text[..text.floor_char_boundary(RECORDED)].to_owned()
}
