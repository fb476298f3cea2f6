//! The command: exit codes, JSON, JUnit, and what it keeps to itself.

use std::process::Output;

use serde_json::Value;
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use tokio::process::Command;

use crate::Right;
use crate::support::tls::Shared;
use crate::wrong::{self, Flaw};

async fn probe(arguments: &[&str]) -> (i32, String, String) {
    let program = env!("CARGO_BIN_EXE_lastword");
    let output = Command::new(program).arg("probe").args(arguments).output().await.unwrap();
    let Output { status, stdout, stderr } = output;
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
}

#[tokio::test]
async fn a_right_server_is_exit_code_0_in_json() {
    let right = Right::start().await;
    let (code, stdout, stderr) = probe(&[&format!("{}?token=secret", right.url()), "--json"]).await;
    assert_eq!((code, stderr.as_str()), (0, ""), "{stdout}");
    assert!(!stdout.contains("secret"));
    let report: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(report["mode"], "safe");
    assert_eq!(report["target"], format!("{}?token=***", right.url()));
    let cases = report["cases"].as_array().unwrap();
    for verdict in ["pass", "warn", "fail", "skipped"] {
        let count = cases.iter().filter(|case| case["verdict"] == verdict).count();
        assert_eq!(report["summary"][verdict], count);
    }
    let case = cases.iter().find(|case| case["id"] == "close-answer").unwrap();
    for key in ["title", "rfc", "sent", "expected", "observed"] {
        assert!(case[key].as_str().is_some_and(|text| !text.is_empty()), "{key}");
    }
    assert!(case["consequence"].is_null());
    assert_eq!(case["measured"]["close_code"], 1000);
    assert_eq!(case["measured"]["transport_end"], "FIN");
    right.stop().await;
}

#[tokio::test]
async fn a_wrong_server_is_exit_code_1_with_a_line_to_act_on() {
    let url = format!("ws://{}/", wrong::start(Flaw::NeverAnswersClose).await);
    let folder = tempfile::tempdir().unwrap();
    let junit = folder.path().join("junit.xml");
    let junit_path = junit.to_str().unwrap();
    let arguments = [
        &url,
        "--only",
        "close-answer",
        "--timeout",
        "150ms",
        "--header",
        "X: secret",
        "--junit",
        junit_path,
    ];
    let (code, stdout, _) = probe(&arguments).await;
    assert_eq!(code, 1);
    let line = stdout.lines().next().unwrap();
    assert!(line.starts_with("FAIL     close-answer  no Close and no end of TCP"), "{line}");
    assert!(line.contains("due: Close") && line.contains("RFC 6455 5.5.1"), "{line}");
    assert!(line.contains("report 1006") && !stdout.contains("secret"), "{line}");
    let xml = std::fs::read_to_string(junit).unwrap();
    assert!(xml.contains("tests=\"1\" failures=\"1\"") && xml.contains("<failure"), "{xml}");
}

#[tokio::test]
async fn bad_usage_is_exit_code_2_with_the_remedy() {
    for (arguments, said) in [
        (vec![], "<URL>"),
        (vec!["ftp://a/"], "write ws://host:port/path"),
        (vec!["ws://127.0.0.1:1/", "--only", "close-anser"], "--list"),
        (vec!["ws://127.0.0.1:1/", "--only", "text-bad-utf8"], "add --full"),
        (vec!["ws://127.0.0.1:1/", "--only", "limit-idle"], "--idle DURATION"),
        (vec!["ws://127.0.0.1:1/", "--safe", "--full"], "cannot be used with"),
        (vec!["ws://127.0.0.1:1/", "--header", "Upgrade: x"], "sets the header upgrade itself"),
        (
            vec!["ws://127.0.0.1:1/", "--header", "Sec-WebSocket-Accept: x"],
            "sets the header sec-websocket-accept itself",
        ),
        (vec!["unix:relative"], "absolute path"),
    ] {
        let (code, stdout, stderr) = probe(&arguments).await;
        assert_eq!((code, stdout.as_str()), (2, ""), "{arguments:?}");
        assert!(stderr.contains(said), "{arguments:?}: {stderr}");
    }
}

#[tokio::test]
async fn headers_are_read_from_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("headers");
    let path = file.to_str().unwrap();
    std::fs::write(&file, "X-Key: secret\n\nCookie: a=b\n").unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}/", listener.local_addr().unwrap());
    let asked = tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut head = vec![0; 1024];
        let read = socket.read(&mut head).await.unwrap();
        String::from_utf8(head[..read].to_vec()).unwrap()
    });
    let (code, stdout, stderr) = probe(&[&url, "--header-file", path, "--only", "open-101"]).await;
    assert!(code == 3 && !format!("{stdout}{stderr}").contains("secret"), "{stdout}{stderr}");
    let head = asked.await.unwrap();
    assert!(head.contains("X-Key: secret\r\n") && head.contains("Cookie: a=b\r\n"), "{head}");

    std::fs::write(&file, "secret\n").unwrap();
    let (code, _, stderr) = probe(&[&url, "--header-file", path]).await;
    assert!(code == 2 && stderr.contains(path) && stderr.contains("'Name: value'"), "{stderr}");
    assert!(!stderr.contains("secret"), "{stderr}");
    let (code, _, stderr) = probe(&[&url, "--header-file", "/not/there"]).await;
    assert!(code != 0 && stderr.contains("/not/there"), "{stderr}");
}

#[tokio::test]
async fn a_server_that_is_not_reached_is_exit_code_3() {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let (code, stdout, stderr) = probe(&[&format!("ws://{closed}/?key=secret")]).await;
    assert_eq!((code, stdout.as_str()), (3, ""));
    assert!(stderr.contains("cannot be reached") && !stderr.contains("secret"), "{stderr}");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
}

#[tokio::test]
async fn any_certificate_will_do_only_if_asked() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("wss://127.0.0.1:{}/", listener.local_addr().unwrap().port());
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            tokio::spawn(wrong::serve_tls(socket));
        }
    });
    let only = ["--only", "close-answer", "--timeout", "2s"];
    let (code, _, stderr) = probe(&[&[url.as_str()][..], &only[..]].concat()).await;
    assert_eq!(code, 3, "{stderr}");
    assert!(stderr.contains("certificate"), "{stderr}");
    let (code, stdout, stderr) =
        probe(&[&[url.as_str(), "--insecure"][..], &only[..]].concat()).await;
    assert_eq!(code, 0, "{stdout}{stderr}");
    let authority = Shared::get().authority.file();
    let trusted = url.replace("127.0.0.1", "localhost");
    let arguments = [&[trusted.as_str(), "--ca-file", authority.to_str().unwrap()][..], &only[..]];
    let (code, stdout, stderr) = probe(&arguments.concat()).await;
    assert_eq!(code, 0, "{stdout}{stderr}");
}

#[tokio::test]
async fn a_unix_socket_is_probed_at_its_path() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.sock");
    let supervisor = lastword::Supervisor::builder().start().await.unwrap();
    let address = format!("unix:{}", path.display()).parse().unwrap();
    let routes = vec![lastword::Route::echo("/echo").unwrap()];
    let _listener = supervisor.listen("public", &address, routes).await.unwrap();
    let (code, stdout, stderr) = probe(&[&format!("unix:{}:/echo", path.display())]).await;
    assert_eq!(code, 0, "{stdout}{stderr}");
    let (code, _, stderr) = probe(&[&format!("ws+unix:{}", path.display())]).await;
    assert!(code == 3 && stderr.contains("HTTP 404"), "{stderr}");
    supervisor.shutdown(Default::default()).await;
}

#[tokio::test]
async fn listening_tells_each_result_and_ends_with_a_summary() {
    use std::process::Stdio;
    use tokio::io::{AsyncBufReadExt, BufReader};

    let mut command = Command::new(env!("CARGO_BIN_EXE_lastword"));
    command.args(["probe", "--listen", "127.0.0.1:0"]).kill_on_drop(true);
    let mut probe = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut note = String::new();
    BufReader::new(probe.stderr.take().unwrap()).read_line(&mut note).await.unwrap();
    let address = note.strip_prefix("open http://").unwrap().split('/').next().unwrap();
    let supervisor = lastword::Supervisor::builder().start().await.unwrap();
    let url = format!("ws://{address}/case/close-1012");
    let (_connection, mut messages) = supervisor.dial(&url).receive().await.unwrap();
    while let Ok(lastword::Incoming::Message(_)) = messages.receive().await {}
    let mut stdout = BufReader::new(probe.stdout.take().unwrap());
    let mut line = String::new();
    stdout.read_line(&mut line).await.unwrap();
    assert!(line.starts_with("pass     close-1012"), "{line}");
    let pid = probe.id().unwrap().to_string();
    Command::new("kill").args(["-INT", &pid]).status().await.unwrap();
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).await.unwrap();
    assert!(rest.contains(": 1 passed, 0 warned, 0 failed"), "{rest}");
    assert_eq!(probe.wait().await.unwrap().code(), Some(0));
    supervisor.shutdown(Default::default()).await;
}
