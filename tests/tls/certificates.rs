//! The files of certificates: what keeps the daemon from starting, and how it follows them.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use rcgen::date_time_ymd;

use super::stage::{PROGRAM, Stage, WAIT, echo_and_close, tls};
use crate::support::daemon::{Daemon, command};
use crate::support::http::exchange;
use crate::support::tls::Authority;

/// The arguments that start with this certificate.
fn arguments(cert: &Path, key: &Path) -> Vec<String> {
    let setting = format!("listeners[0].tls={{cert={cert:?},key={key:?}}}");
    ["--set", r#"listeners[0].listen="127.0.0.1:0""#, "--set", &setting].map(str::to_owned).to_vec()
}

#[tokio::test]
async fn files_that_cannot_be_used_are_exit_code_2_of_serve_and_check() {
    let authority = Authority::new();
    let (cert, key) = authority.issue("own", &["localhost"]);
    let (other, _) = authority.issue("other", &["localhost"]);
    let (expired, expired_key) = authority.issue_with("expired", &["localhost"], |params| {
        params.not_before = date_time_ymd(2019, 1, 1);
        params.not_after = date_time_ymd(2020, 1, 1);
    });
    let write = |name: &str, text: &str| {
        let file = authority.folder().join(name);
        fs::write(&file, text).unwrap();
        file
    };
    let missing = authority.folder().join("missing.pem");
    let pipe = authority.folder().join("pipe.pem");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let large = fs::read_to_string(&cert).unwrap() + &"#".repeat(4 << 20);
    let large = write("large.pem", &large);
    let not_pem = write("not.pem", "hello\n");
    let empty = write("empty.pem", "");
    let broken = "-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n";
    let broken = write("broken.pem", broken);
    let encrypted =
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\naGVsbG8=\n-----END ENCRYPTED PRIVATE KEY-----\n";
    let encrypted = write("encrypted.pem", encrypted);
    let chain = |files: [&Path; 2]| files.map(|file| fs::read_to_string(file).unwrap()).concat();
    let upside_down = write("upside_down.pem", &chain([&authority.file(), &cert]));
    for (cert, key, says) in [
        (&missing, &key, vec!["missing.pem cannot be read", "No such file"]),
        (&cert, &missing, vec!["missing.pem cannot be read"]),
        (&pipe, &key, vec!["pipe.pem cannot be read", "it is not a regular file"]),
        (&cert, &pipe, vec!["pipe.pem cannot be read"]),
        (&large, &key, vec!["large.pem cannot be read", "it is larger than 4194304 bytes"]),
        (&not_pem, &key, vec!["not.pem holds no certificate"]),
        (&empty, &key, vec!["empty.pem holds no certificate"]),
        (&broken, &key, vec!["certificate 1 in", "broken.pem cannot be read"]),
        (&cert, &not_pem, vec!["not.pem holds no private key"]),
        (&cert, &encrypted, vec!["encrypted.pem is encrypted"]),
        (&other, &key, vec!["own-key.pem does not belong to the certificate in", "other.pem"]),
        (&expired, &expired_key, vec!["expired.pem expired at 2020-01-01"]),
        (&upside_down, &key, vec!["belongs to certificate 2 in", "upside_down.pem"]),
    ] {
        for program in ["serve", "check"] {
            let arguments = arguments(cert, key);
            let all: Vec<&str> =
                [program].into_iter().chain(arguments.iter().map(String::as_str)).collect();
            let refused = Daemon::refused(PROGRAM, &all).await;
            assert_eq!(refused.code, Some(2), "{program}: {refused:?}");
            assert!(refused.stderr.contains("listeners[0].tls"), "{refused:?}");
            for word in &says {
                assert!(refused.stderr.contains(word), "{program}: {refused:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_key_that_all_can_read_gets_a_warning_that_names_it() {
    let authority = Authority::new();
    let (cert, key) = authority.issue_with("own", &["localhost"], |params| {
        let soon = std::time::SystemTime::now() + Duration::from_secs(2 * 24 * 60 * 60);
        params.not_after = soon.into();
    });
    fs::set_permissions(&key, PermissionsExt::from_mode(0o644)).unwrap();
    let arguments = arguments(&cert, &key);
    let all: Vec<&str> =
        ["check"].into_iter().chain(arguments.iter().map(String::as_str)).collect();
    let checked = command(PROGRAM, &all).output().await.unwrap();
    let stdout = String::from_utf8_lossy(&checked.stdout);
    assert!(checked.status.success() && stdout.contains("warning: public: "), "{checked:?}");
    assert!(stdout.contains("own-key.pem") && stdout.contains("renew it"), "{stdout}");
    let all: Vec<&str> =
        ["serve"].into_iter().chain(arguments.iter().map(String::as_str)).collect();
    let daemon = Daemon::start_with(PROGRAM, &all).await;
    let exposed = |line: &str| line.contains("everybody on this machine can read the private key");
    let line = daemon.await_line(exposed, WAIT).await;
    assert!(line.contains("own-key.pem"), "{line}");
}

#[tokio::test]
async fn the_short_form_is_for_the_first_listener() {
    let authority = Authority::new();
    let (cert, key) = authority.issue("own", &["localhost"]);
    let [cert, key] = [cert, key].map(|file| file.display().to_string());
    let listen = r#"listeners[0].listen="127.0.0.1:0""#;
    let arguments = ["serve", "--set", listen, "--tls-cert", &cert, "--tls-key", &key];
    let daemon = Daemon::start_with(PROGRAM, &arguments).await;
    let config = authority.client(None, rustls::ALL_VERSIONS);
    tls(daemon.listener(), config, "localhost").await.unwrap();
    let lonely = Daemon::refused(PROGRAM, &["serve", "--tls-cert", &cert]).await;
    assert_eq!(lonely.code, Some(2));
    assert!(lonely.stderr.contains("--tls-key"), "{lonely:?}");
}

#[tokio::test]
async fn new_certificates_are_shown_without_a_restart_and_bad_ones_are_refused() {
    let stage = Stage::open("", &[]).await;
    let (authority, daemon) = (&stage.authority, &stage.daemon);
    let open = stage.websocket(stage.client()).await;
    let within = Duration::from_secs(30);

    // A key of another certificate: the old pair stays.
    let key = authority.folder().join("own-key.pem");
    let old_key = fs::read(&key).unwrap();
    authority.issue("other", &["localhost"]);
    fs::copy(authority.folder().join("other-key.pem"), &key).unwrap();
    let refused = daemon.await_line(|line| line.contains("new certificates were refused"), within);
    let line = refused.await;
    assert!(line.contains("own-key.pem does not belong to the certificate"), "{line}");
    let get = "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let metrics = exchange(daemon.control(), get, WAIT).await.body;
    let series = "lastword_tls_reload_failed_total{listener=\"public\"} ";
    let failed = metrics.lines().find_map(|line| line.strip_prefix(series)).unwrap();
    assert!(failed.parse::<u64>().unwrap() > 0, "{metrics}");
    echo_and_close(stage.websocket(stage.client()).await).await;

    // Both files of another name.
    fs::write(&key, old_key).unwrap();
    authority.issue("own", &["renewed.example"]);
    daemon.await_line(|line| line.contains("new certificates are used"), within).await;
    tls(daemon.listener(), stage.client(), "renewed.example").await.unwrap();
    stage.tls(stage.client()).await.unwrap_err();
    // Who was there has noticed nothing.
    echo_and_close(open).await;
}

#[tokio::test]
async fn files_of_the_control_api_the_probes_and_the_authorities_of_clients_are_followed() {
    let (authority, other) = (Authority::new(), Authority::new());
    let (cert, key) = authority.issue("own", &["localhost"]);
    let client_ca = authority.folder().join("clients.pem");
    fs::copy(authority.file(), &client_ca).unwrap();
    let keys = format!("cert={cert:?},key={key:?}");
    let settings = [
        format!("listeners[0].tls={{{keys},client_ca={client_ca:?}}}"),
        format!("control.tls={{{keys}}}"),
        format!("health.tls={{{keys}}}"),
        r#"health.listen="127.0.0.1:0""#.to_owned(),
    ];
    let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
    let daemon = Daemon::start(PROGRAM, &settings).await;
    // Both trust the server; their certificates are of two authorities.
    let shown = [authority.issue("ann", &["ann"]), other.issue("bob", &["bob"])];
    let is_let_in = async |who: usize, name: &'static str| {
        let config = authority.client(Some(&shown[who]), rustls::ALL_VERSIONS);
        let Ok(stream) = tls(daemon.listener(), config, name).await else { return false };
        // With TLS 1.3 the client is done before its certificate is judged.
        tokio_tungstenite::client_async("ws://localhost/echo", stream).await.is_ok()
    };
    assert!(is_let_in(0, "localhost").await && !is_let_in(1, "localhost").await);

    authority.issue("own", &["renewed.example"]);
    fs::copy(other.file(), &client_ca).unwrap();
    let within = Duration::from_secs(30);
    for listener in ["public", "control", "health"] {
        let is_new = |line: &str| {
            line.contains("new certificates are used")
                && line.contains(&format!("\"listener\":\"{listener}\""))
        };
        daemon.await_line(is_new, within).await;
    }
    for words in ["control", "health"] {
        let config = || authority.client(None, rustls::ALL_VERSIONS);
        tls(daemon.address(words), config(), "renewed.example").await.unwrap();
        tls(daemon.address(words), config(), "localhost").await.unwrap_err();
    }
    assert!(is_let_in(1, "renewed.example").await && !is_let_in(0, "renewed.example").await);
}
