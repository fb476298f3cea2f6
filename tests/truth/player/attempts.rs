//! Plays opening handshakes that fail.

use super::{Play, opened, refused, write};
use crate::support::frame::Side;
use crate::support::http::upgrade_request;
use crate::support::wire::Wire;
use crate::truth::peer::{PATIENCE, Peer, Played};
use crate::truth::plan::{Attempt, Tcp, Words};

pub async fn play(play: &Play, attempt: Attempt) -> Played {
    let pen = play.pen("attempt");
    let path = play.script.path();
    let request = |more: &str| {
        upgrade_request("localhost", &path, &format!("User-Agent: {}\r\n{more}", play.script.mark))
    };
    match attempt {
        Attempt::NoRoute => sends(play, &request(""), 404).await,
        Attempt::NotAnUpgrade => {
            sends(play, &format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"), 426).await
        }
        Attempt::OtherMethod => {
            let post = request("Content-Length: 0\r\n").replacen("GET", "POST", 1);
            sends(play, &post, 405).await
        }
        Attempt::BadKey => sends(play, &request("").replace("dGhlIHNh", "dGhl"), 400).await,
        Attempt::Unparsable => sends(play, &format!("GET {path}\r\n\r\n"), 400).await,
        Attempt::Origin => sends(play, &request("Origin: http://evil.example\r\n"), 403).await,
        Attempt::Unauthorized(status) => sends(play, &request(""), status).await,
        Attempt::AuthUnavailable => sends(play, &request(""), 503).await,
        Attempt::BackendUnreachable => sends(play, &request(""), 502).await,
        Attempt::TooSlow(sent) => {
            let request = request("");
            sends(play, &request[..sent.min(request.len() - 1)], 408).await
        }
        Attempt::Gone { sent, reset } => {
            let request = request("");
            let mut wire = play.wire(&pen, false, false).await?;
            pen.does(&format!("sends {sent} bytes of a request"));
            write(&mut wire, &request.as_bytes()[..sent.min(request.len() - 1)]).await?;
            gone(Peer::new(wire, Side::Client, Vec::new(), pen), reset).await
        }
        Attempt::UntrustedProxy => {
            let socket = play.socket(&pen, play.stage.proxied, false).await?;
            let mut wire: Wire = socket.into();
            pen.does("says that it is a proxy");
            let line = "PROXY TCP4 192.0.2.7 192.0.2.8 1 2\r\n";
            // It may be refused before it has sent this.
            let _ = write(&mut wire, format!("{line}{}", request("")).as_bytes()).await;
            Peer::new(wire, Side::Client, Vec::new(), pen).any_end().await
        }
        Attempt::NotTls => {
            let socket = play.socket(&pen, play.stage.tls, false).await?;
            let mut wire: Wire = socket.into();
            pen.does("speaks plain HTTP to a port with TLS");
            write(&mut wire, request("").as_bytes()).await?;
            refused(wire, 400).await
        }
        Attempt::TooMany => {
            let second = play.pen("second");
            let mut wire = play.wire(&second, false, false).await?;
            play.request(&mut wire, &second, &play.script.second_path()).await?;
            let mut peer = opened(wire, second).await?;
            sends(play, &request(""), 503).await?;
            peer.close(&Words::Code(1000, String::new())).await?;
            peer.hear_close().await?;
            peer.end(Tcp::Fin).await
        }
        Attempt::BackendRefuses(status) => {
            let came = play.stage.world.expect(&play.script.mark);
            let answers = async {
                let mut came = play.asked(came).await?;
                play.pen("application").does(&format!("refuses with {status}"));
                came.answer(&format!("HTTP/1.1 {status} No\r\nContent-Length: 0\r\n\r\n")).await
            };
            let request = request("");
            tokio::try_join!(answers, sends(play, &request, status)).map(drop)
        }
        Attempt::GoneWhileAsked { reset } => {
            let came = play.stage.world.expect(&play.script.mark);
            let mut wire = play.wire(&pen, false, false).await?;
            play.request(&mut wire, &pen, &path).await?;
            let came = play.asked(came).await?;
            let (own, application) = (pen.other("application"), came.wire);
            gone(Peer::new(wire, Side::Client, Vec::new(), pen), reset).await?;
            Peer::new(application, Side::Server, Vec::new(), own).any_end().await
        }
        Attempt::DialRefused => play.dial_url("ws://127.0.0.1:1", 502).await,
        Attempt::DialRejected(status) => {
            let came = play.stage.world.expect(&play.script.mark);
            let answers = async {
                let mut came = play.asked(came).await?;
                came.answer(&format!("HTTP/1.1 {status} No\r\nContent-Length: 0\r\n\r\n")).await
            };
            tokio::try_join!(answers, play.dial(false, 502)).map(drop)
        }
        Attempt::DialTls => {
            let url = format!("wss://localhost:{}", play.stage.world.untrusted.port());
            play.dial_url(&url, 502).await
        }
        Attempt::DialUnanswered => {
            let came = play.stage.world.expect(&play.script.mark);
            tokio::try_join!(play.asked(came), play.dial(false, 502)).map(drop)
        }
        Attempt::Late => {
            play.waits_for_the_curtain().await;
            // Until a Close of the drain has been read, it may not have begun.
            if !play.stage.until_asked(1).await {
                return Err("awaited the drain".to_owned());
            }
            sends(play, &request(""), 503).await
        }
    }
}

/// Sends a request, and awaits this refusal.
async fn sends(play: &Play, request: &str, status: u16) -> Played {
    let pen = play.pen("attempt");
    let mut wire = play.wire(&pen, false, false).await?;
    let line = request.lines().next().unwrap_or_default();
    pen.does(&format!("sends {} bytes, {line:?}, and awaits {status}", request.len()));
    write(&mut wire, request.as_bytes()).await?;
    refused(wire, status).await
}

async fn gone(peer: Peer, reset: bool) -> Played {
    match reset {
        true => peer.reset(),
        false => {
            let mut peer = peer;
            peer.fin().await?;
            let _ = tokio::time::timeout(PATIENCE, peer.any_end()).await;
        }
    }
    Ok(())
}
