//! Several applications behind one route: who gets the next client, and who none for a while.

use std::time::Duration;

use lastword::policy::balance::Balance;
use lastword::settings::RelayBackend;
use lastword::vocabulary::{BackendState, BackendStatus, Cause, Direction, DrainPhase, Kind};
use lastword::{DrainBackendError, DrainOptions, NoBackend};
use tokio::time::{sleep, timeout};

use super::app::{App, Mood};
use super::stage::{House, settings};
use crate::support::SOON;
use crate::support::http::{exchange, upgrade_request};
use crate::support::raw_peer::{End, RawPeer};

/// How the route of the house is called.
const ROUTE: &str = "/*";

async fn house(apps: &[&App], change: impl FnOnce(&mut RelayBackend)) -> House {
    let urls = apps.iter().map(|app| app.url.parse().unwrap()).collect();
    House::open(&apps[0].url, settings(|_| {}), |relay| {
        relay.urls = urls;
        change(relay);
    })
    .await
}

/// Connects; returns the client and who greets it.
async fn enter(house: &House) -> (RawPeer, String) {
    let mut client = RawPeer::connect(house.address, "/").await;
    let greeting = client.read_frame(SOON).await;
    (client, String::from_utf8(greeting.payload).unwrap())
}

/// Asks for a WebSocket; returns the status of the answer.
async fn ask(house: &House) -> u16 {
    let request = upgrade_request("house", "/", "Connection: close\r\n");
    exchange(house.address, request, SOON).await.head.status()
}

/// Leaves in good order.
async fn leave(mut client: RawPeer) {
    client.close(1000, "").await;
    client.expect_close(SOON).await;
    client.fin().await;
}

fn states(house: &House) -> Vec<&'static str> {
    house.supervisor.backends().iter().map(|backend| backend.state.as_str()).collect()
}

/// Waits until the applications have the wanted status.
async fn until(house: &House, wanted: impl Fn(&[BackendStatus]) -> bool) {
    let waited = timeout(SOON, async {
        while !wanted(&house.supervisor.backends()) {
            sleep(Duration::from_millis(5)).await;
        }
    });
    waited.await.unwrap_or_else(|_| panic!("{:?}", house.supervisor.backends()));
}

async fn until_states(house: &House, wanted: &[&str]) {
    until(house, |backends| backends.iter().map(|b| b.state.as_str()).eq(wanted.iter().copied()))
        .await;
}

#[tokio::test]
async fn clients_go_in_turn_and_their_records_name_the_application() {
    let (a, b) = (App::start("a").await, App::start("b").await);
    let mut house = house(&[&a, &b], |_| {}).await;
    let mut greeted = Vec::new();
    for _ in 0..4 {
        let (client, by) = enter(&house).await;
        leave(client).await;
        for _leg in 0..2 {
            let ending = house.next_ending().await;
            let url = &ending.origin.upstream.as_ref().unwrap().url;
            assert_eq!(*url, if by == "a" { a.url.clone() } else { b.url.clone() });
        }
        greeted.push(by);
    }
    assert_eq!(greeted, ["a", "b", "a", "b"]);
    until(&house, |backends| backends.iter().all(|b| b.connections == 0 && b.chosen == 2)).await;
}

#[tokio::test]
async fn the_one_with_fewest_clients_gets_the_next() {
    let (a, b) = (App::start("a").await, App::start("b").await);
    let house = house(&[&a, &b], |relay| relay.balance = Balance::LeastConnections).await;
    let (_first, by_a) = enter(&house).await;
    let (second, by_b) = enter(&house).await;
    assert_eq!((&*by_a, &*by_b), ("a", "b"));
    leave(second).await;
    until(&house, |backends| backends[1].connections == 0).await;
    assert_eq!(enter(&house).await.1, "b");
}

#[tokio::test]
async fn an_address_gets_the_same_application_each_time() {
    let (a, b, c) = (App::start("a").await, App::start("b").await, App::start("c").await);
    let house = house(&[&a, &b, &c], |relay| relay.balance = Balance::ClientAddress).await;
    let home = enter(&house).await.1;
    for _ in 0..5 {
        assert_eq!(enter(&house).await.1, home);
    }
}

#[tokio::test]
async fn who_cannot_be_reached_is_left_out_and_no_client_notices() {
    let (a, b) = (App::start("a").await, App::start("b").await);
    let house = house(&[&a, &b], |relay| relay.eject_after = 3).await;
    a.die();
    for _ in 0..8 {
        assert_eq!(enter(&house).await.1, "b");
    }
    assert_eq!(states(&house), ["ejected", "serving"]);
    let dead = &house.supervisor.backends()[0];
    assert_eq!((dead.chosen, dead.failures, dead.ejections), (3, 3, 1));
    assert!(dead.ejected_until.is_some());
}

#[tokio::test]
async fn who_answers_5xx_is_ejected_for_a_while_and_who_refuses_is_not() {
    let (a, b) = (App::start("a").await, App::start("b").await);
    let eject_for = Duration::from_millis(300);
    let house = house(&[&a, &b], |relay| {
        (relay.eject_after, relay.eject_for) = (2, eject_for);
    })
    .await;
    a.set(Mood::Answer(403));
    b.set(Mood::Answer(503));
    let mut answers = Vec::new();
    for _ in 0..4 {
        answers.push(ask(&house).await);
    }
    // An answer goes to the client, and no other application is tried.
    assert_eq!(answers, [403, 503, 403, 503]);
    assert_eq!(states(&house), ["serving", "ejected"]);
    assert_eq!((ask(&house).await, ask(&house).await), (403, 403));
    b.set(Mood::Well);
    until_states(&house, &["serving", "serving"]).await;
    let (_client, by) = enter(&house).await;
    assert_eq!(by, "b");
    assert_eq!(house.supervisor.backends()[1].failures, 0, "it has answered");
}

#[tokio::test]
async fn who_cuts_connections_off_is_ejected_and_who_closes_them_is_not() {
    let (a, b) = (App::start("a").await, App::start("b").await);
    let mut house = house(&[&a, &b], |relay| relay.eject_after = 2).await;
    a.set(Mood::CutOff);
    b.set(Mood::Close(1001));
    for round in 0..4 {
        let mut client = RawPeer::connect(house.address, "/").await;
        let code = client.expect_close(SOON).await.0;
        assert_eq!(code, Some(if round % 2 == 0 { 1012 } else { 1001 }));
        client.close(code.unwrap(), "").await;
        client.expect_end(SOON).await;
        client.fin().await;
        let kinds = [house.next_ending().await, house.next_ending().await];
        assert!(kinds.iter().all(|leg| leg.origin.upstream.is_some()), "{kinds:?}");
    }
    until_states(&house, &["ejected", "serving"]).await;
    assert_eq!((a.asked(), b.asked()), (2, 2));
}

#[tokio::test]
async fn at_most_half_are_ejected_and_the_rest_is_asked_all_the_same() {
    let (a, b) = (App::start("a").await, App::start("b").await);
    let house = house(&[&a, &b], |relay| relay.eject_after = 1).await;
    a.die();
    b.die();
    for _ in 0..4 {
        assert_eq!(ask(&house).await, 502);
    }
    let ejected = states(&house).iter().filter(|state| **state == "ejected").count();
    assert_eq!(ejected, 1, "{:?}", states(&house));
}

#[tokio::test]
async fn who_says_that_it_is_not_well_gets_no_clients_until_it_is() {
    let (a, b) = (App::start("a").await, App::start("b").await);
    a.set_health(500);
    let house = house(&[&a, &b], |relay| {
        relay.health_path = Some("/healthz".parse().unwrap());
        relay.health_interval = Duration::from_millis(20);
    })
    .await;
    until_states(&house, &["unhealthy", "serving"]).await;
    for _ in 0..3 {
        assert_eq!(enter(&house).await.1, "b");
    }
    assert_eq!(a.asked(), 0);
    a.set_health(204);
    until_states(&house, &["serving", "serving"]).await;
    assert_eq!(enter(&house).await.1, "a");
    assert!(a.probed() > 1 && b.probed() > 1);
    a.die();
    until_states(&house, &["unhealthy", "serving"]).await;
}

#[tokio::test]
async fn one_is_drained_and_comes_back() {
    let (a, b) = (App::start("a").await, App::start("b").await);
    let mut house = house(&[&a, &b], |_| {}).await;
    let (mut on_a, by_a) = enter(&house).await;
    let (on_b, by_b) = enter(&house).await;
    assert_eq!((&*by_a, &*by_b), ("a", "b"));

    let drain = house.supervisor.drain_backend(ROUTE, 0, DrainOptions::default()).unwrap();
    assert_eq!((drain.total, drain.select.upstream.as_ref()), (1, Some(&a.url)));
    assert_eq!(on_a.expect_close(SOON).await, (Some(1012), "service restart".into()));
    on_a.close(1012, "").await;
    assert_eq!(on_a.expect_end(SOON).await, End::Fin);
    for _leg in 0..2 {
        let ending = house.next_ending().await;
        assert_eq!(ending.outcome.kind, Kind::Clean, "{ending}");
        if ending.origin.direction == Direction::Inbound {
            assert_eq!(ending.outcome.cause, Cause::Drain, "{ending}");
        }
    }
    assert_eq!(states(&house), ["draining", "serving"]);
    for _ in 0..3 {
        assert_eq!(enter(&house).await.1, "b");
    }
    until_drained(&house).await;
    house.supervisor.drain_backend(ROUTE, 1, DrainOptions::default()).unwrap();
    assert_eq!(ask(&house).await, 503, "no application takes clients");
    drop(on_b);

    house.supervisor.resume_backend(ROUTE, 0).unwrap();
    assert_eq!(states(&house), ["serving", "draining"]);
    assert_eq!(enter(&house).await.1, "a");
}

#[tokio::test]
async fn of_two_with_one_url_as_it_is_recorded_only_the_one_that_drains_loses_its_clients() {
    let app = App::start("both").await;
    let urls = [1, 2].map(|shard| format!("{}/x?shard={shard}", app.url).parse().unwrap());
    let house = House::open(&app.url, settings(|_| {}), |relay| relay.urls = urls.to_vec()).await;
    let ((mut on_first, _), (mut on_second, _)) = (enter(&house).await, enter(&house).await);
    let drain = house.supervisor.drain_backend(ROUTE, 1, DrainOptions::default()).unwrap();
    assert_eq!(drain.total, 1);
    assert_eq!(on_second.expect_close(SOON).await.0, Some(1012));
    on_first.text("still here").await;
    on_first.expect_text("still here").await;
}

async fn until_drained(house: &House) {
    let waited = timeout(SOON, async {
        while house
            .supervisor
            .drain_progress()
            .is_some_and(|drain| drain.phase == DrainPhase::Running)
        {
            sleep(Duration::from_millis(5)).await;
        }
    });
    waited.await.unwrap();
}

#[tokio::test]
async fn who_is_not_there_cannot_be_drained_and_a_refused_drain_changes_nothing() {
    let (a, b) = (App::start("a").await, App::start("b").await);
    let house = house(&[&a, &b], |_| {}).await;
    let drain = |route: &str, n| {
        house.supervisor.drain_backend(route, n, DrainOptions::default()).map(|drain| drain.total)
    };
    let none = |error| Err(DrainBackendError::NoBackend(error));
    assert_eq!(drain("chat", 0), none(NoBackend::NoRoute("chat".to_owned())));
    assert!(matches!(drain(ROUTE, 2), Err(DrainBackendError::NoBackend(NoBackend::NoInstance(_)))));
    let (_client, _) = enter(&house).await;
    assert_eq!(drain(ROUTE, 0), Ok(1));
    assert!(matches!(drain(ROUTE, 1), Err(DrainBackendError::UnderWay(_))));
    let backends = house.supervisor.backends();
    let states: Vec<_> = backends.iter().map(|backend| backend.state).collect();
    assert_eq!(states, [BackendState::Draining, BackendState::Serving]);
}
