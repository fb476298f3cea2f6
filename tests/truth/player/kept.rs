//! Plays scripts of a dialer.

use std::time::Duration;

use serde_json::json;
use tokio::sync::oneshot::Receiver;
use tokio::time::Instant;

use super::{Play, respond};
use crate::truth::peer::{PATIENCE, Played};
use crate::truth::plan::{Answer, Kept, Tcp};
use crate::truth::world::Came;

pub async fn play(play: &Play, tls: bool, kept: &Kept) -> Played {
    let mark = &play.script.mark;
    let first = play.stage.world.expect(mark);
    let url = format!("{}{}", play.server_url(tls), play.script.path());
    let body = json!({
        "url": url, "name": mark, "tags": {"mark": mark},
        "reconnect": {"min": "10ms", "max": "50ms"},
    });
    play.pen("api").does(&format!("makes a dialer to {url}"));
    play.stage.ask(201, "POST /v1/connections".to_owned(), Some(body.to_string())).await?;

    if let Kept::Refused(status) = kept {
        let mut came = play.asked(first).await?;
        let second = play.stage.world.expect(mark);
        play.pen("attempt").does(&format!("refuses with {status}"));
        came.answer(&format!("HTTP/1.1 {status} No\r\nContent-Length: 0\r\n\r\n")).await?;
        return remove(play, second, 1).await;
    }
    let mut peer = play.server(first, "peer").await?;
    let second = play.stage.world.expect(mark);
    match kept {
        Kept::Refused(_) => unreachable!("as above"),
        Kept::Rotated(answer) => {
            rotate(play).await?;
            tokio::try_join!(respond(peer, answer), remove(play, second, 2)).map(drop)
        }
        Kept::Lost(tcp) => tokio::try_join!(peer.end(*tcp), remove(play, second, 2)).map(drop),
        Kept::Closes(words) => {
            peer.close(words).await?;
            peer.hear_close().await?;
            tokio::try_join!(peer.end(Tcp::Fin), remove(play, second, 2)).map(drop)
        }
    }
}

/// Replaces the first connection, which is possible once it is ready.
async fn rotate(play: &Play) -> Played {
    until_ready(play, 1).await?;
    play.pen("api").does("rotates the dialer");
    let line = format!("POST /v1/dialers/{}/rotate", play.script.mark);
    play.stage.ask(202, line, None).await.map(drop)
}

/// Takes the next connection, and removes the dialer, which closes it.
async fn remove(play: &Play, came: Receiver<Came>, opened: u64) -> Played {
    let second = play.server(came, "second").await?;
    until_ready(play, opened).await?;
    play.pen("api").does("removes the dialer");
    let line = format!("DELETE /v1/dialers/{}", play.script.mark);
    let removed = async { play.stage.ask(202, line, None).await.map(drop) };
    tokio::try_join!(removed, respond(second, &Answer::Echo(Tcp::Fin))).map(drop)
}

/// Waits until so many connections of the dialer have opened, and the last one is ready.
async fn until_ready(play: &Play, opened: u64) -> Played {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let line = format!("GET /v1/dialers/{}", play.script.mark);
        let shown = play.stage.ask(200, line, None).await?.json();
        if shown["state"] == "ready" && shown["opened"] == opened && shown["rotating"] == false {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(format!("the dialer does not become ready: {shown}"));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
