//! WebSockets of an axum application, owned by lastword: `cargo run --example axum_upgrade`, then
//! connect to ws://127.0.0.1:3000/chat?room=7.
//!
//! axum does routing, extractors and authentication; each connection has its one recorded ending.
#![allow(clippy::print_stdout, reason = "an example talks to its user")]

use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use axum::Router;
use axum::extract::{ConnectInfo, Request, State, connect_info::Connected};
use axum::response::{IntoResponse, Response};
use axum::serve::IncomingStream;
use hyper_util::rt::TokioIo;
use lastword::{Backend, DrainOptions, Supervisor, Upgrade};
use tokio::net::TcpListener;

/// Who connected, and the socket, so that lastword may ask the kernel about it.
#[derive(Clone)]
pub(crate) struct Client {
    address: SocketAddr,
    socket: Option<Arc<OwnedFd>>,
}

impl Connected<IncomingStream<'_, TcpListener>> for Client {
    fn connect_info(stream: IncomingStream<'_, TcpListener>) -> Self {
        let socket = stream.io().as_fd().try_clone_to_owned().ok().map(Arc::new);
        Self { address: *stream.remote_addr(), socket }
    }
}

async fn chat(
    State(supervisor): State<Supervisor>,
    ConnectInfo(client): ConnectInfo<Client>,
    mut request: Request,
) -> Response {
    let upgrade = match Upgrade::of(&request) {
        Ok(upgrade) => upgrade,
        Err(refused) => return refused.response::<axum::body::Body>().into_response(),
    };
    let response = upgrade.response();
    let upgraded = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        // It fails if the client is gone before the 101 could be written.
        let Ok(upgraded) = upgraded.await else { return };
        let mut adopt = upgrade.adopt(TokioIo::new(upgraded)).peer(client.address);
        if let Some(socket) = client.socket {
            adopt = adopt.socket(socket);
        }
        // After a shutdown nothing is adopted.
        let _ = supervisor.adopt(adopt.tag("app", "chat"), Backend::echo()).await;
    });
    response
}

pub(crate) fn app(supervisor: Supervisor) -> Router {
    Router::new().route("/chat", axum::routing::any(chat)).with_state(supervisor)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let supervisor = Supervisor::builder().start().await?;
    let service = app(supervisor.clone()).into_make_service_with_connect_info::<Client>();
    let listener = TcpListener::bind("127.0.0.1:3000").await?;
    println!("listening on ws://{}/chat", listener.local_addr()?);
    tokio::select! {
        served = axum::serve(listener, service) => served?,
        signal = tokio::signal::ctrl_c() => signal?,
    }
    supervisor.shutdown(DrainOptions::default()).await;
    Ok(())
}
