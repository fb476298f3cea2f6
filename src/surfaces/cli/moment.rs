//! Points in time as people write them.

use std::str::FromStr;
use std::time::SystemTime;

use crate::vocabulary::timestamp::parse_rfc3339;

/// A point in time, given as a time or as how long ago.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment(pub SystemTime);

/// A text is not a point in time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no time: write how long ago, such as 1h, or a time such as 2026-03-01T12:00:00Z")]
pub struct InvalidMoment(String);

/// Parses a time as people write it: as RFC 3339, or with less of it.
pub(super) fn instant(text: &str) -> Result<SystemTime, humantime::TimestampError> {
    parse_rfc3339(text).map_or_else(|| humantime::parse_rfc3339_weak(text), Ok)
}

impl Moment {
    fn parse(text: &str, now: SystemTime) -> Result<Self, InvalidMoment> {
        let refuse = || InvalidMoment(text.to_owned());
        if text == "now" {
            return Ok(Self(now));
        }
        if let Ok(time) = instant(text) {
            return Ok(Self(time));
        }
        let ago = humantime::parse_duration(text).map_err(|_| refuse())?;
        now.checked_sub(ago)
            .filter(|time| *time >= SystemTime::UNIX_EPOCH)
            .map(Self)
            .ok_or_else(refuse)
    }
}

impl FromStr for Moment {
    type Err = InvalidMoment;

    fn from_str(text: &str) -> Result<Self, InvalidMoment> {
        Self::parse(text, SystemTime::now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::explanation::wording::stamp;

    #[test]
    fn a_moment_is_a_time_or_how_long_ago() {
        let now = humantime::parse_rfc3339("2026-03-01T12:00:00Z").unwrap();
        let parse = |text| Moment::parse(text, now).map(|moment| stamp(moment.0));
        assert_eq!(parse("1h").unwrap(), "2026-03-01T11:00:00.000Z");
        assert_eq!(parse("2026-02-28T10:00:00Z").unwrap(), "2026-02-28T10:00:00.000Z");
        assert_eq!(parse("2026-02-28 10:00:00").unwrap(), "2026-02-28T10:00:00.000Z");
        assert_eq!(parse("2026-02-28T12:00:00+02:00").unwrap(), "2026-02-28T10:00:00.000Z");
        assert_eq!(parse("now").unwrap(), "2026-03-01T12:00:00.000Z");
        for wrong in ["", "yesterday", "1000y", "-1h"] {
            assert_eq!(parse(wrong), Err(InvalidMoment(wrong.to_owned())));
        }
    }
}
