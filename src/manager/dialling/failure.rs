//! Why an attempt failed.

use std::time::Duration;

use crate::transport::connect::FailedConnect;
use crate::transport::opening_handshake::FailedOpening;
use crate::vocabulary::{OpenFailure, TransportEnd};

/// Why an attempt failed.
pub(super) struct Failure {
    pub(super) failure: OpenFailure,
    pub(super) transport_end: Option<TransportEnd>,
    pub(super) retry_after: Option<Duration>,
    pub(super) detail: String,
}

impl Failure {
    pub(super) fn here(failure: OpenFailure, detail: impl Into<String>) -> Self {
        Self { failure, transport_end: None, retry_after: None, detail: detail.into() }
    }
}

impl From<FailedConnect> for Failure {
    fn from(failed: FailedConnect) -> Self {
        let FailedConnect { failure, transport_end, retry_after, detail } = failed;
        Self { failure, transport_end, retry_after, detail }
    }
}

impl From<FailedOpening> for Failure {
    fn from(failed: FailedOpening) -> Self {
        let FailedOpening { failure, status: _, answer: _, retry_after, detail, transport_end } =
            failed;
        Self { failure, transport_end: Some(transport_end), retry_after, detail }
    }
}
