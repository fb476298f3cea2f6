//! A client that closes its output and keeps receiving: what .NET calls `CloseOutputAsync`.
//!
//! `cargo run --example close_output ws://127.0.0.1:8080/echo`
#![allow(clippy::print_stdout, reason = "an example talks to its user")]

use lastword::{DrainOptions, Incoming, Supervisor};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let url = std::env::args().nth(1).unwrap_or("ws://127.0.0.1:8080/echo".to_owned());
    let supervisor = Supervisor::builder().start().await?;
    let (connection, mut messages) = supervisor.dial(&url).receive().await?;

    for n in 1..=3 {
        connection.send(format!("message {n}")).await?;
    }
    // Our Close goes out behind the three messages; this does not wait for the peer's.
    connection.close_output(1000, "that was all")?;
    println!("state: {}", connection.state());

    // What the peer still sends is delivered, until its Close comes.
    loop {
        match messages.receive().await? {
            Incoming::Message(message) => {
                println!("received: {}", message.as_text().unwrap_or("-"));
            }
            Incoming::Close(close) => {
                println!("the peer closed with {:?}", close.code);
                break;
            }
        }
    }
    println!("ended {}", connection.ended().await);
    supervisor.shutdown(DrainOptions::default()).await;
    Ok(())
}
