//! A client of a feed that keeps itself alive: `cargo run --example feed_client ws://HOST/feed`.
//!
//! It subscribes, prints what comes, and dials again after every ending that advises it, with
//! backoff. Each line on stderr says how a connection ended, and what happens next.
#![allow(clippy::print_stdout, reason = "an example talks to its user")]
#![allow(clippy::print_stderr, reason = "the feed goes to stdout")]

use lastword::{
    Backend, ConnectionHandle, DialerOptions, DrainOptions, Handler, HandlerFailure, Message,
    Supervisor,
};

pub(crate) struct Feed;

impl Handler for Feed {
    async fn on_open(&mut self, connection: &ConnectionHandle) -> Result<(), HandlerFailure> {
        // After every reconnect: the server has forgotten us.
        Ok(connection.send(r#"{"op":"subscribe","channel":"trades"}"#).await?)
    }

    async fn on_message(
        &mut self,
        _: &ConnectionHandle,
        message: Message,
    ) -> Result<(), HandlerFailure> {
        println!("{}", message.as_text().ok_or("the feed is text")?);
        Ok(())
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let url = std::env::args().nth(1).unwrap_or("ws://127.0.0.1:8080/feed".to_owned());
    let supervisor = Supervisor::builder().start().await?;
    let mut endings = supervisor.endings();
    let feed = DialerOptions::new("trades", url).backend(|| Backend::handler("feed", Feed));
    let dialer = supervisor.keep(feed)?;
    loop {
        tokio::select! {
            Some(Ok(ending)) = endings.next() => {
                eprintln!("{ending}; the dialer is {}", dialer.status().phase);
            }
            signal = tokio::signal::ctrl_c() => break signal?,
        }
    }
    // The server gets 1001 and time to answer; nothing dials again.
    supervisor.shutdown(DrainOptions::default()).await;
    Ok(())
}
