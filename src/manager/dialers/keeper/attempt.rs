//! One attempt of a dialer.

use std::pin::Pin;
use std::sync::Arc;

use tokio::sync::watch;

use crate::actor::backend::made;
use crate::connection::handle::ConnectionHandle;
use crate::connection::watch::Watch;
use crate::manager::dialers::plan::Plan;
use crate::manager::dialers::shared::{Gate, Requests};
use crate::node::{Node, NotAccepting};
use crate::vocabulary::{Ending, OpenFailure};

pub(super) type Attempt = Pin<Box<dyn Future<Output = Attempted> + Send>>;

/// The outcome of an attempt.
pub(super) enum Attempted {
    Opened(ConnectionHandle, Option<Arc<Watch>>, Arc<Plan>),
    Failed(Arc<Ending>),
    /// The dialer was paused or has other options, or this end began to drain.
    Cancelled,
    /// The supervisor has ended.
    ShutDown,
}

/// Dials once, when the rate limit allows it, and sends the first messages.
pub(super) async fn attempt(
    node: Arc<Node>,
    plan: Arc<Plan>,
    gate: Arc<Gate>,
    mut requests: watch::Receiver<Requests>,
    mut draining: watch::Receiver<Option<NotAccepting>>,
) -> Attempted {
    let backend = match made(|| (plan.backend)()) {
        Ok(backend) => backend,
        Err(panic) => {
            let failure = OpenFailure::BackendRefused;
            return Attempted::Failed(plan.target.fail(&node, failure, panic).await);
        }
    };
    let name = backend.name().to_owned();
    let connect = async {
        gate.pass().await;
        plan.target.connect(&node, &name).await
    };
    let unwanted = |requests: &Requests| requests.paused || requests.renewals != plan.renewal;
    let unwanted = async { drop(requests.wait_for(unwanted).await) };
    let drained = async { drop(draining.wait_for(Option::is_some).await) };
    let connected = tokio::select! {
        biased;
        () = unwanted => return Attempted::Cancelled,
        () = drained => return Attempted::Cancelled,
        connected = connect => connected,
    };
    let connected = match connected {
        Ok(connected) => connected,
        Err(ending) => return Attempted::Failed(ending),
    };
    let watch = plan.opening.watch();
    let backend = backend.watched(watch.clone());
    match connected.adopt(&node, backend, &plan.opening.first).await {
        Ok(connection) => Attempted::Opened(connection, watch, plan),
        Err(_shut_down) => Attempted::ShutDown,
    }
}
