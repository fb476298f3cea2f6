//! Tells the observer of events, on a thread of its own: an observer that is slow or blocks for
//! good delays no ending and no other reader.

use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use tokio::sync::Notify;

use crate::vocabulary::{Event, Published, Record};

/// Sees every event, in the order of its record, unless it falls too far behind: see [`QUEUE_BYTES`].
pub(crate) type Observer = Box<dyn Fn(&Published) + Send + Sync>;

/// How much may wait for the observer, in bytes: some 10,000 endings. What does not fit is counted,
/// and the observer is told the number in its place.
const QUEUE_BYTES: usize = 16 << 20;

/// How long the thread collects events after it told some. Waking it for each would cost more than
/// all else that an event takes.
const REST: Duration = Duration::from_millis(2);

/// The queue to the observer and the thread that tells it.
pub(crate) struct Observing {
    queue: Arc<Queue>,
}

struct Queue {
    capacity: usize,
    state: Mutex<State>,
    filled: Condvar,
    /// Notified whenever the observer has been told all there was.
    idle: Notify,
}

#[derive(Default)]
struct State {
    events: VecDeque<Published>,
    /// What the events take that have not been told yet, those in the thread's hands included.
    bytes: usize,
    /// Events that did not fit, and came after all that is queued.
    missed: u64,
    /// The thread has events in its hands.
    telling: bool,
    /// The thread waits to be woken by the next event.
    parked: bool,
    closing: bool,
}

impl Observing {
    /// Starts the thread. It ends, and drops the observer, once this is dropped and all that was
    /// queued is told.
    ///
    /// # Errors
    /// When the system has no thread left.
    pub(crate) fn start(observer: Observer) -> io::Result<Self> {
        Self::with_capacity(QUEUE_BYTES, observer)
    }

    fn with_capacity(capacity: usize, observer: Observer) -> io::Result<Self> {
        let queue = Arc::new(Queue {
            capacity,
            state: Mutex::default(),
            filled: Condvar::new(),
            idle: Notify::new(),
        });
        let telling = Arc::clone(&queue);
        // A call of the observer cannot be cancelled: one that never returns keeps the thread until
        // the process ends.
        std::thread::Builder::new()
            .name("observer".to_owned())
            .spawn(move || telling.notify(&observer))?;
        Ok(Self { queue })
    }

    /// Queues an event for the observer, or counts it as missed. Never waits for the observer.
    pub(crate) fn push(&self, published: Published) {
        let bytes = published.event.held_bytes();
        let mut state = self.queue.state.lock();
        if state.bytes + bytes > self.queue.capacity {
            state.missed += 1;
            return;
        }
        if let Some(gap) = state.take_gap() {
            state.events.push_back(gap);
        }
        state.bytes += bytes;
        state.events.push_back(published);
        let parked = std::mem::take(&mut state.parked);
        drop(state);
        if parked {
            self.queue.filled.notify_one();
        }
    }

    /// Waits until the observer has been told of everything so far. Cancel safe.
    pub(crate) async fn idle(&self) {
        loop {
            let idle = self.queue.idle.notified();
            if self.queue.state.lock().is_idle() {
                return;
            }
            idle.await;
        }
    }

    /// Returns how many events the observer has not been told of yet.
    pub(crate) fn behind(&self) -> u64 {
        let state = self.queue.state.lock();
        state.events.len() as u64 + state.missed
    }
}

impl Drop for Observing {
    fn drop(&mut self) {
        self.queue.state.lock().closing = true;
        self.queue.filled.notify_one();
    }
}

impl State {
    fn is_idle(&self) -> bool {
        !self.telling && self.events.is_empty() && self.missed == 0
    }

    fn take_gap(&mut self) -> Option<Published> {
        let missed = std::mem::take(&mut self.missed);
        (missed > 0).then_some(Published { event: Event::Gap(missed), record: Record::None })
    }
}

impl Queue {
    fn notify(&self, observer: &Observer) {
        loop {
            let mut state = self.state.lock();
            while state.events.is_empty() && state.missed == 0 {
                if state.closing {
                    return;
                }
                state.parked = true;
                self.filled.wait(&mut state);
                state.parked = false;
            }
            // Taking the buffer gives its memory back once a burst is told.
            let mut events = std::mem::take(&mut state.events);
            events.extend(state.take_gap());
            state.telling = true;
            drop(state);
            let mut told = 0;
            for published in events {
                told += published.event.held_bytes();
                if catch_unwind(AssertUnwindSafe(|| observer(&published))).is_err() {
                    // It is not ours, and later events are not to suffer for it.
                    tracing::error!("the observer of events panicked");
                }
            }
            let mut state = self.state.lock();
            state.telling = false;
            // A gap was never charged.
            state.bytes = state.bytes.saturating_sub(told);
            if state.is_idle() {
                self.idle.notify_waiters();
            }
            self.filled.wait_while_for(&mut state, |state| !state.closing, REST);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::vocabulary::{Cause, CloseState, Closing, ConnectionId};

    fn event() -> Published {
        let closing = Closing {
            id: ConnectionId::new(),
            state: CloseState::CloseSent,
            cause: Cause::Api,
            at: std::time::SystemTime::now(),
        };
        Published { event: Event::Closing(closing), record: Record::None }
    }

    /// An observer that waits for leave before each event, and says what it was told: a gap's size,
    /// 0 for anything else.
    fn observing(capacity: usize) -> (Observing, mpsc::Sender<()>, mpsc::Receiver<u64>) {
        let (leave, awaited) = mpsc::channel::<()>();
        let (say, told) = mpsc::channel();
        let awaited = Mutex::new(awaited);
        let observer = move |published: &Published| {
            let _ = awaited.lock().recv();
            let _ = say.send(match published.event {
                Event::Gap(missed) => missed,
                _ => 0,
            });
        };
        let observing = Observing::with_capacity(capacity, Box::new(observer)).unwrap();
        (observing, leave, told)
    }

    #[tokio::test]
    async fn what_a_blocked_observer_misses_is_counted_and_told_in_its_place() {
        let each = event().event.held_bytes();
        let (observing, leave, told) = observing(3 * each);
        for _ in 0..100 {
            observing.push(event());
        }
        assert_eq!(observing.queue.state.lock().bytes, 3 * each, "the queue is bounded");
        drop(leave);
        let heard: Vec<u64> =
            std::iter::from_fn(|| told.recv_timeout(Duration::from_secs(5)).ok()).take(4).collect();
        assert_eq!(heard, [0, 0, 0, 97]);
        // The next one is told, behind the gap, once the room is free again.
        tokio::time::timeout(Duration::from_secs(5), observing.idle()).await.unwrap();
        observing.push(event());
        assert_eq!(told.recv_timeout(Duration::from_secs(5)), Ok(0));
        drop(observing);
        assert!(told.recv_timeout(Duration::from_secs(5)).is_err(), "the observer is dropped");
    }

    #[test]
    fn what_is_queued_is_told_before_the_observer_is_dropped() {
        let (observing, leave, told) = observing(1 << 20);
        (0..5).for_each(|_| observing.push(event()));
        drop(observing);
        drop(leave);
        assert_eq!(told.iter().count(), 5);
    }

    #[tokio::test]
    async fn an_observer_that_panics_is_told_of_what_follows() {
        let (say, told) = mpsc::channel();
        let observer = move |_: &Published| {
            say.send(()).unwrap();
            panic!("of the test");
        };
        let observing = Observing::start(Box::new(observer)).unwrap();
        (0..3).for_each(|_| observing.push(event()));
        tokio::time::timeout(Duration::from_secs(5), observing.idle()).await.unwrap();
        assert_eq!(told.try_iter().count(), 3);
    }
}
