//! The ends of System.Net.WebSockets, as they read here: `cargo run --example from_dotnet`.
//!
//! Each step is what a .NET program would do with `ClientWebSocket`; the comments name its calls.
#![allow(clippy::print_stdout, reason = "an example talks to its user")]

use lastword::vocabulary::{CloseState, Kind};
use lastword::{
    Backend, ConnectionHandle, DrainOptions, Handler, HandlerFailure, Incoming, Message,
    ReceiveError, Route, SendError, Supervisor,
};

type Result<T, E = Box<dyn std::error::Error>> = std::result::Result<T, E>;

pub(crate) async fn tour(supervisor: &Supervisor, url: &str) -> Result<()> {
    // CloseAsync beside a pending ReceiveAsync: the receiver gets the peer's Close, nothing throws.
    let (socket, mut messages) = supervisor.dial(url).receive().await?;
    let receiving = tokio::spawn(async move { messages.receive().await });
    let ending = socket.close(1000, "done")?.await;
    assert!(matches!(receiving.await?, Ok(Incoming::Close(_))) && ending.is_clean());
    println!("CloseAsync: {ending}");

    // CloseAsync again, after the end: the same ending, no exception, no second frame.
    assert_eq!(socket.close(1000, "again")?.await, ending);

    // SendAsync after the end: InvalidState there, and here an error that says how it ended.
    assert!(matches!(socket.send("too late").await, Err(SendError::Ended { .. })));

    // CloseOutputAsync as a passive close: the peer's Close comes first, and we choose the reply.
    let (socket, mut messages) = supervisor.dial(&format!("{url}bye")).reply().await?;
    socket.send("close, please").await?;
    let Incoming::Close(close) = messages.receive().await? else { return Err("no Close".into()) };
    assert_eq!(socket.state(), CloseState::CloseReceived);
    socket.close_output(1000, "goodbye to you, too")?;
    println!("CloseOutputAsync after {:?}: {}", close.code, socket.ended().await);

    // Abort: TCP is reset at once; the record says that it was us.
    let (socket, mut messages) = supervisor.dial(url).receive().await?;
    socket.abort();
    let ending = socket.ended().await;
    println!("Abort: {ending}");

    // ConnectionClosedPrematurely: an error that carries the ending, after the last message.
    match messages.receive().await {
        Err(ReceiveError::Ended(ending)) => assert_eq!(ending.outcome.kind, Kind::Aborted),
        other => return Err(format!("{other:?} instead of an end").into()),
    }
    assert_eq!(socket.state(), CloseState::Closed);
    Ok(())
}

/// A server that closes first, as soon as it is told something.
struct Bye;

impl Handler for Bye {
    async fn on_message(
        &mut self,
        connection: &ConnectionHandle,
        _: Message,
    ) -> Result<(), HandlerFailure> {
        Ok(connection.close_output(1000, "bye")?)
    }
}

pub(crate) fn routes() -> Result<Vec<Route>> {
    Ok(vec![Route::serve("/bye", || Backend::handler("bye", Bye))?, Route::echo("/*")?])
}

#[tokio::main]
async fn main() -> Result<()> {
    let supervisor = Supervisor::builder().start().await?;
    let listener = supervisor.listen("local", &"127.0.0.1:0".parse()?, routes()?).await?;
    tour(&supervisor, &format!("ws://{}/", listener.address())).await?;
    supervisor.shutdown(DrainOptions::default()).await;
    Ok(())
}
