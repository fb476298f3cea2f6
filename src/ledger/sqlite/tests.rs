//! The durable ledger, from its file outwards.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::trouble::Trouble;

/// What a test makes of a disk.
#[derive(Debug, Clone, Default)]
pub(crate) struct Faults(Arc<AtomicU32>);

impl Faults {
    pub(super) fn before(&self) -> Result<(), Trouble> {
        Ok(())
    }

    pub(super) fn after(&self) -> Result<(), Trouble> {
        let _ = self.0.load(Ordering::Relaxed);
        Ok(())
    }
}
