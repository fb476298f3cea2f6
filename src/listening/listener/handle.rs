//! Handles of listeners, and the set of listeners that a supervisor owns.

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::pulse::{ListenerLife, Pulse, Pulses};
use super::shared::Listener;
use crate::node::{NotAccepting, ShutDown};
use crate::transport::bind::{Arrivals, BindError};
#[cfg(feature = "tls")]
use crate::transport::tls::TlsFileError;
use crate::vocabulary::ListenAddress;

/// A handle of a listener.
///
/// Cloning is cheap. Dropping it does not stop the listener, which the supervisor owns until
/// [`ListenerHandle::stop`] or until the supervisor is shut down.
#[derive(Clone)]
pub struct ListenerHandle {
    shared: Arc<Shared>,
}

struct Shared {
    name: String,
    address: ListenAddress,
    has_tls: bool,
    stop: watch::Sender<bool>,
    /// Closed once the listener has stopped.
    over: watch::Receiver<()>,
}

/// Why a listener did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ListenError {
    /// The address cannot be bound.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The files of its TLS cannot be used.
    #[cfg(feature = "tls")]
    #[error(transparent)]
    Tls(#[from] TlsFileError),
    /// The supervisor was shut down.
    #[error(transparent)]
    ShutDown(#[from] ShutDown),
}

impl ListenerHandle {
    /// Returns the name.
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// Returns the bound address; port 0 is replaced by the one that the kernel chose.
    pub fn address(&self) -> &ListenAddress {
        &self.shared.address
    }

    /// Returns whether its clients connect over TLS.
    pub fn has_tls(&self) -> bool {
        self.shared.has_tls
    }

    /// Stops accepting, and returns once the address is free.
    ///
    /// Opening handshakes under way are aborted and recorded; open connections stay open. A second
    /// call, or one after [`Supervisor::shutdown`], only waits.
    ///
    /// # Cancel safety
    /// The listener stops even if the future is dropped.
    ///
    /// [`Supervisor::shutdown`]: crate::Supervisor::shutdown
    pub async fn stop(&self) {
        self.shared.stop.send_replace(true);
        // No value is ever sent: this returns when the sender is dropped.
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
    pulses: Pulses,
    /// No further listener may start.
    closed: bool,
}

impl Listeners {
    /// Starts a listener on what `bind` binds, unless the supervisor was shut down.
    pub(crate) fn start(
        &self,
        listener: Listener,
        bind: impl FnOnce() -> Result<(Arrivals, ListenAddress), BindError>,
    ) -> Result<ListenerHandle, ListenError> {
        let mut tasks = self.tasks.lock();
        if tasks.closed {
            return Err(ShutDown.into());
        }
        let (arrivals, address) = bind()?;
        // Joins the listeners that were stopped.
        while tasks.running.try_join_next().is_some() {}
        let stop = watch::Sender::new(false);
        let stopped = stop.subscribe();
        let (sender, over) = watch::channel(());
        let (name, has_tls) = (listener.name.clone(), listener.tls.is_some());
        let pulse = tasks.pulses.add(&name);
        tasks.running.spawn(run(listener, arrivals, pulse, stopped, sender));
        Ok(ListenerHandle { shared: Arc::new(Shared { name, address, has_tls, stop, over }) })
    }

    /// Asks each listener to take its turn, and returns when each last did.
    pub(crate) fn ask(&self) -> Vec<ListenerLife> {
        self.tasks.lock().pulses.ask()
    }

    /// Stops all listeners; none can be started afterwards.
    pub(crate) async fn close(&self) {
        let mut running = {
            let mut tasks = self.tasks.lock();
            tasks.closed = true;
            tasks.pulses.clear();
            std::mem::take(&mut tasks.running)
        };
        running.shutdown().await;
    }
}

/// Runs a listener until it is stopped.
async fn run(
    listener: Listener,
    arrivals: Arrivals,
    pulse: Arc<Pulse>,
    mut stopped: watch::Receiver<bool>,
    // Dropped last, when the address is free and the attempts are recorded.
    _over: watch::Sender<()>,
) {
    let mut attempts = JoinSet::new();
    let listener = Arc::new(listener);
    let inherited = arrivals.is_inherited();
    let accepting = Arc::clone(&listener).run(arrivals, &mut attempts, &pulse);
    let leaves_backlog = tokio::select! {
        () = accepting => false,
        never = follow_certificates(&listener) => match never {},
        () = stop_wanted(&mut stopped) => false,
        () = node_stops(&listener), if inherited => true,
    };
    pulse.stop();
    if leaves_backlog {
        // Its socket was dropped, not shut down: the next process accepts what waits in the backlog.
        let joining = async { while attempts.join_next().await.is_some() {} };
        tokio::select! {
            () = joining => {}
            () = stop_wanted(&mut stopped) => {}
        }
    }
    attempts.shutdown().await;
}

/// Waits until the node is about to end.
async fn node_stops(listener: &Listener) {
    let mut draining = listener.node.draining();
    if draining.wait_for(|why| *why == Some(NotAccepting::Stopping)).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Follows the files of a listener's certificates.
async fn follow_certificates(listener: &Listener) -> Infallible {
    match &listener.tls {
        Some(tls) => Arc::clone(tls).follow(&listener.name).await,
        None => std::future::pending().await,
    }
}

/// Waits for a stop; dropping all handles does not stop a listener.
async fn stop_wanted(stopped: &mut watch::Receiver<bool>) {
    if stopped.wait_for(|stopped| *stopped).await.is_err() {
        std::future::pending::<()>().await;
    }
}
