//! Handles of listeners, and the set of listeners that a supervisor owns.

use std::convert::Infallible;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::accepting;
use super::pulse::{ListenerLife, Pulse, Pulses};
use super::shared::{Latest, Listener};
use crate::node::{NotAccepting, ShutDown};
use crate::transport::bind::{Acceptor, Arrivals, BindError};
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
    /// The socket, as long as it is accepted from.
    acceptor: Weak<Acceptor>,
    latest: Arc<Latest>,
    stop: watch::Sender<Stop>,
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
        self.shared.latest.borrow().tls.is_some()
    }

    /// Stops accepting; opening handshakes under way continue, and so does plain HTTP.
    ///
    /// The address is free soon afterwards. [`ListenerHandle::stop`] then aborts what is left.
    pub fn retire(&self) {
        self.shared.stop.send_if_modified(|stop| {
            let accepts = *stop == Stop::No;
            if accepts {
                *stop = Stop::Gently;
            }
            accepts
        });
    }

    /// Returns the socket for another listener that is to take this one's place: no client is refused
    /// meanwhile. `None` if this one has stopped.
    pub(crate) fn share_socket(&self) -> Option<io::Result<Acceptor>> {
        Some(self.shared.acceptor.upgrade()?.try_clone())
    }

    /// Changes the listener for the sockets that it accepts from now on.
    pub(crate) fn change(&self, change: impl FnOnce(&mut Listener)) {
        self.shared.latest.send_modify(|listener| {
            let mut changed = (**listener).clone();
            change(&mut changed);
            *listener = Arc::new(changed);
        });
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
        self.shared.stop.send_replace(Stop::Now);
        // No value is ever sent: this returns when the sender is dropped.
        let _ = self.shared.over.clone().changed().await;
    }
}

/// Whether a listener accepts, and what becomes of the attempts under way when it stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stop {
    /// It accepts.
    No,
    /// It has stopped accepting, and ends once no attempt is under way.
    Gently,
    /// It aborts the attempts.
    Now,
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
        mut listener: Listener,
        bind: impl FnOnce() -> Result<Acceptor, BindError>,
    ) -> Result<ListenerHandle, ListenError> {
        let mut tasks = self.tasks.lock();
        if tasks.closed {
            return Err(ShutDown.into());
        }
        let acceptor = Arc::new(bind()?);
        let address = acceptor.local_addr().map_err(|error| {
            // The kernel knows the address of a socket that listens.
            BindError::Other { address: ListenAddress::Unix(PathBuf::new()), error }
        })?;
        let weak = Arc::downgrade(&acceptor);
        let arrivals = Arrivals::new(acceptor);
        // Joins the listeners that were stopped.
        while tasks.running.try_join_next().is_some() {}
        let stop = watch::Sender::new(Stop::No);
        let stopped = stop.subscribe();
        let (sender, over) = watch::channel(());
        let name = listener.name.clone();
        let pulse = tasks.pulses.add(&name);
        let latest = Arc::new_cyclic(|latest| {
            listener.latest = Weak::clone(latest);
            watch::Sender::new(Arc::new(listener))
        });
        tasks.running.spawn(run(Arc::clone(&latest), arrivals, pulse, stopped, sender));
        Ok(ListenerHandle {
            shared: Arc::new(Shared { name, address, acceptor: weak, latest, stop, over }),
        })
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
    latest: Arc<Latest>,
    mut arrivals: Arrivals,
    pulse: Arc<Pulse>,
    mut stopped: watch::Receiver<Stop>,
    // Dropped last, when the address is free and the attempts are recorded.
    _over: watch::Sender<()>,
) {
    let mut attempts = JoinSet::new();
    let inherited = arrivals.is_inherited();
    tokio::select! {
        never = accepting::run(&latest, &mut arrivals, &mut attempts, &pulse) => match never {},
        never = follow_certificates(&latest) => match never {},
        () = stop_wanted(&mut stopped, Stop::Gently) => {}
        // Its socket is dropped, not shut down: the next process accepts what waits in the backlog.
        () = node_stops(&latest), if inherited => {}
    }
    pulse.stop();
    drop(arrivals);
    tokio::select! {
        () = async { while attempts.join_next().await.is_some() {} } => {}
        () = stop_wanted(&mut stopped, Stop::Now) => {}
    }
    attempts.shutdown().await;
}

/// Waits until the node is about to end.
async fn node_stops(latest: &Latest) {
    let mut draining = latest.borrow().node.draining();
    if draining.wait_for(|why| *why == Some(NotAccepting::Stopping)).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Follows the files of a listener's certificates, and those that replace them.
async fn follow_certificates(latest: &Latest) -> Infallible {
    let mut changes = latest.subscribe();
    loop {
        let listener = Arc::clone(&changes.borrow_and_update());
        let is_other = |now: &Arc<Listener>| match (&now.tls, &listener.tls) {
            (Some(now), Some(followed)) => !Arc::ptr_eq(now, followed),
            (None, None) => false,
            (Some(_), None) | (None, Some(_)) => true,
        };
        let following = async {
            match &listener.tls {
                Some(tls) => Arc::clone(tls).follow(&listener.name).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            never = following => match never {},
            // The sender is borrowed, so this cannot fail.
            _ = changes.wait_for(is_other) => {}
        }
    }
}

/// Waits until a stop of this urgency is wanted; dropping all handles does not stop a listener.
async fn stop_wanted(stopped: &mut watch::Receiver<Stop>, least: Stop) {
    let wanted = stopped.wait_for(|stop| *stop == Stop::Now || *stop == least);
    if wanted.await.is_err() {
        std::future::pending::<()>().await;
    }
}
