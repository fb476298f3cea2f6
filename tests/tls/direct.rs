//! Writes beside the owner of a connection, as broadcasts and relays make them, over TLS.

use std::time::Duration;

use lastword::vocabulary::{Kind, OpenFailure, Role};
use lastword::{DialError, Supervisor};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::stage::soon;
use crate::endings::stage::{Scene, patient, settings};
use crate::support::SOON;

const SIZE: usize = 700;

/// Broadcasts to a peer that does not read: so often, or until something is queued. Returns how often.
async fn broadcast<M>(scene: &Scene<M>, most: usize) -> usize {
    for n in 0..most {
        let report = scene.supervisor.broadcast(vec![n as u8; SIZE], |_| true);
        assert_eq!(report.queued, 1);
        if scene.connection.queued_bytes() > 0 {
            return n + 1;
        }
    }
    most
}

#[tokio::test]
async fn what_tls_holds_back_of_a_direct_write_leaves_without_another() {
    let probe = Scene::open(Role::Server, patient()).await.without_receiver();
    socket2::SockRef::from(probe.peer.stream()).set_recv_buffer_size(16 * 1024).unwrap();
    let most = broadcast(&probe, usize::MAX).await;
    // One of these fills the kernel amid a record and queues nothing.
    for count in most - 3..most + 3 {
        let mut scene = Scene::open(Role::Server, patient()).await.without_receiver();
        socket2::SockRef::from(scene.peer.stream()).set_recv_buffer_size(16 * 1024).unwrap();
        let sent = broadcast(&scene, count).await;
        for n in 0..sent {
            let frame = scene.peer.read_frame(SOON).await;
            assert_eq!(frame.payload, vec![n as u8; SIZE], "{n} of {sent}");
        }
        scene.peer.close(1000, "").await;
        scene.peer.expect_close(SOON).await;
        scene.part().await;
        let ending = scene.ended().await;
        assert_eq!(ending.outcome.kind, Kind::Clean);
        assert_eq!(ending.traffic.as_ref().unwrap().messages_out, sent as u64);
    }
}

#[tokio::test]
async fn messages_of_many_tasks_and_of_the_owner_keep_whole_and_in_order() {
    const EACH: usize = 300;
    let mut scene = Scene::with_backend(Role::Server, patient(), lastword::Backend::echo()).await;
    let tasks: Vec<_> = (0..4_u8)
        .map(|task| {
            let supervisor = scene.supervisor.clone();
            tokio::spawn(async move {
                for n in 0..EACH {
                    supervisor.broadcast([&[task][..], &n.to_be_bytes()].concat(), |_| true);
                    tokio::task::yield_now().await;
                }
            })
        })
        .collect();
    for n in 0..EACH {
        let bytes = [&[9][..], &n.to_be_bytes()].concat();
        scene.peer.binary([bytes, vec![0; 5_000]].concat()).await;
    }
    let mut next = [0; 10];
    for _ in 0..5 * EACH {
        let frame = scene.peer.read_frame(SOON).await;
        let (task, rest) = frame.payload.split_first().unwrap();
        let n = usize::from_be_bytes(*rest.first_chunk().unwrap());
        assert_eq!(n, next[usize::from(*task)], "of {task}");
        next[usize::from(*task)] += 1;
    }
    for task in tasks {
        task.await.unwrap();
    }
}

#[tokio::test]
async fn a_server_that_stalls_or_dribbles_its_tls_handshake_is_given_up() {
    for dribbles in [false, true] {
        let brief = settings(|s| s.limits.handshake_timeout = Duration::from_millis(400));
        let supervisor = Supervisor::builder().start().await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("wss://127.0.0.1:{}/", listener.local_addr().unwrap().port());
        let serve = async {
            let (mut socket, _) = listener.accept().await.unwrap();
            if dribbles {
                for byte in [22, 3, 3, 0, 122, 2, 0, 0, 118] {
                    if socket.write_all(&[byte]).await.is_err() {
                        return;
                    }
                    tokio::time::sleep(Duration::from_millis(80)).await;
                }
            }
            let _ = socket.read_to_end(&mut Vec::new()).await;
        };
        let dial = supervisor.dial(&url).settings(brief);
        let (dialled, ()) = soon(async { tokio::join!(dial.receive(), serve) }).await;
        let Err(DialError::Failed(ending)) = dialled else { panic!("it opened") };
        let failure = ending.outcome.kind.open_failure();
        assert_eq!(failure, Some(OpenFailure::HandshakeTimeout), "{ending}");
        assert!(ending.outcome.detail.contains("did not open TLS within 400ms"), "{ending}");
    }
}
