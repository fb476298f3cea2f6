//! Plays scripts of a client, a relay and an application.

use serde_json::json;

use super::{Play, leave, respond};
use crate::truth::peer::{Peer, Played};
use crate::truth::plan::{Answer, Leg, Place, Standing, Tale, Tcp, Turn, Words};

struct Legs {
    client: Peer,
    application: Peer,
}

impl Legs {
    /// This leg, and the other one.
    fn from(self, leg: Leg) -> (Peer, Peer) {
        match leg {
            Leg::Client => (self.client, self.application),
            Leg::Application => (self.application, self.client),
        }
    }
}

pub async fn play(
    play: &Play,
    fed: bool,
    client_tls: bool,
    application_tls: bool,
    tale: &Tale,
) -> Played {
    let path = |leg| match leg {
        Leg::Client => play.script.path(),
        Leg::Application => play.script.application_path(),
    };
    let direction = |leg| match leg {
        Leg::Client if !fed => "inbound",
        Leg::Client | Leg::Application => "outbound",
    };
    let id = match &tale.turn {
        Turn::ApiCloses(leg, ..) | Turn::Aborted(leg) => {
            Some(play.stage.id_of(&path(*leg), direction(*leg)))
        }
        _ => None,
    };
    let published = match &tale.turn {
        Turn::Curtain(..) => [Leg::Client, Leg::Application]
            .map(|leg| Some(play.stage.id_of(&path(leg), direction(leg)))),
        _ => [None, None],
    };
    let (client, application) = match fed {
        false => {
            let came = play.stage.world.expect(&play.script.mark);
            let client = play.script.path();
            let client = play.client("client", client_tls, &client);
            tokio::try_join!(client, play.server(came, "application"))?
        }
        true => feed(play, client_tls, application_tls).await?,
    };
    let mut legs = Legs { client, application };
    for said in &tale.talk {
        let Legs { client, application } = &mut legs;
        client.frames(&format!("{said:?}"), &said.frames()).await?;
        application.messages(1).await?;
        application.frames(&format!("{said:?}"), &said.frames()).await?;
        client.messages(1).await?;
    }
    for id in published.into_iter().flatten() {
        id.known().await?;
    }
    let id = match id {
        Some(id) => id.known().await?,
        None => String::new(),
    };
    act(play, legs, id, &tale.turn).await
}

/// Has the API dial a feed, and pass it on to an application.
async fn feed(play: &Play, feed_tls: bool, application_tls: bool) -> Played<(Peer, Peer)> {
    let (script, world) = (&play.script, &play.stage.world);
    let (feed, application) =
        (world.expect(&script.mark), world.expect(&script.application_mark()));
    let url = format!("{}{}", play.server_url(feed_tls), script.path());
    let to = format!("{}{}", play.server_url(application_tls), script.application_path());
    play.pen("api").does(&format!("dials {url} for {to}"));
    let backend = json!({"kind": "relay", "url": to});
    let body = json!({"url": url, "tags": {"mark": script.mark}, "backend": backend});
    let line = "POST /v1/connections".to_owned();
    let (_, feed, application) = tokio::try_join!(
        play.stage.ask(201, line, Some(body.to_string())),
        play.server(feed, "client"),
        play.server(application, "application"),
    )?;
    Ok((feed, application))
}

async fn act(play: &Play, legs: Legs, id: String, turn: &Turn) -> Played {
    match turn {
        Turn::Closes(leg, words, answer, tcp) => {
            let (mut one, other) = legs.from(*leg);
            one.close(words).await?;
            let closer = async {
                one.hear_close().await?;
                one.end(*tcp).await
            };
            let (closed, responded) = tokio::join!(closer, respond(other, answer));
            closed.and(responded)
        }
        Turn::Impatient(leg, words) => {
            let (mut one, mut other) = legs.from(*leg);
            one.close(words).await?;
            let close = other.hear_close().await?;
            one.reset();
            other.frames("the same Close", &[close]).await?;
            leave(other, Tcp::Fin).await
        }
        Turn::Cross(by_client, by_application) => {
            let (mut client, mut application) = legs.from(Leg::Client);
            let (closed, answered) = tokio::join!(
                async {
                    client.close(by_client).await?;
                    client.hear_close().await?;
                    leave(client, Tcp::Fin).await
                },
                async {
                    application.close(by_application).await?;
                    application.hear_close().await?;
                    leave(application, Tcp::Fin).await
                }
            );
            closed.and(answered)
        }
        Turn::Lost(leg, place, tcp, answer) => {
            let (mut one, other) = legs.from(*leg);
            if !matches!(place, Place::Between) {
                one.pen.does(&format!("stops: {place:?}"));
                let bytes = place.bytes(one.side);
                one.send(&bytes).await?;
            }
            let (lost, told) = tokio::join!(one.end(*tcp), told(leg.other(), other, answer));
            lost.and(told)
        }
        Turn::Breaks(leg, breach, words, tcp) => {
            let (mut one, other) = legs.from(*leg);
            one.pen.does(&format!("breaks the protocol: {breach:?}"));
            let bytes = breach.bytes(one.side);
            one.send(&bytes).await?;
            let breaks = async {
                one.hear_close().await?;
                if let Some(words) = words {
                    one.close(words).await?;
                }
                one.end(*tcp).await
            };
            let answer = Answer::Echo(Tcp::Fin);
            let (broken, told) = tokio::join!(breaks, told(leg.other(), other, &answer));
            broken.and(told)
        }
        Turn::ApiCloses(leg, words, tcp) => {
            play.api_closes(&id, words).await?;
            let (one, other) = legs.from(*leg);
            let answer = Answer::Echo(*tcp);
            let (one, other) = tokio::join!(respond(one, &answer), respond(other, &answer));
            one.and(other)
        }
        Turn::Aborted(leg) => {
            let (mut one, other) = legs.from(*leg);
            let answer = Answer::Echo(Tcp::Fin);
            let (aborted, one, other) = tokio::join!(
                play.api_aborts(&id),
                one.hear_end(),
                told(leg.other(), other, &answer)
            );
            aborted.and(one.map(drop)).and(other)
        }
        Turn::Curtain(standing, answer) => curtain(play, legs, *standing, answer).await,
    }
}

/// The side that is told of the other one's loss: an application is reset, a client is closed.
async fn told(leg: Leg, mut peer: Peer, answer: &Answer) -> Played {
    match leg {
        Leg::Application => peer.hear_end().await.map(drop),
        Leg::Client => respond(peer, answer).await,
    }
}

async fn curtain(play: &Play, mut legs: Legs, standing: Standing, answer: &Answer) -> Played {
    if standing == Standing::CloseReceived {
        legs.client.close(&Words::Code(1000, "bye".to_owned())).await?;
        legs.application.hear_close().await?;
    }
    play.waits_for_the_curtain().await;
    let Legs { mut client, mut application } = legs;
    if play.ends_by_kill() {
        let _ = tokio::join!(client.hear_end(), application.hear_end());
        return Ok(());
    }
    let answers = async |mut peer: Peer| {
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
    };
    let (client, application) = tokio::join!(answers(client), answers(application));
    client.and(application)
}
