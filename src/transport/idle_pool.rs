//! Idle connections that are kept for the next request, and closed when none comes.

use std::fmt;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::{Instant, sleep};

/// A connection that can carry one request after the other.
pub trait Reusable: Send + 'static {
    /// How long it is kept unused.
    const IDLE_TIMEOUT: Duration;

    /// How many are kept unused.
    const MAX_IDLE: usize;

    /// Returns whether it can carry a request now.
    fn is_free(&mut self) -> bool;
}

/// The idle connections to one server.
pub struct IdlePool<C> {
    idle: Mutex<Idle<C>>,
}

struct Idle<C> {
    /// A stack: the latest connection is reused first.
    connections: Vec<(Instant, C)>,
    /// Whether a task closes connections that are idle for too long.
    is_swept: bool,
}

impl<C: Reusable> IdlePool<C> {
    /// Takes a connection that can carry a request.
    pub fn take(&self) -> Option<C> {
        loop {
            let (since, mut connection) = self.idle.lock().connections.pop()?;
            if since.elapsed() < C::IDLE_TIMEOUT && connection.is_free() {
                return Some(connection);
            }
        }
    }

    /// Keeps a connection, if it can carry another request.
    pub(super) fn keep(self: &Arc<Self>, mut connection: C) {
        if !connection.is_free() {
            return;
        }
        let mut idle = self.idle.lock();
        if idle.connections.len() >= C::MAX_IDLE {
            return;
        }
        idle.connections.push((Instant::now(), connection));
        if !idle.is_swept {
            idle.is_swept = true;
            tokio::spawn(sweep(Arc::downgrade(self)));
        }
    }
}

impl<C> Default for IdlePool<C> {
    fn default() -> Self {
        Self { idle: Mutex::new(Idle { connections: Vec::new(), is_swept: false }) }
    }
}

impl<C> fmt::Debug for IdlePool<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let idle = self.idle.lock().connections.len();
        f.debug_struct("IdlePool").field("idle", &idle).finish()
    }
}

/// Closes connections that are idle for too long, until none is left.
async fn sweep<C: Reusable>(pool: Weak<IdlePool<C>>) {
    loop {
        sleep(C::IDLE_TIMEOUT / 2).await;
        let Some(pool) = pool.upgrade() else { return };
        let mut idle = pool.idle.lock();
        // The oldest are at the front.
        let old = idle.connections.partition_point(|(since, _)| since.elapsed() >= C::IDLE_TIMEOUT);
        let old: Vec<_> = idle.connections.drain(..old).collect();
        if idle.connections.is_empty() {
            idle.is_swept = false;
            return;
        }
        drop(idle);
        drop(old);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use tokio::time::advance;

    use super::*;

    /// A connection that is free or not, and shows by its count that it is still there.
    struct Fake(Arc<AtomicBool>);

    impl Reusable for Fake {
        const IDLE_TIMEOUT: Duration = Duration::from_secs(2);
        const MAX_IDLE: usize = 2;

        fn is_free(&mut self) -> bool {
            self.0.load(Ordering::SeqCst)
        }
    }

    fn fake() -> (Arc<AtomicBool>, Fake) {
        let free = Arc::new(AtomicBool::new(true));
        (Arc::clone(&free), Fake(free))
    }

    fn is_open(connection: &Arc<AtomicBool>) -> bool {
        Arc::strong_count(connection) > 1
    }

    async fn pass(time: Duration) {
        tokio::task::yield_now().await;
        advance(time).await;
        tokio::task::yield_now().await;
    }

    #[tokio::test(start_paused = true)]
    async fn the_latest_free_connection_is_used_first() {
        let pool = Arc::new(IdlePool::default());
        let (first, second) = (fake(), fake());
        pool.keep(first.1);
        pool.keep(second.1);
        let third = fake();
        pool.keep(third.1);
        assert!(!is_open(&third.0), "two are kept");
        assert!(Arc::ptr_eq(&pool.take().unwrap().0, &second.0));
        first.0.store(false, Ordering::SeqCst);
        assert!(pool.take().is_none());
        let (ended, connection) = fake();
        ended.store(false, Ordering::SeqCst);
        pool.keep(connection);
        assert!(!is_open(&ended));
    }

    #[tokio::test(start_paused = true)]
    async fn idle_connections_are_closed_without_another_request() {
        let pool = Arc::new(IdlePool::default());
        for _ in 0..3 {
            let (old, connection) = fake();
            pool.keep(connection);
            pass(Fake::IDLE_TIMEOUT / 2).await;
            let (young, connection) = fake();
            pool.keep(connection);
            assert!(is_open(&old));
            pass(Fake::IDLE_TIMEOUT / 2 + Duration::from_millis(10)).await;
            assert!(!is_open(&old) && is_open(&young));
            pass(Fake::IDLE_TIMEOUT).await;
            assert!(!is_open(&young));
        }
    }
}
