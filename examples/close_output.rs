//! A client that closes its output and keeps receiving: what .NET calls `CloseOutputAsync`.
//!
//! `cargo run --example close_output ws://127.0.0.1:8080/echo`
#![allow(clippy::print_stdout, reason = "an example talks to its user")]

use std::sync::Arc;

use lastword::{DrainOptions, Ending, Incoming, Supervisor};

/// Sends three messages and closes the output; returns what the peer still sent, and the ending.
pub(crate) async fn say_and_listen(
    supervisor: &Supervisor,
    url: &str,
) -> Result<(Vec<String>, Arc<Ending>), Box<dyn std::error::Error>> {
    let (connection, mut messages) = supervisor.dial(url).receive().await?;
    for n in 1..=3 {
        connection.send(format!("message {n}")).await?;
    }
    // Our Close goes out behind the three messages; this does not wait for the peer's.
    connection.close_output(1000, "that was all")?;
    println!("state: {}", connection.state());

    // What the peer still sends is delivered, until its Close comes.
    let mut received = Vec::new();
    loop {
        match messages.receive().await? {
            Incoming::Message(message) => {
                received.push(message.as_text().unwrap_or("-").to_owned());
            }
            Incoming::Close(close) => {
                println!("the peer closed with {:?}", close.code);
                break;
            }
        }
    }
    Ok((received, connection.ended().await))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let url = std::env::args().nth(1).unwrap_or("ws://127.0.0.1:8080/echo".to_owned());
    let supervisor = Supervisor::builder().start().await?;
    let (received, ending) = say_and_listen(&supervisor, &url).await?;
    println!("received: {received:?}");
    println!("ended {ending}");
    supervisor.shutdown(DrainOptions::default()).await;
    Ok(())
}
