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
    /// Runs while a write, a flush or the shutdown waits; most never do.
    deadline: Option<Pin<Box<Sleep>>>,
    /// The last flush was incomplete.
    is_held_back: bool,
    owed: Owed,
    /// The peer has ended its side; runs until that is passed on.
    ended: Option<Pin<Box<Sleep>>>,
}

impl<S> Stalling<S> {
    pub(super) fn new(stream: S, patience: Duration, owed: Owed) -> Self {
        Self { stream, patience, deadline: None, is_held_back: false, owed, ended: None }
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
        // TLS holds back what the peer does not read. Where nothing is held back, a flush is no progress.
        let was_held_back = std::mem::replace(&mut self.is_held_back, flushed.is_pending());
        if self.is_held_back || was_held_back { self.watch(cx, flushed) } else { flushed }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.watch(cx, shut)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

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

    /// A stream that takes all, and flushes only what a test lets it.
    struct Holding {
        takes: Arc<AtomicBool>,
        flushes: Arc<AtomicBool>,
    }

    impl Holding {
        fn ready<T>(flag: &AtomicBool, value: T) -> Poll<io::Result<T>> {
            if flag.load(Ordering::Relaxed) { Poll::Ready(Ok(value)) } else { Poll::Pending }
        }
    }

    impl AsyncWrite for Holding {
        fn poll_write(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            Self::ready(&self.takes, bytes.len())
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Self::ready(&self.flushes, ())
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Self::ready(&self.flushes, ())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_flush_that_is_complete_gives_the_next_write_its_whole_time() {
        let (takes, flushes) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicBool::new(false)));
        let stream = Holding { takes: Arc::clone(&takes), flushes: Arc::clone(&flushes) };
        let mut stalling = Stalling::new(stream, PATIENCE, Owed::default());
        let nearly = PATIENCE - Duration::from_secs(1);
        assert!(tokio::time::timeout(nearly, stalling.flush()).await.is_err());
        flushes.store(true, Ordering::Relaxed);
        stalling.flush().await.unwrap();
        takes.store(false, Ordering::Relaxed);
        let began = Instant::now();
        assert!(tokio::time::timeout(nearly, stalling.write(&[0])).await.is_err());
        // There is nothing to flush, so this is no progress.
        stalling.flush().await.unwrap();
        let error = stalling.write(&[0]).await.unwrap_err();
        assert_eq!((error.kind(), began.elapsed()), (io::ErrorKind::TimedOut, PATIENCE));
    }

    #[tokio::test(start_paused = true)]
    async fn a_shutdown_that_waits_for_the_peer_has_an_end() {
        let (takes, flushes) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicBool::new(false)));
        let mut stalling = Stalling::new(Holding { takes, flushes }, PATIENCE, Owed::default());
        let shut = tokio::time::timeout(2 * PATIENCE, stalling.shutdown()).await;
        assert_eq!(shut.expect("an end").unwrap_err().kind(), io::ErrorKind::TimedOut);
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
