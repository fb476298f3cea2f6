//! Secrets that are planted wherever one may travel, and found nowhere that people look.
//!
//! Every secret begins with the same word, so that one search finds all of them, and ends with its
//! place, so that a failure names it.

mod places;

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::PROGRAM;
use super::process::echo;
use crate::support::SOON;
use crate::support::daemon::{Daemon, command};
use crate::support::http::{Answer, exchange, read_request, upgrade_request};
use crate::support::raw_peer::RawPeer;
use crate::support::tls::Shared;
use places::{configuration, member, private, redirect, secret_lines};

/// What every planted secret begins with.
const PLANTED: &str = "planted7f3a";

/// The token that the requests of this test use.
const TOKEN: &str = "planted7f3a-token-of-the-test";

/// All outputs that were searched.
struct Search {
    /// What must not be found.
    secrets: Vec<String>,
    found: Vec<String>,
    looked: Vec<String>,
}

impl Search {
    fn new(secrets: &[&str]) -> Self {
        let secrets = secrets.iter().map(|&secret| secret.to_owned()).collect();
        Self { secrets, found: Vec::new(), looked: Vec::new() }
    }

    fn look(&mut self, place: impl Into<String>, output: impl AsRef<[u8]>) {
        let (place, output) = (place.into(), output.as_ref());
        for secret in &self.secrets {
            let is_it = |part: &[u8]| part.eq_ignore_ascii_case(secret.as_bytes());
            if let Some(at) = output.windows(secret.len()).position(is_it) {
                let around = &output[at.saturating_sub(200)..output.len().min(at + 60)];
                self.found.push(format!("{place}: …{}…", around.escape_ascii()));
            }
        }
        self.looked.push(place);
    }
}

/// An application that answers every request in the same way.
async fn application(answer: String) -> (String, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let serving = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let answer = answer.clone();
            tokio::spawn(async move {
                read_request(&mut stream, &mut Vec::new()).await;
                let _ = stream.write_all(answer.as_bytes()).await;
            });
        }
    });
    (address, serving)
}

#[tokio::test]
async fn no_planted_secret_is_found_in_any_output() {
    let echoing =
        Daemon::start(PROGRAM, &[r#"routes=[{name="all",path="/*",backend={kind="echo"}}]"#]).await;
    let (redirecting, _redirecting) = application(redirect()).await;
    // Bound and closed: nothing listens there.
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().to_string();
    let files = tempfile::tempdir().unwrap();
    let (certificate, key) = &Shared::get().files;
    let echo_at = echoing.listener().to_string();
    let text = configuration(files.path(), (certificate, key), [&echo_at, &redirecting, &nobody]);
    let file = files.path().join("lastword.toml");
    private(&file, &text);
    let file = file.to_str().unwrap();

    let token = member();
    let key = std::fs::read_to_string(key).unwrap();
    let (payload, signature) = token.split_once('.').unwrap().1.split_once('.').unwrap();
    let mut search = Search::new(&[PLANTED, payload, signature, key.lines().nth(1).unwrap()]);
    let mut serve = command(PROGRAM, &["serve", "--config", file]);
    serve
        .env_remove("LASTWORD__CONTROL__LISTEN")
        .env("PLANTED_KEY", format!("{PLANTED}-environment"));
    let mut daemon = Daemon::start_command(serve).await;

    // Clients that are let in, and stay until everything was asked for.
    let lines = secret_lines();
    let target = |path: &str| format!("{path};session={PLANTED}-path/x?token={PLANTED}-query");
    let mut peers = Vec::new();
    for path in ["/echo/a", "/app/a"] {
        let mut peer = RawPeer::connect_with(daemon.listener(), &target(path), &lines, b"").await;
        echo(&mut peer, &format!("{PLANTED}-message")).await;
        peers.push(peer);
    }
    let members = [
        (String::new(), format!("Authorization: Bearer {token}\r\n")),
        (String::new(), format!("Cookie: session={token}\r\n")),
        (format!("?token={token}"), String::new()),
        (String::new(), format!("Sec-WebSocket-Protocol: v1, bearer.{token}\r\n")),
    ];
    for (query, lines) in members {
        let target = format!("/members/a{query}");
        let mut peer = RawPeer::connect_with(daemon.listener(), &target, &lines, b"").await;
        echo(&mut peer, &format!("{PLANTED}-message")).await;
        peers.push(peer);
    }
    refuse_openings(&daemon, &mut search).await;
    dial(&daemon, &mut search).await;
    daemon.await_ending(|ending| ending["dialer"] == "redirected", SOON).await;
    daemon.await_ending(|ending| ending["dialer"] == "behind-a-proxy", SOON).await;
    renew_and_revoke(&daemon, &token, &mut search).await;
    ask_all(&daemon, &mut search).await;
    refuse_requests(&daemon, &mut search).await;
    rotate_tokens(&daemon, files.path()).await;
    run_commands(&daemon, files.path(), &mut search).await;

    // One closes, the others go without a word, and the daemon stops with what it dialled.
    for (number, peer) in peers.iter_mut().enumerate() {
        match number {
            0 => peer.close(4000, "done").await,
            _ => peer.fin().await,
        }
    }
    daemon.await_endings(1, |ending| ending["close_code"] == 4000, SOON).await;
    ask_all(&daemon, &mut search).await;
    follow_events(&daemon, files.path(), &mut search).await;
    daemon.signal("TERM").await;
    assert!(daemon.await_exit(2 * SOON).await.success());
    for (number, line) in daemon.log().into_iter().enumerate() {
        search.look(format!("log line {number}"), line);
    }
    search.look("stdout", daemon.printed.join("\n"));
    for entry in std::fs::read_dir(daemon.state()).unwrap() {
        let path = entry.unwrap().path();
        search.look(path.display().to_string(), std::fs::read(&path).unwrap());
    }
    refuse_configurations(&text, files.path(), &mut search).await;

    let mut own = Search::new(&[PLANTED]);
    own.look("the configuration itself", &text);
    assert_eq!(own.found.len(), 1, "the search finds nothing");
    assert!(search.found.is_empty(), "{:#?}", search.found);
    assert!(search.looked.len() > 100, "{:?}", search.looked);
    let masked = daemon.endings().iter().any(|ending| {
        ending["path"] == "/echo/a;session=***/x?token=***" && ending["subprotocol"] == "bearer.***"
    });
    assert!(masked, "nothing was recorded that could have had a secret");
}

/// Requests that become no connection; what they are answered has no secret either.
async fn refuse_openings(daemon: &Daemon, search: &mut Search) {
    let (host, lines) = (daemon.listener().to_string(), secret_lines());
    let query = format!("?token={PLANTED}-refused-query");
    let upgrade =
        |target: &str, more: &str| upgrade_request(&host, target, &format!("{lines}{more}"));
    let requests = [
        ("no route", upgrade(&format!("/nowhere{query}"), "")),
        (
            "another origin",
            upgrade("/echo/a", &format!("Origin: https://u:{PLANTED}-origin@evil.example\r\n")),
        ),
        ("another page", upgrade(&format!("/echo/a{query}"), "Origin: https://evil.example\r\n")),
        ("nobody", upgrade(&format!("/nobody/a{query}"), "")),
        ("a bad key", upgrade("/echo/a", &format!("Sec-WebSocket-Key: {PLANTED}-key\r\n"))),
        ("a body", upgrade("/echo/a", "Content-Length: 3\r\n")),
        ("a bad host", upgrade_request(&format!("u:{PLANTED}-host@a"), "/echo/a", &lines)),
        ("credentials", upgrade(&format!("http://u:{PLANTED}-authority@{host}/echo/a"), "")),
        ("no upgrade", format!("GET /echo/a{query} HTTP/1.1\r\nHost: {host}\r\n{lines}\r\n")),
        ("a malformed line", upgrade("/echo/a", &format!("{PLANTED}-line without a colon\r\n"))),
        ("a malformed target", upgrade(&format!("/echo/\u{1}{PLANTED}-target"), "")),
        ("no HTTP", format!("{PLANTED}-greeting\r\n\r\n")),
        ("a bad token", upgrade(&format!("/members/a{query}"), "")),
        ("a bad token in the query", upgrade_request(&host, &format!("/members/a{query}"), "")),
        ("an endpoint that redirects", upgrade(&format!("/asked/a{query}"), "")),
        ("forwarded", upgrade("/echo/a", &format!("Forwarded: for=\"{PLANTED}-forwarded\r\n"))),
        ("a PROXY header", format!("PROXY TCP4 {PLANTED}-proxy 1.1.1.1 1 1\r\n\r\n")),
        (
            "a long head",
            upgrade("/echo/a", &format!("X-Long: {}\r\n", format!("{PLANTED}-long").repeat(2000))),
        ),
    ];
    let count = requests.len();
    for (what, request) in requests {
        let Answer { head, body } = exchange(daemon.listener(), request, 2 * SOON).await;
        assert!(head.status() >= 400, "{what}: {head:?} {body}");
        search.look(format!("the answer to {what}"), format!("{head:?}\n{body}"));
    }
    let plain = upgrade(&format!("/echo/a{query}"), "");
    let Answer { head, body } = exchange(daemon.address("listener secure"), plain, SOON).await;
    search.look("the answer to plain HTTP on a TLS port", format!("{head:?}\n{body}"));
    // A redirect is the application's own word to its client, and passes.
    exchange(daemon.listener(), upgrade(&format!("/redirected/a{query}"), ""), SOON).await;
    daemon.await_endings(count, |ending| ending["direction"] == "inbound", SOON).await;
}

async fn call(daemon: &Daemon, line: &str, token: &str, body: &str) -> Answer {
    let host = daemon.control();
    let length = body.len();
    let request = format!(
        "{line} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    exchange(host, request, 2 * SOON).await
}

/// Connections and a dialer that the control API asks for.
async fn dial(daemon: &Daemon, search: &mut Search) {
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let headers = format!(r#""headers":{{"authorization":"Bearer {PLANTED}-api-header"}}"#);
    for body in [
        format!(r#"{{"url":"ws://{nobody}/?key={PLANTED}-api-query",{headers}}}"#),
        format!(r#"{{"url":"ws://u:{PLANTED}-api-credentials@{nobody}/",{headers}}}"#),
        format!(r#"{{"url":"u:{PLANTED}-api-no-scheme@example.org/",{headers}}}"#),
        format!(
            r#"{{"url":"ws://{nobody}/","headers":{{"authorization":["{PLANTED}-api-list"]}}}}"#
        ),
        format!(
            r#"{{"url":"ws://{nobody}/","headers":{{"authorization":"{PLANTED}-api-line\n"}}}}"#
        ),
        format!(
            r#"{{"name":"made","url":"ws://{nobody}/?key={PLANTED}-made-query",{headers},"reconnect":{{}},
                "on_open":["{PLANTED}-api-on-open"]}}"#
        ),
    ] {
        let Answer { head, body } = call(daemon, "POST /v1/connections", TOKEN, &body).await;
        search.look("the answer to a dial", format!("{head:?}\n{body}"));
    }
}

/// New tokens for a connection, good and bad, and revocations.
async fn renew_and_revoke(daemon: &Daemon, token: &str, search: &mut Search) {
    let connection = async |route: &str| {
        let target = format!("GET /v1/connections?route={route}");
        let listed = call(daemon, &target, TOKEN, "").await.body;
        let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
        listed["connections"][0]["id"].as_str().unwrap().to_owned()
    };
    let (member, other) = (connection("members").await, connection("echo").await);
    let (head, rest) = token.split_once('.').unwrap();
    let (claims, signature) = rest.split_once('.').unwrap();
    let renewal = |id: &str| format!("POST /v1/connections/{id}/token");
    let revocation = "POST /v1/revocations".to_owned();
    for (line, status, body) in [
        (renewal(&member), 200, format!(r#"{{"token":"{token}"}}"#)),
        (renewal(&member), 401, format!(r#"{{"token":"{head}.{claims}.x{signature}"}}"#)),
        (renewal(&member), 401, format!(r#"{{"token":"{PLANTED}-renewal"}}"#)),
        (renewal(&member), 400, format!(r#"{{"token":["{PLANTED}-renewals"]}}"#)),
        (renewal(&member), 400, format!(r#"{{"token":"x","tokens":"{PLANTED}-more"}}"#)),
        (renewal(&other), 409, format!(r#"{{"token":"{PLANTED}-of-none"}}"#)),
        (renewal("000000000000"), 404, format!(r#"{{"token":"{PLANTED}-of-nobody"}}"#)),
        (revocation.clone(), 201, r#"{"subject":"eve"}"#.to_owned()),
        (revocation.clone(), 201, r#"{"jti":"9f31c2"}"#.to_owned()),
        (revocation, 400, format!(r#"{{"subject":["{PLANTED}-no-subject"]}}"#)),
    ] {
        let Answer { head, body } = call(daemon, &line, TOKEN, &body).await;
        assert_eq!(head.status(), status, "{line}: {body}");
        search.look(format!("{status} to {line}"), format!("{head:?}\n{body}"));
    }
}

/// All events since the start, as the control API and the command line tell them.
async fn follow_events(daemon: &Daemon, files: &Path, search: &mut Search) {
    let host = daemon.control();
    let mut stream = TcpStream::connect(host).await.unwrap();
    let request = format!(
        "GET /v1/events HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {TOKEN}\r\n\
         Last-Event-ID: 0\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let told = read_beyond(&mut stream, "\"close_code\":4000").await;
    search.look("GET /v1/events", told);
    let url = format!("http://{host}");
    for json in [&[][..], &["--json"]] {
        let mut command = Command::new(PROGRAM);
        command.args(["events", "--since-id", "0"]).args(json);
        command.args(["--control", &url, "--token-file"]).arg(files.join("tokens"));
        let piped = command.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = piped.spawn().unwrap();
        let mut stdout = child.stdout.take().unwrap();
        search.look("lastword events", read_beyond(&mut stdout, "4000").await);
        child.kill().await.unwrap();
        search.look("stderr of lastword events", child.wait_with_output().await.unwrap().stderr);
    }
}

/// Reads what comes up to these words, and a moment longer. Dialers that fail make events without end.
async fn read_beyond(from: &mut (impl AsyncRead + Unpin), words: &str) -> Vec<u8> {
    let mut read = Vec::new();
    let until = async {
        while !read.windows(words.len()).any(|part| part == words.as_bytes()) {
            assert_ne!(from.read_buf(&mut read).await.unwrap(), 0, "{}", read.escape_ascii());
        }
    };
    timeout(SOON, until).await.unwrap_or_else(|_| panic!("awaited {words:?} in vain"));
    let more = async { while from.read_buf(&mut read).await.is_ok_and(|more| more > 0) {} };
    let _ = timeout(Duration::from_millis(500), more).await;
    read
}

/// Everything that the control API shows.
async fn ask_all(daemon: &Daemon, search: &mut Search) {
    let mut targets: Vec<String> = [
        "/v1/status",
        "/v1/connections",
        "/v1/endings?limit=1000",
        "/v1/endings/summary?by=user_agent",
        "/v1/dialers",
        "/v1/dialers/feed",
        "/v1/dialers/made",
        "/v1/backends",
        "/v1/drain",
        "/v1/revocations",
        "/metrics",
        "/livez",
        "/readyz",
        "/openapi.json",
    ]
    .map(str::to_owned)
    .into();
    for (list, key) in [("connections", "connections"), ("endings", "endings")] {
        let listed = call(daemon, &format!("GET /v1/{list}?limit=1000"), TOKEN, "").await.body;
        let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
        for record in listed[key].as_array().unwrap() {
            targets.push(format!("/v1/{list}/{}", record["id"].as_str().unwrap()));
        }
    }
    for target in targets {
        let answer = call(daemon, &format!("GET {target}"), TOKEN, "").await;
        search.look(format!("GET {target}"), format!("{:?}\n{}", answer.head, answer.body));
    }
}

/// Requests that the control API refuses.
async fn refuse_requests(daemon: &Daemon, search: &mut Search) {
    let wrong = format!("{PLANTED}-wrong-token");
    let reader = format!("{PLANTED}-token-of-another");
    for (line, token, body) in [
        ("GET /v1/status", &*wrong, "".to_owned()),
        ("POST /v1/drain", &reader, "{}".to_owned()),
        ("POST /v1/broadcast", TOKEN, format!("{PLANTED}-no-json")),
        ("POST /v1/broadcast", TOKEN, format!(r#"{{"text":["{PLANTED}-no-text"]}}"#)),
    ] {
        let Answer { head, body } = call(daemon, line, token, &body).await;
        assert!(head.status() >= 400, "{line}: {head:?}");
        search.look(format!("the refusal of {line}"), format!("{head:?}\n{body}"));
    }
}

async fn rotate_tokens(daemon: &Daemon, files: &Path) {
    private(&files.join("tokens"), &format!("ops:{TOKEN}\nbad:scope:{PLANTED}-bad-line\n"));
    daemon.await_line(|line| line.contains("the tokens from before stay"), 2 * SOON).await;
    private(&files.join("tokens"), &format!("ops:{TOKEN}\nnew:{PLANTED}-new-token\n"));
    daemon.await_line(|line| line.contains("the control API has new tokens"), 2 * SOON).await;
}

/// What people see in a terminal.
async fn run_commands(daemon: &Daemon, files: &Path, search: &mut Search) {
    let connections = call(daemon, "GET /v1/connections", TOKEN, "").await.body;
    let connections: serde_json::Value = serde_json::from_str(&connections).unwrap();
    let endings = daemon.endings();
    let ids = endings.iter().chain(connections["connections"].as_array().unwrap());
    let ids: Vec<&str> = ids.map(|record| record["id"].as_str().unwrap()).collect();
    let mut commands: Vec<Vec<&str>> = vec![
        vec!["status"],
        vec!["ls"],
        vec!["endings"],
        vec!["endings", "--summary"],
        vec!["dialers"],
        vec!["backends"],
        vec!["revocations"],
        vec!["ls", "--json"],
        vec!["show", ids[ids.len() - 1]],
    ];
    commands.extend(ids.iter().map(|id| vec!["why", id]));
    let url = format!("http://{}", daemon.control());
    let tokens = files.join("tokens");
    for words in commands {
        let mut command = Command::new(PROGRAM);
        command.args(&words).args(["--control", &url, "--token-file"]).arg(&tokens);
        let output = command.output().await.unwrap();
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        search
            .look(format!("lastword {}", words.join(" ")), [output.stdout, output.stderr].concat());
    }
}

/// Configurations with a mistake next to each secret.
async fn refuse_configurations(good: &str, files: &Path, search: &mut Search) {
    for (from, to) in [
        ("allow_dial = true", "allow_dial = 7"),
        ("backend = { kind = \"none\" }", "backend = { kind = \"nun\" }"),
        (
            "headers = { authorization = {",
            "headers = { authorization = \"planted7f3a-inline\", a = {",
        ),
        ("proxy_credentials = {", "proxy_credentials = \"planted7f3a-inline\" #"),
        ("url = \"wss://", "url = \"wss://u:planted7f3a-credentials@"),
        ("url = \"wss://", "url = \"planted7f3a-scheme://"),
        ("on_open = [", "on_open = [7, "),
        ("reply = [{ when", "reply = [{ wen"),
        ("[log]", "[log"),
        ("tokens\"", "missing\""),
        ("proxy = \"http://", "proxy = \"http://u:planted7f3a-proxy@"),
    ] {
        assert!(good.contains(from), "{from}");
        let file = files.join("bad.toml");
        private(&file, &good.replacen(from, to, 1));
        for verb in ["serve", "check"] {
            let arguments = [verb, "--config", file.to_str().unwrap()];
            let refusal = Daemon::refused(PROGRAM, &arguments).await;
            assert_eq!(refusal.code, Some(2), "{to}: {refusal:?}");
            search.look(format!("{verb} with {to}"), refusal.stdout + &refusal.stderr);
        }
    }
}
