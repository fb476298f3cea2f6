//! How the daemon is found, and what is said when it is not.

use std::fs;
use std::io::Read;
use std::net::TcpListener;
use std::process::{Command, Stdio};

use super::fake::{Fake, Reply, problem};
use super::records::{ending, page, status};
use super::{PROGRAM, lastword, ran};

#[test]
fn a_daemon_that_is_not_there_is_exit_code_3_and_says_what_to_check() {
    // Bound and closed: the port has no listener.
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let missing = "unix:/nonexistent/control.sock".to_owned();
    for address in [format!("http://{closed}"), missing] {
        let ran = ran(lastword(&["ls", "--control", &address]));
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(3), ""), "{ran:?}");
        for part in [address.as_str(), "lastword serve", "--control"] {
            assert!(ran.stderr.contains(part), "{part}: {ran:?}");
        }
    }
}

#[test]
fn a_daemon_that_says_nothing_is_waited_for_and_no_longer() {
    let fake = Fake::new([Reply::Silence]);
    let ran = fake.run(&["status", "--timeout", "200ms"]);
    assert_eq!(ran.code, Some(3), "{ran:?}");
    assert!(ran.stderr.contains("200ms") && ran.stderr.contains("--timeout"), "{ran:?}");
}

#[test]
fn whatever_else_answers_there_is_named_as_such() {
    for reply in [
        Reply::Other(502, "text/html", "<h1>Bad Gateway</h1>\u{1b}[2J"),
        Reply::Other(200, "text/html", "<h1>Welcome</h1>"),
        Reply::Json(200, "{}".to_owned()),
    ] {
        let ran = Fake::new([reply]).run(&["status"]);
        assert_eq!(ran.code, Some(3), "{ran:?}");
        assert!(ran.stderr.contains("not lastword's control API"), "{ran:?}");
        assert!(!ran.stderr.contains('\u{1b}'), "{ran:?}");
    }
}

#[test]
fn a_refusal_is_exit_code_1_and_its_own_words() {
    let fake = Fake::new([
        Reply::Problem(409, "invalid_state", "it is closing"),
        Reply::Problem(409, "invalid_state", "it is closing"),
        Reply::Problem(401, "unauthorized", "a token is required"),
    ]);
    let ran = fake.run(&["send", "5b8f0a6d4c17", "hi"]);
    assert_eq!(
        (ran.code, ran.stdout.as_str(), ran.stderr.as_str()),
        (Some(1), "", "lastword: it is closing\n")
    );
    let ran = fake.run(&["send", "5b8f0a6d4c17", "hi", "--json"]);
    assert_eq!(ran.code, Some(1));
    assert_eq!(ran.stdout, problem(409, "invalid_state", "it is closing") + "\n");
    let ran = fake.run(&["status"]);
    assert!(ran.code == Some(1) && ran.stderr.contains("--token-file"), "{ran:?}");
}

#[test]
fn bad_usage_is_exit_code_2_and_sends_no_request() {
    let fake = Fake::new([]);
    for (arguments, words) in [
        (&["ls", "--control", "ftp://127.0.0.1"][..], &["https://HOST:PORT", "unix:"][..]),
        (&["ls", "--control", "127.0.0.1:8081"], &["http://HOST:PORT"]),
        (&["clsoe", "5b8f0a6d4c17"], &["close"]),
        (&["close", "5b8f0a6d4c17", "--code", "1006"], &["1006"]),
        (&["broadcast", "chat", "hi"], &["route=NAME"]),
        (&["endings", "--since", "yesterday"], &["how long ago"]),
        (&["send", "5b8f0a6d4c17", "--binary-file", "/nonexistent/x"], &["/nonexistent/x"]),
        (&["status", "--token-file", "/nonexistent/t"], &["/nonexistent/t"]),
        (&["top"], &["top --once"]),
        (&["top", "--json"], &["lastword ls --json"]),
        (&["top", "--every", "1ms"], &["200ms"]),
        (&["top", "--sort", "colour"], &["queued"]),
    ] {
        let ran = fake.run(arguments);
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(2), ""), "{arguments:?}: {ran:?}");
        for word in words {
            assert!(ran.stderr.contains(word), "{word:?} is not in {ran:?}");
        }
    }
    assert!(fake.lines().is_empty());
}

#[test]
fn the_token_comes_from_the_file_or_the_environment() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("tokens");
    fs::write(&file, "# ours\nops:from-the-file\nother:x\n").unwrap();
    let file = file.to_str().unwrap();
    let fake = Fake::new([Reply::ok(status()), Reply::ok(status()), Reply::ok(status())]);
    let mut command = fake.command(&["status", "--token-file", file]);
    command.env("LASTWORD_TOKEN", "from-the-environment");
    assert_eq!(ran(command).code, Some(0));
    let mut command = fake.command(&["status"]);
    command.env("LASTWORD_TOKEN", "from-the-environment");
    assert_eq!(ran(command).code, Some(0));
    assert_eq!(fake.run(&["status"]).code, Some(0));
    let tokens: Vec<Option<String>> =
        fake.asked().iter().map(|asked| asked.header("authorization").map(str::to_owned)).collect();
    let bearer = |token: &str| Some(format!("Bearer {token}"));
    assert_eq!(tokens, [bearer("from-the-file"), bearer("from-the-environment"), None]);
    let host = fake.address.strip_prefix("http://").unwrap().to_owned();
    assert_eq!(fake.asked()[0].header("host"), Some(host.as_str()));
}

#[test]
fn a_unix_socket_is_an_address_too() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("control.sock");
    let fake = Fake::on_unix(&path, [Reply::ok(status())]);
    let ran = fake.run(&["status"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!(fake.lines(), ["GET /v1/status"]);
}

#[test]
fn who_has_read_enough_ends_it_quietly() {
    let many: Vec<String> = (0..2000).map(|_| ending("5b8f0a6d4c17")).collect();
    let fake = Fake::new([Reply::ok(page("endings", &many, None))]);
    let mut child = Command::new(PROGRAM)
        .args(["endings", "--limit", "0", "--control", &fake.address])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = [0; 10];
    let mut stdout = child.stdout.take().unwrap();
    stdout.read_exact(&mut first).unwrap();
    drop(stdout);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

#[test]
fn completions_and_manual_pages_are_made_without_a_daemon() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let ran = ran(lastword(&["completion", shell]));
        assert_eq!(ran.code, Some(0));
        assert!(ran.stdout.contains("broadcast"), "{shell}");
    }
    let page = ran(lastword(&["man"]));
    assert!(page.code == Some(0) && page.stdout.contains(".TH lastword 1"), "{page:?}");
    let directory = tempfile::tempdir().unwrap();
    let pages = directory.path().join("man1");
    let ran = ran(lastword(&["man", pages.to_str().unwrap()]));
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), ""), "{ran:?}");
    let why = fs::read_to_string(pages.join("lastword-why.1")).unwrap();
    assert!(why.contains("lastword why 5b8f0a6d4c17"), "{why}");
    let configuration = fs::read_to_string(pages.join("lastword.toml.5")).unwrap();
    assert!(configuration.contains(".TH lastword.toml 5"), "{configuration}");
    assert!(page.stdout.contains("lastword.toml\\fR(5)"), "{page:?}");
    assert!(pages.join("lastword.1").exists() && pages.join("lastword-top.1").exists());
}
