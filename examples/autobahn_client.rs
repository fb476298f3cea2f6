//! The client that the Autobahn test suite's fuzzing server tests: `autobahn_client URL AGENT`.
//!
//! For each case it connects, sends every message back, and lets the server end the connection.

use std::time::Duration;

use lastword::settings::{ByteSize, ConnectionSettings};
use lastword::{
    Backend, ConnectionHandle, DrainOptions, Ending, Handler, HandlerFailure, Incoming, Message,
    Supervisor,
};

struct Echo;

impl Handler for Echo {
    async fn on_message(
        &mut self,
        connection: &ConnectionHandle,
        message: Message,
    ) -> Result<(), HandlerFailure> {
        // Some cases close while we still have something to say; that is no failure of ours.
        let _ = connection.send(message).await;
        Ok(())
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let url = arguments.next().ok_or("usage: autobahn_client URL AGENT")?;
    let agent = arguments.next().ok_or("usage: autobahn_client URL AGENT")?;
    let url = url.trim_end_matches('/');

    let supervisor = Supervisor::builder().start().await?;
    let (count, mut messages) = supervisor.dial(&format!("{url}/getCaseCount")).receive().await?;
    let cases: u32 = match messages.receive().await? {
        Incoming::Message(message) => message.as_text().unwrap_or("").parse()?,
        Incoming::Close(_) => return Err("the server told no number of cases".into()),
    };
    count.ended().await;

    for case in 1..=cases {
        let url = format!("{url}/runCase?case={case}&agent={agent}");
        let connection = supervisor
            .dial(&url)
            .settings(settings())
            .open(Backend::handler("autobahn", Echo))
            .await?;
        let ending: std::sync::Arc<Ending> = connection.ended().await;
        tracing::debug!(case, %ending, "case ended");
    }
    let update = supervisor
        .dial(&format!("{url}/updateReports?agent={agent}"))
        .open(Backend::echo())
        .await?;
    update.ended().await;
    supervisor.shutdown(DrainOptions::default()).await;
    Ok(())
}

/// Cases 9 send up to 16 MiB, and no Ping of ours may get between what the suite counts.
fn settings() -> ConnectionSettings {
    let mut settings = ConnectionSettings::default();
    settings.limits.max_message_size = ByteSize::mib(64);
    settings.limits.max_frame_size = ByteSize::mib(64);
    settings.keepalive.ping_interval = Duration::ZERO;
    settings
}
