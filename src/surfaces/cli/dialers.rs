//! `dialers` and `dialer`: outbound connections that are kept alive.

use std::time::SystemTime;

use comfy_table::Color;
use serde_json::json;

use super::api::{Daemon, path};
use super::arguments::{DialerCommand, Dialers};
use super::console::{Console, Look};
use super::exit::DONE;
use super::failure::Failure;
use super::table::{Column, Content, Entry, Listing};
use crate::contract::{DialerRecord, DialersRecord, millis};
use crate::explanation::wording::{lasting_short, safe, safe_or, short_id};
use crate::vocabulary::DialerPhase;

/// Lists the dialers.
pub(super) async fn list(dialers: &Dialers, console: &mut Console) -> Result<u8, Failure> {
    let daemon = Daemon::of(&dialers.control)?;
    let answer = daemon.get("/v1/dialers").await?;
    let record: DialersRecord<'static> = answer.read()?;
    if record.dialers.is_empty() && !console.json {
        console.print_note("no dialers");
        return Ok(DONE);
    }
    console.show(&answer, |look| Ok(table(&record.dialers, SystemTime::now(), look)))
}

/// Pauses, resumes, rotates or removes a dialer.
pub(super) async fn command(command: &DialerCommand, console: &mut Console) -> Result<u8, Failure> {
    let (dialer, word, asked) = match command {
        DialerCommand::Pause(dialer) => (dialer, Some("/pause"), "pauses"),
        DialerCommand::Resume(dialer) => (dialer, Some("/resume"), "resumes"),
        DialerCommand::Rotate(dialer) => (dialer, Some("/rotate"), "rotates"),
        DialerCommand::Remove(dialer) => (dialer, None, "is removed"),
    };
    let daemon = Daemon::of(&dialer.control)?;
    let answer = match word {
        Some(word) => daemon.post(&path("/v1/dialers", &dialer.name, word), &json!({})).await?,
        None => daemon.delete(&path("/v1/dialers", &dialer.name, "")).await?,
    };
    console.show(&answer, |_| Ok(format!("dialer {} {asked}", safe(&dialer.name))))
}

const COLUMNS: [Column; 9] = [
    Column { title: "DIALER", rank: 0, content: Content::Word },
    Column { title: "STATE", rank: 0, content: Content::Word },
    Column { title: "FOR", rank: 3, content: Content::Number },
    Column { title: "CONNECTION", rank: 1, content: Content::Word },
    Column { title: "OPENED", rank: 5, content: Content::Number },
    Column { title: "GAPS", rank: 6, content: Content::Number },
    Column { title: "BY", rank: 7, content: Content::Word },
    Column { title: "URL", rank: 4, content: Content::Text },
    Column { title: "WHY", rank: 2, content: Content::Text },
];

fn table(dialers: &[DialerRecord<'_>], now: SystemTime, look: Look) -> String {
    let mut listing = Listing::new(COLUMNS);
    for dialer in dialers {
        let stood = now.duration_since(dialer.since).unwrap_or_default();
        let connection = dialer.connection.as_deref().map(|id| short_id(id).into_owned());
        listing.add(vec![
            safe(&dialer.name).into(),
            state(dialer, now),
            lasting_short(millis(stood)).into(),
            connection.unwrap_or_else(|| "-".to_owned()).into(),
            dialer.opened.to_string().into(),
            dialer.gaps.to_string().into(),
            safe_or(&dialer.by, "-").into(),
            safe(&dialer.url).into(),
            safe_or(&dialer.why, "-").into(),
        ]);
    }
    listing.draw(look)
}

fn state(dialer: &DialerRecord<'_>, now: SystemTime) -> Entry {
    let colour = match &*dialer.state {
        state if state == DialerPhase::Ready.as_str() => Color::Green,
        state if state == DialerPhase::GivenUp.as_str() => Color::Red,
        _ => Color::Yellow,
    };
    let text = match dialer.next_try_at {
        Some(at) => {
            let left = at.duration_since(now).unwrap_or_default();
            format!("{} for {}", safe(&dialer.state), lasting_short(millis(left)))
        }
        None if dialer.rotating => format!("{}, rotating", safe(&dialer.state)),
        None => safe(&dialer.state).into_owned(),
    };
    Entry::coloured(text, colour)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn each_dialer_has_its_line() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000);
        let ready = DialerRecord {
            name: "feed".into(),
            url: "wss://feed.example.org/stream".into(),
            state: "ready".into(),
            why: None,
            since: now - Duration::from_secs(90),
            next_try_at: None,
            attempts: 0,
            connection: Some("01982b7e-4f6a-7c3d-9e21-5b8f0a6d4c17".into()),
            rotating: true,
            last_ending: None,
            opened: 3,
            gaps: 2,
            by: None,
        };
        let waiting = DialerRecord {
            name: "ticks".into(),
            state: "waiting".into(),
            why: Some("the peer reset TCP\u{1b}[2J".into()),
            next_try_at: Some(now + Duration::from_secs(12)),
            connection: None,
            rotating: false,
            by: Some("api:ops".into()),
            ..ready.clone()
        };
        let drawn = table(&[ready, waiting], now, Look::PLAIN);
        let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        let lines: Vec<String> = drawn.lines().map(words).collect();
        assert_eq!(lines[0], "DIALER STATE FOR CONNECTION OPENED GAPS BY URL WHY");
        assert_eq!(
            lines[1],
            "feed ready, rotating 1m30s 5b8f0a6d4c17 3 2 - wss://feed.example.org/stream -"
        );
        assert!(lines[2].starts_with("ticks waiting for 12s 1m30s - 3 2 api:ops wss"), "{drawn}");
        assert!(lines[2].contains("the peer reset TCP") && !drawn.contains('\u{1b}'), "{drawn}");
    }
}
