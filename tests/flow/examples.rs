//! The examples, as a new user finds them.

use std::time::Duration;

use lastword::vocabulary::{CloseFrame, Kind};
use lastword::{Backend, DialerOptions, Incoming, Receiver, Route, Supervisor};

use super::stage::{soon, supervisor};

#[path = "../../examples/chat_room.rs"]
#[allow(dead_code)]
mod chat_room;
#[path = "../../examples/close_output.rs"]
#[allow(dead_code)]
mod close_output;
#[path = "../../examples/feed_client.rs"]
#[allow(dead_code)]
mod feed_client;
#[path = "../../examples/from_dotnet.rs"]
#[allow(dead_code)]
mod from_dotnet;

async fn serve(supervisor: &Supervisor, routes: Vec<Route>) -> String {
    let address = "127.0.0.1:0".parse().unwrap();
    let listener = supervisor.listen("examples", &address, routes).await.unwrap();
    format!("ws://{}", listener.address())
}

async fn hear(messages: &mut Receiver, expected: &str) {
    loop {
        match soon("a message", messages.receive()).await.unwrap() {
            Incoming::Message(message) if message.as_text() == Some(expected) => return,
            Incoming::Message(_) => {}
            Incoming::Close(close) => panic!("{close:?} instead of {expected:?}"),
        }
    }
}

#[tokio::test]
async fn a_member_of_a_chat_room_is_kicked_and_the_room_is_told() {
    let supervisor = supervisor().await;
    let url = serve(&supervisor, vec![chat_room::rooms(supervisor.clone()).unwrap()]).await;
    let enter = |name: &str| supervisor.dial(&format!("{url}/rooms/lobby?name={name}")).receive();
    let (ann, mut to_ann) = enter("ann").await.unwrap();
    let (bob, mut to_bob) = enter("bob").await.unwrap();
    let (_, mut elsewhere) =
        supervisor.dial(&format!("{url}/rooms/attic?name=eve")).receive().await.unwrap();
    hear(&mut to_ann, "* bob is here").await;
    bob.send("hello").await.unwrap();
    hear(&mut to_ann, "bob: hello").await;
    hear(&mut to_bob, "bob: hello").await;

    ann.send("/kick bob").await.unwrap();
    hear(&mut to_ann, "* bob is gone: clean").await;
    let ending = soon("the ending", bob.ended()).await;
    let close = ending.outcome.close_received.as_ref().unwrap();
    assert_eq!((close.code, &*close.reason), (Some(1008), "kicked by ann"));
    // The attic has received events of its own member only.
    hear(&mut elsewhere, "* eve is here").await;
    let quiet = tokio::time::timeout(Duration::from_millis(50), elsewhere.receive()).await;
    assert!(quiet.is_err(), "{quiet:?}");

    // Who does not say a name is refused.
    let refused = supervisor.dial(&format!("{url}/rooms/lobby")).receive().await;
    assert!(refused.unwrap_err().to_string().contains("403"));
}

#[tokio::test]
async fn a_feed_client_subscribes_again_after_the_server_closed() {
    let server = supervisor().await;
    let url = serve(&server, vec![Route::serve("/feed", Backend::none).unwrap()]).await;
    let client = supervisor().await;
    let feed = || Backend::handler("feed", feed_client::Feed);
    let options = DialerOptions::new("trades", format!("{url}/feed")).backend(feed);
    let dialer = client.keep(options).unwrap();
    for opened in 1..=2 {
        let status = soon("the feed", dialer.wait_for(|status| status.opened == opened)).await;
        assert!(status.is_some());
        let at_server = loop {
            match server.connections().pop() {
                Some(connection) if connection.status().traffic.messages_in == 1 => {
                    break connection;
                }
                _ => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        };
        let ending = at_server.close(1012, "restarting").unwrap().await;
        assert_eq!(ending.outcome.kind, Kind::Clean, "{ending}");
    }
}

#[tokio::test]
async fn the_ends_of_dotnet_read_as_they_are_described() {
    let supervisor = supervisor().await;
    let url = serve(&supervisor, from_dotnet::routes().unwrap()).await;
    soon("the tour", from_dotnet::tour(&supervisor, &format!("{url}/"))).await.unwrap();
}

#[tokio::test]
async fn what_comes_after_the_output_was_closed_is_received() {
    let supervisor = supervisor().await;
    let url = serve(&supervisor, vec![Route::echo("/*").unwrap()]).await;
    let said = close_output::say_and_listen(&supervisor, &url);
    let (received, ending) = soon("the ending", said).await.unwrap();
    assert_eq!(received, ["message 1", "message 2", "message 3"]);
    assert_eq!(ending.outcome.kind, Kind::Clean, "{ending}");
    let closes = (&ending.outcome.close_sent, &ending.outcome.close_received);
    let (Some(sent), Some(answer)) = closes else { panic!("{ending}") };
    assert_eq!(sent, &CloseFrame::new(Some(1000), "that was all").unwrap());
    assert_eq!(answer.code, Some(1000));
}
