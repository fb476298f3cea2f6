//! What one exchange brought to light: the answer to the opening handshake, and then every event in
//! order, with the time since the connection was opened.

use std::time::Duration;

/// How many events are kept of a peer that sends more.
const MOST_EVENTS: usize = 2048;

/// What one exchange brought to light.
#[derive(Debug, Clone, Default)]
pub(super) struct Seen {
    /// The answer to the opening handshake.
    pub opening: Opening,
    /// The subprotocols that this end offered.
    pub offered: Vec<String>,
    /// Whether TLS was spoken.
    pub secure: bool,
    /// The events, oldest first.
    pub events: Vec<(Duration, Event)>,
    /// The data messages that this end sent whole.
    pub sent: Vec<Digest>,
}

/// The answer to an opening handshake.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) enum Opening {
    /// Nothing was asked yet.
    #[default]
    NotAsked,
    /// TCP, or TLS, could not be opened.
    NotConnected(String),
    /// An answer came.
    Answered(Answer),
    /// What came is not HTTP.
    NotHttp(String),
    /// TCP ended before a whole answer.
    Ended(End),
    /// No whole answer came in time.
    Silent,
}

/// The head of an HTTP answer; all texts are safe to print.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    /// The status.
    pub status: u16,
    /// Names in lower case, and values.
    pub headers: Vec<(String, String)>,
    /// Whether `Sec-WebSocket-Accept` answers the key.
    pub accept_is_right: bool,
    /// How long it took.
    pub after: Duration,
}

/// Something that happened after the opening handshake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Event {
    /// This end sent what the exchange is about.
    Tested,
    /// The peer's message is whole.
    Message(Digest),
    /// A Ping of so many bytes.
    Ping(usize),
    /// A Pong.
    Pong(Vec<u8>),
    /// A Close.
    Close(CloseSeen),
    /// The peer broke a rule of framing.
    Violation(String),
    /// This end could not send, because the peer was gone or did not read.
    NotSent,
    /// The peer sent more than this end reads in one exchange.
    Flood,
    /// The exchange opened another connection, or failed to.
    Reopened(bool),
    /// TCP ended.
    End(End),
}

/// A message by its kind, its length and its hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Digest {
    /// Whether it is text.
    pub text: bool,
    /// Its length in bytes.
    pub len: u64,
    /// A hash of its payload.
    pub hash: u64,
}

/// A Close frame that was received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CloseSeen {
    /// The code; `None` if there was no payload, or only one byte.
    pub code: Option<u16>,
    /// The reason, safe to print.
    pub reason: String,
    /// Whether the payload has two bytes or none, and its reason is UTF-8.
    pub well_formed: bool,
}

/// How the peer's stream ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum End {
    /// FIN, behind close_notify where TLS was spoken.
    Fin,
    /// RST.
    Reset,
    /// FIN without close_notify.
    Truncated,
    /// An error of the operating system or of TLS.
    Error(String),
}

impl End {
    /// Returns its name.
    pub(super) fn as_str(&self) -> &str {
        match self {
            Self::Fin => "FIN",
            Self::Reset => "RST",
            Self::Truncated => "FIN without close_notify",
            Self::Error(error) => error,
        }
    }
}

impl CloseSeen {
    /// Parses the payload of a Close (RFC 6455 section 5.5.1).
    pub(super) fn parse(payload: &[u8]) -> Self {
        let (code, reason) = match payload {
            [high, low, reason @ ..] => (Some(u16::from_be_bytes([*high, *low])), reason),
            _ => (None, payload),
        };
        Self {
            code,
            reason: crate::policy::masking::record_text(&String::from_utf8_lossy(reason)),
            well_formed: payload.len() != 1 && std::str::from_utf8(reason).is_ok(),
        }
    }
}

impl Answer {
    /// Returns the values of a header, whose name is in lower case.
    pub(super) fn header<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.headers.iter().filter(move |(own, _)| own == name).map(|(_, value)| value.as_str())
    }

    /// Returns the entries of a header that is a list, trimmed.
    pub(super) fn list<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.header(name)
            .flat_map(|value| value.split(','))
            .map(str::trim)
            .filter(|it| !it.is_empty())
    }
}

impl Seen {
    /// Adds an event.
    pub(super) fn add(&mut self, at: Duration, event: Event) {
        // The last events matter, such as the end.
        let matters =
            matches!(event, Event::Close(_) | Event::End(_) | Event::Flood | Event::Tested);
        if self.events.len() < MOST_EVENTS || (matters && self.events.len() < 2 * MOST_EVENTS) {
            self.events.push((at, event));
        }
    }

    /// Returns the answer to the opening handshake.
    pub(super) fn answer(&self) -> Option<&Answer> {
        match &self.opening {
            Opening::Answered(answer) => Some(answer),
            Opening::NotAsked
            | Opening::NotConnected(_)
            | Opening::NotHttp(_)
            | Opening::Ended(_)
            | Opening::Silent => None,
        }
    }

    /// Returns whether the connection was upgraded.
    pub(super) fn is_open(&self) -> bool {
        self.answer().is_some_and(|answer| answer.status == 101)
    }

    /// Returns when this end sent what the exchange is about.
    pub(super) fn tested_at(&self) -> Option<Duration> {
        self.events.iter().find(|(_, event)| *event == Event::Tested).map(|(at, _)| *at)
    }

    /// Returns the peer's Closes.
    pub(super) fn closes(&self) -> impl Iterator<Item = (Duration, &CloseSeen)> {
        self.events.iter().filter_map(|(at, event)| match event {
            Event::Close(close) => Some((*at, close)),
            _ => None,
        })
    }

    /// Returns the peer's first Close.
    pub(super) fn close(&self) -> Option<(Duration, &CloseSeen)> {
        self.closes().next()
    }

    /// Returns how the peer's stream ended.
    pub(super) fn end(&self) -> Option<(Duration, &End)> {
        self.events.iter().find_map(|(at, event)| match event {
            Event::End(end) => Some((*at, end)),
            _ => None,
        })
    }

    /// Returns whether a Pong with this payload came.
    pub(super) fn has_pong(&self, payload: &[u8]) -> bool {
        self.events.iter().any(|(_, event)| matches!(event, Event::Pong(own) if own == payload))
    }

    /// Returns the first violation.
    pub(super) fn violation(&self) -> Option<&str> {
        self.events.iter().find_map(|(_, event)| match event {
            Event::Violation(violation) => Some(violation.as_str()),
            _ => None,
        })
    }

    /// Returns the peer's messages.
    pub(super) fn messages(&self) -> impl Iterator<Item = &Digest> {
        self.events.iter().filter_map(|(_, event)| match event {
            Event::Message(digest) => Some(digest),
            _ => None,
        })
    }

    /// Returns how many of the messages of this end came back, in order; others may stand between.
    pub(super) fn echoed(&self) -> usize {
        let mut due = self.sent.iter();
        let mut next = due.next();
        let mut found = 0;
        for message in self.messages() {
            if Some(message) == next {
                found += 1;
                next = due.next();
            }
        }
        found
    }

    /// Returns whether the peer closed, or ended TCP, before this end sent what the exchange is about.
    pub(super) fn is_early(&self) -> bool {
        let mut before = self.events.iter().take_while(|(_, event)| *event != Event::Tested);
        before.any(|(_, event)| matches!(event, Event::Close(_) | Event::End(_)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closes_are_parsed_as_they_come() {
        let close = |payload: &[u8]| CloseSeen::parse(payload);
        assert_eq!(close(b"\x03\xe8bye\x1b").code, Some(1000));
        assert_eq!(close(b"\x03\xe8bye\x1b").reason, "bye\\u{1b}");
        assert!(close(b"").well_formed && close(b"").code.is_none());
        assert!(!close(b"\x03").well_formed && !close(b"\x03\xe8\xff").well_formed);
    }

    #[test]
    fn a_flood_of_events_is_bounded_and_the_end_is_kept() {
        let mut seen = Seen::default();
        for _ in 0..3 * MOST_EVENTS {
            seen.add(Duration::ZERO, Event::Ping(0));
        }
        seen.add(Duration::ZERO, Event::End(End::Fin));
        assert_eq!(seen.events.len(), MOST_EVENTS + 1);
        assert!(seen.end().is_some());
        seen.add(Duration::ZERO, Event::Flood);
        assert_eq!(seen.events.last().unwrap().1, Event::Flood);
    }

    #[test]
    fn an_echo_is_found_among_other_messages() {
        let digest = |hash| Digest { text: true, len: 1, hash };
        let mut seen = Seen { sent: vec![digest(1), digest(2)], ..Seen::default() };
        for hash in [7, 1, 8, 2, 1] {
            seen.add(Duration::ZERO, Event::Message(digest(hash)));
        }
        assert_eq!(seen.echoed(), 2);
        seen.sent = vec![digest(2), digest(8)];
        assert_eq!(seen.echoed(), 1);
    }
}
