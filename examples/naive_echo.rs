//! An echo as everybody writes it with tokio-tungstenite, for the tests of the relay: it answers no
//! violation, and waits for nobody's Close. Prints its URL, then serves until it is killed.

// Whoever starts an example reads what it says; what fails in it ends it.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpListener;

#[tokio::main]
async fn main() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    println!("ws://{}", listener.local_addr().unwrap());
    while let Ok((socket, _)) = listener.accept().await {
        tokio::spawn(async move {
            let Ok(mut socket) = tokio_tungstenite::accept_async(socket).await else { return };
            while let Some(Ok(message)) = socket.next().await {
                if (message.is_text() || message.is_binary()) && socket.send(message).await.is_err()
                {
                    return;
                }
            }
        });
    }
}
