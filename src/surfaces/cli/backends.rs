//! `backends`: the applications behind relays.

use std::time::SystemTime;

use comfy_table::Color;

use super::api::Daemon;
use super::arguments::Backends;
use super::console::{Console, Look};
use super::exit::DONE;
use super::failure::Failure;
use super::table::{Column, Content, Entry, Listing};
use crate::contract::{BackendRecord, BackendsRecord, millis};
use crate::explanation::wording::{lasting_short, safe};

/// Lists the applications.
pub(super) async fn list(backends: &Backends, console: &mut Console) -> Result<u8, Failure> {
    let daemon = Daemon::of(&backends.control)?;
    let answer = daemon.get("/v1/backends").await?;
    let record: BackendsRecord<'static> = answer.read()?;
    if record.backends.is_empty() && !console.json {
        console.print_note("no route relays connections to an application");
        return Ok(DONE);
    }
    console.show(&answer, |look| Ok(table(&record.backends, SystemTime::now(), look)))
}

const COLUMNS: [Column; 7] = [
    Column { title: "BACKEND", rank: 0, content: Content::Word },
    Column { title: "URL", rank: 1, content: Content::Text },
    Column { title: "STATE", rank: 0, content: Content::Word },
    Column { title: "CLIENTS", rank: 0, content: Content::Number },
    Column { title: "CHOSEN", rank: 3, content: Content::Number },
    Column { title: "FAILURES", rank: 2, content: Content::Number },
    Column { title: "EJECTED", rank: 4, content: Content::Number },
];

fn table(backends: &[BackendRecord<'_>], now: SystemTime, look: Look) -> String {
    let mut listing = Listing::new(COLUMNS);
    for backend in backends {
        listing.add(vec![
            format!("{}/{}", safe(&backend.route), backend.number).into(),
            safe(&backend.url).into(),
            state(backend, now),
            backend.connections.to_string().into(),
            backend.chosen.to_string().into(),
            backend.failures.to_string().into(),
            backend.ejections.to_string().into(),
        ]);
    }
    listing.draw(look)
}

fn state(backend: &BackendRecord<'_>, now: SystemTime) -> Entry {
    match (&*backend.state, backend.ejected_until) {
        ("serving", _) => Entry::coloured("serving", Color::Green),
        (state, Some(until)) => {
            let left = until.duration_since(now).unwrap_or_default();
            let text = format!("{} for {}", safe(state), lasting_short(millis(left)));
            Entry::coloured(text, Color::Red)
        }
        (state, None) => Entry::coloured(safe(state), Color::Yellow),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn each_application_has_its_line() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000);
        let serving = BackendRecord {
            route: "chat".into(),
            number: 0,
            url: "ws://a:1".into(),
            state: "serving".into(),
            ejected_until: None,
            healthy: true,
            connections: 3,
            failures: 0,
            chosen: 17,
            ejections: 2,
        };
        let ejected = BackendRecord {
            number: 1,
            state: "ejected".into(),
            ejected_until: Some(now + Duration::from_secs(12)),
            ..serving.clone()
        };
        let drawn = table(&[serving, ejected], now, Look::PLAIN);
        let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        let lines: Vec<String> = drawn.lines().map(words).collect();
        assert_eq!(
            lines,
            [
                "BACKEND URL STATE CLIENTS CHOSEN FAILURES EJECTED",
                "chat/0 ws://a:1 serving 3 17 0 2",
                "chat/1 ws://a:1 ejected for 12s 3 17 0 2",
            ]
        );
    }
}
