//! `events`: follows events as they happen.

use std::time::Duration;

use super::api::{Daemon, query};
use super::arguments::Events;
use super::console::Console;
use super::failure::Failure;
use super::{draining, revoking};
use crate::contract::{DialerNewsRecord, EndingRecord, EventRecord};
use crate::explanation::kind_name;
use crate::explanation::wording::{clock, count, safe, safe_or, short_id};

/// Three times the interval at which a daemon sends comments on an idle stream.
pub(super) const SILENCE: Duration = Duration::from_secs(45);

/// Prints events until the daemon stops; returns only with a failure.
pub(super) async fn follow(events: &Events, console: &mut Console) -> Result<u8, Failure> {
    let daemon = Daemon::of(&events.control)?;
    let types = (!events.types.is_empty()).then(|| events.types.join(","));
    let target = format!("/v1/events{}", query([("types", types)]));
    let mut lines = daemon.stream(&target, events.since_id).await?;
    let mut reader = Reader::default();
    loop {
        let line = match lines.next(SILENCE).await {
            Err(failure) => {
                if let Some(id) = &reader.last_id {
                    let id = safe(id);
                    console
                        .print_note(&format!("`--since-id {id}` continues after the last event"));
                }
                return Err(failure);
            }
            line => line?,
        };
        if let Some(event) = reader.read(&line) {
            if console.json {
                console.print(&event.data)?;
            } else {
                console.print(&format_event(&event))?;
            }
        }
    }
}

/// An event of the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct StreamEvent {
    name: String,
    pub(super) data: String,
}

/// Reads Server-Sent Events (WHATWG HTML, section 9.2.6) line by line.
#[derive(Debug, Default)]
pub(super) struct Reader {
    name: String,
    data: Option<String>,
    last_id: Option<String>,
}

impl Reader {
    /// Processes a line; returns the event that it completes.
    pub(super) fn read(&mut self, line: &str) -> Option<StreamEvent> {
        if line.is_empty() {
            let name = std::mem::take(&mut self.name);
            return self.data.take().map(|data| StreamEvent { name, data });
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.name),
            "id" => self.last_id = Some(value.to_owned()),
            "data" => match &mut self.data {
                Some(data) => {
                    data.push('\n');
                    data.push_str(value);
                }
                None => self.data = Some(value.to_owned()),
            },
            // A comment (an empty field name), or an unknown field.
            _ => {}
        }
        None
    }
}

/// Formats an event as one line: time, type, connection.
fn format_event(event: &StreamEvent) -> String {
    let Ok(record) = serde_json::from_str::<EventRecord<'static>>(&event.data) else {
        // An event of a later version: print its data as it is.
        return row("", &event.name, &safe(&event.data));
    };
    let word = record.word();
    match &record {
        EventRecord::Opened { connection } => {
            let origin = &connection.origin;
            let way = safe(&origin.direction);
            let peer = safe_or(&origin.peer, "a peer without an address");
            let mut text = format!("{}  {way} {peer}", short_id(&connection.id));
            for (name, value) in [
                ("route", &origin.route),
                ("dialer", &origin.dialer),
                ("subject", &origin.subject),
                ("path", &origin.path),
            ] {
                if let Some(value) = value {
                    text.push_str(&format!(" {name}={}", safe(value)));
                }
            }
            row(&clock(connection.opened_at), word, &text)
        }
        EventRecord::Closing { id, state, cause, at } => {
            row(&clock(*at), word, &format!("{}  {} ({})", short_id(id), safe(state), safe(cause)))
        }
        EventRecord::Ended { ending } | EventRecord::OpenFailed { ending } => {
            row(&clock(ending.ended_at), word, &ended(ending))
        }
        EventRecord::Reconnecting(reconnecting) => {
            let (dialer, ending) = (safe(&reconnecting.dialer), &reconnecting.ending);
            let wait = humantime::format_duration(Duration::from_millis(reconnecting.wait_ms));
            let why = format!("{}: {}", safe(&ending.kind), safe(&ending.detail));
            let id = short_id(&ending.id);
            let at = reconnecting.next_try_at - Duration::from_millis(reconnecting.wait_ms);
            row(&clock(at), word, &format!("{id}  {dialer} in {wait}, after {why}"))
        }
        EventRecord::Dialer(news) => row(&clock(news.at), word, &dialer(news)),
        EventRecord::Drain { drain } => {
            let at = drain.started_at + Duration::from_millis(drain.took_ms);
            row(&clock(at), word, &draining::progress(drain))
        }
        EventRecord::Revocation(changed) => {
            let revocation = &changed.revocation;
            let by =
                revocation.by.as_deref().map_or(String::new(), |by| format!(" by {}", safe(by)));
            let text = format!(
                "{} {} {}{by}",
                revocation.number,
                safe(&changed.change),
                revoking::target(revocation)
            );
            row(&clock(changed.at), word, &text)
        }
        EventRecord::Gap { missed, why } => {
            let missed = missed.map_or("some events".to_owned(), |missed| count(missed, "event"));
            let why = match why.as_deref() {
                Some("expired") => "are missing: the ledger has removed them".into(),
                Some("not_stored") => "are missing: the ledger could not store them".into(),
                Some("too_slow") => "are missing: the reader was too slow".into(),
                Some(other) => format!("are missing ({})", safe(other)),
                None => "are missing".into(),
            };
            row("", word, &format!("{missed} {why}"))
        }
    }
}

fn dialer(news: &DialerNewsRecord<'_>) -> String {
    let mut text = format!("{} {}", safe(&news.dialer), safe(&news.change));
    for (name, id) in [("connection", &news.connection), ("replaced", &news.replaced)] {
        if let Some(id) = id {
            text.push_str(&format!(" {name}={}", short_id(id)));
        }
    }
    for (name, span) in [("gap", &news.gap), ("overlap", &news.overlap)] {
        if let Some(span) = span {
            let span = humantime::format_duration(Duration::from_millis(span.ms));
            text.push_str(&format!(" {name}={span}"));
        }
    }
    if let Some(why) = &news.why {
        text.push_str(&format!(": {}", safe(why)));
    }
    text
}

fn ended(ending: &EndingRecord<'_>) -> String {
    let id = short_id(&ending.id);
    format!("{id}  {}: {}", kind_name(ending), safe(&ending.detail))
}

/// `12:00:12.595  open_failed  …`
fn row(time: &str, word: &str, text: &str) -> String {
    format!("{time:12}  {:11}  {text}", safe(word))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::samples;

    fn read_all(stream: &str) -> (Vec<StreamEvent>, Reader) {
        let mut reader = Reader::default();
        let events = stream.lines().filter_map(|line| reader.read(line)).collect();
        (events, reader)
    }

    #[test]
    fn a_stream_is_cut_into_events() {
        let stream = ": keep-alive\n\nid: 7\nevent: gap\ndata: {\"event\":\"gap\",\ndata: \"missed\":3}\n\n\
                      retry: 1000\n\nid:8\nevent:closing\ndata:{}\n\nevent: ended\n";
        let (events, reader) = read_all(stream);
        assert_eq!(
            events,
            [
                StreamEvent {
                    name: "gap".into(),
                    data: "{\"event\":\"gap\",\n\"missed\":3}".into()
                },
                StreamEvent { name: "closing".into(), data: "{}".into() },
            ]
        );
        assert_eq!(reader.last_id.as_deref(), Some("8"));
    }

    #[test]
    fn every_event_is_one_line() {
        let line = |record: &EventRecord<'_>| {
            format_event(&StreamEvent {
                name: String::new(),
                data: serde_json::to_string(record).unwrap(),
            })
        };
        assert_eq!(
            line(&EventRecord::Opened { connection: Box::new(samples::opened()) }),
            "12:00:00.250  opened       5b8f0a6d4c17  inbound 203.0.113.9:51342 route=chat \
             subject=ann path=/chat?room=7&token=***"
        );
        assert_eq!(
            line(&EventRecord::Closing {
                id: "01982b7e-4f6a-7c3d-9e21-5b8f0a6d4c17".into(),
                state: "close_sent".into(),
                cause: "drain".into(),
                at: samples::opened().opened_at,
            }),
            "12:00:00.250  closing      5b8f0a6d4c17  close_sent (drain)"
        );
        assert_eq!(
            line(&EventRecord::Ended { ending: Box::new(samples::ending()) }),
            "12:00:12.595  ended        5b8f0a6d4c17  clean: the peer closed first, with 1000 \"bye\""
        );
        assert_eq!(
            line(&EventRecord::OpenFailed { ending: Box::new(samples::attempt("no_route")) }),
            "12:00:12.595  open_failed  5b8f0a6d4c19  open_failed (no_route): no route for /x; \
             answered 404"
        );
        assert_eq!(
            line(&EventRecord::Drain { drain: Box::new(samples::drain("cancelled")) }),
            format!(
                "12:00:12.250  drain        {}",
                draining::progress(&samples::drain("cancelled"))
            )
        );
        assert_eq!(
            line(&EventRecord::Gap { missed: Some(3), why: Some("too_slow".into()) }),
            "              gap          3 events are missing: the reader was too slow"
        );
        assert_eq!(
            line(&EventRecord::Gap { missed: None, why: None }),
            "              gap          some events are missing"
        );
    }

    #[test]
    fn an_event_of_a_later_version_is_shown_and_does_no_harm() {
        let unknown =
            StreamEvent { name: "reconnecting".into(), data: "{\"x\":\"\u{1b}[2J\"}".into() };
        assert_eq!(format_event(&unknown), "              reconnecting  {\"x\":\"\\u{1b}[2J\"}");
    }
}
