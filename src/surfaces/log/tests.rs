use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use super::*;
use crate::vocabulary::{
    Cause, CloseFrame, CloseState, ConnectionId, Direction, FirstClose, OpenFailure, Origin,
    Outcome, ReceivedClose, Retry, TransportEnd,
};

#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Runs `code` with logs in a format and returns the lines.
fn logged(format: Format, filter: &str, code: impl FnOnce(EndingLog)) -> Vec<String> {
    let written = Written::default();
    let lines = Lines::spawn(written.clone(), dropped_as_text).unwrap();
    let (filter, _) = reload::Layer::new(parse_filter(filter).unwrap());
    let dispatch = match format {
        Format::Text => to_text(filter, &lines, false),
        Format::Json => to_json(filter, &lines),
        Format::Journald => unreachable!("no test has a journal"),
    };
    tracing::dispatcher::with_default(&dispatch, || code(EndingLog { format }));
    drop(lines);
    let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
    text.lines().map(str::to_owned).collect()
}

fn info() -> Filter {
    reload::Layer::new(parse_filter("info").unwrap()).0
}

fn ending(kind: Kind, fault: Fault) -> Ending {
    let mut origin = Origin::new(Direction::Inbound);
    origin.peer = Some("203.0.113.9:51342".into());
    origin.route = Some("chat".into());
    let close = || CloseFrame::new(Some(1000), "bye").unwrap();
    Ending {
        id: "01982b7e-4f6a-7c3d-9e21-5b8f0a6d4c17".parse().unwrap(),
        node: "a1".into(),
        origin: Arc::new(origin),
        relay_peer: None,
        opened_at: SystemTime::UNIX_EPOCH,
        ended_at: SystemTime::UNIX_EPOCH,
        open_for: Duration::ZERO,
        outcome: Outcome {
            kind,
            fault,
            cause: Cause::Peer,
            first_close: FirstClose::Peer,
            state: Some(CloseState::Closed),
            close_sent: Some(close()),
            close_received: Some(ReceivedClose { code: Some(1000), reason: "bye".into() }),
            transport_end: Some(TransportEnd::Fin),
            handshake: None,
            retry: Retry::Never,
            limit: None,
            by: None,
            detail: "the peer closed first, with 1000 \"bye\"".into(),
        },
        traffic: None,
        tcp: None,
    }
}

fn attempt() -> Ending {
    let mut ending = ending(Kind::OpenFailed(OpenFailure::NoRoute), Fault::Peer);
    ending.outcome.state = None;
    ending.outcome.close_received = None;
    ending.outcome.detail = "no route matches /nowhere".into();
    ending
}

/// Cuts off the timestamp, whose length is always the same.
fn untimed(line: &str) -> &str {
    humantime::parse_rfc3339(&line[..24]).unwrap();
    &line[24..]
}

#[test]
fn an_ending_is_one_sentence_in_text() {
    let lines = logged(Format::Text, "info", |endings| {
        endings.log(&ending(Kind::Clean, Fault::None));
        endings.log(&attempt());
        let mut dialled = attempt();
        let origin = Origin {
            route: None,
            dialer: Some("feed".to_owned()),
            ..Origin::clone(&dialled.origin)
        };
        dialled.origin = origin.into();
        endings.log(&dialled);
        let mut proxied = attempt();
        let via = Some("10.0.0.5:40000".to_owned());
        proxied.origin = Origin { via, ..Origin::clone(&proxied.origin) }.into();
        endings.log(&proxied);
    });
    assert_eq!(lines.len(), 4);
    let proxied = " peer=203.0.113.9:51342 via=10.0.0.5:40000 route=chat";
    assert!(lines[3].ends_with(proxied), "{}", lines[3]);
    assert!(lines[2].ends_with(" peer=203.0.113.9:51342 dialer=feed"), "{}", lines[2]);
    assert_eq!(
        untimed(&lines[0]),
        "  INFO ended: the peer closed first, with 1000 \"bye\" kind=clean close_code=1000 \
         id=5b8f0a6d4c17 peer=203.0.113.9:51342 route=chat"
    );
    assert_eq!(
        untimed(&lines[1]),
        "  INFO open_failed: no route matches /nowhere kind=open_failed open_failure=no_route \
         id=5b8f0a6d4c17 peer=203.0.113.9:51342 route=chat"
    );
}

#[test]
fn an_ending_is_one_object_in_json_and_whole() {
    let clean = ending(Kind::Clean, Fault::None);
    let lines = logged(Format::Json, "info", |endings| {
        endings.log(&clean);
        endings.log(&attempt());
    });
    let expected = format!(
        "{{\"timestamp\":\"{}\",\"level\":\"INFO\",\"target\":\"lastword::ending\",\
         \"message\":\"clean: the peer closed first, with 1000 \\\"bye\\\"\",\
         \"event\":\"ended\",\"ending\":{}}}",
        &lines[0][14..38],
        EndingRecord::from(&clean).to_json()
    );
    assert_eq!(lines[0], expected);
    let attempt: serde_json::Value = serde_json::from_str(&lines[1]).unwrap();
    assert_eq!(attempt["event"], "open_failed");
    assert_eq!(attempt["ending"]["open_failure"], "no_route");
}

#[test]
fn what_the_ledger_could_not_store_is_whole_in_every_format() {
    let lost = ending(Kind::Clean, Fault::None);
    let json = EndingRecord::from(&lost).to_json();
    let lines = logged(Format::Text, "info", |log| log.log_whole(&lost));
    assert_eq!(lines.len(), 1);
    assert!(untimed(&lines[0]).trim_start().starts_with("WARN ended: "), "{}", lines[0]);
    assert!(lines[0].ends_with(&json), "{}", lines[0]);
    let lines = logged(Format::Json, "info", |log| log.log_whole(&lost));
    let line: serde_json::Value = serde_json::from_str(&lines[0]).unwrap();
    assert_eq!((&line["level"], &line["recorded"]), (&"WARN".into(), &false.into()));
    assert_eq!(line["event"], "ended");
    assert_eq!(line["ending"], serde_json::from_str::<serde_json::Value>(&json).unwrap());
}

#[test]
fn the_level_says_who_should_look() {
    let level_of = |kind, fault| level(&ending(kind, fault));
    assert_eq!(level_of(Kind::Clean, Fault::None), Level::INFO);
    assert_eq!(level_of(Kind::ConnectionReset, Fault::Peer), Level::INFO);
    assert_eq!(level_of(Kind::PongTimeout, Fault::Network), Level::INFO);
    assert_eq!(level_of(Kind::Aborted, Fault::Operator), Level::INFO);
    assert_eq!(level_of(Kind::DrainDeadline, Fault::Operator), Level::WARN);
    assert_eq!(level_of(Kind::BackendFailed, Fault::Backend), Level::WARN);
    assert_eq!(level_of(Kind::ProcessDied, Fault::Local), Level::WARN);
    assert_eq!(level_of(Kind::ActorFailed, Fault::Local), Level::ERROR);
}

#[test]
fn the_filter_reaches_endings() {
    let log = |filter| {
        logged(Format::Text, filter, |endings| {
            endings.log(&ending(Kind::Clean, Fault::None));
            endings.log(&ending(Kind::ActorFailed, Fault::Local));
        })
        .len()
    };
    assert_eq!(log("warn"), 1);
    assert_eq!(log("warn, lastword::ending=info"), 2);
    assert_eq!(log("off"), 0);
}

#[test]
fn json_carries_span_and_event_fields_flat() {
    let id = ConnectionId::new();
    let lines = logged(Format::Json, "trace", |_| {
        let outer = tracing::info_span!("connection", connection.id = %id, n = 1, late = tracing::field::Empty);
        let _outer = outer.enter();
        outer.record("late", true);
        let inner = tracing::info_span!("inner", n = 2, ratio = 0.5);
        let _inner = inner.enter();
        let cause = io::Error::other("cause");
        tracing::warn!(
            n = 3,
            level = "mine",
            error = &cause as &(dyn std::error::Error + 'static),
            debug = ?Some("a\nb"),
            ending = "{}",
            "said \"so\"\n"
        );
    });
    assert_eq!(lines.len(), 1);
    let rest = lines[0].split_once(",\"level\"").unwrap().1;
    assert_eq!(
        rest,
        format!(
            ":\"WARN\",\"target\":\"lastword::surfaces::log::tests\",\
             \"message\":\"said \\\"so\\\"\\n\",\"connection.id\":\"{id}\",\"n\":3,\"late\":true,\
             \"ratio\":0.5,\"field.level\":\"mine\",\"error\":\"cause\",\
             \"debug\":\"Some(\\\"a\\\\nb\\\")\",\"ending\":\"{{}}\"}}"
        )
    );
    serde_json::from_str::<serde_json::Value>(&lines[0]).unwrap();
}

#[test]
fn a_peer_cannot_write_lines_of_its_own() {
    let mut hostile = ending(Kind::Clean, Fault::None);
    hostile.outcome.detail = "bye\n2026-01-01T00:00:00.000Z ERROR \u{1b}[2Jfaked\r".into();
    for format in [Format::Text, Format::Json] {
        let lines = logged(format, "info", |endings| endings.log(&hostile));
        assert_eq!(lines.len(), 1);
        assert!(!lines[0].contains(|c: char| c.is_control()), "{}", lines[0]);
    }
}

#[test]
fn text_names_targets_for_those_who_debug() {
    let line = |filter| logged(Format::Text, filter, |_| tracing::info!(a = 1, "hello")).remove(0);
    assert_eq!(untimed(&line("info")), "  INFO hello a=1");
    assert_eq!(untimed(&line("debug")), "  INFO lastword::surfaces::log::tests: hello a=1");
}

#[test]
fn what_is_said_of_lost_lines_is_a_line_of_the_format() {
    let json: serde_json::Value = serde_json::from_str(&dropped_as_json(3)).unwrap();
    assert_eq!(json["dropped"], 3);
    assert_eq!(json["level"], "WARN");
    assert!(untimed(&dropped_as_text(3)).ends_with(" dropped=3\n"));
}

#[test]
fn a_filter_that_would_silence_by_mistake_is_refused() {
    for good in
        ["info", "info,ractor=off", " warn , a::b=trace ", "3", "info,[connection{id=a}]=trace"]
    {
        assert!(parse_filter(good).is_ok(), "{good}");
    }
    for bad in ["", "  ", "wran", "info,ractor", "ractor=loud", "info,,warn", "[", "a=b=c"] {
        match parse_filter(bad) {
            Err(LogError::Filter { filter, .. }) => assert_eq!(filter, bad),
            other => panic!("{bad:?}: {other:?}"),
        }
    }
    let said = parse_filter("info,wran").unwrap_err().to_string();
    assert!(said.contains("\"wran\" is neither a level"), "{said}");
}

#[test]
fn the_journal_is_missed_clearly() {
    let refused = to_journal(info(), "/nonexistent/socket");
    assert!(matches!(refused.map(drop), Err(LogError::Journal(_))));
}

#[test]
fn a_journald_that_has_stopped_reading_holds_up_nobody_and_the_loss_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let journald = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
    journald.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let (dispatch, lines) = to_journal(info(), path.to_str().unwrap()).unwrap();
    let (done, over) = std::sync::mpsc::channel();
    let logging = std::thread::spawn(move || {
        let log = EndingLog { format: Format::Journald };
        let ending = ending(Kind::Clean, Fault::None);
        tracing::dispatcher::with_default(&dispatch, || {
            // More than socket and queue hold.
            (0..40_000).for_each(|_| log.log(&ending));
        });
        let _ = done.send(());
    });
    over.recv_timeout(Duration::from_secs(20)).expect("logging does not wait for journald");
    logging.join().unwrap();
    let reader = std::thread::spawn(move || {
        let mut buffer = vec![0; 64 * 1024];
        let (mut endings, mut missing) = (0_u64, 0);
        while endings + missing < 40_000 {
            let length = journald.recv(&mut buffer).unwrap();
            let entry = String::from_utf8_lossy(&buffer[..length]);
            let field = |name: &str| entry.lines().find_map(|line| line.strip_prefix(name));
            endings += u64::from(field("EVENT=") == Some("ended"));
            missing += field("DROPPED=").map_or(0, |count| count.parse::<u64>().unwrap());
        }
        (endings, missing)
    });
    let (endings, missing) = reader.join().unwrap();
    assert_eq!(endings + missing, 40_000);
    assert!(endings > 0 && missing > 0, "{endings} {missing}");
    drop(lines);
}

#[test]
fn an_entry_of_the_journal_has_the_fields_of_its_span_and_of_its_ending() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let journald = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
    journald.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let (dispatch, lines) = to_journal(info(), path.to_str().unwrap()).unwrap();
    tracing::dispatcher::with_default(&dispatch, || {
        let span =
            tracing::info_span!("connection", connection.id = "7", route = "chat", peer = "a");
        span.in_scope(|| tracing::warn!(n = 3, "within"));
        EndingLog { format: Format::Journald }.log(&ending(Kind::Clean, Fault::None));
    });
    drop(lines);
    let mut buffer = vec![0; 64 * 1024];
    let mut next = || {
        let length = journald.recv(&mut buffer).unwrap();
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    };
    assert_eq!(next(), "", "the first looks whether journald is there");
    let within = next();
    for field in [
        "MESSAGE=within",
        "PRIORITY=4",
        "N=3",
        "CONNECTION_ID=7",
        "ROUTE=chat",
        "PEER=a",
        "CODE_FILE=src/",
    ] {
        assert!(within.contains(field), "{field} is not in {within}");
    }
    let ended = next();
    for field in [
        "EVENT=ended",
        "KIND=clean",
        "CAUSE=peer",
        "FAULT=none",
        "ROUTE=chat",
        "PEER=203.0.113.9:51342",
        "CLOSE_CODE=1000",
        "CODE_LINE=",
    ] {
        assert!(ended.contains(field), "{field} is not in {ended}");
    }
}
