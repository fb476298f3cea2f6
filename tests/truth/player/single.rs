//! Plays scripts of one connection.

use std::time::Duration;

use serde_json::json;
use tokio::net::TcpSocket;

use super::{Play, leave, opened, respond};
use crate::support::frame::Frame;
use crate::truth::peer::{PATIENCE, Peer, Played};
use crate::truth::plan::{Answer, Place, Role, Route, Standing, Story, Tcp, Timed, Way, Words};
use crate::truth::stage::address_of;

pub async fn play(play: &Play, role: Role, tls: bool, route: Route, story: &Story) -> Played {
    if route == Route::Timed(Timed::Stall) {
        return stall(play).await;
    }
    let path = play.script.path();
    let needs_id = story.pushed > 0
        || matches!(
            story.way,
            // Those that stay are known to have been published.
            Way::ApiCloses(..)
                | Way::Cross(..)
                | Way::Aborted(_)
                | Way::Curtain(..)
                // A drain closes those that are open when it begins.
                | Way::Drained(_)
        );
    let direction = match role {
        Role::Inbound => "inbound",
        Role::Dialled => "outbound",
    };
    let id = needs_id.then(|| play.stage.id_of(&path, direction));
    let mut peer = match role {
        Role::Inbound => play.client("peer", tls, &path).await?,
        Role::Dialled => play.dialled(tls).await?,
    };
    let id = match id {
        Some(id) => id.known().await?,
        None => String::new(),
    };
    talk(&mut peer, role, story).await?;
    push(play, &mut peer, &id, story.pushed).await?;
    if !matches!(story.way, Way::ApiCloses(..)) {
        reach(&mut peer, &story.place).await?;
    }
    act(play, peer, id, story).await
}

async fn talk(peer: &mut Peer, role: Role, story: &Story) -> Played {
    for said in &story.talk {
        peer.frames(&format!("{said:?}"), &said.frames()).await?;
        if story.awaited && role == Role::Inbound {
            peer.messages(1).await?;
        }
    }
    if story.awaited && role == Role::Dialled {
        peer.prove().await?;
    }
    Ok(())
}

async fn push(play: &Play, peer: &mut Peer, id: &str, count: usize) -> Played {
    for _ in 0..count {
        play.pen("api").does("sends \"pushed\"");
        let line = format!("POST /v1/connections/{id}/messages");
        play.stage.ask(202, line, Some(json!({"text": "pushed"}).to_string())).await?;
    }
    // Echoes that were not awaited may come before them.
    match count {
        0 => Ok(()),
        _ => peer.text_again("pushed", count).await,
    }
}

async fn reach(peer: &mut Peer, place: &Place) -> Played {
    match place {
        Place::Between => Ok(()),
        place => {
            peer.pen.does(&format!("stops: {place:?}"));
            let bytes = place.bytes(peer.side);
            peer.send(&bytes).await
        }
    }
}

async fn act(play: &Play, mut peer: Peer, id: String, story: &Story) -> Played {
    match &story.way {
        Way::Closes(words, tcp) => {
            peer.close(words).await?;
            peer.hear_close().await?;
            peer.end(*tcp).await
        }
        Way::ClosesAndLeaves(words, Tcp::Fin) => {
            peer.close_and_fin(words).await?;
            peer.hear_end().await.map(drop)
        }
        Way::ClosesAndLeaves(words, tcp) => {
            peer.close(words).await?;
            peer.end(*tcp).await
        }
        Way::Lost(tcp) => peer.end(*tcp).await,
        Way::Garbage => peer.garbage().await,
        Way::Breaks(breach, words, tcp) => {
            peer.pen.does(&format!("breaks the protocol: {breach:?}"));
            let bytes = breach.bytes(peer.side);
            peer.send(&bytes).await?;
            peer.hear_close().await?;
            if let Some(words) = words {
                peer.close(words).await?;
            }
            peer.end(*tcp).await
        }
        Way::ApiCloses(words, answer) => {
            play.api_closes(&id, words).await?;
            match (&story.place, answer) {
                (Place::Between, answer) => respond(peer, answer).await,
                (place, answer) => {
                    peer.hear_close().await?;
                    reach(&mut peer, place).await?;
                    let Answer::Lost(tcp) = answer else { unreachable!("only before a loss") };
                    peer.end(*tcp).await
                }
            }
        }
        Way::Cross(ours, theirs) => {
            let (closed, crossed) = tokio::join!(play.api_closes(&id, ours), async {
                peer.close(theirs).await?;
                peer.hear_close().await?;
                leave(peer, Tcp::Fin).await
            });
            closed.and(crossed)
        }
        Way::Aborted(behind_close) => {
            if *behind_close {
                play.api_closes(&id, &Words::Code(1000, "bye".to_owned())).await?;
                peer.hear_close().await?;
            }
            let (aborted, ended) = tokio::join!(play.api_aborts(&id), peer.hear_end());
            aborted.and(ended.map(drop))
        }
        Way::Drained(answer) => tokio::try_join!(drain(play), respond(peer, answer)).map(drop),
        Way::RunsOut(answer) => {
            if play.script.path().starts_with("/rate/") {
                peer.frames("60 messages at once", &vec![Frame::text("more"); 60]).await?;
            }
            respond(peer, answer).await
        }
        Way::Revoked(answer) => {
            play.pen("api").does("revokes the subject");
            let body = json!({"subject": play.script.mark}).to_string();
            let line = "POST /v1/revocations".to_owned();
            let (revoked, responded) =
                tokio::join!(play.stage.ask(201, line, Some(body)), respond(peer, answer));
            revoked.map(drop).and(responded)
        }
        Way::Replaced(answer) => {
            let (second, responded) = tokio::join!(replace(play), respond(peer, answer));
            second.and(responded)
        }
        Way::Curtain(standing, answer) => {
            if *standing == Standing::CloseSent {
                play.api_closes(&id, &Words::Code(1000, "bye".to_owned())).await?;
                peer.hear_close().await?;
            }
            play.waits_for_the_curtain().await;
            curtain(play, peer, *standing, answer).await
        }
    }
}

/// What a peer does about the end of the daemon.
async fn curtain(play: &Play, mut peer: Peer, standing: Standing, answer: &Answer) -> Played {
    if play.ends_by_kill() {
        let _ = peer.hear_end().await;
        return Ok(());
    }
    if standing == Standing::CloseSent {
        return peer.hear_end().await.map(drop);
    }
    let close = peer.hear_close().await?;
    match answer {
        Answer::Silent => {
            play.stage.was_asked();
            peer.pen.does("does not answer");
            peer.hear_end().await.map(drop)
        }
        _ => {
            peer.frames("the same Close", &[close]).await?;
            leave(peer, Tcp::Fin).await?;
            play.stage.was_asked();
            Ok(())
        }
    }
}

/// Another connection of the same subject, which leaves in order.
async fn replace(play: &Play) -> Played {
    let pen = play.pen("second");
    let mut wire = play.wire(&pen, false, true).await?;
    play.request(&mut wire, &pen, &play.script.second_path()).await?;
    let mut second = opened(wire, pen).await?;
    second.close(&Words::Code(1000, String::new())).await?;
    second.hear_close().await?;
    second.end(Tcp::Fin).await
}

/// A drain of the connection with the tag of this script, one at a time.
async fn drain(play: &Play) -> Played {
    let _alone = play.stage.draining.lock().await;
    let deadline = tokio::time::Instant::now() + PATIENCE;
    play.pen("api").does("drains it");
    let body = json!({
        "select": {"tag": format!("mark:{}", play.script.mark)}, "within": "30s", "spread": "0s",
    });
    let line = "POST /v1/drain".to_owned();
    let answer = play.stage.ask(202, line, Some(body.to_string())).await?;
    let mut drain = answer.json();
    play.pen("api").fact("drain", drain["id"].clone());
    while drain["phase"] == "running" && tokio::time::Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(20)).await;
        drain = play.stage.ask(200, "GET /v1/drain".to_owned(), None).await?.json();
    }
    match drain["total"] == 1 {
        true => Ok(()),
        false => Err(format!("the drain did not find its one connection: {drain}")),
    }
}

/// A client that sends and never reads.
async fn stall(play: &Play) -> Played {
    let pen = play.pen("peer");
    let socket = TcpSocket::new_v4().map_err(|error| error.to_string())?;
    socket.set_recv_buffer_size(8192).map_err(|error| error.to_string())?;
    socket.bind(address_of(play.script.number, false)).map_err(|error| error.to_string())?;
    pen.does("connects");
    let stream = socket.connect(play.stage.plain).await.map_err(|error| error.to_string())?;
    let own = stream.local_addr().map_err(|error| error.to_string())?;
    pen.fact("address", json!(own.to_string()));
    let mut wire = stream.into();
    play.request(&mut wire, &pen, &play.script.path()).await?;
    let mut peer = opened(wire, pen).await?;
    peer.pen.does("sends until it cannot, and reads nothing");
    let message = Frame::binary(vec![0; 65_000]).encode(peer.side);
    for _ in 0..1000 {
        if peer.send(&message).await.is_err() {
            return Ok(());
        }
    }
    Err("65 MB were taken from a client that reads nothing".to_owned())
}
