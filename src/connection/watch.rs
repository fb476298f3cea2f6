//! Waits for messages with certain texts, and answers some, whatever the backend does with messages.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use tokio::sync::Notify;

use crate::protocol::passage::{Matches, TextMatcher};
use crate::vocabulary::Message;

/// Looks at each message that comes, as long as there is something to look for.
#[derive(Debug)]
pub(crate) struct Watch {
    sought: Sought,
    /// How many of the waits have been met.
    met: AtomicUsize,
    ready: AtomicBool,
    /// Messages that were answered.
    answered: AtomicU64,
    told: Notify,
}

/// What is looked for.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Sought {
    /// Texts that messages must contain, one after the other: each in a later message.
    pub(crate) waits: Vec<String>,
    /// What a message must contain, at any time, before the connection is ready.
    pub(crate) ready_on: Option<String>,
    /// Texts that are answered when a message is one of them, and with what.
    pub(crate) replies: Vec<(String, Message)>,
}

impl Sought {
    pub(crate) fn is_nothing(&self) -> bool {
        self.waits.is_empty() && self.ready_on.is_none() && self.replies.is_empty()
    }
}

impl Watch {
    /// Looks for these; `None` if there is nothing to look for.
    pub(crate) fn new(sought: Sought) -> Option<Arc<Self>> {
        (!sought.is_nothing()).then(|| {
            Arc::new(Self {
                met: AtomicUsize::new(0),
                ready: AtomicBool::new(sought.ready_on.is_none()),
                answered: AtomicU64::new(0),
                told: Notify::new(),
                sought,
            })
        })
    }

    /// Looks at a message, and returns what it is to be answered.
    pub(crate) fn look(&self, message: &Message) -> Option<&Message> {
        let next = self.sought.waits.get(self.met.load(Ordering::Relaxed));
        if next.is_some_and(|text| contains(message, text)) {
            self.meet();
        }
        if !self.ready.load(Ordering::Relaxed)
            && self.sought.ready_on.as_ref().is_some_and(|text| contains(message, text))
        {
            self.set_ready();
        }
        let Message::Text(text) = message else { return None };
        let found = self.sought.replies.iter().find(|(when, _)| text.as_str() == when);
        self.answer(found)
    }

    /// Returns what finds in passing frames what is still looked for; [`Watch::note`] is to be told.
    pub(crate) fn matcher(&self) -> TextMatcher {
        let Sought { waits, ready_on, replies } = &self.sought;
        let contained = waits.iter().chain(ready_on).map(String::as_str);
        TextMatcher::new(contained, replies.iter().map(|(when, _)| when.as_str()))
    }

    /// Records what was in a message that passed, and returns what it is to be answered.
    pub(crate) fn note(&self, matches: Matches) -> Option<&Message> {
        let has = |at: usize| matches.checked_shr(at as u32).is_some_and(|bits| bits & 1 == 1);
        let Sought { waits, ready_on, replies } = &self.sought;
        let met = self.met.load(Ordering::Relaxed);
        if met < waits.len() && has(met) {
            self.meet();
        }
        if ready_on.is_some() && has(waits.len()) {
            self.set_ready();
        }
        let first = waits.len() + usize::from(ready_on.is_some());
        self.answer((0..replies.len()).find(|at| has(first + at)).and_then(|at| replies.get(at)))
    }

    /// Returns whether there is nothing left to look for.
    pub(crate) fn is_done(&self) -> bool {
        self.sought.replies.is_empty()
            && self.has_met(self.sought.waits.len())
            && self.ready.load(Ordering::Acquire)
    }

    /// Returns how many messages were answered.
    pub(crate) fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    /// Waits until so many of the waits have been met. Cancel safe.
    pub(crate) async fn met(&self, waits: usize) {
        self.until(|| self.has_met(waits)).await;
    }

    /// Waits until the message has come that makes the connection ready. Cancel safe.
    pub(crate) async fn ready(&self) {
        self.until(|| self.ready.load(Ordering::Acquire)).await;
    }

    fn has_met(&self, waits: usize) -> bool {
        self.met.load(Ordering::Acquire) >= waits
    }

    /// Only the mover of the connection calls this.
    fn meet(&self) {
        self.met.fetch_add(1, Ordering::Release);
        self.told.notify_waiters();
    }

    fn set_ready(&self) {
        self.ready.store(true, Ordering::Release);
        self.told.notify_waiters();
    }

    fn answer<'a>(&self, found: Option<&'a (String, Message)>) -> Option<&'a Message> {
        let (_, reply) = found?;
        self.answered.fetch_add(1, Ordering::Relaxed);
        Some(reply)
    }

    async fn until(&self, holds: impl Fn() -> bool) {
        loop {
            let told = self.told.notified();
            if holds() {
                return;
            }
            told.await;
        }
    }
}

fn contains(message: &Message, text: &str) -> bool {
    match message {
        Message::Text(message) => message.as_str().contains(text),
        Message::Binary(payload) => {
            let text = text.as_bytes();
            text.is_empty() || payload.windows(text.len()).any(|window| window == text)
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn sought(waits: &[&str], ready_on: Option<&str>, replies: &[(&str, &str)]) -> Sought {
        Sought {
            waits: waits.iter().map(|text| (*text).to_owned()).collect(),
            ready_on: ready_on.map(str::to_owned),
            replies: replies
                .iter()
                .map(|(when, send)| ((*when).to_owned(), Message::text(*send)))
                .collect(),
        }
    }

    fn is_ready(watch: &Watch) -> bool {
        watch.ready().now_or_never().is_some()
    }

    #[test]
    fn text_and_binary_are_searched_until_it_is_found() {
        for (message, expected) in [
            (Message::text("{\"op\":\"subscribed\"}"), true),
            (Message::text("subscribing"), false),
            (Message::binary(&b"\x00subscribed\xff"[..]), true),
            (Message::binary(&b"short"[..]), false),
        ] {
            let watch = Watch::new(sought(&[], Some("subscribed"), &[])).unwrap();
            watch.look(&message);
            assert_eq!((is_ready(&watch), watch.is_done()), (expected, expected), "{message:?}");
            watch.look(&Message::text("other"));
            assert_eq!(is_ready(&watch), expected, "once seen it stays seen");
        }
    }

    #[test]
    fn waits_are_met_one_after_the_other_and_each_by_a_message_of_its_own() {
        let sought = sought(&["a", "b", "b"], Some("a"), &[("2", "3"), ("ab", "c")]);
        // What passes in frames is seen just as what comes in messages.
        let look = |watch: &Watch, bits: Matches, text: &str, frames: bool| {
            let answer = match frames {
                true => watch.note(bits),
                false => watch.look(&Message::text(text)),
            };
            let met = (0..4).filter(|n| watch.met(*n).now_or_never().is_some()).count() - 1;
            (met, is_ready(watch), answer.cloned())
        };
        for frames in [false, true] {
            let watch = Watch::new(sought.clone()).unwrap();
            let look = |bits, text| look(&watch, bits, text, frames);
            assert_eq!(look(0b00_0110, "b"), (0, false, None));
            assert_eq!(look(0b10_1111, "ab"), (1, true, Some(Message::text("c"))));
            assert_eq!(look(0b01_0000, "2"), (1, true, Some(Message::text("3"))));
            assert_eq!(look(0b00_0110, "b"), (2, true, None));
            assert_eq!(look(0b00_0110, "b"), (3, true, None));
            assert_eq!(look(0b00_0110, "b"), (3, true, None));
            assert_eq!((watch.answered(), watch.is_done()), (2, false));
        }
    }

    #[test]
    fn where_nothing_is_looked_for_there_is_no_watch() {
        assert!(Watch::new(Sought::default()).is_none());
        let watch = Watch::new(sought(&["a"], None, &[])).unwrap();
        assert!(is_ready(&watch) && !watch.is_done());
    }
}
