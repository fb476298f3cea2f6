//! `events`: followed until the daemon stops.

use super::fake::{Fake, Reply};

const STREAM: &str = ": keep-alive\n\n\
    id: 7\nevent: closing\n\
    data: {\"event\":\"closing\", \"id\":\"01982b7e-4f6a-7c3d-9e21-5b8f0a6d4c17\",\"state\":\"close_sent\",\"cause\":\"drain\",\"at\":\"2026-03-01T12:00:00.250Z\"}\n\n\
    event: gap\ndata: {\"event\":\"gap\",\"missed\":3,\"why\":\"expired\"}\n\n";

#[test]
fn events_are_told_until_the_daemon_ends_the_stream() {
    let fake = Fake::new([Reply::Events(STREAM)]);
    let ran = fake.run(&["events", "--types", "closing,gap", "--since-id", "6"]);
    assert_eq!(
        ran.stdout,
        "12:00:00.250  closing      5b8f0a6d4c17  close_sent (drain)\n              gap          \
         3 events are missing: the ledger has removed them\n"
    );
    assert_eq!(ran.code, Some(3), "{ran:?}");
    assert!(
        ran.stderr.contains("--since-id 7") && ran.stderr.contains("ended the stream"),
        "{ran:?}"
    );
    let asked = &fake.asked()[0];
    assert_eq!(asked.line, "GET /v1/events?types=closing%2Cgap");
    assert_eq!(asked.header("last-event-id"), Some("6"));
}

#[test]
fn json_has_one_object_per_line_as_it_came() {
    let fake = Fake::new([Reply::Events(STREAM)]);
    let ran = fake.run(&["events", "--json"]);
    let data: Vec<&str> = STREAM.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
    assert_eq!(ran.stdout.lines().collect::<Vec<_>>(), data);
    assert_eq!(fake.asked()[0].line, "GET /v1/events");
    assert_eq!(fake.asked()[0].header("last-event-id"), None);
}

#[test]
fn a_refused_stream_is_a_refusal() {
    let fake = Fake::new([Reply::Problem(503, "too_many_streams", "too many follow events")]);
    let ran = fake.run(&["events"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(1), "lastword: too many follow events\n"));
}
