//! How many connections a route may have: in all, from one address, and of one subject.

use std::sync::Arc;

use lastword::settings::{RelayBackend, RouteCapacity};
use lastword::vocabulary::{Direction, OpenFailure};
use lastword::{Accept, Backend, Ending, OpeningRequest, Refuse, Relay, Route, Supervisor};
use tokio::net::TcpListener;

use super::stage::{House, failure, patient};
use crate::support::SOON;
use crate::support::http::{self, upgrade_request};
use crate::support::raw_peer::{End, RawPeer};

impl House {
    /// Sends a request that is refused with 503 because of a limit of its route.
    async fn is_full(&mut self, target: &str, more: &str, limit: (&str, u64)) -> Arc<Ending> {
        let request = upgrade_request("here", target, more);
        let answer = http::exchange(self.address, request, SOON).await;
        assert_eq!(answer.head.status(), 503, "{answer:?}");
        assert!(answer.head.header("retry-after").is_some(), "{answer:?}");
        assert!(answer.body.starts_with(limit.0), "{answer:?}");
        let ending = self.next_ending().await;
        assert_eq!(failure(&ending), OpenFailure::RefusedLimit, "{ending}");
        let recorded = ending.outcome.limit.as_ref().map(|limit| (limit.name, limit.limit));
        assert_eq!(recorded, Some(limit), "{ending}");
        ending
    }

    /// Closes a connection, whose place is free once it has ended.
    async fn leave(&mut self, mut peer: RawPeer) {
        peer.close(1000, "").await;
        peer.expect_close(SOON).await;
        assert_eq!(peer.expect_end(SOON).await, End::Fin);
        drop(peer);
        assert!(self.next_ending().await.is_clean());
    }
}

fn echo(path: &str, capacity: RouteCapacity) -> Route {
    Route::echo(path).unwrap().with_settings(patient()).with_capacity(capacity)
}

#[tokio::test]
async fn a_route_that_is_full_refuses_and_the_others_do_not() {
    let most = RouteCapacity::default();
    let cases = [
        (RouteCapacity { max_connections: 2, ..most }, "routes.limits.max_connections"),
        (
            RouteCapacity { max_connections_per_ip: 2, ..most },
            "routes.limits.max_connections_per_ip",
        ),
    ];
    for (capacity, limit) in cases {
        let routes = vec![echo("/small", capacity), echo("/large", most)];
        let mut house = House::open(Supervisor::builder(), routes).await;
        let first = RawPeer::connect(house.address, "/small").await;
        let _second = RawPeer::connect(house.address, "/small").await;
        house.is_full("/small", "", (limit, 2)).await;
        let _other = RawPeer::connect(house.address, "/large").await;
        house.leave(first).await;
        let _third = RawPeer::connect(house.address, "/small").await;
    }
}

/// A route on which a header names the subject.
fn by_header(accept: impl Fn() -> Accept + Send + Sync + 'static) -> Route {
    let accept = Arc::new(accept);
    let route = Route::new("/rooms/*", move |request: OpeningRequest| {
        let accept = Arc::clone(&accept);
        async move {
            let subject = request.headers().get("x-user").ok_or("no x-user")?;
            Ok::<_, Refuse>(accept().subject(subject.to_str()?))
        }
    });
    let capacity = RouteCapacity { max_connections_per_subject: 1, ..RouteCapacity::default() };
    route.unwrap().with_settings(patient()).with_capacity(capacity)
}

const PER_SUBJECT: (&str, u64) = ("routes.limits.max_connections_per_subject", 1);

#[tokio::test]
async fn a_subject_has_its_own_number_of_connections() {
    let route = by_header(|| Accept::new(Backend::echo()));
    let mut house = House::open(Supervisor::builder(), vec![route]).await;
    let (ann, bob) = ("X-User: ann\r\n", "X-User: bob\r\n");
    let first = RawPeer::connect_with(house.address, "/rooms/1", ann, &[]).await;
    let refused = house.is_full("/rooms/2", ann, PER_SUBJECT).await;
    assert_eq!(refused.origin.subject.as_deref(), Some("ann"));
    let _bob = RawPeer::connect_with(house.address, "/rooms/1", bob, &[]).await;
    house.leave(first).await;
    let _again = RawPeer::connect_with(house.address, "/rooms/2", ann, &[]).await;
}

#[tokio::test]
async fn a_subject_that_the_application_names_is_counted_and_its_leg_is_closed() {
    let application = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}", application.local_addr().unwrap());
    let relay = Relay::new(RelayBackend::new(url.parse().unwrap())).unwrap();
    let capacity = RouteCapacity { max_connections_per_subject: 1, ..RouteCapacity::default() };
    let route = Route::relay("/*".parse().unwrap(), relay);
    let route = route.with_settings(patient()).with_capacity(capacity);
    let mut house = House::open(Supervisor::builder(), vec![route]).await;
    let subject = "Lastword-Subject: ann\r\n";
    let address = house.address;
    let (_app, _client) = tokio::join!(
        RawPeer::accept_with(&application, subject, &[]),
        RawPeer::connect(address, "/room"),
    );
    let (mut app, refused) = tokio::join!(
        RawPeer::accept_with(&application, subject, &[]),
        house.is_full("/room", "", PER_SUBJECT),
    );
    assert_eq!(refused.origin.subject.as_deref(), Some("ann"));
    let (code, reason) = app.expect_close(SOON).await;
    assert_eq!((code, &*reason), (Some(1001), "too many connections of this subject"));
    app.close(1001, "").await;
    drop(app);
    let leg = house.next_ending().await;
    assert_eq!((leg.origin.direction, leg.is_clean()), (Direction::Outbound, true), "{leg}");
}
