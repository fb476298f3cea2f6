//! `lastword check`: everything that is wrong, at once, and nothing changed.

use super::PROGRAM;
use crate::support::daemon::{Daemon, command};

async fn checked(arguments: &[&str]) -> (Option<i32>, String, Vec<String>) {
    let ran = Daemon::refused(PROGRAM, &[&["check"], arguments].concat()).await;
    (ran.code, ran.stdout, ran.stderr.lines().map(str::to_owned).collect())
}

#[tokio::test]
async fn all_mistakes_are_told_at_once_each_with_its_place() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("a.toml");
    let text = "[limits]\noutbox_byte = 1\nwrite_timeout = 'soon'\n[close]\nlinger = '20s'\n";
    std::fs::write(&file, text).unwrap();
    let file = file.to_str().unwrap();
    let arguments = ["--config", file, "--set", "log.filter=loud", "--relay", "http://a"];
    let (code, stdout, stderr) = checked(&arguments).await;
    assert_eq!((code, stdout.as_str()), (Some(2), ""));
    let places = ["a.toml:2: ", "a.toml:3: ", "a.toml:5: ", "--set log.filter", "--relay"];
    assert_eq!(stderr.len(), places.len(), "{stderr:#?}");
    for place in places {
        let lines = stderr.iter().filter(|line| line.contains(place));
        assert_eq!(lines.count(), 1, "{place}: {stderr:#?}");
    }
    assert!(stderr.iter().all(|line| line.starts_with("lastword: ")), "{stderr:#?}");
    // The daemon says the same.
    let served = Daemon::refused(PROGRAM, &[&["serve"], &arguments[..]].concat()).await;
    assert_eq!(served.stderr.lines().collect::<Vec<_>>(), stderr);
}

#[tokio::test]
async fn what_the_configuration_names_is_looked_at() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("text");
    std::fs::write(&file, "root:x:0:0:root:/root:/bin/bash\n").unwrap();
    let at = |key: &str, path: &std::path::Path| format!("{key}={:?}", path.to_str().unwrap());
    let dialer = r#"dialers=[{name="f",url="wss://f",backend={kind="none"},ca_file="/nonexistent/ca",headers={a={file="/nonexistent/a"}}}]"#;
    for (set, words) in [
        (at("ledger.path", &file), &["ledger.path", "not a usable ledger"][..]),
        (at("ledger.path", &file.join("x")), &["ledger.path"]),
        (at("control.token_file", &file.with_file_name("none")), &["control.token_file"]),
        (
            r#"listeners[0].listen="192.0.2.1:80""#.to_owned(),
            &["listeners[0].listen", "no such address"],
        ),
        (
            format!("listeners[0].listen=\"unix:{}\"", file.display()),
            &["listeners[0].listen", "not a socket"],
        ),
        (dialer.to_owned(), &["dialers[0].ca_file", "dialers[0].headers.a"]),
    ] {
        let (code, stdout, stderr) = checked(&["--set", &set]).await;
        assert_eq!((code, stdout.as_str()), (Some(2), ""), "{set}: {stderr:?}");
        for word in words {
            assert!(stderr.iter().any(|line| line.contains(word)), "{word}: {stderr:#?}");
        }
    }
    assert!(std::fs::read_to_string(&file).unwrap().starts_with("root:"), "nothing is changed");
}

#[tokio::test]
async fn a_relay_is_checked_as_serve_takes_it() {
    let (code, stdout, _) = checked(&["--relay", "ws://127.0.0.1:3000"]).await;
    assert_eq!(code, Some(0));
    assert!(stdout.contains("relay to ws://127.0.0.1:3000"), "{stdout}");
    assert!(stdout.contains("ledger in "), "{stdout}");
}

#[tokio::test]
async fn it_runs_beside_the_daemon_whose_configuration_it_checks() {
    let daemon = Daemon::start(PROGRAM, &[]).await;
    let listen = format!("listeners[0].listen=\"{}\"", daemon.listener());
    let control = format!("control.listen=\"{}\"", daemon.control());
    let mut command = command(PROGRAM, &["check", "--set", &listen, "--set", &control]);
    command.env("TERM", "dumb");
    let ran = Daemon::refused_command(command).await;
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""));
}
