//! Routes on which a subject has one connection.

use std::time::Duration;

use lastword::settings::Replace;
use lastword::vocabulary::{Advice, Cause, CloseState, Fault, Kind, ListenAddress, Role};
use lastword::{
    Accept, Adopt, Backend, ConnectionHandle, Incoming, ListenerHandle, OpeningRequest, Receiver,
    Route, Supervisor,
};

use tokio::task::JoinSet;

use super::stage::{ended, sent_code, soon, supervisor};
use crate::support::SOON;
use crate::support::raw_peer::RawPeer;

/// Listens with two routes, which take the subject from the path.
async fn listen(supervisor: &Supervisor, replace: Replace) -> ListenerHandle {
    let route = |path: &str| {
        let route = Route::new(path, async |request: OpeningRequest| {
            let who = request.path().rsplit('/').next().unwrap_or_default().to_owned();
            Ok(Accept::new(Backend::echo()).subject(who))
        });
        route.unwrap().with_replace(replace)
    };
    let address = "127.0.0.1:0".parse().unwrap();
    let routes = vec![route("/chat/{who}"), route("/feed/{who}")];
    supervisor.listen("public", &address, routes).await.unwrap()
}

async fn dial(
    supervisor: &Supervisor,
    listener: &ListenerHandle,
    path: &str,
) -> (ConnectionHandle, Receiver) {
    let url = format!("ws://{}{path}", listener.address());
    soon("the dial", supervisor.dial(&url).receive()).await.unwrap()
}

/// Asserts that this client still has its connection.
async fn assert_stays((connection, messages): &mut (ConnectionHandle, Receiver)) {
    connection.send("still here").await.unwrap();
    let received = soon("the echo", messages.receive()).await.unwrap();
    assert_eq!(received, Incoming::Message("still here".into()));
}

/// Asserts that this client was replaced.
async fn assert_goes((connection, messages): &mut (ConnectionHandle, Receiver)) {
    match soon("the Close", messages.receive()).await.unwrap() {
        Incoming::Close(close) => {
            assert_eq!((close.code, &*close.reason), (Some(4409), "replaced"));
        }
        other @ Incoming::Message(_) => panic!("awaited a Close, received {other:?}"),
    }
    soon("the ending", connection.ended()).await;
}

/// Waits for the endings of the listener's connections that were replaced.
async fn replaced(supervisor: &Supervisor, count: usize) {
    let replaced = || async {
        let census = supervisor.census();
        let ended = census.lines.iter().flat_map(|line| &line.ended);
        let ended = ended.filter(|(verdict, _)| verdict.cause == Cause::Replaced);
        ended.map(|(_, count)| *count).sum::<u64>() as usize
    };
    soon("the endings", async {
        while replaced().await < count {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
    assert_eq!(replaced().await, count);
    assert!(supervisor.accounting().balances());
}

#[tokio::test]
async fn the_oldest_goes_on_its_route_and_of_its_subject_only() {
    let supervisor = supervisor().await;
    let listener = listen(&supervisor, Replace::Oldest).await;
    let mut first = dial(&supervisor, &listener, "/chat/ann").await;
    let mut bob = dial(&supervisor, &listener, "/chat/bob").await;
    let mut feed = dial(&supervisor, &listener, "/feed/ann").await;
    let mut endings = supervisor.endings();
    let mut second = dial(&supervisor, &listener, "/chat/ann").await;
    assert_goes(&mut first).await;
    for stays in [&mut second, &mut bob, &mut feed] {
        assert_stays(stays).await;
    }
    let ending = loop {
        let ending = soon("an ending", endings.next()).await.unwrap().unwrap();
        if ending.origin.subject.is_some() {
            break ending;
        }
    };
    let outcome = &ending.outcome;
    assert_eq!((outcome.kind, outcome.cause), (Kind::Clean, Cause::Replaced), "{ending}");
    assert_eq!((outcome.fault, outcome.retry.advice()), (Fault::None, Advice::Never));
    assert_eq!(sent_code(&ending), Some(4409));
    // The newest one is replaced in its turn, and one that left keeps no one out.
    let mut third = dial(&supervisor, &listener, "/chat/ann").await;
    assert_goes(&mut second).await;
    assert!(third.0.close(1000, "bye").unwrap().await.is_clean());
    third = dial(&supervisor, &listener, "/chat/ann").await;
    assert_stays(&mut third).await;
    replaced(&supervisor, 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 6)]
async fn of_two_that_open_one_after_the_other_it_is_the_first_that_is_replaced() {
    let supervisor = supervisor().await;
    let listener = listen(&supervisor, Replace::Oldest).await;
    let ListenAddress::Tcp(address) = *listener.address() else { panic!("no port") };
    let mut clients = JoinSet::new();
    // Many at once, because the task that answered the first may have to wait before it hands it over.
    for client in 0..8 {
        clients.spawn(async move {
            for turn in 0..50 {
                let target = format!("/chat/{client}-{turn}");
                let mut first = RawPeer::connect(address, &target).await;
                let _second = RawPeer::connect(address, &target).await;
                assert_eq!(first.expect_close(SOON).await.0, Some(4409));
            }
        });
    }
    while let Some(client) = clients.join_next().await {
        client.unwrap();
    }
}

#[tokio::test]
async fn the_newest_goes_while_another_one_is_open() {
    let supervisor = supervisor().await;
    let listener = listen(&supervisor, Replace::Newest).await;
    let mut first = dial(&supervisor, &listener, "/chat/ann").await;
    let mut second = dial(&supervisor, &listener, "/chat/ann").await;
    assert_goes(&mut second).await;
    assert_stays(&mut first).await;
    let mut feed = dial(&supervisor, &listener, "/feed/ann").await;
    assert_stays(&mut feed).await;
    assert!(first.0.close(1000, "bye").unwrap().await.is_clean());
    let mut third = dial(&supervisor, &listener, "/chat/ann").await;
    assert_stays(&mut third).await;
    replaced(&supervisor, 1).await;
}

#[tokio::test]
async fn all_stay_where_nothing_is_said() {
    let supervisor = supervisor().await;
    let listener = listen(&supervisor, Replace::None).await;
    let mut all = Vec::new();
    for _ in 0..3 {
        all.push(dial(&supervisor, &listener, "/chat/ann").await);
    }
    for stays in &mut all {
        assert_stays(stays).await;
    }
}

async fn exactly_one_of_100_stays(replace: Replace) {
    let supervisor = supervisor().await;
    let listener = listen(&supervisor, replace).await;
    let dials = (0..100).map(|_| dial(&supervisor, &listener, "/chat/ann"));
    let mut all = futures_util::future::join_all(dials).await;
    replaced(&supervisor, 99).await;
    let is_open = |(connection, _): &&mut (ConnectionHandle, Receiver)| {
        connection.state() == CloseState::Open
    };
    let of_ann = |connection: &&ConnectionHandle| connection.origin().subject.is_some();
    assert_eq!(supervisor.connections().iter().filter(of_ann).count(), 1);
    let mut left = 0;
    for one in &mut all {
        // Those that were replaced have ended here too, or are about to.
        if is_open(&one) && one.0.send("still here").await.is_ok() {
            let received = soon("a message", one.1.receive()).await;
            let echo = Incoming::Message("still here".into());
            left += usize::from(received.is_ok_and(|received| received == echo));
        }
    }
    assert_eq!(left, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_burst_exactly_one_stays_if_the_oldest_go() {
    exactly_one_of_100_stays(Replace::Oldest).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_burst_exactly_one_stays_if_the_newest_go() {
    exactly_one_of_100_stays(Replace::Newest).await;
}

/// Adopts a connection of ann's whose peer never answers.
async fn adopted(supervisor: &Supervisor, replace: Replace) -> (ConnectionHandle, impl Sized) {
    let (peer, transport) = tokio::io::duplex(1024);
    let mut adopt = Adopt { replace, ..Adopt::new(Role::Server, transport) };
    adopt.origin.subject = Some("ann".to_owned());
    (supervisor.adopt(adopt, Backend::none()).await.unwrap(), peer)
}

#[tokio::test(start_paused = true)]
async fn one_that_closes_and_never_ends_keeps_no_other_out() {
    let supervisor = supervisor().await;
    let (first, _silent) = adopted(&supervisor, Replace::Newest).await;
    let closing = first.close(1000, "bye").unwrap();
    let (second, _peer) = adopted(&supervisor, Replace::Newest).await;
    assert_eq!((first.state(), second.state()), (CloseState::CloseSent, CloseState::Open));
    assert_eq!(closing.await.outcome.kind, Kind::CloseTimeout);
    // The end of the first one has not freed the place of the second.
    let (third, _other) = adopted(&supervisor, Replace::Newest).await;
    assert_eq!(third.state(), CloseState::CloseSent);
    let ending = ended(&supervisor, &third).await;
    assert_eq!((ending.outcome.cause, sent_code(&ending)), (Cause::Replaced, Some(4409)));
    assert_eq!(second.state(), CloseState::Open);
}
