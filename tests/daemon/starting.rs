//! Starting: what is printed, what is refused, and with which exit code.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::time::timeout;

use super::PROGRAM;
use super::process::{echo, echo_over_unix, until, writable};
use crate::support::SOON;
use crate::support::daemon::{Daemon, Refusal, arguments, command};
use crate::support::http::exchange;
use crate::support::raw_peer::RawPeer;

const FREE_PORT: &str = r#"listeners[0].listen="127.0.0.1:0""#;

/// The whole of CONTRACT section 2, in its order.
const ENDING_KEYS: &str = "id node version direction listener dialer route backend peer via local_addr \
    tls host path subprotocol user_agent traceparent subject tags relay_peer upstream opened_at \
    ended_at open_ms kind open_failure status fault cause first_close state close_sent \
    close_received close_code transport_end handshake_ms retry retry_after_ms limit by detail \
    messages_in messages_out bytes_in bytes_out undelivered_messages undelivered_bytes \
    discarded_messages oldest_queued_ms last_activity_ms ping_rtt_ms tcp";

fn write(directory: &TempDir, name: &str, text: &str) -> String {
    let path = directory.path().join(name);
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

async fn get(address: SocketAddr, path: &str) -> (u16, String) {
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
    let answer = exchange(address, request, SOON).await;
    (answer.head.status(), answer.body)
}

#[tokio::test]
async fn with_nothing_but_another_port_it_says_where_it_listens_and_echoes() {
    let daemon = Daemon::start_with(PROGRAM, &["serve", "--set", FREE_PORT]).await;
    let port = daemon.listener().port();
    let control = daemon.control();
    assert_eq!(
        daemon.printed,
        [format!("listener public ws://127.0.0.1:{port}"), format!("control http://{control}")]
    );
    let mut peer = RawPeer::connect(daemon.listener(), "/echo").await;
    echo(&mut peer, "hello").await;
    peer.close(1000, "bye").await;
    assert_eq!(peer.expect_close(SOON).await, (Some(1000), "bye".to_owned()));
    // Without a word about format the log is for a person.
    let line = daemon.await_line(|line| line.contains("kind=clean"), SOON).await;
    assert!(line.contains("close_code=1000") && line.contains("bye"), "{line}");
}

/// Else each connection asks the system, twice, for leave to use another page.
#[tokio::test]
#[cfg(target_env = "gnu")]
async fn the_heaps_of_its_workers_need_not_ask_to_grow() {
    let daemon = Daemon::start_with(PROGRAM, &["serve", "--set", FREE_PORT]).await;
    let workers = std::thread::available_parallelism().unwrap().get();
    let roomy = || writable(daemon.pid()).iter().filter(|size| **size > 48 << 20).count();
    until("each has a heap", SOON, || roomy() >= workers).await;
}

#[tokio::test]
async fn every_listener_and_the_probes_are_named_with_their_real_addresses() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("x.sock");
    let file = write(
        &directory,
        "lastword.toml",
        &format!(
            "health.listen = '127.0.0.1:0'\n\
             listeners = [\n\
             {{ name = 'first', listen = '127.0.0.1:0' }},\n\
             {{ name = 'second', listen = '127.0.0.1:0' }},\n\
             {{ name = 'local', listen = 'unix:{}' }},\n]\n",
            socket.display()
        ),
    );
    let json = r#"log.format="json""#;
    let mut daemon =
        Daemon::start_with(PROGRAM, &["serve", "--config", &file, "--set", json]).await;
    let (first, second) = (daemon.address("listener first"), daemon.address("listener second"));
    let health = daemon.address("health");
    assert_eq!(
        daemon.printed,
        [
            format!("listener first ws://{first}"),
            format!("listener second ws://{second}"),
            format!("listener local ws+unix:{}", socket.display()),
            format!("control http://{}", daemon.control()),
            format!("health http://{health}"),
        ]
    );
    for (name, address) in [("first", first), ("second", second)] {
        let mut peer = RawPeer::connect(address, "/echo").await;
        echo(&mut peer, name).await;
        peer.close_empty().await;
        assert_eq!(peer.expect_close(SOON).await, (None, String::new()));
        let ending = daemon.await_ending(|ending| ending["listener"] == name, SOON).await;
        assert_eq!((&ending["kind"], &ending["close_code"]), (&"clean".into(), &1005.into()));
        assert_eq!(ending["local_addr"], address.to_string());
    }
    assert_eq!(std::fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o660);
    drop(echo_over_unix(&socket).await);
    let ending = daemon.await_ending(|ending| ending["listener"] == "local", SOON).await;
    assert_eq!((&ending["kind"], &ending["tcp"]), (&"closed_prematurely".into(), &Value::Null));

    assert_eq!(get(health, "/livez").await.0, 200);
    assert_eq!(get(health, "/readyz").await, (200, "ready".to_owned()));
    assert_eq!(get(health, "/echo").await.0, 404);

    daemon.signal("TERM").await;
    assert_eq!(daemon.await_exit(SOON).await.code(), Some(0));
    assert!(!socket.exists(), "its Unix socket outlived it");
}

/// Runs the daemon with a stdout that is never read, and checks that it works.
async fn lives_without_stdout(mut command: tokio::process::Command, socket: &std::path::Path) {
    let mut child = command.spawn().unwrap();
    drop(child.stdout.take());
    let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
    let ready = timeout(SOON, async {
        while let Some(line) = log.next_line().await.unwrap() {
            if line.contains(r#""message":"the daemon is ready""#) {
                return;
            }
        }
        panic!("the daemon ended");
    });
    ready.await.expect("awaited the daemon to be ready");
    drop(echo_over_unix(socket).await);
    // Nor does it need anybody to read its log.
    drop(log);
    drop(echo_over_unix(socket).await);
    drop(echo_over_unix(socket).await);
    let kill = format!("kill -TERM {}", child.id().unwrap());
    assert!(
        tokio::process::Command::new("sh").args(["-c", &kill]).status().await.unwrap().success()
    );
    let status = timeout(SOON, child.wait()).await.expect("awaited its exit").unwrap();
    assert_eq!(status.code(), Some(0));
}

#[tokio::test]
async fn it_goes_on_when_its_output_is_not_read() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("x.sock");
    let listen = format!("listeners[0].listen=\"unix:{}\"", socket.display());
    let arguments = ["serve", "--set", &listen, "--set", r#"log.format="json""#];

    lives_without_stdout(command(PROGRAM, &arguments), &socket).await;

    // Closed from the start, as some who start daemons do.
    let script = r#"exec "$0" "$@" >&- <&-"#;
    let closed = [&["-c", script, PROGRAM], &arguments[..]].concat();
    let mut closed = command("sh", &closed);
    closed.stdout(Stdio::null());
    lives_without_stdout(closed, &socket).await;
}

/// What both `serve` and `check` refuse: the arguments, and what the one sentence has to name.
fn bad_configurations(directory: &TempDir) -> Vec<(Vec<String>, Vec<&'static str>)> {
    let in_file =
        |name: &str, text: &str| vec!["--config".to_owned(), write(directory, name, text)];
    let set = |text: &str| vec!["--set".to_owned(), text.to_owned()];
    let route = |more: &str| {
        format!("[[routes]]\nname = 'a'\npath = '/a'\nbackend.kind = 'echo'\n{more}\n")
    };
    let tokens = write(directory, "short", "# who may\nops:secret\n");
    vec![
        (
            vec!["--config".to_owned(), "/nonexistent/x.toml".to_owned()],
            vec!["/nonexistent/x.toml"],
        ),
        (in_file("syntax.toml", "[limits]\nmemory = \n"), vec!["syntax.toml:2", "TOML"]),
        (
            in_file("unknown.toml", "[limits]\n\nmax_mesage_size = 5\n"),
            vec!["unknown.toml:3", "limits.max_mesage_size", "did you mean max_message_size?"],
        ),
        (
            in_file("typed.toml", "[close]\ntimeout = 5\n"),
            vec!["typed.toml:2", "close.timeout", "\"5s\""],
        ),
        (
            in_file(
                "shadow.toml",
                &(route("") + "[[routes]]\nname = 'b'\npath = '/a'\nbackend.kind = 'echo'\n"),
            ),
            vec!["shadow.toml:8", "routes[1].path", "never matches", "remove it"],
        ),
        (
            in_file("limits.toml", "[limits]\nmax_message_size = '1KiB'\nmax_frame_size = '2KiB'"),
            vec!["limits.toml:3", "limits.max_frame_size", "lower it"],
        ),
        (
            in_file("spread.toml", "drain.within = '5s'\ndrain.spread = '6s'\n"),
            vec!["spread.toml:2", "drain.spread", "lower it"],
        ),
        (
            in_file("filter.toml", "[log]\nfilter = 'inof'\n"),
            vec!["filter.toml:2", "log.filter", "inof"],
        ),
        (set("drain.code=1005"), vec!["--set", "drain.code", "1007-1014"]),
        (set("listeners=[]"), vec!["--set", "listeners", "add one"]),
        (set("colour=red"), vec!["--set colour=red", "unknown key"]),
        (set("close.timeout"), vec!["--set close.timeout", "="]),
        (
            set(r#"listeners=[{name="a",listen="127.0.0.1:1"},{name="b",listen="127.0.0.1:1"}]"#),
            vec!["listeners[1].listen", "choose another"],
        ),
        (
            set(r#"control.listen="0.0.0.0:8081""#),
            vec!["control.listen", "set control.token_file", "127.0.0.1"],
        ),
        (set("ledger.max_size=\"1MiB\""), vec!["ledger.max_size", "at least 4MiB"]),
        (
            in_file("tokens.toml", "[control]\ntoken_file = '/nonexistent/tokens'\n"),
            vec!["control.token_file", "/nonexistent/tokens", "cannot be read"],
        ),
        (
            in_file("short.toml", &format!("[control]\ntoken_file = '{tokens}'\n")),
            vec!["control.token_file", "short:2", "16 characters"],
        ),
        // Reserved for later versions.
        (
            in_file(
                "dialers.toml",
                "[[dialers]]\nname = 'a'\nurl = 'ws://x'\nbackend = { kind = 'nats' }\n",
            ),
            vec!["dialers.toml:", "dialers[0].backend", "not in this version"],
        ),
        (
            in_file(
                "tls.toml",
                "[[listeners]]\nname = 'a'\nlisten = '127.0.0.1:0'\ntls = { cert = 'c', key = 'k' }",
            ),
            vec!["tls.toml:4", "listeners[0].tls", "c cannot be read"],
        ),
        (
            set(r#"listeners[0].listen="systemd:a:b""#),
            vec!["listeners[0].listen", "name of a socket", "FileDescriptorName="],
        ),
        (
            set(r#"listeners=[{name="a",listen="systemd:x"},{name="b",listen="systemd:x"}]"#),
            vec!["listeners[1].listen", "systemd:x", "listeners[0].listen"],
        ),
        (
            set("listeners[0].proxy_protocol=true"),
            vec!["listeners[0].proxy_protocol", "trusted_proxies", "10.0.0.0/8"],
        ),
        (
            in_file("auth.toml", &route("auth = { kind = 'jwt' }")),
            vec!["auth.toml:5", "routes[0].auth", "needs one of key_file"],
        ),
        (
            set(r#"routes[0].backend={kind="relay",urls=["ws://a","ws://b","ws://a"]}"#),
            vec!["routes[0].backend.urls", "ws://a", "listed twice"],
        ),
        (
            set(r#"routes[0].backend={kind="relay",urls=[]}"#),
            vec!["routes[0].backend.urls", "names no application", "list at least one"],
        ),
        (
            set(r#"routes[0].backend={kind="relay",url="ws://a",tries=0}"#),
            vec!["routes[0].backend.tries"],
        ),
    ]
}

#[tokio::test]
async fn a_bad_configuration_is_named_with_place_key_and_remedy() {
    let directory = tempfile::tempdir().unwrap();
    for (sources, words) in bad_configurations(&directory) {
        let mut said = Vec::new();
        for verb in ["serve", "check"] {
            let arguments: Vec<&str> =
                [verb].into_iter().chain(sources.iter().map(String::as_str)).collect();
            let Refusal { code, stdout, stderr } = Daemon::refused(PROGRAM, &arguments).await;
            assert_eq!((code, stdout.as_str()), (Some(2), ""), "{arguments:?}: {stderr}");
            for word in &words {
                assert!(stderr.contains(word), "{word:?} is not in {stderr:?} of {arguments:?}");
            }
            assert_eq!(stderr.lines().count(), 1, "{stderr}");
            said.push(stderr);
        }
        assert_eq!(said[0], said[1], "serve and check do not agree");
    }
}

#[tokio::test]
async fn an_address_in_use_is_named_with_exit_code_1() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("x.sock");
    let _taken = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let unix = format!("unix:{}", socket.display());
    for (key, name, address) in [
        ("listeners[0].listen", "public", &address),
        ("listeners[0].listen", "public", &unix),
        ("control.listen", "control", &address),
        ("health.listen", "health", &address),
    ] {
        let set = format!("{key}=\"{address}\"");
        let refusal = Daemon::refused(PROGRAM, &["serve", "--set", FREE_PORT, "--set", &set]).await;
        assert_eq!(refusal.code, Some(1), "{refusal:?}");
        let last = refusal.stderr.lines().last().unwrap_or_default();
        assert!(last.contains(address) && last.contains(name), "{last}");
        assert!(last.contains("in use") && last.contains("choose another"), "{last}");
        assert!(!refusal.stdout.contains("ready"), "{refusal:?}");
        // The configuration itself is good.
        let refusal = Daemon::refused(PROGRAM, &["check", "--set", &set]).await;
        assert_eq!(refusal.code, Some(0), "{refusal:?}");
    }
}

#[tokio::test]
async fn bad_usage_is_exit_code_2_and_says_what_to_do() {
    for (arguments, words) in [
        (&["serve", "--relay", "http://127.0.0.1:3000"][..], &["--relay", "ws://"][..]),
        (&["probe", "ftp://127.0.0.1"], &["ws://host:port/path"]),
        (&["swerve"], &["swerve", "--help"]),
        (&["serve", "--colour"], &["--colour"]),
        (&["serve", "extra"], &["extra"]),
        (&["serve", "--config"], &["--config"]),
        (&[], &["serve"]),
    ] {
        let Refusal { code, stdout, stderr } = Daemon::refused(PROGRAM, arguments).await;
        assert_eq!((code, stdout.as_str()), (Some(2), ""), "{arguments:?}: {stderr}");
        for word in words {
            assert!(stderr.contains(word), "{word:?} is not in {stderr:?}");
        }
    }
    let version = Daemon::refused(PROGRAM, &["--version"]).await;
    assert_eq!(version.stdout, format!("lastword {}\n", env!("CARGO_PKG_VERSION")));
    let help = Daemon::refused(PROGRAM, &["--help"]).await;
    assert!(help.code == Some(0) && help.stdout.contains("serve"), "{help:?}");
}

#[tokio::test]
async fn a_good_configuration_is_checked_without_being_run() {
    // The address is taken unnoticed.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let set = format!("listeners[0].listen=\"{address}\"");
    let checked = Daemon::refused(PROGRAM, &["check", "--set", &set]).await;
    assert_eq!((checked.code, checked.stderr.as_str()), (Some(0), ""));
    assert!(checked.stdout.contains(&address.to_string()), "{checked:?}");
    assert!(checked.stdout.contains("/echo"), "{checked:?}");

    let shipped = concat!(env!("CARGO_MANIFEST_DIR"), "/config/lastword.toml");
    let checked = Daemon::refused(PROGRAM, &["check", "--config", shipped]).await;
    assert_eq!((checked.code, checked.stderr.as_str()), (Some(0), ""));
}

#[tokio::test]
async fn files_give_way_to_the_environment_and_that_to_set() {
    let directory = tempfile::tempdir().unwrap();
    let first = write(&directory, "a.toml", "[node]\nname = 'first-file'\n");
    let second = write(&directory, "b.toml", "[node]\nname = 'second-file'\n");
    let serve = [arguments(&[]), vec!["--config", &first]].concat();
    let two_files = [&serve[..], &["--config", &second]].concat();
    let set = [&two_files[..], &["--set", "node.name=set"]].concat();
    for (arguments, environment, expected) in [
        (&serve[..], None, "first-file"),
        (&two_files, None, "second-file"),
        (&two_files, Some("environment"), "environment"),
        (&set, Some("environment"), "set"),
    ] {
        let mut command = command(PROGRAM, arguments);
        if let Some(name) = environment {
            command.env("LASTWORD__NODE__NAME", name);
        }
        let daemon = Daemon::start_command(command).await;
        let mut peer = RawPeer::connect(daemon.listener(), "/echo").await;
        peer.fin().await;
        let ending = daemon.await_ending(|_| true, SOON).await;
        assert_eq!(ending["node"], expected);
    }

    let mut command = command(PROGRAM, &["check"]);
    command.env("LASTWORD__LIMITS__MAX_CONECTIONS", "5");
    let refusal = Daemon::refused_command(command).await;
    assert_eq!(refusal.code, Some(2));
    for word in ["LASTWORD__LIMITS__MAX_CONECTIONS", "did you mean max_connections?"] {
        assert!(refusal.stderr.contains(word), "{}", refusal.stderr);
    }
}

#[tokio::test]
async fn each_line_of_a_json_log_is_json_and_endings_are_whole() {
    let mut daemon = Daemon::start(PROGRAM, &[]).await;
    let secret = "User-Agent: curl/8 \"x\"\r\n";
    let mut peer =
        RawPeer::connect_with(daemon.listener(), "/echo?token=hush&n=1", secret, &[]).await;
    let local = peer.local_addr();
    echo(&mut peer, "hello").await;
    peer.close(4000, "line\nbreak \"quoted\"").await;
    peer.expect_close(SOON).await;
    drop(peer);
    daemon.await_ending(|_| true, SOON).await;
    assert_eq!(get(daemon.listener(), "/none?token=hush").await.0, 404);
    daemon.await_endings(2, |_| true, SOON).await;
    daemon.signal("TERM").await;
    assert_eq!(daemon.await_exit(SOON).await.code(), Some(0));

    let mut endings = Vec::new();
    for line in daemon.log() {
        let event: Value = serde_json::from_str(&line).unwrap_or_else(|e| panic!("{e}: {line}"));
        for key in ["timestamp", "level", "target", "message"] {
            assert!(event[key].is_string(), "no {key} in {line}");
        }
        assert!(!line.contains("hush"), "a query value was not masked: {line}");
        if let Some(word) = event["event"].as_str() {
            endings.push((word.to_owned(), event["ending"].clone()));
        }
    }
    let words: Vec<&str> = endings.iter().map(|(word, _)| word.as_str()).collect();
    assert_eq!(words, ["ended", "open_failed"]);
    for (_, ending) in &endings {
        let keys: BTreeSet<&str> = ending.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(keys, ENDING_KEYS.split_whitespace().collect::<BTreeSet<_>>());
        assert_eq!(ending["version"], env!("CARGO_PKG_VERSION"));
        assert_eq!(ending["direction"], "inbound");
        for key in ["opened_at", "ended_at"] {
            let time = ending[key].as_str().unwrap();
            humantime::parse_rfc3339(time).unwrap();
            assert_eq!(time.len(), "2026-03-01T12:00:00.250Z".len(), "{time}");
        }
    }

    let clean = &endings[0].1;
    assert_eq!(clean["peer"], local.to_string());
    assert_eq!(clean["path"], "/echo?token=***&n=***");
    assert_eq!(clean["user_agent"], "curl/8 \"x\"");
    assert_eq!(clean["close_received"]["code"], 4000);
    assert_eq!(clean["close_received"]["reason"], "line\nbreak \"quoted\"");
    assert_eq!((&clean["messages_in"], &clean["bytes_out"]), (&1.into(), &5.into()));
    assert!(clean["tcp"]["rtt_us"].is_u64(), "{clean}");

    let failed = &endings[1].1;
    assert_eq!(failed["kind"], "open_failed");
    assert_eq!(failed["open_failure"], "no_route");
    for key in ["route", "state", "close_code", "messages_in", "tcp"] {
        assert_eq!(failed[key], Value::Null, "{key}");
    }
}

#[tokio::test]
async fn a_socket_that_a_killed_daemon_left_is_no_obstacle() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("x.sock");
    let listen = format!("listeners[0].listen=\"unix:{}\"", socket.display());
    let mut first = Daemon::start(PROGRAM, &[&listen]).await;
    first.signal("KILL").await;
    first.await_exit(SOON).await;
    assert!(socket.exists());
    let second = Daemon::start(PROGRAM, &[&listen]).await;
    drop(echo_over_unix(&socket).await);
    drop(second);
    until("the socket answers no more", Duration::from_secs(5), || {
        std::os::unix::net::UnixStream::connect(&socket).is_err()
    })
    .await;
}

#[tokio::test]
async fn relay_sends_every_other_path_to_the_application() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}", listener.local_addr().unwrap());
    let arguments = [arguments(&[]), vec!["--relay", &url]].concat();
    let daemon = Daemon::start_with(PROGRAM, &arguments).await;
    let mut peer = RawPeer::connect(daemon.listener(), "/echo").await;
    echo(&mut peer, "hello").await;
    let (mut client, mut application) =
        tokio::join!(RawPeer::connect(daemon.listener(), "/any/path"), RawPeer::accept(&listener));
    assert_eq!(application.head.start_line, "GET /any/path HTTP/1.1");
    client.text("through").await;
    application.expect_text("through").await;
    application.close(1000, "bye").await;
    assert_eq!(client.expect_close(SOON).await, (Some(1000), "bye".to_owned()));
    client.close(1000, "bye").await;
    assert_eq!(application.expect_close(SOON).await, (Some(1000), "bye".to_owned()));
    assert_eq!(client.expect_end(SOON).await, crate::support::raw_peer::End::Fin);
    drop(client);
    let relayed = |ending: &Value| ending["relay_peer"] != Value::Null;
    let ending = daemon.await_ending(relayed, SOON).await;
    assert_eq!(ending["upstream"]["status"], 101);
    assert_eq!(ending["upstream"]["url"], url.as_str());
}
