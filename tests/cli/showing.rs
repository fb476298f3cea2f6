//! What is shown of what the API knows: `ls`, `show`, `why`, `endings`, `status`.

use super::fake::{Fake, Reply};
use super::records::{SUMMARY, connection, ending, page, status};

#[test]
fn what_the_api_returned_is_passed_on_byte_for_byte() {
    let one = connection("5b8f0a6d4c17");
    let ended = ending("5b8f0a6d4c17");
    let live = page("connections", std::slice::from_ref(&one), None);
    let endings = page("endings", std::slice::from_ref(&ended), None);
    for (arguments, body) in [
        (&["ls"][..], &live),
        (&["show", "5b8f0a6d4c17"], &one),
        (&["why", "5b8f0a6d4c17"], &ended),
        (&["endings"], &endings),
        (&["endings", "--summary"], &SUMMARY.to_owned()),
        (&["status"], &status()),
        (&["abort", "5b8f0a6d4c17"], &ended),
        (&["close", "5b8f0a6d4c17"], &ended),
    ] {
        let fake = Fake::new([Reply::ok(body)]);
        let arguments: Vec<&str> = arguments.iter().chain(&["--json"]).copied().collect();
        let ran = fake.run(&arguments);
        assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{arguments:?}");
        assert_eq!(ran.stdout, format!("{body}\n"), "{arguments:?}");
    }
}

#[test]
fn a_quiet_status_says_by_its_exit_code_whether_the_daemon_answers() {
    let quiet = ["status", "--quiet"];
    let ran = Fake::new([Reply::ok(status())]).run(&quiet);
    assert_eq!((ran.code, ran.stdout.as_str(), ran.stderr.as_str()), (Some(0), "", ""));
    let refused = Fake::new([Reply::Problem(401, "unauthorized", "who are you?")]).run(&quiet);
    assert_eq!((refused.code, refused.stdout.as_str()), (Some(1), ""), "{refused:?}");
    let other = Fake::new([Reply::ok("{}")]).run(&quiet);
    assert_ne!(other.code, Some(0), "{other:?}");
    let both = Fake::new([Reply::ok(status())]).run(&["status", "--quiet", "--json"]);
    assert_eq!(both.code, Some(2), "{both:?}");
}

#[test]
fn a_listing_follows_its_pages_as_far_as_it_should() {
    let first = page("connections", &[connection("5b8f0a6d4c17")], Some("a/b"));
    let last = page("connections", &[connection("5b8f0a6d4c18")], None);
    let fake = Fake::new([Reply::ok(&first), Reply::ok(&last)]);
    let ran = fake.run(&["ls", "--route", "a b", "--tag", "room:7", "--state", "open"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""));
    assert!(ran.stdout.contains("5b8f0a6d4c17  open"), "{ran:?}");
    assert!(ran.stdout.contains("5b8f0a6d4c18  open"), "{ran:?}");
    assert_eq!(
        fake.lines(),
        [
            "GET /v1/connections?route=a%20b&state=open&tag=room%3A7&limit=200",
            "GET /v1/connections?route=a%20b&state=open&tag=room%3A7&limit=200&cursor=a%2Fb"
        ]
    );

    let fake = Fake::new([Reply::ok(&first), Reply::ok(&last)]);
    let ran = fake.run(&["ls", "--limit", "1"]);
    assert_eq!(fake.lines(), ["GET /v1/connections?limit=1"]);
    assert!(ran.stderr.contains("there are more"), "{ran:?}");

    // A cursor that leads back to itself is not followed for ever.
    let fake = Fake::new([Reply::ok(&first), Reply::ok(&first)]);
    assert_eq!(fake.run(&["ls", "--limit", "0", "--json"]).stdout, format!("{first}\n{first}\n"));
}

#[test]
fn nothing_to_list_is_said_beside_the_output() {
    let fake = Fake::new([
        Reply::ok(page("connections", &[], None)),
        Reply::ok(page("endings", &[], None)),
        Reply::ok(r#"{"by":"kind","counts":[],"total":0}"#),
    ]);
    for (arguments, said) in [
        (&["ls"][..], "no connections\n"),
        (&["endings"], "no endings\n"),
        (&["endings", "--summary"], "no endings\n"),
    ] {
        let ran = fake.run(arguments);
        assert_eq!((ran.code, ran.stdout.as_str(), ran.stderr.as_str()), (Some(0), "", said));
    }
}

#[test]
fn endings_are_asked_for_as_the_contract_names_it() {
    let fake = Fake::new([Reply::ok(page("endings", &[ending("5b8f0a6d4c17")], None))]);
    let ran = fake.run(&[
        "endings",
        "--since",
        "2026-03-01T12:00:00Z",
        "--until",
        "2026-03-01T13:00:00Z",
        "--kind",
        "closed_prematurely",
        "--fault",
        "peer",
        "--code",
        "1006",
        "--route",
        "chat",
        "--subject",
        "ann",
        "--peer",
        "203.0.113.9",
        "--path",
        "/chat",
        "--limit",
        "3",
    ]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.stdout.contains("closed_prematurely  1006  peer   12.3s"), "{ran:?}");
    assert_eq!(
        fake.lines(),
        ["GET /v1/endings?since=2026-03-01T12%3A00%3A00.000Z&until=2026-03-01T13%3A00%3A00.000Z\
          &kind=closed_prematurely&fault=peer&code=1006&route=chat&subject=ann&peer=203.0.113.9\
          &path=%2Fchat&limit=3"]
    );
}

#[test]
fn a_summary_has_bars() {
    let fake = Fake::new([Reply::ok(SUMMARY)]);
    let ran = fake.run(&["endings", "--summary", "--by", "kind"]);
    assert!(ran.stdout.contains("clean       3  75.0 %  ####"), "{ran:?}");
    assert!(ran.stdout.contains("4 endings in total"), "{ran:?}");
    assert_eq!(fake.lines(), ["GET /v1/endings/summary?by=kind"]);
}

#[test]
fn one_that_is_not_open_is_not_shown() {
    let ran = Fake::new([Reply::not_found()]).run(&["show", "5b8f0a6d4c17"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(1), ""));
    assert!(ran.stderr.contains("there is no such thing"), "{ran:?}");
    assert!(ran.stderr.contains("lastword why 5b8f0a6d4c17"), "{ran:?}");
}

#[test]
fn why_tells_the_ending_of_an_id() {
    let fake = Fake::new([Reply::ok(ending("5b8f0a6d4c17"))]);
    let ran = fake.run(&["why", "5b8f0a6d4c17"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""));
    assert!(ran.stdout.starts_with("5b8f0a6d4c17 ended "), "{ran:?}");
    assert!(ran.stdout.contains("browsers report this as 1006"), "{ran:?}");
    assert_eq!(fake.lines(), ["GET /v1/endings/5b8f0a6d4c17"]);
}

#[test]
fn why_tells_how_it_stands_with_one_that_has_not_ended() {
    let fake = Fake::new([Reply::not_found(), Reply::ok(connection("5b8f0a6d4c17"))]);
    let ran = fake.run(&["why", "5b8f0a6d4c17"]);
    assert!(ran.code == Some(0) && ran.stdout.contains("has not ended: it is open"), "{ran:?}");
    assert_eq!(fake.lines(), ["GET /v1/endings/5b8f0a6d4c17", "GET /v1/connections/5b8f0a6d4c17"]);
}

#[test]
fn why_tells_the_newest_ending_of_a_peer_and_names_the_earlier_ones() {
    let endings = [ending("5b8f0a6d4c17"), ending("5b8f0a6d4c18"), ending("5b8f0a6d4c19")];
    let fake = Fake::new([
        Reply::ok(page("endings", &endings, Some("more"))),
        Reply::ok(page("connections", &[], None)),
    ]);
    let ran = fake.run(&["why", "[2001:db8::1]"]);
    assert_eq!(
        fake.lines(),
        [
            "GET /v1/endings?peer=%5B2001%3Adb8%3A%3A1%5D&limit=6",
            "GET /v1/connections?peer=%5B2001%3Adb8%3A%3A1%5D&limit=5"
        ]
    );
    assert!(ran.stdout.starts_with("5b8f0a6d4c17 ended "), "{ran:?}");
    let (_, earlier) = ran.stdout.split_once("Before that").expect("earlier ones");
    assert_eq!(earlier.lines().count(), 3, "{earlier}");
    assert!(earlier.contains("5b8f0a6d4c18") && earlier.contains("5b8f0a6d4c19"), "{earlier}");

    let page_of_endings = page("endings", &endings, Some("more"));
    let live = page("connections", &[connection("5b8f0a6d4c20")], None);
    let replies = [Reply::ok(&page_of_endings), Reply::ok(&live)];
    let ran = Fake::new(replies.clone()).run(&["why", "::ffff:203.0.113.9", "--json"]);
    assert_eq!(ran.stdout, format!("{page_of_endings}\n"), "{ran:?}");
    let ran = Fake::new(replies).run(&["why", "::ffff:203.0.113.9"]);
    assert!(ran.stdout.contains("1 connection of ::ffff:203.0.113.9 has not ended"), "{ran:?}");
}

#[test]
fn why_takes_another_word_for_a_subject() {
    let fake = Fake::new([
        // A subject can look like an id, and like an address.
        Reply::not_found(),
        Reply::not_found(),
        Reply::ok(page("endings", &[ending("5b8f0a6d4c17")], None)),
        Reply::ok(page("connections", &[connection("5b8f0a6d4c18")], None)),
    ]);
    let ran = fake.run(&["why", "123456789012"]);
    assert!(ran.stdout.starts_with("5b8f0a6d4c17 ended "), "{ran:?}");
    assert!(ran.stdout.contains("1 connection of 123456789012 has not ended"), "{ran:?}");
    assert_eq!(
        fake.lines()[2..],
        [
            "GET /v1/endings?subject=123456789012&limit=6",
            "GET /v1/connections?subject=123456789012&limit=5"
        ]
    );
}

#[test]
fn why_says_so_if_nothing_is_known() {
    let nothing =
        || [Reply::ok(page("endings", &[], None)), Reply::ok(page("connections", &[], None))];
    let ran = Fake::new(nothing()).run(&["why", "nobody\u{1b}"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(1), ""));
    assert!(
        ran.stderr.contains("no connection is known") && !ran.stderr.contains('\u{1b}'),
        "{ran:?}"
    );

    let [none, _] = nothing();
    let live = Reply::ok(page("connections", &[connection("5b8f0a6d4c18")], None));
    let ran = Fake::new([none, live]).run(&["why", "ann"]);
    assert!(ran.code == Some(0) && ran.stdout.contains("5b8f0a6d4c18 has not ended"), "{ran:?}");
}
