//! The arguments of `lastword revoke` and `lastword revocations`.

use std::time::{Duration, SystemTime};

use clap::{ArgGroup, Args};

use super::{Control, duration};
use crate::surfaces::cli::moment::{self, Moment};

/// `lastword revoke`
#[derive(Debug, Args)]
#[command(
    group = ArgGroup::new("target").required(true).args(["subject", "jti", "delete"]),
    after_long_help = "\
Examples:
  lastword revoke ann                          close all connections of ann, and refuse new ones
  lastword revoke ann --for 24h                only for a day
  lastword revoke ann --issued-before now      only what ann has: newer tokens are valid
  lastword revoke --jti 9f31c2 --for 1h        one token, by its jti
  lastword revoke --delete 7                   let them connect again

Its connections are closed with 3000, and new ones refused with 401, until the revocation expires or
is deleted; a restart does not end it. `lastword revocations` lists what is in force.

--issued-before compares with the time at which the token was issued (iat). A connection without
such a time counts by when it opened, so it is closed, and may come back.

The exit code is 0 also if no connection was open, as new ones are refused, and 1 if there is no
revocation to delete or if it cannot be recorded."
)]
pub struct Revoke {
    /// The subject, as `lastword ls` shows it
    pub subject: Option<String>,
    /// Revoke one token, by its id
    #[arg(long, value_name = "ID")]
    pub jti: Option<String>,
    /// Revoke only what was issued before this time, such as now, or 2026-03-01T12:00:00Z
    #[arg(long, value_name = "TIME", conflicts_with_all = ["jti", "delete"])]
    pub issued_before: Option<Moment>,
    /// End the revocation after this time; without it, it stays until it is deleted
    #[arg(long = "for", value_name = "DURATION", value_parser = duration,
          conflicts_with_all = ["expires_at", "delete"])]
    pub lasts: Option<Duration>,
    /// End the revocation at this time, such as 2026-03-01T12:00:00Z
    #[arg(long, value_name = "TIME", value_parser = instant, conflicts_with = "delete")]
    pub expires_at: Option<SystemTime>,
    /// Delete the revocation with this number
    #[arg(long, value_name = "NUMBER")]
    pub delete: Option<u64>,
    /// The control API.
    #[command(flatten)]
    pub control: Control,
}

/// `lastword revocations`
#[derive(Debug, Args)]
pub struct Revocations {
    /// List only those of this subject
    #[arg(long, conflicts_with = "jti")]
    pub subject: Option<String>,
    /// List only those of the token with this id
    #[arg(long, value_name = "ID")]
    pub jti: Option<String>,
    /// List at most this many; 0 lists all
    #[arg(long, value_name = "COUNT", default_value_t = 1000)]
    pub limit: u64,
    /// The control API.
    #[command(flatten)]
    pub control: Control,
}

fn instant(text: &str) -> Result<SystemTime, String> {
    moment::instant(text).map_err(|error| {
        format!("{error}: write a time such as 2026-03-01T12:00:00Z, or use --for")
    })
}
