//! How lines say when they were logged.

use std::time::SystemTime;

/// Returns the present time, as it is written.
pub(super) fn now() -> humantime::Rfc3339Timestamp {
    humantime::format_rfc3339_millis(SystemTime::now())
}
