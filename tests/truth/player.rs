//! Plays scripts.

mod attempts;
mod kept;
mod relayed;
mod single;

use std::net::SocketAddr;
use std::sync::Arc;

use serde_json::json;

use super::journal::Pen;
use super::peer::{PATIENCE, Peer, Played};
use super::plan::{Answer, BLOCK, Curtain, Plot, Script, Tcp, Words};
use super::stage::{Stage, address_of, connect};
use super::world::{Came, read_head};
use crate::support::frame::{Frame, Side};
use crate::support::http::upgrade_request;
use crate::support::wire::Wire;
use tokio::io::AsyncWriteExt;
use tokio::sync::oneshot;

/// A script under way.
pub struct Play {
    pub stage: Arc<Stage>,
    pub script: Script,
}

impl Play {
    /// Plays it; returns what could not be done.
    pub async fn whole(self) -> Played {
        match &self.script.plot {
            Plot::Single { role, tls, route, story } => {
                single::play(&self, *role, *tls, *route, story).await
            }
            Plot::Relayed { fed, client_tls, application_tls, tale, .. } => {
                relayed::play(&self, *fed, *client_tls, *application_tls, tale).await
            }
            Plot::Kept { tls, kept } => kept::play(&self, *tls, kept).await,
            Plot::Attempt(attempt) => attempts::play(&self, *attempt).await,
        }
    }

    pub fn pen(&self, leg: &'static str) -> Pen {
        self.stage.journal.pen(self.script.number, leg)
    }

    /// Opens TCP, and TLS over it, from the address of this script.
    async fn wire(&self, pen: &Pen, tls: bool, second: bool) -> Played<Wire> {
        let to = if tls { self.stage.tls } else { self.stage.plain };
        let socket = self.socket(pen, to, second).await?;
        match tls {
            true => self.stage.world.connect_tls(socket, uses_tls_12(self.script.number)).await,
            false => Ok(socket.into()),
        }
    }

    async fn socket(
        &self,
        pen: &Pen,
        to: SocketAddr,
        second: bool,
    ) -> Played<tokio::net::TcpStream> {
        pen.does("connects");
        let socket = connect(address_of(self.script.number, second), to).await?;
        let own = socket.local_addr().map_err(|error| error.to_string())?;
        pen.fact("address", json!(own.to_string()));
        Ok(socket)
    }

    /// Asks for this path; the answer is for [`opened`].
    async fn request(&self, wire: &mut Wire, pen: &Pen, path: &str) -> Played {
        pen.does(&format!("asks for {path}"));
        let agent = format!("User-Agent: {}\r\n", self.script.mark);
        write(wire, upgrade_request("localhost", path, &agent).as_bytes()).await
    }

    /// Opens a WebSocket as a client.
    async fn client(&self, leg: &'static str, tls: bool, path: &str) -> Played<Peer> {
        let pen = self.pen(leg);
        let mut wire = self.wire(&pen, tls, false).await?;
        self.request(&mut wire, &pen, path).await?;
        opened(wire, pen).await
    }

    /// Takes what comes for this script as an application, and lets it in.
    async fn server(&self, came: oneshot::Receiver<Came>, leg: &'static str) -> Played<Peer> {
        let came = self.asked(came).await?;
        let pen = self.pen(leg);
        let own = came.wire.tcp().local_addr().map_err(|error| error.to_string())?;
        let other = came.wire.tcp().peer_addr().map_err(|error| error.to_string())?;
        pen.fact("address", json!(own.to_string()));
        pen.fact("dialled_from", json!(other.to_string()));
        pen.does("answers 101");
        let (wire, rest) = came.answer_101().await?;
        Ok(Peer::new(wire, Side::Server, rest, pen))
    }

    async fn asked(&self, came: oneshot::Receiver<Came>) -> Played<Came> {
        let came = tokio::time::timeout(PATIENCE, came).await;
        came.map_err(|_| "awaited to be dialled")?.map_err(|_| "nobody will dial".to_owned())
    }

    /// Has the control API dial, and accepts.
    async fn dialled(&self, tls: bool) -> Played<Peer> {
        let came = self.stage.world.expect(&self.script.mark);
        let ((), peer) = tokio::try_join!(self.dial(tls, 201), self.server(came, "peer"))?;
        Ok(peer)
    }

    async fn dial(&self, tls: bool, status: u16) -> Played {
        self.dial_url(&self.server_url(tls), status).await
    }

    fn server_url(&self, tls: bool) -> String {
        let world = &self.stage.world;
        match tls {
            true => format!("wss://localhost:{}", world.tls.port()),
            false => format!("ws://{}", world.plain),
        }
    }

    /// Dials the path of this script there; the API has to answer with this status.
    async fn dial_url(&self, url: &str, status: u16) -> Played {
        let url = format!("{url}{}", self.script.path());
        self.pen("api").does(&format!("dials {url}"));
        let body = json!({"url": url, "tags": {"mark": self.script.mark}}).to_string();
        self.stage.ask(status, "POST /v1/connections".to_owned(), Some(body)).await.map(drop)
    }

    /// Has the API close, without waiting for the end.
    async fn api_closes(&self, id: &str, words: &Words) -> Played {
        self.pen("api").does(&format!("closes {id}: {words:?}"));
        let body = match words {
            Words::Code(code, reason) => {
                json!({"code": code, "reason": reason, "wait": false})
            }
            _ => json!({"wait": false}),
        };
        let line = format!("POST /v1/connections/{id}/close");
        let answer = self.stage.call(line, Some(body.to_string())).await?;
        // It may be over already where Closes cross.
        match answer.status {
            200 | 202 => Ok(()),
            other => Err(format!("close was answered with {other} {}", answer.body)),
        }
    }

    async fn api_aborts(&self, id: &str) -> Played {
        self.pen("api").does(&format!("aborts {id}"));
        self.stage.ask(200, format!("DELETE /v1/connections/{id}"), None).await.map(drop)
    }

    fn ends_by_kill(&self) -> bool {
        Curtain::of(self.script.number / BLOCK) == Curtain::Killed
    }

    /// Is in its place, until the daemon ends.
    async fn waits_for_the_curtain(&self) {
        self.stage.settle(self.script.number);
        self.stage.curtain().await;
    }
}

/// The version of TLS that a client speaks.
pub fn uses_tls_12(number: u64) -> bool {
    number.is_multiple_of(4)
}

async fn write(wire: &mut Wire, bytes: &[u8]) -> Played {
    let sent = async {
        wire.write_all(bytes).await?;
        wire.flush().await
    };
    sent.await.map_err(|error| format!("could not send: {error}"))
}

/// Awaits the 101 to a request.
async fn opened(mut wire: Wire, pen: Pen) -> Played<Peer> {
    let (head, rest) = read_head(&mut wire).await?;
    match head.starts_with("HTTP/1.1 101 ") {
        true => Ok(Peer::new(wire, Side::Client, rest, pen)),
        false => Err(format!("awaited a 101, got {head}")),
    }
}

/// Awaits an answer of this status, and the end.
async fn refused(mut wire: Wire, status: u16) -> Played {
    let (head, _) = read_head(&mut wire).await?;
    match head.starts_with(&format!("HTTP/1.1 {status} ")) {
        true => Ok(()),
        false => Err(format!("awaited {status}, got {head}")),
    }
}

/// Does what a script says about our Close.
async fn respond(mut peer: Peer, answer: &Answer) -> Played {
    if let Answer::Silent = answer {
        peer.pen.does("reads, and says no more");
        return peer.hear_end().await.map(drop);
    }
    let close = peer.hear_close().await?;
    match answer {
        Answer::Silent => unreachable!("as above"),
        Answer::Echo(tcp) => {
            peer.frames("the same Close", &[close]).await?;
            leave(peer, *tcp).await
        }
        Answer::Other(words, tcp) => {
            peer.close(words).await?;
            leave(peer, *tcp).await
        }
        Answer::Late(count, tcp) => {
            let late = vec![Frame::text("late"); *count];
            peer.frames("messages behind our Close", &late).await?;
            peer.frames("the same Close", &[close]).await?;
            leave(peer, *tcp).await
        }
        Answer::Lost(tcp) => peer.end(*tcp).await,
        Answer::Breach(breach, tcp) => {
            peer.pen.does(&format!("breaks the protocol: {breach:?}"));
            let bytes = breach.bytes(peer.side);
            peer.send(&bytes).await?;
            peer.end_behind_fin(*tcp).await
        }
        Answer::Illegal(words, tcp) => {
            peer.close(words).await?;
            peer.end_behind_fin(*tcp).await
        }
    }
}

/// Ends TCP behind both Closes. A server has ended its side then; a client waits for ours.
async fn leave(peer: Peer, tcp: Tcp) -> Played {
    match peer.side {
        Side::Client => peer.end_behind_fin(tcp).await,
        Side::Server => peer.end(tcp).await,
    }
}
