//! Socket activation: the test plays the service manager, which keeps the sockets.

use std::net::{TcpListener, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;

use super::PROGRAM;
use super::process::{echo, echo_over_unix, until};
use crate::support::SOON;
use crate::support::daemon::{Daemon, Refusal, command, command_with_socket};
use crate::support::http::{exchange, upgrade_request};
use crate::support::raw_peer::{End, RawPeer};
use crate::support::tls::Authority;

const ACTIVATED: &str = r#"listeners[0].listen="systemd:public""#;

/// The arguments of `serve` with these settings, and logs in JSON.
fn arguments<'a>(settings: &[&'a str]) -> Vec<&'a str> {
    let settings = [r#"log.format="json""#].into_iter().chain(settings.iter().copied());
    ["serve"].into_iter().chain(settings.flat_map(|setting| ["--set", setting])).collect()
}

/// Starts a daemon that is passed this socket under these names.
async fn activate(socket: &TcpListener, names: &[&str], settings: &[&str]) -> Daemon {
    let socket = socket.try_clone().unwrap();
    let arguments = arguments(settings);
    Daemon::start_command(command_with_socket(socket, names, PROGRAM, &arguments)).await
}

#[tokio::test]
async fn a_listener_takes_the_socket_of_its_name_and_leaves_it_open() {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let settings = [ACTIVATED, "drain.within=\"20s\""];
    let mut first = activate(&socket, &["public"], &settings).await;
    assert!(first.printed.contains(&format!("listener public ws://{address}")));
    let mut peer = RawPeer::connect(address, "/echo").await;
    echo(&mut peer, "over the socket of another").await;

    first.signal("TERM").await;
    assert_eq!(peer.expect_close(SOON).await.0, Some(1012));
    // Who comes while it drains waits for the next process.
    let waiting = tokio::spawn(async move {
        let mut late = RawPeer::connect(address, "/echo").await;
        echo(&mut late, "I waited").await;
        late
    });
    peer.close(1012, "").await;
    assert_eq!(peer.expect_end(SOON).await, End::Fin);
    assert_eq!(first.await_exit(SOON).await.code(), Some(0));
    assert!(!waiting.is_finished());
    let second = activate(&socket, &["public"], &settings).await;
    drop(waiting.await.unwrap());
    drop(second);
    let refused = first.endings().iter().filter(|ending| ending["kind"] == "open_failed").count();
    assert_eq!(refused, 0, "none was accepted to be refused");
}

#[tokio::test]
async fn a_unix_socket_of_the_manager_keeps_its_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("public.sock");
    let socket = UnixListener::bind(&path).unwrap();
    let arguments = arguments(&[ACTIVATED]);
    let command = command_with_socket(socket, &["public"], PROGRAM, &arguments);
    let mut daemon = Daemon::start_command(command).await;
    assert!(daemon.printed.contains(&format!("listener public ws+unix:{}", path.display())));
    drop(echo_over_unix(&path).await);
    daemon.signal("TERM").await;
    assert_eq!(daemon.await_exit(SOON).await.code(), Some(0));
    assert!(path.exists());
}

#[tokio::test]
async fn control_and_health_take_sockets_too_and_an_unused_one_is_named() {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    for (name, request) in [("control", "/v1/status"), ("health", "/readyz")] {
        let listen = format!(r#"{name}.listen="systemd:{name}""#);
        let settings = [r#"listeners[0].listen="127.0.0.1:0""#, &listen];
        let daemon = activate(&socket, &[name, "spare"], &settings).await;
        assert_eq!(daemon.address(name), address);
        let request =
            format!("GET {request} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        assert_eq!(exchange(address, request, SOON).await.head.status(), 200);
        let warning = daemon.await_line(|line| line.contains("nothing listens on"), SOON).await;
        assert!(warning.contains(r#""socket":"spare""#), "{warning}");
        let about_sockets =
            daemon.log().iter().filter(|line| line.contains("nothing listens on")).count();
        assert_eq!(about_sockets, 1);
    }
}

#[tokio::test]
async fn a_socket_that_cannot_be_used_is_named_with_its_listener_and_the_remedy() {
    let tcp = || OwnedFd::from(TcpListener::bind("127.0.0.1:0").unwrap());
    let wide = || OwnedFd::from(TcpListener::bind("0.0.0.0:0").unwrap());
    let directory = tempfile::tempdir().unwrap();
    let unix = OwnedFd::from(UnixListener::bind(directory.path().join("x")).unwrap());
    let udp = OwnedFd::from(UdpSocket::bind("127.0.0.1:0").unwrap());
    let connection = {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        OwnedFd::from(std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap())
    };
    let authority = Authority::new();
    let (cert, key) = authority.issue("server", &["localhost"]);
    let tls = format!("listeners[0].tls={{cert={cert:?},key={key:?}}}");
    let control = [r#"listeners[0].listen="127.0.0.1:0""#, r#"control.listen="systemd:public""#];
    let public = [ACTIVATED];
    let over_tls = [ACTIVATED, tls.as_str()];
    type Words<'a> = &'a [&'a str];
    let cases: [(OwnedFd, Words<'_>, Words<'_>, Words<'_>); 6] = [
        (
            tcp(),
            &["a", "b"],
            &public,
            &["listeners[0].listen", "listener public", "\"public\"", "\"a\", \"b\""],
        ),
        (tcp(), &["public", "public"], &public, &["passed 2 sockets", "\"public\""]),
        (
            udp,
            &["public"],
            &public,
            &["listener public", "not a listening stream socket", "ListenStream="],
        ),
        (connection, &["public"], &public, &["not a listening stream socket"]),
        (unix, &["public"], &over_tls, &["listener public", "Unix socket", "TLS"]),
        (wide(), &["public"], &control, &["control.listen", "0.0.0.0:", "control.token_file"]),
    ];
    for (socket, names, settings, words) in cases {
        let arguments = arguments(settings);
        let command = command_with_socket(socket, names, PROGRAM, &arguments);
        let Refusal { code, stderr, .. } = Daemon::refused_command(command).await;
        assert_eq!(code, Some(2), "{stderr}");
        for word in words {
            assert!(stderr.contains(word), "{word:?} is not in {stderr:?}");
        }
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
    }
}

#[tokio::test]
async fn sockets_for_another_process_are_none_and_check_needs_none() {
    let arguments = arguments(&[ACTIVATED]);
    let mut foreign = command(PROGRAM, &arguments);
    foreign.env("LISTEN_PID", "1").env("LISTEN_FDS", "1").env("LISTEN_FDNAMES", "public");
    let Refusal { code, stderr, .. } = Daemon::refused_command(foreign).await;
    assert_eq!(code, Some(2));
    assert!(stderr.contains("passed no sockets") && stderr.contains("lastword.socket"), "{stderr}");

    let check = ["check", "--set", ACTIVATED];
    let Refusal { code, stdout, stderr } = Daemon::refused(PROGRAM, &check).await;
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    assert!(stdout.contains("listener public on systemd:public"), "{stdout}");
}

#[tokio::test]
async fn a_drain_that_is_no_stop_goes_on_answering() {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let daemon = activate(&socket, &["public"], &[ACTIVATED]).await;
    let drain = "POST /v1/drain HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
                 Content-Type: application/json\r\nContent-Length: 13\r\n\r\n{\"stay\":true}";
    assert_eq!(exchange(daemon.control(), drain, SOON).await.head.status(), 202);
    until("it refuses", SOON, || !daemon.log().is_empty()).await;
    let answer = exchange(address, upgrade_request("x", "/echo", ""), SOON).await;
    assert_eq!(answer.head.status(), 503);
    assert!(answer.head.header("retry-after").is_some());
}
