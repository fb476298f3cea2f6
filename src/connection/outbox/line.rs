//! The items of an outbox in the order they leave, and the border of what can still be changed.
//!
//! The writer gathers bytes from the front under the lock of the outbox, writes them without it, and
//! lands them: it says how many of them the transport took. In between they are in flight, and the
//! transport may have any of them. An item of which a byte has left, or is in flight, is committed:
//! it is not removed, and nothing is put before it. Only this module sees the deque, and every method
//! that removes or inserts keeps behind that border, so a caller that makes room meanwhile cannot touch
//! what is being written.

use std::collections::VecDeque;

use bytes::Bytes;

use super::item::Item;

/// Payloads up to this size are copied beside each other and written at once; larger ones are
/// written from where they are. Bytes.
const COPY_UP_TO: usize = 16 * 1024;

/// An empty line keeps no more slots than this.
const IDLE_SLOTS: usize = 8;

/// A line of more slots than this gives them back when less than an eighth is in use.
const MANY_SLOTS: usize = 128;

#[derive(Debug, Default)]
pub(super) struct Line {
    items: VecDeque<Item>,
    /// Bytes of the first item that the transport has.
    begun: usize,
    /// How many items, from the first on, have bytes in flight.
    in_flight: usize,
}

/// Bytes from the front of a line that are being written. It comes back with their number:
/// [`Line::land`]; if it is lost (the write panicked), they stay committed.
#[derive(Debug)]
#[must_use = "what was gathered stays in flight until it is landed"]
pub(super) struct Flight(Source);

#[derive(Debug)]
enum Source {
    /// So many bytes of the scratch buffer.
    Scratch(usize),
    /// A large payload, from where it is.
    Direct(Bytes),
}

/// A place behind what is committed where a frame of our own may stand.
#[derive(Debug, Clone, Copy)]
pub(super) struct Gap(usize);

impl Flight {
    /// Returns the bytes; `scratch` is the buffer that they were gathered into.
    pub(super) fn bytes<'a>(&'a self, scratch: &'a [u8]) -> &'a [u8] {
        match &self.0 {
            Source::Scratch(len) => &scratch[..*len],
            Source::Direct(bytes) => bytes,
        }
    }
}

impl Line {
    pub(super) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Item> {
        self.items.iter()
    }

    /// Returns how many items are committed: part of them has left or is in flight.
    fn border(&self) -> usize {
        self.in_flight.max(usize::from(self.begun > 0))
    }

    /// Returns the items that can no longer be removed.
    pub(super) fn committed(&self) -> impl Iterator<Item = &Item> {
        self.items.iter().take(self.border())
    }

    /// Returns the items that can still be removed.
    pub(super) fn waiting(&self) -> impl Iterator<Item = &Item> {
        self.items.iter().skip(self.border())
    }

    /// Returns the item of which a part has left for certain, and how many bytes of it.
    pub(super) fn begun(&mut self) -> Option<(&mut Item, usize)> {
        let begun = self.begun;
        self.items.front_mut().filter(|_| begun > 0).map(|item| (item, begun))
    }

    /// Returns the items that are in flight and of which no byte has left for certain.
    pub(super) fn airborne(&self) -> impl Iterator<Item = &Item> {
        self.items.iter().take(self.in_flight).skip(usize::from(self.begun > 0))
    }

    /// Returns whether our Close, which is always the last, has begun to leave, or may have.
    pub(super) fn has_committed_close(&self) -> bool {
        self.border() == self.items.len() && self.items.back().is_some_and(Item::is_close)
    }

    pub(super) fn push(&mut self, item: Item) {
        self.items.push_back(item);
    }

    /// Appends an item to an empty line, `written` bytes of which the transport has already.
    pub(super) fn push_begun(&mut self, item: Item, written: usize) {
        debug_assert!(self.items.is_empty(), "others wait before it");
        self.begun = written;
        self.items.push_back(item);
    }

    pub(super) fn append(&mut self, items: &mut VecDeque<Item>) {
        self.items.append(items);
    }

    /// Returns the first place where a frame of our own may stand; `mid_frame` tells that what left
    /// last did not end its frame.
    pub(super) fn first_gap(&self, mid_frame: bool) -> Option<Gap> {
        let border = self.border();
        if border == 0 && !mid_frame {
            return Some(Gap(0));
        }
        let before = border.saturating_sub(1);
        let at = self.items.iter().skip(before).position(Item::ends_frame)?;
        Some(Gap(before + at + 1))
    }

    /// Inserts a control frame into a gap, behind the Pongs that stand there.
    pub(super) fn insert(&mut self, gap: Gap, item: Item) {
        let pongs = self.items.iter().skip(gap.0).take_while(|item| item.is_pong()).count();
        self.items.insert(gap.0 + pongs, item);
    }

    /// Removes the first item that waits and is a `choice`.
    pub(super) fn remove_first(&mut self, choice: impl Fn(&Item) -> bool) -> Option<Item> {
        let at = self.waiting().position(choice)?;
        self.items.remove(self.border() + at)
    }

    /// Removes all items that wait and are a `choice`.
    pub(super) fn remove_all(
        &mut self,
        choice: impl Fn(&Item) -> bool,
        mut removed: impl FnMut(&Item),
    ) {
        for item in self.items.split_off(self.border()) {
            if choice(&item) {
                removed(&item);
            } else {
                self.items.push_back(item);
            }
        }
        self.shrink();
    }

    /// Removes everything, what is in flight included: nothing more will be written.
    pub(super) fn end(&mut self) -> VecDeque<Item> {
        std::mem::take(self).items
    }

    /// Gathers what is to be written next; what is small is copied into `scratch`.
    pub(super) fn gather(&mut self, scratch: &mut [u8]) -> Option<Flight> {
        let mut skip = self.begun;
        let mut filled = 0;
        let mut in_flight = 0;
        for item in &self.items {
            let head = item.header.as_bytes();
            let body = &item.payload[skip.saturating_sub(head.len())..];
            let head = &head[skip.min(head.len())..];
            skip = 0;
            if head.is_empty() && filled == 0 && body.len() > COPY_UP_TO {
                let payload = item.payload.slice(item.payload.len() - body.len()..);
                self.in_flight = 1;
                return Some(Flight(Source::Direct(payload)));
            }
            in_flight += 1;
            filled += copy(head, &mut scratch[filled..]);
            if body.len() > COPY_UP_TO {
                // Its header leaves with this batch, its payload with the next.
                break;
            }
            filled += copy(body, &mut scratch[filled..]);
            if filled == scratch.len() {
                break;
            }
        }
        self.in_flight = in_flight;
        (filled > 0).then_some(Flight(Source::Scratch(filled)))
    }

    /// Records that a flight is over, and that the transport took `taken` bytes of it. Call
    /// [`Line::pop_left`] for what left whole.
    pub(super) fn land(&mut self, flight: Flight, taken: usize) {
        drop(flight);
        self.in_flight = 0;
        // The line may have ended meanwhile.
        if !self.items.is_empty() {
            self.begun += taken;
        }
    }

    /// Records that a flight is over and that the transport may have its bytes all the same: they
    /// stay committed, and the next flight begins with them.
    pub(super) fn hold(&mut self, flight: Flight) {
        drop(flight);
    }

    /// Removes the first item if all of it has left.
    pub(super) fn pop_left(&mut self) -> Option<Item> {
        let size = self.items.front()?.size();
        if size > self.begun {
            return None;
        }
        self.begun -= size;
        self.items.pop_front()
    }

    /// Gives back the slots that a burst has needed.
    pub(super) fn shrink(&mut self) {
        let (len, slots) = (self.items.len(), self.items.capacity());
        if len == 0 && slots > IDLE_SLOTS {
            self.items = VecDeque::new();
        } else if slots > MANY_SLOTS && len < slots / 8 {
            self.items.shrink_to(4 * len);
        }
    }

    /// Returns how many items there is memory for.
    #[cfg(test)]
    pub(super) fn slots(&self) -> usize {
        self.items.capacity()
    }
}

/// Copies as much as fits; returns how much that was.
fn copy(from: &[u8], to: &mut [u8]) -> usize {
    let len = from.len().min(to.len());
    to[..len].copy_from_slice(&from[..len]);
    len
}
