//! Hostile applications, and what their clients see.

use super::{
    BACKEND, BEHIND, Behind, Breach, Cut, INSTEAD, Instead, Played, SETTINGS, breaches, cuts, play,
};
use crate::relay::front::{Front, assert_leg};
use crate::support::SOON;
use crate::support::frame::{CLOSE, Side};
use crate::support::raw_peer::{End, RawPeer};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_an_application_breaks_its_client_gets_1011() {
    let front = Front::open(SETTINGS, BACKEND).await;
    let cases = breaches(Side::Server);
    let due: Vec<Breach> = cases.iter().map(|(_, breach)| breach.clone()).collect();
    let played = play(&front, cases, |Breach { bytes, code, .. }, client, application| {
        let application = async move {
            let mut application = application;
            // It may be refused before all of it has left.
            let _ = application.try_send_raw(bytes).await;
            let rest = application.read_to_end(SOON).await;
            let closes: Vec<_> = rest.frames.iter().filter(|frame| frame.opcode == CLOSE).collect();
            assert_eq!(closes.len(), 1, "{rest:?}");
            assert_eq!(closes[0].close_code_and_reason().0, Some(code));
        };
        let client = async move {
            let mut client = client;
            let mut frame = client.read_frame(SOON).await;
            while frame.opcode != CLOSE {
                assert!(!frame.fin && frame.rsv == 0, "{frame:?} was passed on");
                frame = client.read_frame(SOON).await;
            }
            assert_eq!(frame.close_code_and_reason().0, Some(1011));
            farewell(client, 1011).await;
        };
        async {
            tokio::join!(application, client);
        }
    })
    .await;
    for (Played { what, client, application }, breach) in played.into_iter().zip(due) {
        assert_leg(&client, ("backend_failed", "relay_peer", "backend"));
        assert_eq!(
            (&client["state"], &client["close_code"]),
            (&"closed".into(), &1011.into()),
            "{what}"
        );
        assert_leg(&application, (breach.kind, "violation", "peer"));
        assert_eq!(application["close_sent"]["code"], breach.code, "{what}: {application}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wherever_an_application_is_cut_off_its_client_gets_1012_or_a_reset() {
    for end in [End::Fin, End::Reset] {
        let front = Front::open(SETTINGS, BACKEND).await;
        let cases = cuts(Side::Server);
        let due: Vec<_> = cases.iter().map(|(_, cut)| cut.clone()).collect();
        let played = play(&front, cases, move |cut, client, application| {
            cut_off(cut, end, client, application)
        })
        .await;
        for (Played { what, client, application }, cut) in played.into_iter().zip(due) {
            assert_leg(&client, ("backend_failed", "relay_peer", "backend"));
            let state = if cut.in_part { "open" } else { "closed" };
            assert_eq!(client["state"], state, "{what}: {client}");
            match end {
                End::Fin => {
                    assert_leg(&application, ("closed_prematurely", "none", "peer"));
                    let detail = application["detail"].as_str().unwrap();
                    assert!(detail.contains(cut.place), "{what}: {detail}");
                }
                _ => assert_leg(&application, ("connection_reset", "none", "peer")),
            }
        }
    }
}

async fn cut_off(cut: Cut, end: End, mut client: RawPeer, mut application: RawPeer) {
    application.send_raw(&cut.sent).await;
    for _ in 0..cut.passed {
        client.read_frame(SOON).await;
    }
    if cut.in_part {
        // A part of it has come before the rest does not.
        client.stream().readable().await.unwrap();
    }
    match end {
        End::Fin => drop(application),
        _ => application.reset(),
    }
    if cut.in_part {
        let rest = client.read_to_end(SOON).await;
        assert!(rest.frames.is_empty() && rest.end == End::Reset, "{rest:?}");
    } else {
        assert_eq!(client.expect_close(SOON).await.0, Some(1012));
        farewell(client, 1012).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn however_an_application_closes_its_client_gets_that_close() {
    let front = Front::open(SETTINGS, BACKEND).await;
    let cases = BEHIND.map(|behind| (format!("{behind:?}"), behind)).to_vec();
    let played = play(&front, cases, |behind, client, application| async move {
        let (mut client, application) = (client, behind.close(application).await);
        assert_eq!(client.expect_close(SOON).await, (Some(4000), "that is all".into()));
        farewell(client, 4000).await;
        if let Some(mut application) = application {
            assert_eq!(application.expect_close(SOON).await, (Some(4000), String::new()));
            application.expect_end(SOON).await;
        }
    })
    .await;
    for (Played { what, client, application }, behind) in played.into_iter().zip(BEHIND) {
        assert_leg(&client, ("clean", "relay_peer", "none"));
        assert_eq!(client["close_code"], 4000, "{what}");
        match behind {
            Behind::Reset => assert_leg(&application, ("connection_reset", "peer", "peer")),
            _ => assert_leg(&application, ("clean", "peer", "none")),
        }
        assert_eq!(application["close_received"]["code"], 4000, "{what}");
        assert_eq!(application["discarded_messages"], 0, "{what}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_an_application_does_instead_of_answering_its_client_gets_an_answer() {
    let front = Front::open(SETTINGS, BACKEND).await;
    let cases = INSTEAD.map(|instead| (format!("{instead:?}"), instead)).to_vec();
    let played = play(&front, cases, |instead, mut client, mut application| async move {
        client.close(3001, "enough").await;
        assert_eq!(application.expect_close(SOON).await, (Some(3001), "enough".into()));
        let stays = instead.act(application, Side::Server).await;
        if let Instead::HalfAFrame = instead {
            let rest = client.read_to_end(SOON).await;
            assert!(rest.frames.is_empty() && rest.end == End::Reset, "{rest:?}");
        } else {
            assert_eq!(client.expect_close(SOON).await, (Some(3001), "enough".into()));
            assert_eq!(client.expect_end(SOON).await, End::Fin);
        }
        if let Some(mut stays) = stays {
            stays.read_to_end(SOON).await;
        }
    })
    .await;
    for (Played { what, client, application }, instead) in played.into_iter().zip(INSTEAD) {
        assert_leg(&application, (instead.kind(), "relay_peer", "peer"));
        assert_eq!(application["first_close"], "local", "{what}: {application}");
        match instead {
            Instead::HalfAFrame => assert_leg(&client, ("backend_failed", "peer", "backend")),
            _ => assert_leg(&client, ("clean", "peer", "none")),
        }
        assert_eq!(client["close_received"]["code"], 3001, "{what}");
    }
}

/// The client's share of a closing handshake that the other end has begun, to the end.
async fn farewell(mut client: RawPeer, code: u16) {
    client.close(code, "").await;
    assert_eq!(client.expect_end(SOON).await, End::Fin);
}
