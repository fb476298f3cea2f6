//! Chat rooms: `cargo run --example chat_room`, then connect to
//! ws://127.0.0.1:8080/rooms/lobby?name=ann.
//!
//! What one says, all in the room get. `/kick NAME` closes somebody's connections with 1008 and a
//! reason, and the room is told how it ended.
#![allow(clippy::print_stdout, reason = "an example talks to its user")]

use lastword::{
    Accept, Backend, ConnectionHandle, DrainOptions, Handler, HandlerFailure, Message,
    OpeningRequest, Refuse, Route, Supervisor,
};

type Outcome = Result<(), HandlerFailure>;

/// One member's side of a room.
struct Member {
    supervisor: Supervisor,
    name: String,
    room: String,
}

impl Member {
    fn announce(&self, text: &str) {
        self.supervisor.broadcast(text, |origin| origin.tags.get("room") == Some(&self.room));
    }

    /// Closes every connection of a member; the room is told how each of them ended.
    async fn kick(&self, name: &str) -> Outcome {
        let open = self.supervisor.connections();
        for connection in open.iter().filter(|it| it.origin().subject.as_deref() == Some(name)) {
            let reason = format!("kicked by {}", self.name);
            let ending = connection.close(1008, &reason)?.await;
            self.announce(&format!("* {name} is gone: {}", ending.outcome.kind));
        }
        Ok(())
    }
}

impl Handler for Member {
    async fn on_open(&mut self, _: &ConnectionHandle) -> Outcome {
        self.announce(&format!("* {} is here", self.name));
        Ok(())
    }

    async fn on_message(&mut self, _: &ConnectionHandle, message: Message) -> Outcome {
        let text = message.as_text().ok_or("only text is passed on")?;
        match text.strip_prefix("/kick ") {
            Some(name) => self.kick(name).await?,
            None => self.announce(&format!("{}: {text}", self.name)),
        }
        Ok(())
    }
}

pub(crate) fn rooms(supervisor: Supervisor) -> Result<Route, Box<dyn std::error::Error>> {
    let enter = move |request: OpeningRequest| {
        let supervisor = supervisor.clone();
        async move {
            let name = request.query().and_then(|query| query.strip_prefix("name="));
            let name = name.ok_or(Refuse::forbidden("say who you are: ?name=ann"))?.to_owned();
            let room = request.tags()["room"].clone();
            let member = Member { supervisor, name: name.clone(), room };
            Ok::<_, Refuse>(Accept::new(Backend::handler("chat", member)).subject(name))
        }
    };
    Ok(Route::new("/rooms/{room}", enter)?.with_tag("room", "{room}")?)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let supervisor = Supervisor::builder().start().await?;
    let routes = vec![rooms(supervisor.clone())?];
    let listener = supervisor.listen("public", &"127.0.0.1:8080".parse()?, routes).await?;
    println!("listening on ws://{}/rooms/lobby?name=ann", listener.address());
    tokio::signal::ctrl_c().await?;
    supervisor.shutdown(DrainOptions::default()).await;
    Ok(())
}
