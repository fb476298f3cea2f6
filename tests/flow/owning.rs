//! The supervisor owns its listeners, and after its end nothing begins.

use std::net::SocketAddr;
use std::time::Duration;

use lastword::vocabulary::{CloseState, Kind, ListenAddress, OpenFailure};
use lastword::{
    Adopt, Backend, DialError, DialerOptions, DrainOptions, Event, Incoming, KeepError,
    ListenError, Route, SendError, ShutDown, Supervisor,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::stage::{soon, supervisor};

fn port(address: &ListenAddress) -> SocketAddr {
    match address {
        ListenAddress::Tcp(address) => *address,
        other => panic!("listens on {other}"),
    }
}

async fn listen(supervisor: &Supervisor) -> (lastword::ListenerHandle, SocketAddr) {
    let anywhere = "127.0.0.1:0".parse().unwrap();
    let routes = vec![Route::echo("/echo").unwrap()];
    let listener = supervisor.listen("public", &anywhere, routes).await.unwrap();
    let address = port(listener.address());
    (listener, address)
}

#[tokio::test]
async fn a_listener_goes_on_when_its_handle_is_dropped() {
    let supervisor = supervisor().await;
    let (listener, address) = listen(&supervisor).await;
    drop(listener);
    let dial = supervisor.dial(&format!("ws://{address}/echo"));
    let (connection, mut messages) = soon("the dial", dial.receive()).await.unwrap();
    connection.send("hello").await.unwrap();
    assert_eq!(messages.receive().await.unwrap(), Incoming::Message("hello".into()));
    assert!(connection.close(1000, "bye").unwrap().await.is_clean());
}

#[tokio::test]
async fn a_listener_that_is_stopped_frees_its_address_and_keeps_its_connections() {
    let supervisor = supervisor().await;
    let (listener, address) = listen(&supervisor).await;
    let url = format!("ws://{address}/echo");
    let (connection, mut messages) = supervisor.dial(&url).receive().await.unwrap();
    let mut events = supervisor.events();
    let mut half = TcpStream::connect(address).await.unwrap();
    half.write_all(b"GET /echo HTTP/1.1\r\n").await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;

    soon("the stop", listener.stop()).await;
    // The attempt under way is on record by now, and its peer is gone.
    let failed = soon("the attempt", async {
        loop {
            if let Some(Event::OpenFailed(ending)) = events.next().await {
                return ending;
            }
        }
    });
    let failed = failed.await;
    assert_eq!(failed.outcome.kind, Kind::OpenFailed(OpenFailure::RefusedDraining));
    assert_eq!(soon("the end", half.read(&mut [0])).await.unwrap_or(0), 0);
    soon("the second stop", listener.clone().stop()).await;
    let again = supervisor.listen("again", listener.address(), Vec::new()).await.unwrap();
    assert_eq!(again.address(), listener.address());

    connection.send("still here").await.unwrap();
    assert_eq!(messages.receive().await.unwrap(), Incoming::Message("still here".into()));
    supervisor.shutdown(DrainOptions::default()).await;
    soon("a stop behind the shutdown", again.stop()).await;
}

#[tokio::test]
async fn listeners_end_with_the_last_clone_of_their_supervisor() {
    let supervisor = supervisor().await;
    let (listener, address) = listen(&supervisor).await;
    let clone = supervisor.clone();
    drop(supervisor);
    TcpStream::connect(address).await.unwrap();
    drop(clone);
    soon("the end of the listener", listener.stop()).await;
    TcpListener::bind(address).await.unwrap();
}

#[tokio::test]
async fn after_a_shutdown_nothing_begins() {
    let supervisor = supervisor().await;
    let (_listener, address) = listen(&supervisor).await;
    let url = format!("ws://{address}/echo");
    let (connection, _messages) = supervisor.dial(&url).receive().await.unwrap();
    supervisor.shutdown(DrainOptions::default()).await;
    assert_eq!(connection.state(), CloseState::Closed);
    let refused = connection.send("late").await;
    assert_eq!(refused, Err(SendError::Ended { kind: Kind::Clean }));

    TcpListener::bind(address).await.unwrap();
    let dialled = supervisor.dial(&url).open(Backend::none()).await;
    assert!(matches!(dialled, Err(DialError::ShutDown(ShutDown))), "{dialled:?}");
    let kept = supervisor.keep(DialerOptions::new("feed", url.as_str()));
    assert!(matches!(kept, Err(KeepError::ShutDown(ShutDown))), "{kept:?}");
    let anywhere = "127.0.0.1:0".parse().unwrap();
    let listened = supervisor.listen("late", &anywhere, Vec::new()).await;
    assert!(matches!(listened, Err(ListenError::ShutDown(ShutDown))), "{listened:?}");
    let (near, _far) = tokio::io::duplex(64);
    let adopt = Adopt::new(lastword::vocabulary::Role::Server, near);
    assert_eq!(supervisor.adopt(adopt, Backend::none()).await.unwrap_err(), ShutDown);
    // A second one has nothing left to do.
    soon("the second shutdown", supervisor.shutdown(DrainOptions::default())).await;
}
