//! Logs what connections and revocations do.

use tracing::{info, warn};

use crate::surfaces::log::EndingLog;
use crate::vocabulary::{Event, Published, Record, Revocation, RevocationChange, RevocationTarget};

/// Logs every ending once; attempts of a flood that are only counted are left out.
pub(super) fn log_event(ending_log: &EndingLog, published: &Published) {
    match (&published.event, published.record) {
        (Event::OpenFailed(_), Record::Counted) => {}
        (Event::Ended(ending) | Event::OpenFailed(ending), Record::Failed) => {
            ending_log.log_whole(ending);
        }
        (Event::Ended(ending) | Event::OpenFailed(ending), _) => ending_log.log(ending),
        (Event::Opened(opened), _) => tracing::debug!(
            target: "lastword::opened",
            id = %opened.id,
            sequence = published.record.sequence(),
            "the connection opened"
        ),
        (Event::Gap(missed), _) => {
            warn!(
                missed,
                "there were too many events: some are missing from this log and the metrics"
            );
        }
        (Event::Revocation(change), _) => log_revocation(change),
        // Dialers and drains log their own lines.
        (Event::Closing(_) | Event::Reconnecting(_) | Event::Dialer(_) | Event::Drain(_), _) => {}
    }
}

fn log_revocation(change: &RevocationChange) {
    let Revocation { number, target, expires_at, by, .. } = &**change.revocation();
    let (subject, jti) = match target {
        RevocationTarget::Subject { subject, .. } => (Some(subject), None),
        RevocationTarget::Token { id } => (None, Some(id)),
    };
    info!(
        revocation = number,
        subject,
        jti,
        expires_at = expires_at.map(|time| humantime::format_rfc3339_millis(time).to_string()),
        by = by.as_ref().map(ToString::to_string),
        "a revocation was {}",
        change.as_str()
    );
}
