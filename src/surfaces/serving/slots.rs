//! The connection slots of a server, and the eviction of idle connections.
//!
//! An idle connection costs its owner nothing, so it must not keep others out: when all slots are
//! taken, a new connection evicts the one that has been idle for longest. When every connection is
//! busy, a few spare slots remain for requests that must always be answered.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

/// Slots beyond `max_connections`, for requests that must be answered all the same.
const SPARE: usize = 16;

/// The slots of a server.
#[derive(Debug)]
pub(super) struct Slots {
    state: Mutex<State>,
    /// Notified when a slot may have become available.
    changed: Notify,
}

/// A slot that is taken, until it is dropped.
#[derive(Debug)]
pub(super) struct Slot {
    slots: Arc<Slots>,
    number: u64,
    kind: Kind,
    /// Notified when the connection is evicted.
    evicted: Arc<Notify>,
}

/// The time in which a slot is at work.
#[derive(Debug)]
pub(super) struct AtWork {
    slots: Arc<Slots>,
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
    /// Numbers slots and the turns in which they became idle.
    last: u64,
}

/// The slots of one kind.
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

impl Slots {
    pub(super) fn new(len: usize) -> Arc<Self> {
        let row = |len| Row { len, ..Row::default() };
        let state = State { ordinary: row(len), spare: row(SPARE), ..State::default() };
        Arc::new(Self { state: Mutex::new(state), changed: Notify::new() })
    }

    /// Returns whether [`Slots::take`] would find a slot.
    pub(super) fn has_room(&self) -> bool {
        let state = self.state.lock();
        [&state.ordinary, &state.spare].iter().any(|row| row.has_room())
    }

    /// Waits until a slot may have become available. Cancel safe.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Takes a slot, that of an idle connection if need be; it is idle at first.
    pub(super) fn take(self: &Arc<Self>) -> Option<Slot> {
        let mut state = self.state.lock();
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
        Some(Slot { slots: Arc::clone(self), number, kind, evicted })
    }
}

impl Slot {
    /// Returns whether it is a spare slot.
    pub(super) fn is_spare(&self) -> bool {
        self.kind == Kind::Spare
    }

    /// Marks the connection as busy, which protects it from eviction until the guard is dropped.
    pub(super) fn work(&self) -> AtWork {
        self.slots.state.lock().work(self.number);
        AtWork { slots: Arc::clone(&self.slots), number: self.number }
    }

    /// Waits until the connection is evicted. Cancel safe.
    pub(super) async fn evicted(&self) {
        self.evicted.notified().await;
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.slots.state.lock().leave(self.number);
        self.slots.changed.notify_one();
    }
}

impl Drop for AtWork {
    fn drop(&mut self) {
        self.slots.state.lock().rest(self.number);
        self.slots.changed.notify_one();
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

    fn is_evicted(slot: &Slot) -> bool {
        slot.evicted().now_or_never().is_some()
    }

    #[test]
    fn the_longest_idle_gives_way_and_those_at_work_do_not() {
        let slots = Slots::new(3);
        let [a, b, c] = [(); 3].map(|()| slots.take().unwrap());
        let _a_works = a.work();
        let d = slots.take().unwrap();
        assert!(!is_evicted(&a) && is_evicted(&b) && !is_evicted(&c) && !d.is_spare());
        // One that worked of late has been idle for less long.
        drop(c.work());
        let e = slots.take().unwrap();
        assert!(is_evicted(&d) && !is_evicted(&c) && !e.is_spare());
        for gone in [b, d] {
            drop(gone);
        }
        assert_eq!(slots.state.lock().ordinary.taken, 3);
    }

    #[test]
    fn when_all_are_at_work_some_seats_are_spare_and_then_there_is_none() {
        let slots = Slots::new(2);
        let ordinary = [(); 2].map(|()| slots.take().unwrap());
        let mut work: Vec<AtWork> = ordinary.iter().map(Slot::work).collect();
        let spare: Vec<Slot> = (0..SPARE).map(|_| slots.take().unwrap()).collect();
        assert!(spare.iter().all(Slot::is_spare) && slots.has_room(), "they are idle");
        let spare_work: Vec<AtWork> = spare.iter().map(Slot::work).collect();
        assert!(!slots.has_room() && slots.take().is_none());
        work.pop();
        assert!(slots.changed().now_or_never().is_some());
        assert!(!slots.take().unwrap().is_spare());
        drop((work, spare_work, spare, ordinary));
        let state = slots.state.lock();
        assert!(state.taken.is_empty() && state.ordinary.taken == 0 && state.spare.taken == 0);
        assert!(state.ordinary.idle.is_empty() && state.spare.idle.is_empty());
    }
}
