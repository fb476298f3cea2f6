//! A peer that waits for the answer to its request: early data is kept, and its leaving is noticed.

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use tokio::io::AsyncReadExt;
use tokio::time::sleep;

use crate::protocol::classification::LossKind;
use crate::transport::socket::Transport;

/// How many early bytes are read before the answer; more stay in the kernel.
const EARLY: usize = 16 * 1024;

/// How often a peer with more early bytes is checked for FIN and RST.
const CHECK_INTERVAL: Duration = Duration::from_millis(250);

/// A peer that waits for its answer.
#[derive(Debug)]
pub struct Waiting<'a, T> {
    socket: &'a mut T,
    /// What it sent after the request was read.
    early: &'a mut BytesMut,
}

impl<'a, T: Transport> Waiting<'a, T> {
    /// Watches a peer, and appends what it sends to `early`.
    pub fn new(socket: &'a mut T, early: &'a mut BytesMut) -> Self {
        Self { socket, early }
    }

    /// Waits until the peer has left. For a client that opens a WebSocket, FIN means that as much as
    /// RST does.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: what was read until then is kept.
    pub async fn left(self) -> LossKind {
        while let Some(room @ 1..) = EARLY.checked_sub(self.early.len()) {
            match self.socket.read_buf(&mut (&mut *self.early).limit(room)).await {
                Ok(0) => return LossKind::Fin,
                Ok(_) => {}
                Err(error) => return LossKind::from(&error),
            }
        }
        // More cannot be read, because it would have to be kept, so poll the socket's state.
        loop {
            if let Some(loss) = self.socket.unread_loss() {
                return loss;
            }
            sleep(CHECK_INTERVAL).await;
        }
    }
}

/// Appends the early data to the bytes that were read with the handshake.
pub fn joined(read_ahead: Bytes, early: &[u8]) -> Bytes {
    if early.is_empty() { read_ahead } else { [&*read_ahead, early].concat().into() }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;
    use tokio::net::{TcpListener, TcpStream, UnixStream};
    use tokio::time::timeout;

    use super::*;
    use crate::transport::any_socket::AnySocket;

    const SOON: Duration = Duration::from_secs(10);

    async fn tcp() -> (AnySocket, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let theirs = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (AnySocket::Tcp(listener.accept().await.unwrap().0), theirs)
    }

    async fn left(socket: &mut AnySocket, early: &mut BytesMut) -> LossKind {
        timeout(SOON, Waiting { socket, early }.left()).await.expect("awaited that the peer leaves")
    }

    #[tokio::test]
    async fn fin_and_rst_are_noticed_behind_more_than_is_read() {
        for sent in [0, 10, EARLY, EARLY + 1, 4 * EARLY] {
            for resets in [false, true] {
                let (mut socket, mut peer) = tcp().await;
                peer.write_all(&vec![7; sent]).await.unwrap();
                let mut early = BytesMut::new();
                // What was sent is there before RST takes the rest away.
                let wait = Waiting { socket: &mut socket, early: &mut early }.left();
                if sent > 0 {
                    timeout(Duration::from_millis(50), wait).await.unwrap_err();
                } else {
                    drop(wait);
                }
                if resets {
                    peer.set_zero_linger().unwrap();
                }
                drop(peer);
                let end = if resets { LossKind::Reset } else { LossKind::Fin };
                assert_eq!(left(&mut socket, &mut early).await, end, "after {sent} bytes");
                assert_eq!(early.len(), sent.min(EARLY));
            }
        }
    }

    #[tokio::test]
    async fn the_end_of_a_unix_socket_is_noticed_behind_more_than_is_read() {
        for sent in [0, EARLY + 1] {
            let (ours, mut peer) = UnixStream::pair().unwrap();
            peer.write_all(&vec![7; sent]).await.unwrap();
            drop(peer);
            let mut early = BytesMut::new();
            assert_eq!(left(&mut AnySocket::Unix(ours), &mut early).await, LossKind::Fin);
        }
    }

    #[tokio::test]
    async fn a_peer_that_stays_is_waited_for_and_loses_nothing() {
        for sent in [10, 4 * EARLY] {
            let (mut socket, mut peer) = tcp().await;
            let (mut early, mut waited) = (BytesMut::new(), 0);
            peer.write_all(&vec![7; sent]).await.unwrap();
            while waited < 3 {
                let wait = Waiting { socket: &mut socket, early: &mut early }.left();
                timeout(Duration::from_millis(20), wait).await.unwrap_err();
                waited += 1;
            }
            let mut rest = vec![0; sent - early.len()];
            timeout(SOON, socket.read_exact(&mut rest)).await.unwrap().unwrap();
            assert!(early.iter().chain(&rest).all(|byte| *byte == 7));
        }
    }
}
