//! What was observed in one line, and as numbers.

use std::time::Duration;

use super::seen::{CloseSeen, Event, Opening, Seen};

/// What was observed, as numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Measured {
    /// The status of the answer to the opening handshake.
    pub status: Option<u16>,
    /// The code of the server's Close.
    pub code: Option<u16>,
    /// Its reason.
    pub reason: Option<String>,
    /// How TCP ended.
    pub end: Option<String>,
    /// How long the Close took.
    pub close_after: Option<Duration>,
    /// How long the end of TCP took.
    pub end_after: Option<Duration>,
}

impl Measured {
    /// Takes the numbers of an exchange; times count from what it is about.
    pub(super) fn of(seen: &Seen) -> Self {
        let from = seen.tested_at().unwrap_or_default();
        let close = seen.close();
        Self {
            status: seen.answer().map(|answer| answer.status),
            code: close.and_then(|(_, close)| close.code),
            reason: close.map(|(_, close)| close.reason.clone()),
            end: seen.end().map(|(_, end)| end.as_str().to_owned()),
            close_after: close.map(|(at, _)| at.saturating_sub(from)),
            end_after: seen.end().map(|(at, _)| at.saturating_sub(from)),
        }
    }
}

/// Describes an exchange in one line that is safe to print.
pub(super) fn observed(seen: &Seen) -> String {
    match &seen.opening {
        Opening::Answered(answer) if answer.status == 101 => {}
        Opening::Answered(answer) => {
            return format!("HTTP {} after {}", answer.status, millis(answer.after));
        }
        Opening::NotAsked => return "nothing".to_owned(),
        Opening::NotConnected(why) => return why.clone(),
        Opening::NotHttp(_) => return "an answer that is not HTTP".to_owned(),
        Opening::Ended(end) => return format!("{} without an answer", end.as_str()),
        Opening::Silent => return "no answer in time".to_owned(),
    }
    let from = seen.tested_at().unwrap_or_default();
    let after = |at: Duration| match at.checked_sub(from) {
        Some(took) => format!("after {}", millis(took)),
        None => "before the case".to_owned(),
    };
    let mut parts = Vec::new();
    let (mut messages, mut pings, mut pongs) = (0, 0, 0);
    let mut closes = 0;
    for (at, event) in &seen.events {
        match event {
            Event::Tested => {}
            Event::Message(_) => messages += 1,
            Event::Ping(_) => pings += 1,
            Event::Pong(_) => pongs += 1,
            Event::Close(seen) => {
                closes += 1;
                if closes <= 2 {
                    parts.push(format!("{} {}", close(seen), after(*at)));
                }
            }
            Event::Violation(what) => parts.push(format!("a violation: {what}")),
            Event::NotSent => parts.push("could not send all".to_owned()),
            Event::Flood => parts.push("more than this end reads".to_owned()),
            Event::Reopened(true) => parts.push("a new connection opens".to_owned()),
            Event::Reopened(false) => parts.push("no new connection opens".to_owned()),
            Event::End(end) => parts.push(format!("{} {}", end.as_str(), after(*at))),
        }
    }
    parts.truncate(8);
    if parts.is_empty() {
        parts.push("no Close and no end of TCP".to_owned());
    } else if seen.end().is_none() && closes > 0 {
        parts.push("TCP stays open".to_owned());
    }
    for (number, thing) in [(messages, "message"), (pings, "Ping"), (pongs, "Pong")] {
        match number {
            0 => {}
            1 => parts.push(format!("1 {thing}")),
            _ => parts.push(format!("{number} {thing}s")),
        }
    }
    parts.join(", ")
}

fn close(close: &CloseSeen) -> String {
    let name = match (close.code, close.well_formed) {
        (Some(code), true) => format!("Close {code}"),
        (Some(code), false) => format!("malformed Close {code}"),
        (None, true) => "Close without a code".to_owned(),
        (None, false) => "malformed Close".to_owned(),
    };
    if close.reason.is_empty() { name } else { format!("{name} \"{}\"", close.reason) }
}

fn millis(time: Duration) -> String {
    format!("{} ms", time.as_millis())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::seen::{Answer, End};

    #[test]
    fn an_exchange_is_one_line() {
        let opening = |status| {
            let after = Duration::from_millis(2);
            Opening::Answered(Answer { status, headers: vec![], accept_is_right: true, after })
        };
        let mut seen = Seen { opening: opening(426), ..Seen::default() };
        assert_eq!(observed(&seen), "HTTP 426 after 2 ms");
        seen.opening = opening(101);
        assert_eq!(observed(&seen), "no Close and no end of TCP");
        let at = Duration::from_millis;
        seen.add(at(1), Event::Pong(vec![]));
        seen.add(at(2), Event::Tested);
        seen.add(at(3), Event::Close(CloseSeen::parse(b"\x03\xe8a\nb")));
        assert_eq!(observed(&seen), "Close 1000 \"a\\nb\" after 1 ms, TCP stays open, 1 Pong");
        seen.add(at(4), Event::End(End::Fin));
        assert_eq!(observed(&seen), "Close 1000 \"a\\nb\" after 1 ms, FIN after 2 ms, 1 Pong");
        let measured = Measured::of(&seen);
        assert_eq!((measured.code, measured.close_after), (Some(1000), Some(at(1))));
    }
}
