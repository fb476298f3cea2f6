//! Signal handling.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::info;

use crate::surfaces::reloads::Reloads;
use crate::vocabulary::Requester;

/// The signals that the daemon handles.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
    reloads: Reloads,
    /// Signals that would end the process by default and have no meaning yet.
    ignored: [(&'static str, Signal); 2],
}

impl Signals {
    pub(super) fn install(reloads: Reloads) -> io::Result<Self> {
        // The handler stays, so that SIGUSR1 does no harm before `report::at_signals` listens.
        drop(signal(SignalKind::user_defined1())?);
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
            reloads,
            ignored: [
                ("USR2", signal(SignalKind::user_defined2())?),
                ("ALRM", signal(SignalKind::alarm())?),
            ],
        })
    }

    /// Returns the reloads that SIGHUP requests.
    pub(super) fn reloads(&self) -> &Reloads {
        &self.reloads
    }

    /// Waits for a stop signal and returns its name; SIGHUP requests a reload meanwhile. Cancel safe.
    pub(super) async fn stop(&mut self) -> &'static str {
        loop {
            let [usr2, alarm] = &mut self.ignored;
            let ignored = tokio::select! {
                _ = self.terminate.recv() => return "TERM",
                _ = self.interrupt.recv() => return "INT",
                _ = self.hang_up.recv() => {
                    self.reloads.request(Requester::Signal("HUP"));
                    continue;
                }
                _ = usr2.1.recv() => usr2.0,
                _ = alarm.1.recv() => alarm.0,
            };
            info!("SIG{ignored} was ignored: send SIGTERM to stop the daemon");
        }
    }
}
