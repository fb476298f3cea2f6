//! Recovery from a panic of the keeper: it is logged, shown in the dialer's status, and the keeper
//! restarts.

use std::time::SystemTime;

use super::{Keeper, Live, Next, Rest};
use crate::runtime::tasks::{Panicked, Task};
use crate::vocabulary::{Cause, CloseCode, CloseFrame};

impl Keeper {
    /// Runs until the dialer is removed or the supervisor has ended, and restarts after a panic.
    pub(in crate::manager::dialers) async fn run(mut self) {
        let mut task = Task::new(format!("dialer {}", self.plan.name));
        self.dial();
        while let Err(panicked) = task.run(self.work()).await {
            self.restart(&panicked);
            let mut requests = self.shared.requests.subscribe();
            // A pause, resume or removal ends the wait early.
            let _ = tokio::time::timeout(panicked.wait, requests.changed()).await;
        }
    }

    /// Closes the connections held when it panicked, as their state may be inconsistent, and
    /// schedules a dial after the wait, unless the dialer is paused or has given up.
    fn restart(&mut self, Panicked { what, wait }: &Panicked) {
        #[cfg(test)]
        crate::runtime::tasks::panic_points::reach(&format!("{} again", self.plan.name));
        let next = std::mem::replace(&mut self.next, Next::Idle);
        let current = self.current.take();
        if current.as_ref().is_some_and(Live::is_ready) {
            self.gap_since.get_or_insert(SystemTime::now());
        }
        let (readying, rest) = match next {
            Next::Readying(live) => (Some(live), None),
            Next::Resting(rest) | Next::Dialling { unwanted: Some(rest), .. } => (None, Some(rest)),
            Next::Idle | Next::Waiting { .. } | Next::Dialling { .. } => (None, None),
        };
        let open = [current, readying].into_iter().flatten().map(|live| live.connection);
        for connection in open.chain(self.retiring.take().map(|retiring| retiring.connection)) {
            let frame = CloseFrame::coded(CloseCode::GOING_AWAY, "the dialer failed");
            connection.close_with(frame, Cause::Embedder, None);
        }
        match rest.or_else(|| self.applied.paused.then_some(Rest::Paused)) {
            Some(rest) => self.next = Next::Resting(rest),
            None => self.wait(*wait, &format!("its task panicked: {what}")),
        }
        self.report();
    }
}
