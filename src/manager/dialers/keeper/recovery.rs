//! What becomes of a dialer whose keeper panics: it is told of in the log and in the dialer's status,
//! and begins anew.

use std::time::SystemTime;

use super::{Keeper, Live, Next, Rest};
use crate::runtime::tasks::{Panicked, Task};
use crate::vocabulary::{Cause, CloseCode, CloseFrame};

impl Keeper {
    /// Runs until it was removed, or the supervisor is gone. After a panic it begins anew.
    pub(in crate::manager::dialers) async fn run(mut self) {
        let mut task = Task::new(format!("dialer {}", self.plan.name));
        self.dial();
        while let Err(panicked) = task.run(self.work()).await {
            self.begin_anew(&panicked);
            let mut wishes = self.shared.wishes.subscribe();
            // Paused, resumed or removed meanwhile, it goes on at once.
            let _ = tokio::time::timeout(panicked.wait, wishes.changed()).await;
        }
    }

    /// Lets go of what it held when it panicked, which may be half-done, and dials again after the
    /// wait, unless it is to rest.
    fn begin_anew(&mut self, Panicked { what, wait }: &Panicked) {
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
        match rest.or_else(|| self.heeded.paused.then_some(Rest::Paused)) {
            Some(rest) => self.next = Next::Resting(rest),
            None => self.wait(*wait, &format!("its task panicked: {what}")),
        }
        self.report();
    }
}
