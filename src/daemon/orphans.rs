//! Reaps orphans where the daemon is PID 1, as in a container.
//!
//! It starts no processes itself, but the kernel gives it those whose parents have ended, such as what a
//! health check left behind. Nobody else would wait for them, and each would stay a zombie.

use std::convert::Infallible;
use std::future::pending;

use rustix::process::{WaitOptions, wait};
use tokio::signal::unix::{SignalKind, signal};
use tracing::{debug, warn};

/// Reaps orphans for as long as it is polled, if this process is PID 1.
pub(super) async fn reap() -> Infallible {
    if std::process::id() != 1 {
        return pending().await;
    }
    let mut ended = match signal(SignalKind::child()) {
        Ok(ended) => ended,
        Err(error) => {
            warn!(%error, "SIGCHLD cannot be handled: orphans will stay zombies");
            return pending().await;
        }
    };
    loop {
        // One signal may stand for several children, and some may have ended before the first.
        while let Ok(Some((pid, _status))) = wait(WaitOptions::NOHANG) {
            debug!(pid = pid.as_raw_nonzero().get(), "reaped an orphan");
        }
        ended.recv().await;
    }
}
