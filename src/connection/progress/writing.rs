//! How far writing is, and what follows once all of it has left.

use std::time::{Duration, Instant};

use crate::connection::Connection;
use crate::connection::outbox::Left;
use crate::protocol::classification::LossKind;
use crate::transport::socket::Transport;

/// Where writing stands.
#[derive(Debug, Default)]
pub(crate) struct Writing {
    pub(crate) state: WriteState,
    /// Since when the kernel has taken nothing of what waits.
    pub(crate) stalled_since: Option<Instant>,
    /// Bytes that the kernel has taken.
    pub(crate) written: u64,
    /// What left whole and was not flushed yet.
    pub(crate) unflushed: Option<Left>,
}

#[derive(Debug, Default)]
pub(crate) enum WriteState {
    #[default]
    Open,
    /// FIN is on its way.
    Shut,
    Failed(WriteFailure),
}

/// How a write failed.
#[derive(Debug)]
pub(crate) struct WriteFailure {
    pub(crate) how: LossKind,
    /// The error was EPIPE, which the kernel tells of a reset that came behind the peer's FIN.
    pub(crate) behind_fin: bool,
    pub(crate) at: Instant,
}

impl WriteFailure {
    pub(crate) fn of(error: &std::io::Error, now: Instant) -> Self {
        let behind_fin = error.kind() == std::io::ErrorKind::BrokenPipe;
        Self { how: LossKind::from(error), behind_fin, at: now }
    }
}

impl Writing {
    /// Returns when the peer will have taken nothing for too long.
    pub(crate) fn deadline(&self, connection: &Connection) -> Option<Instant> {
        Some(self.stalled_since? + connection.settings.limits.write_timeout)
    }

    pub(crate) fn stalled_for(&self, now: Instant) -> Duration {
        self.stalled_since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
    }

    pub(crate) fn is_open(&self) -> bool {
        matches!(self.state, WriteState::Open)
    }

    /// Our half of the transport has ended (FIN).
    pub(crate) fn shut(&mut self) {
        self.state = WriteState::Shut;
    }

    pub(crate) fn has_failed(&self) -> bool {
        self.failure().is_some()
    }

    /// Returns how a write failed, if one did.
    pub(crate) fn failure(&self) -> Option<&WriteFailure> {
        match &self.state {
            WriteState::Failed(failure) => Some(failure),
            WriteState::Open | WriteState::Shut => None,
        }
    }

    /// Returns until when reading may tell how a failed transport ended.
    pub(crate) fn failure_deadline(&self, patience: Duration) -> Option<Instant> {
        Some(self.failure()?.at + patience)
    }

    /// The process was not running for this long, so neither writes nor the end of the transport could be
    /// seen.
    pub(crate) fn put_off(&mut self, missed: Duration) {
        if let Some(since) = &mut self.stalled_since {
            *since += missed;
        }
        if let WriteState::Failed(failure) = &mut self.state {
            failure.at += missed;
        }
    }

    /// Returns how a write failed, if reading has had its time.
    pub(crate) fn failure_since(&self, now: Instant, patience: Duration) -> Option<LossKind> {
        self.failure_deadline(patience).filter(|deadline| *deadline <= now)?;
        self.failure().map(|failure| failure.how.clone())
    }

    /// Returns how many bytes the peer's kernel has acknowledged, of ours and of the `direct` ones
    /// that others wrote; 0 if unknown.
    pub(crate) fn acked(&self, transport: &dyn Transport, direct: u64) -> u64 {
        transport
            .kernel()
            .map_or(0, |kernel| (self.written + direct).saturating_sub(kernel.unacked_bytes.into()))
    }
}

/// What is to be done once everything that is queued has left.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct AfterFlush {
    /// Report that it has.
    pub(crate) report: bool,
    /// End our half of the transport.
    pub(crate) shutdown: bool,
}
