//! The seats of a server: who may be connected, and who has to go when others come.
//!
//! A connection that asks for nothing costs its owner nothing, so it must not keep others out: when
//! all seats are taken, a newcomer gets that of the connection which has been idle for longest. When
//! every connection is at work, a few spare seats are left for what must be answered all the same.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// Seats beyond `max_connections`, for requests that must be answered all the same.
const SPARE: usize = 16;

/// The seats of a server.
#[derive(Debug)]
pub(super) struct Seats {
    state: Mutex<State>,
    /// Told when a newcomer may find a seat.
    changed: Notify,
}

/// A seat that is taken, until it is dropped.
#[derive(Debug)]
pub(super) struct Seat {
    seats: Arc<Seats>,
    number: u64,
    kind: Kind,
    /// Told when somebody else needs the seat.
    evicted: Arc<Notify>,
}

/// The time in which a seat is at work.
#[derive(Debug)]
pub(super) struct AtWork {
    seats: Arc<Seats>,
    number: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Ordinary,
    Spare,
}

#[derive(Debug, Default)]
struct State {
    ordinary: Row,
    spare: Row,
    taken: HashMap<u64, Taken>,
    /// Numbers seats and the turns in which they became idle.
    last: u64,
}

/// The seats of one kind.
#[derive(Debug, Default)]
struct Row {
    len: usize,
    taken: usize,
    /// Those that are idle, in the order in which they became so.
    idle: BTreeMap<u64, u64>,
}

#[derive(Debug)]
struct Taken {
    kind: Kind,
    /// When it became idle; `None` while it is at work.
    idle_since: Option<u64>,
    evicted: Arc<Notify>,
}

impl Seats {
    pub(super) fn new(len: usize) -> Arc<Self> {
        let row = |len| Row { len, ..Row::default() };
        let state = State { ordinary: row(len), spare: row(SPARE), ..State::default() };
        Arc::new(Self { state: Mutex::new(state), changed: Notify::new() })
    }

    /// Tells whether [`Seats::take`] would find a seat.
    pub(super) fn has_room(&self) -> bool {
        let state = self.lock();
        [&state.ordinary, &state.spare].iter().any(|row| row.has_room())
    }

    /// Waits until there may be room where there was none. Cancel safe.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Takes a seat, that of an idle connection if need be; it is idle at first.
    pub(super) fn take(self: &Arc<Self>) -> Option<Seat> {
        let mut state = self.lock();
        let kind = match (state.ordinary.has_room(), state.spare.has_room()) {
            (true, _) => Kind::Ordinary,
            (false, true) => Kind::Spare,
            (false, false) => return None,
        };
        if state.row(kind).taken >= state.row(kind).len {
            state.evict_one(kind);
        }
        state.last += 1;
        let number = state.last;
        let evicted = Arc::new(Notify::new());
        let taken = Taken { kind, idle_since: None, evicted: Arc::clone(&evicted) };
        state.taken.insert(number, taken);
        state.row(kind).taken += 1;
        state.rest(number);
        Some(Seat { seats: Arc::clone(self), number, kind, evicted })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seat {
    /// Tells whether it is one of those for what must be answered all the same.
    pub(super) fn is_spare(&self) -> bool {
        self.kind == Kind::Spare
    }

    /// Puts it to work: it is nobody else's until the guard is dropped.
    pub(super) fn work(&self) -> AtWork {
        self.seats.lock().work(self.number);
        AtWork { seats: Arc::clone(&self.seats), number: self.number }
    }

    /// Waits until somebody else needs it. Cancel safe.
    pub(super) async fn evicted(&self) {
        self.evicted.notified().await;
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.seats.lock().leave(self.number);
        self.seats.changed.notify_one();
    }
}

impl Drop for AtWork {
    fn drop(&mut self) {
        self.seats.lock().rest(self.number);
        self.seats.changed.notify_one();
    }
}

impl State {
    fn row(&mut self, kind: Kind) -> &mut Row {
        match kind {
            Kind::Ordinary => &mut self.ordinary,
            Kind::Spare => &mut self.spare,
        }
    }

    fn work(&mut self, number: u64) {
        let Some(taken) = self.taken.get_mut(&number) else { return };
        let kind = taken.kind;
        if let Some(since) = taken.idle_since.take() {
            self.row(kind).idle.remove(&since);
        }
    }

    fn rest(&mut self, number: u64) {
        self.last += 1;
        let since = self.last;
        // One that was evicted has none any longer.
        let Some(taken) = self.taken.get_mut(&number) else { return };
        taken.idle_since = Some(since);
        let kind = taken.kind;
        self.row(kind).idle.insert(since, number);
    }

    fn evict_one(&mut self, kind: Kind) {
        if let Some((_, number)) = self.row(kind).idle.pop_first() {
            if let Some(taken) = self.taken.get_mut(&number) {
                taken.idle_since = None;
                taken.evicted.notify_one();
            }
            self.leave(number);
        }
    }

    fn leave(&mut self, number: u64) {
        self.work(number);
        if let Some(taken) = self.taken.remove(&number) {
            self.row(taken.kind).taken -= 1;
        }
    }
}

impl Row {
    fn has_room(&self) -> bool {
        self.taken < self.len || !self.idle.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn is_evicted(seat: &Seat) -> bool {
        seat.evicted().now_or_never().is_some()
    }

    #[test]
    fn the_longest_idle_gives_way_and_those_at_work_do_not() {
        let seats = Seats::new(3);
        let [a, b, c] = [(); 3].map(|()| seats.take().unwrap());
        let _a_works = a.work();
        let d = seats.take().unwrap();
        assert!(!is_evicted(&a) && is_evicted(&b) && !is_evicted(&c) && !d.is_spare());
        // One that worked of late has been idle for less long.
        drop(c.work());
        let e = seats.take().unwrap();
        assert!(is_evicted(&d) && !is_evicted(&c) && !e.is_spare());
        for gone in [b, d] {
            drop(gone);
        }
        assert_eq!(seats.lock().ordinary.taken, 3);
    }

    #[test]
    fn when_all_are_at_work_some_seats_are_spare_and_then_there_is_none() {
        let seats = Seats::new(2);
        let ordinary = [(); 2].map(|()| seats.take().unwrap());
        let mut work: Vec<AtWork> = ordinary.iter().map(Seat::work).collect();
        let spare: Vec<Seat> = (0..SPARE).map(|_| seats.take().unwrap()).collect();
        assert!(spare.iter().all(Seat::is_spare) && seats.has_room(), "they are idle");
        let spare_work: Vec<AtWork> = spare.iter().map(Seat::work).collect();
        assert!(!seats.has_room() && seats.take().is_none());
        work.pop();
        assert!(seats.changed().now_or_never().is_some());
        assert!(!seats.take().unwrap().is_spare());
        drop((work, spare_work, spare, ordinary));
        let state = seats.lock();
        assert!(state.taken.is_empty() && state.ordinary.taken == 0 && state.spare.taken == 0);
        assert!(state.ordinary.idle.is_empty() && state.spare.idle.is_empty());
    }
}
