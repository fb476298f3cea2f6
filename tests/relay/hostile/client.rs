//! Hostile clients, and what their application sees.

use super::{
    BACKEND, BEHIND, Behind, Breach, Cut, INSTEAD, Instead, Played, SETTINGS, breaches, cuts, play,
};
use crate::relay::front::{Front, assert_leg};
use crate::support::SOON;
use crate::support::frame::{CLOSE, Frame, Side};
use crate::support::raw_peer::{End, RawPeer};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_a_client_breaks_stays_here() {
    let front = Front::open(SETTINGS, BACKEND).await;
    let cases = breaches(Side::Client);
    let due: Vec<Breach> = cases.iter().map(|(_, breach)| breach.clone()).collect();
    let played = play(&front, cases, |Breach { bytes, code, .. }, client, application| {
        let client = async move {
            let mut client = client;
            let _ = client.try_send_raw(bytes).await;
            let rest = client.read_to_end(SOON).await;
            let closes: Vec<_> = rest.frames.iter().filter(|frame| frame.opcode == CLOSE).collect();
            assert_eq!(closes.len(), 1, "{rest:?}");
            assert_eq!(closes[0].close_code_and_reason().0, Some(code));
            assert_eq!(rest.end, End::Fin);
        };
        let application = async move {
            let mut application = application;
            let rest = application.read_to_end(SOON).await;
            let good = |frame: &Frame| !frame.fin && frame.rsv == 0;
            assert!(rest.frames.iter().all(good), "{:?} was passed on", rest.frames);
            assert_eq!(rest.end, End::Reset);
        };
        async {
            tokio::join!(client, application);
        }
    })
    .await;
    for (Played { what, client, application }, breach) in played.into_iter().zip(due) {
        assert_leg(&client, (breach.kind, "violation", "peer"));
        assert_eq!(client["close_sent"]["code"], breach.code, "{what}: {client}");
        assert_leg(&application, ("aborted", "relay_peer", "none"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wherever_a_client_is_cut_off_its_application_is_dropped_or_told() {
    for (end, told) in
        [End::Fin, End::Reset].into_iter().flat_map(|end| [(end, false), (end, true)])
    {
        let on_client_lost = if told { r#",on_client_lost="close:1001""# } else { "" };
        let front = Front::open(SETTINGS, &format!("{BACKEND}{on_client_lost}")).await;
        let cases = cuts(Side::Client);
        let due: Vec<Cut> = cases.iter().map(|(_, cut)| cut.clone()).collect();
        let played = play(&front, cases, move |cut, client, application| {
            cut_off(cut, end, told, client, application)
        })
        .await;
        for (Played { what, client, application }, cut) in played.into_iter().zip(due) {
            match told && !cut.in_part {
                true => assert_leg(&application, ("clean", "relay_peer", "none")),
                false => assert_leg(&application, ("aborted", "relay_peer", "none")),
            }
            match end {
                End::Fin => {
                    assert_leg(&client, ("closed_prematurely", "none", "peer"));
                    let detail = client["detail"].as_str().unwrap();
                    assert!(detail.contains(cut.place), "{what}: {detail}");
                }
                _ => assert_leg(&client, ("connection_reset", "none", "peer")),
            }
        }
    }
}

async fn cut_off(cut: Cut, end: End, told: bool, mut client: RawPeer, mut application: RawPeer) {
    client.send_raw(&cut.sent).await;
    for _ in 0..cut.passed {
        application.read_frame(SOON).await;
    }
    if cut.in_part {
        application.stream().readable().await.unwrap();
    }
    match end {
        End::Fin => drop(client),
        _ => client.reset(),
    }
    if told && !cut.in_part {
        assert_eq!(application.expect_close(SOON).await.0, Some(1001));
        application.close(1001, "").await;
        application.fin().await;
        assert_eq!(application.expect_end(SOON).await, End::Fin);
    } else {
        let rest = application.read_to_end(SOON).await;
        assert!(rest.frames.is_empty() && (rest.tail.is_empty() || cut.in_part), "{rest:?}");
        assert_eq!(rest.end, End::Reset);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn however_a_client_closes_its_application_gets_that_close() {
    let front = Front::open(SETTINGS, BACKEND).await;
    let cases = BEHIND.map(|behind| (format!("{behind:?}"), behind)).to_vec();
    let played = play(&front, cases, |behind, client, application| async move {
        let (mut application, client) = (application, behind.close(client).await);
        assert_eq!(application.expect_close(SOON).await, (Some(4000), "that is all".into()));
        application.close(4002, "as you like").await;
        application.fin().await;
        application.expect_end(SOON).await;
        if let Some(mut client) = client {
            assert_eq!(client.expect_close(SOON).await, (Some(4002), "as you like".into()));
            assert_eq!(client.expect_end(SOON).await, End::Fin);
        }
    })
    .await;
    for (Played { what, client, application }, behind) in played.into_iter().zip(BEHIND) {
        assert_leg(&application, ("clean", "relay_peer", "none"));
        assert_eq!(application["close_sent"]["code"], 4000, "{what}");
        match behind {
            Behind::Reset => assert_leg(&client, ("connection_reset", "peer", "peer")),
            _ => assert_leg(&client, ("clean", "peer", "none")),
        }
        assert_eq!(client["close_received"]["code"], 4000, "{what}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_a_client_does_instead_of_answering_its_application_gets_an_answer() {
    let front = Front::open(SETTINGS, BACKEND).await;
    let cases = INSTEAD.map(|instead| (format!("{instead:?}"), instead)).to_vec();
    let played = play(&front, cases, |instead, mut client, mut application| async move {
        application.close(3001, "enough").await;
        assert_eq!(client.expect_close(SOON).await, (Some(3001), "enough".into()));
        let stays = instead.act(client, Side::Client).await;
        if let Instead::HalfAFrame = instead {
            let rest = application.read_to_end(SOON).await;
            assert!(rest.frames.is_empty() && rest.end == End::Reset, "{rest:?}");
        } else {
            assert_eq!(application.expect_close(SOON).await, (Some(3001), "enough".into()));
            application.fin().await;
            assert_eq!(application.expect_end(SOON).await, End::Fin);
        }
        if let Some(mut stays) = stays {
            stays.read_to_end(SOON).await;
        }
    })
    .await;
    for (Played { what, client, application }, instead) in played.into_iter().zip(INSTEAD) {
        assert_leg(&client, (instead.kind(), "relay_peer", "peer"));
        assert_eq!(client["first_close"], "local", "{what}: {client}");
        match instead {
            Instead::HalfAFrame => assert_leg(&application, ("aborted", "peer", "none")),
            _ => assert_leg(&application, ("clean", "peer", "none")),
        }
        assert_eq!(application["close_received"]["code"], 3001, "{what}");
    }
}
