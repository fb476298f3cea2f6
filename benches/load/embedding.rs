//! lastword as a library in a program that broadcasts.

use lastword::{Message, Route, Supervisor};

use crate::baselines::{announce, broadcast_size};
use crate::processes::commands;
use crate::{Result, measure};

/// Serves echo, and on command broadcasts a message.
pub(crate) fn serve() -> Result<()> {
    measure::raise_descriptor_limit();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let supervisor = Supervisor::builder().start().await?;
        let routes = vec![Route::echo("/*")?];
        let listening = supervisor.listen("load", &"127.0.0.1:0".parse()?, routes).await?;
        announce(&listening.address().to_string())?;
        let mut commands = commands();
        while let Some(size) = commands.recv().await.and_then(|line| broadcast_size(&line)) {
            let message = Message::from(vec![7_u8; size]);
            // The client has received the previous message, so the outbox is not full.
            supervisor.broadcast(message, |_origin| true);
        }
        Ok(())
    })
}
