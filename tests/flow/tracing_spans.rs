//! The log lines of a connection stand in a span of its own.

use std::io;
use std::sync::{Arc, Mutex};

use lastword::{Backend, ConnectionHandle, Handler, HandlerFailure, Message, Route};
use tracing::Dispatch;
use tracing::level_filters::LevelFilter;
use tracing::subscriber::NoSubscriber;

use super::stage::{soon, supervisor};

struct Logging;

impl Handler for Logging {
    async fn on_message(
        &mut self,
        _: &ConnectionHandle,
        message: Message,
    ) -> Result<(), HandlerFailure> {
        tracing::info!("received {}", message.as_text().unwrap_or_default());
        Ok(())
    }
}

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Returns what is logged at a level while a client sends `hello` and closes, and its address.
async fn logged(level: LevelFilter) -> (String, String) {
    let lines = Lines::default();
    let writer = lines.clone();
    let log = tracing_subscriber::fmt().with_max_level(level).with_ansi(false);
    let log = log.with_writer(move || writer.clone());
    // While there is only one in the process, what another test's thread is the first to log stays
    // disabled for this one, too.
    let _second = Dispatch::new(NoSubscriber::new());
    // The runtime of a test is this thread, so every task logs to it.
    let _guard = tracing::subscriber::set_default(log.finish());
    let server = supervisor().await;
    let route = Route::serve("/chat", || Backend::handler("logging", Logging)).unwrap();
    let anywhere = "127.0.0.1:0".parse().unwrap();
    let listener = server.listen("public", &anywhere, vec![route]).await.unwrap();
    let url = format!("ws://{}/chat", listener.address());
    let (connection, _messages) = soon("the dial", server.dial(&url).receive()).await.unwrap();
    connection.send("hello").await.unwrap();
    assert!(soon("the close", connection.close(1000, "").unwrap()).await.is_clean());
    let peer = connection.origin().local_addr.clone().unwrap();
    let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    (text, peer)
}

#[tokio::test]
async fn a_line_of_a_handler_and_a_change_of_state_name_their_connection() {
    let (text, peer) = logged(LevelFilter::DEBUG).await;
    let line = text.lines().find(|line| line.ends_with("received hello")).expect(&text);
    assert!(line.contains("connection{connection.id="), "{line}");
    assert!(line.contains(r#"route="/chat""#), "{line}");
    assert!(line.contains(&format!("peer={peer:?}")), "{line}");
    let changed = |line: &&str| {
        line.contains("the closing handshake has changed its state state=close_received")
    };
    let line = text.lines().find(changed).expect(&text);
    assert!(line.contains("connection{connection.id="), "{line}");
}

#[tokio::test]
async fn at_the_usual_level_there_is_no_span() {
    let (text, _) = logged(LevelFilter::INFO).await;
    let line = text.lines().find(|line| line.ends_with("received hello")).expect(&text);
    assert!(!line.contains("connection{"), "{line}");
}
