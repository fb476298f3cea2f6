//! Reads the PROXY header at the beginning of a connection, and nothing behind it.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncRead, AsyncReadExt};

use crate::protocol::proxy_header::{self, BadProxyHeader, LONGEST_READ, Parsed};

/// Why there is no header.
#[derive(Debug)]
pub enum NoHeader {
    /// Something else came.
    Bad(BadProxyHeader),
    /// The peer closed its end first; `begun` if it had sent a part.
    Ended {
        /// Whether a part had come.
        begun: bool,
    },
    /// The connection failed.
    Io(io::Error),
}

/// Reads a header; returns the client that it names.
///
/// # Errors
/// None came whole.
///
/// # Cancel safety
/// Not cancel safe: bytes that were read are lost.
pub async fn read(socket: &mut (impl AsyncRead + Unpin)) -> Result<Option<SocketAddr>, NoHeader> {
    let mut buffer = [0; LONGEST_READ];
    let mut filled = 0;
    let (client, mut rest) = loop {
        match proxy_header::parse(&buffer[..filled]).map_err(NoHeader::Bad)? {
            // Each of these bytes belongs to the header, so what follows stays in the socket.
            Parsed::Incomplete(more) => {
                filled += some(socket, &mut buffer[filled..], more, filled > 0).await?;
            }
            Parsed::Complete { client, rest } => break (client, rest),
        }
    };
    while rest > 0 {
        rest -= some(socket, &mut buffer, rest, true).await?;
    }
    Ok(client)
}

/// Reads at most `most` bytes, and at least one.
async fn some(
    socket: &mut (impl AsyncRead + Unpin),
    buffer: &mut [u8],
    most: usize,
    begun: bool,
) -> Result<usize, NoHeader> {
    let most = most.min(buffer.len());
    match socket.read(&mut buffer[..most]).await {
        Ok(0) => Err(NoHeader::Ended { begun }),
        Ok(read) => Ok(read),
        Err(error) => Err(NoHeader::Io(error)),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncWriteExt, duplex};
    use tokio::task::yield_now;

    use super::*;

    const V1: &[u8] = b"PROXY TCP6 2001:db8::9 ::1 51342 8080\r\n";
    const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0f\xcb\x00\x71\x09\x0a\x00\x00\x05\xc8\x8e\x1f\x90\x04\0\0";

    #[tokio::test]
    async fn a_header_that_comes_byte_by_byte_is_read_and_nothing_behind_it() {
        for (header, client) in [(V1, "[2001:db8::9]:51342"), (V2, "203.0.113.9:51342")] {
            let (mut ours, mut theirs) = duplex(1);
            let stream = [header, b"\x16\x03"].concat();
            let sending = async {
                for byte in &stream {
                    theirs.write_all(&[*byte]).await.unwrap();
                    yield_now().await;
                }
            };
            let reading = async {
                let client = read(&mut ours).await.unwrap();
                (client, ours.read_u16().await.unwrap())
            };
            let (_, (read, behind)) = tokio::join!(sending, reading);
            assert_eq!((read, behind), (Some(client.parse().unwrap()), 0x1603));
        }
    }

    #[tokio::test]
    async fn what_follows_in_the_same_segment_stays() {
        for header in [V1, V2, b"PROXY UNKNOWN\r\n"] {
            let stream = [header, b"GET / HTTP/1.1\r\n"].concat();
            let mut rest = &stream[..];
            read(&mut rest).await.unwrap();
            assert_eq!(rest, b"GET / HTTP/1.1\r\n");
        }
    }

    #[tokio::test]
    async fn an_end_or_something_else_is_told_apart() {
        assert!(matches!(read(&mut &b""[..]).await, Err(NoHeader::Ended { begun: false })));
        for header in [V1, V2] {
            for end in [1, 5, header.len() - 1] {
                let read = read(&mut &header[..end]).await;
                assert!(matches!(read, Err(NoHeader::Ended { begun: true })), "{end}");
            }
        }
        assert!(matches!(read(&mut &b"GET / HTTP/1.1"[..]).await, Err(NoHeader::Bad(_))));
    }
}
