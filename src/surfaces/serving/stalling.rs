//! A stream that fails once its peer has read nothing for a while, and that ends some time after its
//! peer's FIN if an answer is still pending.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

/// A client that has ended its side gets the answer that it is owed (`nc -N`); where nothing moves for
/// this long, it is taken for gone.
const ENDED_SIDE: Duration = Duration::from_secs(3);

/// The number of pending answers of a connection.
#[derive(Debug, Clone, Default)]
pub(super) struct Owed(Arc<AtomicUsize>);

/// A pending answer, until this is dropped.
#[derive(Debug)]
pub(super) struct Owing(Owed);

impl Owed {
    pub(super) fn one(&self) -> Owing {
        self.0.fetch_add(1, Ordering::Relaxed);
        Owing(self.clone())
    }

    fn any(&self) -> bool {
        self.0.load(Ordering::Relaxed) > 0
    }
}

impl Drop for Owing {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A stream whose writing fails with [`io::ErrorKind::TimedOut`] once it has made no progress for a
/// while.
#[derive(Debug)]
pub(super) struct Stalling<S> {
    stream: S,
    patience: Duration,
    /// Runs while a write waits; most never do.
    deadline: Option<Pin<Box<Sleep>>>,
    owed: Owed,
    /// The peer has ended its side; runs until that is passed on.
    ended: Option<Pin<Box<Sleep>>>,
}

impl<S> Stalling<S> {
    pub(super) fn new(stream: S, patience: Duration, owed: Owed) -> Self {
        Self { stream, patience, deadline: None, owed, ended: None }
    }

    /// Passes the end of the peer's side on, once nothing is owed or nothing has moved for a while:
    /// hyper takes it for the end of the connection.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.owed.any() || self.deadline.is_some() {
            let ended = self.ended.get_or_insert_with(|| Box::pin(sleep(ENDED_SIDE)));
            ready!(ended.as_mut().poll(cx));
        }
        Poll::Ready(Ok(()))
    }

    /// Passes progress on, and has an end to waiting for it.
    fn watch<T>(
        &mut self,
        cx: &mut Context<'_>,
        progress: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if progress.is_ready() {
            self.deadline = None;
            if let Some(ended) = &mut self.ended {
                ended.as_mut().reset(Instant::now() + ENDED_SIDE);
            }
            return progress;
        }
        let patience = self.patience;
        let deadline = self.deadline.get_or_insert_with(|| Box::pin(sleep(patience)));
        ready!(deadline.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Stalling<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.ended.is_some() {
            return self.poll_end(cx);
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        let is_end = buffer.filled().len() == before && buffer.remaining() > 0;
        if is_end { self.poll_end(cx) } else { Poll::Ready(Ok(())) }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Stalling<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.watch(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.watch(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        if flushed.is_pending() {
            // TLS holds back what the peer does not read.
            return self.watch(cx, flushed);
        }
        // Where there is nothing to flush, this is no progress.
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(15);

    #[tokio::test(start_paused = true)]
    async fn who_takes_nothing_is_given_up_and_who_takes_little_is_not() {
        let (stream, mut peer) = tokio::io::duplex(10);
        let mut stalling = Stalling::new(stream, PATIENCE, Owed::default());
        let began = Instant::now();
        let write = async { stalling.write_all(&[0; 12]).await };
        let read = async {
            tokio::time::sleep(PATIENCE - Duration::from_secs(1)).await;
            peer.read_exact(&mut [0; 2]).await.unwrap();
        };
        tokio::join!(write, read).0.unwrap();
        // The patience begins anew.
        let error = stalling.write_all(&[0; 1]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(began.elapsed(), 2 * PATIENCE - Duration::from_secs(1));
        drop(peer);
    }

    #[tokio::test(start_paused = true)]
    async fn an_ended_side_is_passed_on_once_no_answer_is_owed_or_nothing_moves() {
        let (stream, mut peer) = tokio::io::duplex(10);
        peer.shutdown().await.unwrap();
        let owed = Owed::default();
        let mut stalling = Stalling::new(stream, PATIENCE, owed.clone());
        let owing = owed.one();
        let began = Instant::now();
        let second = Duration::from_secs(1);
        assert!(tokio::time::timeout(second, stalling.read(&mut [0])).await.is_err());
        // What moves puts the end off.
        stalling.write_all(&[0]).await.unwrap();
        assert_eq!(stalling.read(&mut [0]).await.unwrap(), 0);
        assert_eq!(began.elapsed(), second + ENDED_SIDE);
        drop(owing);

        let (stream, mut peer) = tokio::io::duplex(10);
        peer.shutdown().await.unwrap();
        let mut idle = Stalling::new(stream, PATIENCE, owed);
        let began = Instant::now();
        assert_eq!(idle.read(&mut [0]).await.unwrap(), 0);
        assert_eq!(began.elapsed(), Duration::ZERO);
    }
}
