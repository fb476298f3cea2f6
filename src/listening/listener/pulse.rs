//! Proof that the task of a listener takes its turns.

use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::runtime::now;

/// The pulse of a listener: it is asked, and its task answers in its turn.
#[derive(Debug, Default)]
pub(crate) struct Pulse {
    asked: Notify,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    answered: Option<Instant>,
    /// The listener has stopped as it was told to, and answers no more.
    stopped: bool,
}

impl Pulse {
    /// Waits until it is asked. Cancel safe.
    pub(super) async fn asked(&self) {
        self.asked.notified().await;
    }

    pub(super) fn answer(&self) {
        self.state.lock().answered = Some(now());
    }

    pub(super) fn stop(&self) {
        self.state.lock().stopped = true;
    }

    pub(super) fn has_stopped(&self) -> bool {
        self.state.lock().stopped
    }

    /// Asks, and returns when it last answered.
    pub(super) fn ask(&self) -> Option<Instant> {
        self.asked.notify_one();
        self.state.lock().answered
    }
}

/// A listener that runs, and when it last proved that it does.
#[derive(Debug)]
pub(crate) struct ListenerLife {
    /// Its name.
    pub(crate) name: String,
    /// When its task last took its turn; `None` if it was never asked before.
    pub(crate) turned: Option<Instant>,
}

/// The pulses of all listeners that should run.
#[derive(Debug, Default)]
pub(super) struct Pulses(Vec<(String, Arc<Pulse>)>);

impl Pulses {
    pub(super) fn add(&mut self, name: &str) -> Arc<Pulse> {
        self.0.retain(|(_, pulse)| !pulse.has_stopped());
        let pulse = Arc::<Pulse>::default();
        self.0.push((name.to_owned(), Arc::clone(&pulse)));
        pulse
    }

    /// Asks each, and returns when it last answered.
    pub(super) fn ask(&mut self) -> Vec<ListenerLife> {
        self.0.retain(|(_, pulse)| !pulse.has_stopped());
        let lives = self.0.iter();
        lives
            .map(|(name, pulse)| ListenerLife { name: name.clone(), turned: pulse.ask() })
            .collect()
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}
