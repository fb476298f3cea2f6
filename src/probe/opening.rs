//! Asks for an upgrade, and reads the answer.

use std::str;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout_at};

use super::seen::{Answer, End, Opening};
use crate::policy::masking::record_text;
use crate::protocol::classification::LossKind;
use crate::transport::handshake_key::derive_accept_key;
use crate::transport::socket::Transport;

/// The longest head of an answer.
const MAX_HEAD: usize = 32 * 1024;
/// The most headers of an answer.
const MAX_HEADERS: usize = 100;

/// Sends the head of a request and reads that of the answer. What came behind the answer is left in
/// `buffer`.
///
/// # Cancel safety
/// Not cancel safe: the answer may be read in part.
pub(super) async fn ask(
    socket: &mut Box<dyn Transport>,
    head: &str,
    key: &str,
    buffer: &mut BytesMut,
    wait: Duration,
) -> Opening {
    let began = Instant::now();
    let deadline = began + wait;
    let write = async {
        socket.write_all(head.as_bytes()).await?;
        socket.flush().await
    };
    match timeout_at(deadline, write).await {
        // An answer may have come before the request was refused.
        Ok(Ok(()) | Err(_)) => {}
        Err(_) => return Opening::Silent,
    }
    loop {
        match parse(buffer, key, began.elapsed()) {
            Parsed::Whole(answer, len) => {
                buffer.advance(len);
                return Opening::Answered(answer);
            }
            Parsed::Wrong => return Opening::NotHttp(excerpt(buffer)),
            Parsed::Partial if buffer.len() >= MAX_HEAD => {
                return Opening::NotHttp(excerpt(buffer));
            }
            Parsed::Partial => {}
        }
        match timeout_at(deadline, socket.read_buf(buffer)).await {
            Ok(Ok(0)) => return Opening::Ended(End::Fin),
            Ok(Ok(_)) => {}
            Ok(Err(error)) => return Opening::Ended(End::from(LossKind::from(&error))),
            Err(_) => return Opening::Silent,
        }
    }
}

enum Parsed {
    Whole(Answer, usize),
    Partial,
    Wrong,
}

fn parse(bytes: &[u8], key: &str, after: Duration) -> Parsed {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut response = httparse::Response::new(&mut headers);
    let len = match response.parse(bytes) {
        Ok(httparse::Status::Complete(len)) => len,
        Ok(httparse::Status::Partial) => return Parsed::Partial,
        Err(_) => return Parsed::Wrong,
    };
    let headers: Vec<_> = response
        .headers
        .iter()
        .map(|header| {
            let value = record_text(&String::from_utf8_lossy(header.value));
            (header.name.to_ascii_lowercase(), value)
        })
        .collect();
    let due = derive_accept_key(key);
    let mut accepts = headers.iter().filter(|(name, _)| name == "sec-websocket-accept");
    let accept_is_right = match (accepts.next(), accepts.next()) {
        (Some((_, accept)), None) => *accept == due,
        _ => false,
    };
    let status = response.code.unwrap_or_default();
    Parsed::Whole(Answer { status, headers, accept_is_right, after }, len)
}

/// Returns the first line of an answer that is not HTTP, if it is text.
fn excerpt(bytes: &[u8]) -> String {
    let start = &bytes[..bytes.len().min(60)];
    match str::from_utf8(start) {
        Ok(text) => record_text(text.lines().next().unwrap_or_default()),
        Err(_) => String::new(),
    }
}

impl From<LossKind> for End {
    fn from(loss: LossKind) -> Self {
        match loss {
            LossKind::Fin => Self::Fin,
            LossKind::Reset => Self::Reset,
            LossKind::TlsTruncated => Self::Truncated,
            LossKind::PathLost(error) | LossKind::Error(error) => Self::Error(record_text(&error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_parsed_and_printed_safely() {
        let head = b"HTTP/1.1 101 x\r\nUpgrade: websocket\r\nServer: a\x1b[2Jb\r\n\
                     Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\nab";
        let key = "dGhlIHNhbXBsZSBub25jZQ==";
        // A control character makes no valid header, for httparse.
        assert!(matches!(parse(head, key, Duration::ZERO), Parsed::Wrong));
        let head = String::from_utf8_lossy(head).replace("\u{1b}", "\u{202e}");
        let Parsed::Whole(answer, len) = parse(head.as_bytes(), key, Duration::ZERO) else {
            panic!()
        };
        assert!(answer.status == 101 && answer.accept_is_right && len == head.len() - 2);
        assert_eq!(answer.header("server").collect::<Vec<_>>(), ["a\\u{202e}[2Jb"]);
        assert!(matches!(parse(b"SSH-2.0-x\r\n", key, Duration::ZERO), Parsed::Wrong));
        assert!(matches!(parse(b"HTTP/1.1 10", key, Duration::ZERO), Parsed::Partial));
        assert_eq!(excerpt(b"SSH-2.0-x\r\n"), "SSH-2.0-x");
    }
}
