//! Servers that do not let this end in, and what is recorded of the attempt.

use std::sync::Arc;
use std::time::Duration;

use lastword::settings::ConnectionSettings;
use lastword::vocabulary::{Advice, Kind, OpenFailure, TransportEnd};
use lastword::{DialError, Ending, Supervisor};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};

use super::stage::{failure, patient, settings, soon};
use crate::support::frame::Side;
use crate::support::raw_peer::{End, RawPeer};
use crate::support::{SOON, http};

/// Dials a server that does what `serve` does; returns the record of the attempt.
async fn dial_fails(
    settings: ConnectionSettings,
    serve: impl AsyncFnOnce(TcpStream),
) -> Arc<Ending> {
    let supervisor = Supervisor::builder().start().await.unwrap();
    let mut endings = supervisor.endings();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}/feed?token=secret", listener.local_addr().unwrap());
    let dial = supervisor.dial(&url).settings(settings);
    let (dialled, ()) = tokio::join!(soon("the attempt", dial.receive()), async {
        let accepted = soon("the dial", listener.accept()).await;
        serve(accepted.unwrap().0).await;
    });
    let ending = match dialled {
        Err(DialError::Failed(ending)) => ending,
        other => panic!("{other:?}"),
    };
    let published = soon("the record", endings.next()).await.unwrap().unwrap();
    assert!(Arc::ptr_eq(&ending, &published), "the error carries the record");
    assert!(matches!(ending.outcome.kind, Kind::OpenFailed(_)));
    let upstream = ending.origin.upstream.as_ref().unwrap();
    assert!(upstream.addr.is_some() && upstream.connect.is_some());
    assert!(!format!("{ending:?}").contains("secret"), "{ending:?}");
    assert_eq!(supervisor.accounting().opened, 0);
    ending
}

#[tokio::test]
async fn a_server_that_answers_otherwise_is_upgrade_rejected_with_its_status() {
    for (status, retry) in [
        (404, Advice::Never),
        (401, Advice::Reauthenticate),
        (503, Advice::Backoff),
        (429, Advice::Backoff),
    ] {
        let ending = dial_fails(patient(), async |mut stream| {
            http::read_request(&mut stream, &mut vec![]).await;
            let answer = format!("HTTP/1.1 {status} Whatever\r\nContent-Length: 0\r\n\r\n");
            stream.write_all(answer.as_bytes()).await.unwrap();
        })
        .await;
        assert_eq!(failure(&ending), OpenFailure::UpgradeRejected { status });
        assert_eq!(ending.origin.upstream.as_ref().unwrap().status, Some(status));
        assert_eq!(ending.outcome.retry.advice(), retry, "{status}");
    }
}

#[tokio::test]
async fn a_url_with_credentials_is_refused_and_they_are_not_recorded() {
    let supervisor = Supervisor::builder().start().await.unwrap();
    let dial = supervisor.dial("ws://user:secret@127.0.0.1:1/feed");
    let Err(DialError::Failed(ending)) = dial.receive().await else { panic!("it was dialled") };
    assert_eq!(failure(&ending), OpenFailure::BadRequest);
    assert!(!format!("{ending:?}").contains("secret"), "{ending:?}");
}

#[tokio::test]
async fn a_server_that_goes_before_it_has_answered_is_peer_gone() {
    for resets in [false, true] {
        let ending = dial_fails(patient(), async |mut stream| {
            http::read_request(&mut stream, &mut vec![]).await;
            let peer = RawPeer::over(stream, Side::Server);
            if resets { peer.reset() } else { drop(peer) }
        })
        .await;
        assert_eq!(failure(&ending), OpenFailure::PeerGone);
        let end = if resets { TransportEnd::Reset } else { TransportEnd::Fin };
        assert_eq!(ending.outcome.transport_end, Some(end));
    }
}

#[tokio::test]
async fn a_server_that_does_not_answer_in_time_is_handshake_timeout() {
    let hurried = settings(|s| s.limits.handshake_timeout = Duration::from_millis(200));
    let ending = dial_fails(hurried, async |mut stream| {
        http::read_request(&mut stream, &mut vec![]).await;
        // Until this end has given up.
        let mut peer = RawPeer::over(stream, Side::Server);
        assert_ne!(peer.expect_end(SOON).await, End::Timeout);
    })
    .await;
    assert_eq!(failure(&ending), OpenFailure::HandshakeTimeout);
}
