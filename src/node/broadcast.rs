//! One message to many connections: encoded once, written where nothing waits, by several threads
//! where there are many.

use std::sync::Arc;
use std::time::Instant;
use std::vec;

use parking_lot::{Condvar, Mutex};
use tokio::runtime::Handle;

use crate::connection::Connection;
use crate::connection::handle::ConnectionHandle;
use crate::connection::outbox::Prepared;
use crate::runtime::now;
use crate::vocabulary::Message;

/// So many connections are worth the waking of one more thread.
const PER_THREAD: usize = 1_000;

/// So many connections a thread takes at a time: few enough that all threads end together.
const SHARE: usize = 64;

/// What became of a broadcast.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BroadcastReport {
    /// Connections that were selected.
    pub matched: usize,
    /// Of those, how many took the message.
    pub queued: usize,
    /// And how many did not: their outbox was full, or they were closing.
    pub refused: usize,
}

/// Sends `message` to all of `connections`, and returns when each has taken or refused it.
pub(crate) fn send_to_all(connections: Vec<Arc<Connection>>, message: Message) -> BroadcastReport {
    let work = Arc::new(Work::new(connections, message));
    // As many threads as the runtime has workers, of whom the caller's is one. They are not the
    // workers themselves: what waits behind the caller on its own worker might never run.
    if let Ok(runtime) = Handle::try_current() {
        let helpers = (work.matched / PER_THREAD).min(runtime.metrics().num_workers() - 1);
        for _ in 0..helpers {
            // One that comes too late must not keep the connections.
            let work = Arc::downgrade(&work);
            runtime.spawn_blocking(move || work.upgrade().map(|work| work.take_shares()));
        }
    }
    work.take_shares();
    work.wait()
}

/// A broadcast under way.
struct Work {
    message: Prepared,
    now: Instant,
    matched: usize,
    /// The connections that no thread has taken yet.
    left: Mutex<vec::IntoIter<Arc<Connection>>>,
    done: Mutex<Done>,
    all_done: Condvar,
}

/// Connections that are done.
#[derive(Debug, Default)]
struct Done {
    connections: usize,
    queued: usize,
}

/// What one thread has taken. It counts as done when it is dropped: a thread that panics must not
/// let the others wait.
struct Share<'a> {
    work: &'a Work,
    connections: Vec<Arc<Connection>>,
    taken: usize,
    queued: usize,
}

impl Work {
    fn new(connections: Vec<Arc<Connection>>, message: Message) -> Self {
        Self {
            message: Prepared::new(message),
            now: now(),
            matched: connections.len(),
            left: Mutex::new(connections.into_iter()),
            done: Mutex::default(),
            all_done: Condvar::new(),
        }
    }

    /// Takes shares until none is left.
    fn take_shares(&self) {
        while let Some(share) = self.take_share() {
            share.send();
        }
    }

    fn take_share(&self) -> Option<Share<'_>> {
        let mut left = self.left.lock();
        let connections: Vec<_> = left.by_ref().take(SHARE).collect();
        let taken = connections.len();
        (taken > 0).then_some(Share { work: self, connections, taken, queued: 0 })
    }

    /// Waits for the shares that others have taken: no more than a few writes that do not wait.
    fn wait(&self) -> BroadcastReport {
        let mut done = self.done.lock();
        while done.connections < self.matched {
            self.all_done.wait(&mut done);
        }
        let (matched, queued) = (self.matched, done.queued);
        BroadcastReport { matched, queued, refused: matched - queued }
    }
}

impl Share<'_> {
    fn send(mut self) {
        for connection in std::mem::take(&mut self.connections) {
            let connection = ConnectionHandle::new(connection);
            if connection.try_send_directly(&self.work.message, self.work.now).is_ok() {
                self.queued += 1;
            }
        }
    }
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        let mut done = self.work.done.lock();
        done.connections += self.taken;
        done.queued += self.queued;
        if done.connections == self.work.matched {
            self.work.all_done.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection::ConnectionParts;
    use crate::connection::budget::MemoryBudget;
    use crate::protocol::closing_handshake::ReplyPolicy;
    use crate::settings::ConnectionSettings;
    use crate::vocabulary::{ConnectionId, Direction, Origin, Role};

    /// Connections without a mover: what is sent to them stays queued.
    fn connections(count: usize) -> Vec<Arc<Connection>> {
        let budget = Arc::new(MemoryBudget::new(1 << 30));
        let connection = || {
            Arc::new(Connection::new(ConnectionParts {
                id: ConnectionId::new(),
                role: Role::Server,
                origin: Arc::new(Origin::new(Direction::Inbound)),
                settings: Arc::new(ConnectionSettings::default()),
                reply: ReplyPolicy::AtOnce,
                keeps_inbox: false,
                node: "test".into(),
                budget: Arc::clone(&budget),
                grant: None,
            }))
        };
        std::iter::repeat_with(connection).take(count).collect()
    }

    fn queued(connection: &Arc<Connection>) -> usize {
        connection.outbox.backlog().0
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn each_of_thousands_gets_it_once_and_is_counted_once() {
        let all = connections(5 * PER_THREAD + 7);
        let (closing, open) = all.split_at(1_003);
        closing.iter().for_each(|connection| connection.outbox.shut());
        for round in 1..=3 {
            let report = send_to_all(all.clone(), Message::text("news"));
            let (matched, queued_by) = (all.len(), open.len());
            assert_eq!(
                report,
                BroadcastReport { matched, queued: queued_by, refused: closing.len() }
            );
            assert!(open.iter().all(|connection| queued(connection) == round * "..news".len()));
        }
        assert!(closing.iter().all(|connection| queued(connection) == 0));
        // A thread that came too late to help holds no connection.
        assert!(all.iter().all(|connection| Arc::strong_count(connection) == 1));
    }

    #[test]
    fn without_a_runtime_the_caller_does_it_all() {
        let all = connections(2 * PER_THREAD);
        let report = send_to_all(all.clone(), Message::text("news"));
        assert_eq!(report, BroadcastReport { matched: 2_000, queued: 2_000, refused: 0 });
        let none = send_to_all(Vec::new(), Message::text("news"));
        assert_eq!(none, BroadcastReport::default());
    }

    #[test]
    fn who_is_lost_with_a_thread_is_not_waited_for() {
        let work = Work::new(connections(SHARE + 5), Message::text("news"));
        drop(work.take_share());
        work.take_shares();
        let report = work.wait();
        assert_eq!(report, BroadcastReport { matched: SHARE + 5, queued: 5, refused: SHARE });
    }
}
