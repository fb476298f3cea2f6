//! The accept loop of a listener.

use std::convert::Infallible;
use std::sync::Arc;

use tokio::task::JoinSet;

use super::pulse::Pulse;
use super::shared::Latest;
use crate::runtime::tasks::{Panicked, Task};
use crate::transport::bind::{Arrival, Arrivals};
use crate::transport::tls::ServerTls;

/// Accepts for as long as it is polled. The socket, its backlog and the attempts under way outlive a
/// panic.
pub(super) async fn run(
    latest: &Latest,
    arrivals: &mut Arrivals,
    attempts: &mut JoinSet<()>,
    pulse: &Pulse,
) -> Infallible {
    let mut task = Task::new(format!("listener {}", latest.borrow().name));
    loop {
        let accepting = accept(latest, arrivals, attempts, pulse);
        let Err(Panicked { wait, .. }) = task.run(accepting).await;
        tokio::time::sleep(wait).await;
    }
}

async fn accept(
    latest: &Latest,
    arrivals: &mut Arrivals,
    attempts: &mut JoinSet<()>,
    pulse: &Pulse,
) -> Infallible {
    let mut changes = latest.subscribe();
    loop {
        let answer = changes.borrow_and_update().tls.is_some().then_some(&ServerTls::ALERT[..]);
        arrivals.refuse_with(answer);
        tokio::select! {
            arrival = arrivals.next() => {
                let listener = Arc::clone(&latest.borrow());
                match arrival {
                    Arrival::Socket { socket, peer } => {
                        let visitor = listener.visitor(peer, arrivals.local_addr(&socket));
                        listener.begin(socket, visitor, attempts);
                    }
                    Arrival::RefusedForDescriptors { peer } => listener.out_of_descriptors(peer),
                }
            }
            Some(_done) = attempts.join_next() => {}
            () = pulse.asked() => pulse.answer(),
            // The sender is borrowed, so this cannot fail.
            _ = changes.changed() => {}
        }
        #[cfg(test)]
        crate::runtime::tasks::panic_points::reach(&latest.borrow().name);
    }
}
