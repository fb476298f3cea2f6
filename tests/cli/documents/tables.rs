//! The tables of the README and the guide have a row for each word of the code, and no other.

use std::collections::BTreeSet;
use std::fs;
use std::net::TcpListener;
use std::path::Path;

use clap::CommandFactory;
use lastword::contract::{EndingRecord, EventRecord};
use lastword::surfaces::cli::CommandLine;
use lastword::vocabulary::{
    Advice, Cause, CloseState, ConnectionId, DialerChange, DialerPhase, Fault, FirstClose,
    Interval, Kind, OpenFailure, TransportEnd,
};

use super::{Document, ROOT, SHIPPED, calls};
use crate::cli::fake::{Fake, Reply};
use crate::cli::{lastword, ran, records};

/// The rows of the table whose first header is this, as cells.
fn table(document: &Document, header: &str) -> Vec<Vec<String>> {
    let mut lines = document.prose().skip_while(|line| !line.starts_with(&format!("| {header} |")));
    assert!(lines.next().is_some(), "{} has no table of {header}", document.path);
    let rows = lines.skip(1).take_while(|line| line.starts_with("| "));
    let cells =
        |line: &str| line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect();
    rows.map(cells).collect()
}

#[track_caller]
fn assert_rows(path: &str, header: &str, known: impl IntoIterator<Item = impl Into<String>>) {
    let table = table(&Document::read(path), header);
    let rows: Vec<&str> = table.iter().map(|cells| cells[0].trim_matches('`')).collect();
    let known: BTreeSet<String> = known.into_iter().map(Into::into).collect();
    assert_eq!(
        rows.iter().map(|row| (*row).to_owned()).collect::<BTreeSet<_>>(),
        known,
        "{path}: {header}"
    );
    assert_eq!(rows.len(), known.len(), "{path}: {header} has a row twice");
}

#[test]
fn endings() {
    let page = "src/guide/endings.md";
    for path in [page, "README.md"] {
        assert_rows(path, "kind", Kind::words());
    }
    assert_rows(page, "fault", Fault::ALL.iter().map(|word| word.as_str()));
    assert_rows(page, "cause", Cause::ALL.iter().map(|word| word.as_str()));
    assert_rows(page, "first_close", FirstClose::ALL.iter().map(|word| word.as_str()));
    assert_rows(page, "state", CloseState::ALL.iter().map(|word| word.as_str()));
    assert_rows(page, "transport_end", TransportEnd::ALL.iter().map(|word| word.as_str()));
    assert_rows(page, "open_failure", OpenFailure::WORDS);
    assert_rows(page, "retry", Advice::ALL.iter().map(|word| word.as_str()));
    assert_rows(page, "field", fields_of_an_ending());
}

#[test]
fn faults_of_kinds_are_words() {
    for path in ["README.md", "src/guide/endings.md"] {
        for cells in table(&Document::read(path), "kind") {
            let word = cells[2].split([',', ';', ' ']).next().unwrap();
            let known = Fault::ALL.iter().any(|known| known.as_str() == word);
            assert!(known || word == "depends", "{path}: {cells:?}");
        }
    }
}

#[test]
fn dialers() {
    let page = "src/guide/dialers.md";
    assert_rows(page, "state", DialerPhase::ALL.iter().map(|word| word.as_str()));
    let connection: ConnectionId = "01982b7e-4f6a-7c3d-9e21-5b8f0a6d4c17".parse().unwrap();
    let at = std::time::SystemTime::UNIX_EPOCH;
    let changes = [
        DialerChange::Ready { connection, replaces: None, gap: None },
        DialerChange::Overlapped {
            connection,
            replaced: connection,
            overlap: Interval { from: at, until: at },
        },
        DialerChange::Paused,
        DialerChange::Resumed,
        DialerChange::Removed,
        DialerChange::GivenUp { ending: connection, why: String::new() },
    ];
    assert_rows(page, "change", changes.iter().map(DialerChange::as_str));
}

#[test]
fn the_control_api() {
    let page = "src/guide/control_api.md";
    assert_rows(page, "call", calls());
    assert_rows(page, "event", EventRecord::WORDS);

    let source = Document::read("src/surfaces/control/problem.rs");
    let facts =
        source.text.lines().filter_map(|line| line.split_once(" => (\"")?.1.split_once("\", "));
    let facts: BTreeSet<(&str, &str)> =
        facts.map(|(word, rest)| (word, rest.split(',').next().unwrap())).collect();
    let table = table(&Document::read(page), "type");
    let shown: BTreeSet<(&str, &str)> =
        table.iter().map(|cells| (cells[0].trim_matches('`'), cells[1].as_str())).collect();
    assert!(shown == facts && facts.len() > 20, "{shown:?}\n{facts:?}");
}

#[test]
fn examples() {
    let folder = fs::read_dir(Path::new(ROOT).join("examples")).unwrap();
    let files = folder.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let names = files.map(|name| name.trim_end_matches(".rs").to_owned());
    assert_rows("src/guide/library.md", "example", names);
}

#[test]
fn commands() {
    let command = CommandLine::command();
    let known = command.get_subcommands().filter(|command| !command.is_hide_set());
    assert_rows("src/guide/commands.md", "command", known.map(|command| command.get_name()));
}

#[test]
fn cases_of_the_probe() {
    let page = Document::read("src/guide/probe.md");
    let shown: Vec<Vec<String>> = table(&page, "case");
    let listed = ran(lastword(&["probe", "--list", "--json"]));
    let listed: serde_json::Value = serde_json::from_str(&listed.stdout).unwrap();
    let listed = listed.as_array().unwrap().iter().map(|case| {
        let [id, mode, rfc, title, sent, expected] =
            ["id", "mode", "rfc", "title", "sent", "expected"]
                .map(|key| case[key].as_str().unwrap());
        let mode = if mode == "--idle" { format!("`{mode}`") } else { mode.to_owned() };
        vec![format!("`{id}`"), mode, rfc.into(), title.into(), sent.into(), expected.into()]
    });
    assert_eq!(shown, listed.collect::<Vec<_>>());
}

#[test]
fn exit_codes() {
    let fake = Fake::new([Reply::Problem(409, "invalid_state", "it is closing")]);
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let closed = format!("http://{closed}");
    let seen = [
        ran(lastword(&["man"])),
        fake.run(&["send", "5b8f0a6d4c17", "hello"]),
        ran(lastword(&["check", "--set", "limits.memory=much"])),
        ran(lastword(&["ls", "--control", &closed])),
    ];
    // `draining` interrupts a drain, and sees 130.
    let codes = seen.iter().map(|ran| ran.code.unwrap()).chain([130]);
    assert_rows("src/guide/commands.md", "code", codes.map(|code| code.to_string()));
}

#[test]
fn signals() {
    let source = Document::read("src/daemon/signals.rs");
    let handled = source.text.split("SignalKind::").skip(1);
    let handled = handled.filter_map(|rest| match rest.split('(').next()? {
        "terminate" => Some("SIGTERM"),
        "interrupt" => Some("SIGINT"),
        "hangup" => Some("SIGHUP"),
        "user_defined1" => Some("SIGUSR1"),
        "user_defined2" => Some("SIGUSR2"),
        "alarm" => Some("SIGALRM"),
        other => panic!("a signal that the guide does not know: {other}"),
    });
    let table = table(&Document::read("src/guide/stopping.md"), "signal");
    let shown = table.iter().flat_map(|cells| cells[0].split(", "));
    let shown: BTreeSet<&str> = shown.map(|name| name.trim_matches('`')).collect();
    assert_eq!(shown, handled.collect::<BTreeSet<_>>());
}

#[test]
fn sections_of_the_configuration() {
    assert_rows("src/guide/configuration.md", "section", sections_of_the_shipped_file());
}

/// The sections of `config/lastword.toml`, as `[limits]` and `[[routes]]`.
pub(super) fn sections_of_the_shipped_file() -> BTreeSet<String> {
    let headers = SHIPPED.lines().map(|line| line.trim_start_matches('#'));
    let headers = headers.filter(|line| line.starts_with('['));
    headers.map(|line| line.split(' ').next().unwrap().to_owned()).collect()
}

/// The fields of an ending in JSON.
pub(super) fn fields_of_an_ending() -> BTreeSet<String> {
    let record = records::ending("5b8f0a6d4c17");
    let record: EndingRecord<'_> = serde_json::from_str(&record).unwrap();
    let record = serde_json::to_value(record).unwrap();
    record.as_object().unwrap().keys().cloned().collect()
}
