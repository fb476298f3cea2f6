//! Whose certificates are trusted: by dials of this end, by the command line, and with a chain or without.

use std::path::{Path, PathBuf};

use lastword::vocabulary::OpenFailure;
use lastword::{Dial, DialError, Supervisor};
use rustls::ALL_VERSIONS;

use super::stage::{PROGRAM, soon, tls};
use crate::support::daemon::{Daemon, command};
use crate::support::tls::Authority;

/// A file that `openssl req -x509` has made.
fn by_openssl(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/openssl").join(file)
}

/// A daemon with these files.
async fn daemon(cert: &Path, key: &Path) -> Daemon {
    let tls = format!("listeners[0].tls={{cert={cert:?},key={key:?}}}");
    Daemon::start(PROGRAM, &[&tls]).await
}

/// Dials the daemon by this name; returns why that failed, if it did.
async fn dial(daemon: &Daemon, host: &str, set_up: impl FnOnce(Dial) -> Dial) -> Option<String> {
    let supervisor = Supervisor::builder().start().await.unwrap();
    let url = format!("wss://{host}:{}/echo", daemon.listener().port());
    match soon(set_up(supervisor.dial(&url)).receive()).await {
        Ok((connection, _messages)) => {
            assert!(soon(connection.close(1000, "").unwrap()).await.is_clean());
            None
        }
        Err(DialError::Failed(ending)) => {
            assert_eq!(ending.outcome.kind.open_failure(), Some(OpenFailure::Tls), "{ending}");
            Some(ending.outcome.detail.clone())
        }
        Err(other) => panic!("{other}"),
    }
}

#[tokio::test]
async fn what_openssl_makes_by_default_serves_and_is_trusted_by_its_file() {
    let (cert, key) = (by_openssl("named.pem"), by_openssl("named-key.pem"));
    let named = daemon(&cert, &key).await;
    for host in ["localhost", "127.0.0.1"] {
        assert_eq!(dial(&named, host, |dial| dial.ca_file(&cert)).await, None, "{host}");
    }
    let (plain, key) = (by_openssl("plain.pem"), by_openssl("plain-key.pem"));
    let other = dial(&named, "localhost", |dial| dial.ca_file(&plain)).await.unwrap();
    assert!(other.contains("name its PEM file as ca_file"), "{other}");

    // Without a subject alternative name the common name counts, of a pinned certificate alone.
    let unnamed = daemon(&plain, &key).await;
    assert_eq!(dial(&unnamed, "localhost", |dial| dial.ca_file(&plain)).await, None);
    let wrong = dial(&unnamed, "127.0.0.1", |dial| dial.ca_file(&plain)).await.unwrap();
    assert!(wrong.contains("not for 127.0.0.1"), "{wrong}");
}

#[tokio::test]
async fn a_chain_that_is_not_sent_is_said_to_be_missing() {
    let authority = Authority::new();
    let [alone, chain, key] = authority.issue_below();
    let whole = daemon(&chain, &key).await;
    assert_eq!(dial(&whole, "localhost", |dial| dial.ca_file(authority.file())).await, None);
    let lacking = daemon(&alone, &key).await;
    let why = dial(&lacking, "localhost", |dial| dial.ca_file(authority.file())).await.unwrap();
    assert!(why.contains("does not send the certificates between the two"), "{why}");
    // The other side says the same.
    let config = authority.client(None, ALL_VERSIONS);
    tls(lacking.listener(), config, "localhost").await.unwrap_err();
    let fits = |ending: &serde_json::Value| ending["open_failure"] == "tls";
    let records = lacking.await_endings(2, fits, super::stage::WAIT).await;
    let detail = records[1]["detail"].as_str().unwrap();
    assert!(detail.contains("check its names, its expiry and its chain"), "{detail}");
}

#[tokio::test]
async fn the_command_line_reaches_a_control_api_with_tls() {
    let authority = Authority::new();
    let (cert, key) = authority.issue("own", &["localhost"]);
    let setting = format!("control.tls={{cert={cert:?},key={key:?}}}");
    let daemon = Daemon::start(PROGRAM, &[&setting]).await;
    let port = daemon.control().port();
    let url = format!("https://localhost:{port}");
    let ca_file = authority.file().display().to_string();
    let run = async |arguments: &[&str]| {
        let arguments = [&["status", "--control"], arguments].concat();
        command(PROGRAM, &arguments).output().await.unwrap()
    };
    let trusted = run(&[&url, "--ca-file", &ca_file]).await;
    assert!(trusted.status.success(), "{trusted:?}");
    for (arguments, code, says) in [
        (vec![&*url], 3, "name the authority's PEM file as --ca-file"),
        (
            vec![&*url, "--ca-file", "/nonexistent/ca.pem"],
            3,
            "--ca-file /nonexistent/ca.pem cannot",
        ),
        (vec!["http://localhost:PORT"], 3, "use wss:// instead of ws://"),
    ] {
        let arguments: Vec<String> =
            arguments.iter().map(|word| word.replace("PORT", &port.to_string())).collect();
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let refused = run(&arguments).await;
        let stderr = String::from_utf8_lossy(&refused.stderr);
        assert_eq!(refused.status.code(), Some(code), "{stderr}");
        assert!(stderr.contains(says), "{stderr}");
    }
}
