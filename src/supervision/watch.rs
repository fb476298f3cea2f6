//! Waits for a message that contains a text, whatever the backend does with messages.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

use crate::vocabulary::Message;

/// Looks at each message that comes until one contains a text.
#[derive(Debug)]
pub(crate) struct Watch {
    text: Box<str>,
    seen: AtomicBool,
    told: Notify,
}

impl Watch {
    pub(crate) fn new(text: &str) -> Arc<Self> {
        Arc::new(Self { text: text.into(), seen: AtomicBool::new(false), told: Notify::new() })
    }

    /// Looks at a message, if it is still needed.
    pub(super) fn look(&self, message: &Message) {
        if self.seen.load(Ordering::Relaxed) {
            return;
        }
        let found = match message {
            Message::Text(text) => text.as_str().contains(&*self.text),
            Message::Binary(payload) => {
                let text = self.text.as_bytes();
                text.is_empty() || payload.windows(text.len()).any(|window| window == text)
            }
        };
        if found {
            self.tell();
        }
    }

    /// Returns what is looked for.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Takes note that such a message has come.
    pub(super) fn tell(&self) {
        self.seen.store(true, Ordering::Release);
        self.told.notify_waiters();
    }

    /// Tells whether such a message has come.
    pub(crate) fn has_seen(&self) -> bool {
        self.seen.load(Ordering::Acquire)
    }

    /// Waits for such a message. Cancel safe.
    pub(crate) async fn seen(&self) {
        loop {
            let told = self.told.notified();
            if self.has_seen() {
                return;
            }
            told.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_binary_are_searched_until_it_is_found() {
        for (message, expected) in [
            (Message::text("{\"op\":\"subscribed\"}"), true),
            (Message::text("subscribing"), false),
            (Message::binary(&b"\x00subscribed\xff"[..]), true),
            (Message::binary(&b"short"[..]), false),
        ] {
            let watch = Watch::new("subscribed");
            watch.look(&message);
            assert_eq!(watch.has_seen(), expected, "{message:?}");
            watch.look(&Message::text("other"));
            assert_eq!(watch.has_seen(), expected, "once seen it stays seen");
        }
    }
}
