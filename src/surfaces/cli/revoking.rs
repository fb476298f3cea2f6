//! `revoke` and `revocations`: whose connections are closed and refused.

use std::time::SystemTime;

use serde_json::json;

use super::api::{Daemon, path};
use super::arguments::{Revocations, Revoke};
use super::console::{Console, Look};
use super::failure::Failure;
use super::listing::Paged;
use super::table::{Column, Content, Listing};
use crate::contract::{RevocationPage, RevocationRecord};
use crate::explanation::wording::{count, safe, safe_or, stamp, utc_seconds};

/// Makes or deletes a revocation.
pub(super) async fn revoke(revoke: &Revoke, console: &mut Console) -> Result<u8, Failure> {
    let daemon = Daemon::of(&revoke.control)?;
    if let Some(number) = revoke.delete {
        let answer = daemon.delete(&path("/v1/revocations", &number.to_string(), "")).await?;
        return console.show(&answer, |_| {
            let revocation: RevocationRecord<'static> = answer.read()?;
            Ok(format!("revocation {number} deleted: {} may connect again", target(&revocation)))
        });
    }
    let expires_at = match revoke.lasts {
        Some(lasts) => Some(SystemTime::now().checked_add(lasts).ok_or_else(|| {
            Failure::Usage(
                "--for is too long: leave it out for a revocation without end".to_owned(),
            )
        })?),
        None => revoke.expires_at,
    };
    let body = json!({
        "subject": revoke.subject,
        "jti": revoke.jti,
        "issued_before": revoke.issued_before.map(|moment| stamp(moment.0)),
        "expires_at": expires_at.map(stamp),
    });
    let answer = daemon.post("/v1/revocations", &body).await?;
    console.show(&answer, |_| Ok(summarize(&answer.read()?)))
}

/// Lists the revocations in force.
pub(super) async fn list(revocations: &Revocations, console: &mut Console) -> Result<u8, Failure> {
    let daemon = Daemon::of(&revocations.control)?;
    let filters = [("subject", revocations.subject.clone()), ("jti", revocations.jti.clone())];
    let paged = Paged {
        path: "/v1/revocations",
        filters: &filters,
        limit: revocations.limit,
        nothing: "no revocations",
        more: "there are older ones: raise --limit, or use 0 for all",
    };
    paged.show::<RevocationPage<'static>>(&daemon, table, console).await
}

/// Names what is revoked: `subject ann`.
pub(super) fn target(revocation: &RevocationRecord<'_>) -> String {
    match (&revocation.subject, &revocation.jti) {
        (Some(subject), _) => format!("subject {}", safe(subject)),
        (None, Some(jti)) => format!("token {}", safe(jti)),
        (None, None) => "something that this version does not know".to_owned(),
    }
}

fn summarize(revocation: &RevocationRecord<'_>) -> String {
    let mut text = format!("revocation {}: {}", revocation.number, target(revocation));
    if let Some(time) = revocation.issued_before {
        text.push_str(&format!(", issued before {} UTC", utc_seconds(time)));
    }
    match revocation.expires_at {
        Some(time) => text.push_str(&format!(", until {} UTC", utc_seconds(time))),
        None => text.push_str(", until it is deleted"),
    }
    match revocation.closed {
        Some(0) | None => text.push_str("; no connection was open"),
        Some(closed) => text.push_str(&format!("; closed {}", count(closed, "connection"))),
    }
    text
}

const COLUMNS: [Column; 7] = [
    Column { title: "NUMBER", rank: 0, content: Content::Number },
    Column { title: "SUBJECT", rank: 0, content: Content::Text },
    Column { title: "JTI", rank: 1, content: Content::Text },
    Column { title: "ISSUED BEFORE (UTC)", rank: 2, content: Content::Word },
    Column { title: "MADE (UTC)", rank: 5, content: Content::Word },
    Column { title: "EXPIRES (UTC)", rank: 3, content: Content::Word },
    Column { title: "BY", rank: 4, content: Content::Word },
];

fn table(revocations: &[RevocationRecord<'_>], look: Look) -> String {
    let mut listing = Listing::new(COLUMNS);
    let time = |time: Option<SystemTime>| time.map_or("-".to_owned(), utc_seconds);
    for revocation in revocations {
        listing.add(vec![
            revocation.number.to_string().into(),
            safe_or(&revocation.subject, "-").into(),
            safe_or(&revocation.jti, "-").into(),
            time(revocation.issued_before).into(),
            utc_seconds(revocation.created_at).into(),
            time(revocation.expires_at).into(),
            safe_or(&revocation.by, "-").into(),
        ]);
    }
    listing.draw(look)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn of_subject() -> RevocationRecord<'static> {
        RevocationRecord {
            number: 7,
            subject: Some("ann".into()),
            issued_before: None,
            jti: None,
            created_at: SystemTime::UNIX_EPOCH,
            expires_at: None,
            by: Some("api:ops".into()),
            closed: Some(2),
        }
    }

    fn of_token() -> RevocationRecord<'static> {
        RevocationRecord {
            number: 8,
            subject: None,
            jti: Some("t1\u{1b}[2J".into()),
            expires_at: Some(SystemTime::UNIX_EPOCH + Duration::from_secs(60)),
            closed: Some(0),
            ..of_subject()
        }
    }

    #[test]
    fn a_revocation_says_what_it_did_and_how_long_it_stays() {
        assert_eq!(
            summarize(&of_subject()),
            "revocation 7: subject ann, until it is deleted; closed 2 connections"
        );
        let before = RevocationRecord {
            issued_before: Some(SystemTime::UNIX_EPOCH),
            closed: Some(1),
            ..of_subject()
        };
        assert_eq!(
            summarize(&before),
            "revocation 7: subject ann, issued before 1970-01-01 00:00:00 UTC, until it is deleted; \
             closed 1 connection"
        );
        assert_eq!(
            summarize(&of_token()),
            "revocation 8: token t1\\u{1b}[2J, until 1970-01-01 00:01:00 UTC; no connection was open"
        );
    }

    #[test]
    fn each_revocation_has_its_line() {
        let drawn = table(&[of_token(), of_subject()], Look::PLAIN);
        let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        let lines: Vec<String> = drawn.lines().map(words).collect();
        assert_eq!(
            lines,
            [
                "NUMBER SUBJECT JTI ISSUED BEFORE (UTC) MADE (UTC) EXPIRES (UTC) BY",
                "8 - t1\\u{1b}[2J - 1970-01-01 00:00:00 1970-01-01 00:01:00 api:ops",
                "7 ann - - 1970-01-01 00:00:00 - api:ops",
            ]
        );
    }
}
