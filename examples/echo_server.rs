//! An echo server: `cargo run --example echo_server`, then connect to ws://127.0.0.1:8080/.
//!
//! Every connection ends in one line that says how. Ctrl-C closes the open ones first.
#![allow(clippy::print_stdout, reason = "an example talks to its user")]

use lastword::{
    Backend, ConnectionHandle, DrainOptions, Handler, HandlerFailure, Message, Route, Supervisor,
};

struct Echo;

impl Handler for Echo {
    async fn on_message(
        &mut self,
        connection: &ConnectionHandle,
        message: Message,
    ) -> Result<(), HandlerFailure> {
        Ok(connection.send(message).await?)
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let supervisor = Supervisor::builder().start().await?;
    let route = Route::serve("/*", || Backend::handler("echo", Echo))?;
    let listener = supervisor.listen("public", &"127.0.0.1:8080".parse()?, vec![route]).await?;
    println!("listening on ws://{}", listener.address());

    let mut endings = supervisor.endings();
    tokio::spawn(async move {
        // It ends when the supervisor has shut down.
        while let Some(ending) = endings.next().await {
            match ending {
                Ok(ending) => println!("{ending}"),
                Err(missed) => println!("{missed}"),
            }
        }
    });
    tokio::signal::ctrl_c().await?;
    supervisor.shutdown(DrainOptions::default()).await;
    Ok(())
}
