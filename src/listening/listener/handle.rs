//! Listeners as the program that uses them sees them, and as the supervisor owns them.

use std::fmt;
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};

use tokio::sync::watch;
use tokio::task::JoinSet;

use super::shared::Listener;
use crate::node::ShutDown;
use crate::transport::bind::{Arrivals, BindError};
use crate::vocabulary::ListenAddress;

/// A listener, as the program that uses it sees it. Cloning is cheap; dropping does nothing: the
/// supervisor owns the listener, until it is stopped or the supervisor is.
#[derive(Clone)]
pub struct ListenerHandle {
    shared: Arc<Shared>,
}

struct Shared {
    name: String,
    address: ListenAddress,
    stop: watch::Sender<bool>,
    /// Its sender is gone once the listener is.
    over: watch::Receiver<()>,
}

/// Tells why an address is not listened on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ListenError {
    /// The address cannot be bound.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The supervisor was shut down.
    #[error(transparent)]
    ShutDown(#[from] ShutDown),
}

impl ListenerHandle {
    /// Returns the name.
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// Returns the address, with the port that the kernel chose if it was to choose one.
    pub fn address(&self) -> &ListenAddress {
        &self.shared.address
    }

    /// Stops accepting and frees the address. Opening handshakes under way are cut off and recorded;
    /// open connections go on.
    ///
    /// Returns once the address is free. A second call, or one after [`Supervisor::shutdown`], does
    /// no more than wait for that.
    ///
    /// # Cancel safety
    /// Dropped, the listener stops all the same.
    ///
    /// [`Supervisor::shutdown`]: crate::Supervisor::shutdown
    pub async fn stop(&self) {
        self.shared.stop.send_replace(true);
        // Nothing is ever sent: this ends when the sender is dropped.
        let _ = self.shared.over.clone().changed().await;
    }
}

impl fmt::Debug for ListenerHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ListenerHandle")
            .field("name", &self.shared.name)
            .field("address", &self.shared.address)
            .finish_non_exhaustive()
    }
}

/// The listeners of a supervisor. Dropping it stops them.
#[derive(Default)]
pub(crate) struct Listeners {
    tasks: Mutex<Tasks>,
}

#[derive(Default)]
struct Tasks {
    running: JoinSet<()>,
    /// No listener starts any more.
    closed: bool,
}

impl Listeners {
    /// Starts a listener on what `bind` binds, unless the supervisor was shut down.
    pub(crate) fn start(
        &self,
        listener: Listener,
        bind: impl FnOnce() -> Result<(Arrivals, ListenAddress), BindError>,
    ) -> Result<ListenerHandle, ListenError> {
        let mut tasks = self.lock();
        if tasks.closed {
            return Err(ShutDown.into());
        }
        let (arrivals, address) = bind()?;
        // Those that were stopped have ended.
        while tasks.running.try_join_next().is_some() {}
        let stop = watch::Sender::new(false);
        let stopped = stop.subscribe();
        let (sender, over) = watch::channel(());
        let name = listener.name.clone();
        tasks.running.spawn(run(listener, arrivals, stopped, sender));
        Ok(ListenerHandle { shared: Arc::new(Shared { name, address, stop, over }) })
    }

    /// Stops all listeners, and starts none any more.
    pub(crate) async fn close(&self) {
        let mut running = {
            let mut tasks = self.lock();
            tasks.closed = true;
            std::mem::take(&mut tasks.running)
        };
        running.shutdown().await;
    }

    fn lock(&self) -> MutexGuard<'_, Tasks> {
        self.tasks.lock()
    }
}

/// Runs a listener until it is told to stop, or the handle and the supervisor are gone.
async fn run(
    listener: Listener,
    arrivals: Arrivals,
    mut stopped: watch::Receiver<bool>,
    // Dropped last, when the address is free and the attempts are recorded.
    _over: watch::Sender<()>,
) {
    let mut attempts = JoinSet::new();
    let accepting = Arc::new(listener).run(arrivals, &mut attempts);
    tokio::select! {
        () = accepting => {}
        _ = stop_wanted(&mut stopped) => {}
    }
    attempts.shutdown().await;
}

/// Waits until the listener is to stop. That all handles are gone is no reason.
async fn stop_wanted(stopped: &mut watch::Receiver<bool>) {
    if stopped.wait_for(|stopped| *stopped).await.is_err() {
        std::future::pending::<()>().await;
    }
}
