//! Points in time as RFC 3339 writes them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The last second that RFC 3339 can write, that of the year 9999, since 1970.
pub(crate) const LAST_SECOND: u64 = 253_402_300_799;

/// Returns the last time that RFC 3339 can write, to the second.
pub(crate) fn last() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(LAST_SECOND)
}

/// Parses a time with `Z` or an offset (RFC 3339 section 5.6). One that an offset carries out of what
/// can be written in UTC is none.
pub(crate) fn parse_rfc3339(text: &str) -> Option<SystemTime> {
    if let Ok(time) = humantime::parse_rfc3339(text) {
        return Some(time);
    }
    let (local, offset) = text.split_at_checked(text.len().checked_sub(6)?)?;
    // Behind a `Z` humantime reads nothing more.
    let local = Some(local).filter(|local| !local.contains('Z'))?;
    let local = humantime::parse_rfc3339(&format!("{local}Z")).ok()?;
    let (sign, ahead) = offset.split_at_checked(1)?;
    let (hours, minutes) = ahead.split_once(':')?;
    let number = |text: &str, most: u64| {
        let is_number = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse().ok().filter(|number: &u64| is_number && *number <= most)
    };
    let minutes = number(hours, 23)? * 60 + number(minutes, 59)?;
    let ahead = Duration::from_secs(minutes * 60);
    let time = match sign {
        "+" => local.checked_sub(ahead),
        "-" => local.checked_add(ahead),
        _ => None,
    };
    time.filter(|time| (UNIX_EPOCH..last() + Duration::from_secs(1)).contains(time))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_z_or_an_offset() {
        for (text, utc) in [
            ("2026-11-22T14:00:00Z", "2026-11-22T14:00:00.000Z"),
            ("2026-11-22T14:00:00.123Z", "2026-11-22T14:00:00.123Z"),
            ("2026-11-22T16:00:00+02:00", "2026-11-22T14:00:00.000Z"),
            ("2026-11-22T16:00:00.5+02:00", "2026-11-22T14:00:00.500Z"),
            ("2026-11-22T08:30:00-05:30", "2026-11-22T14:00:00.000Z"),
            ("2026-11-22T14:00:00-00:00", "2026-11-22T14:00:00.000Z"),
            ("2026-11-23T13:59:00+23:59", "2026-11-22T14:00:00.000Z"),
        ] {
            let time = parse_rfc3339(text).unwrap();
            assert_eq!(humantime::format_rfc3339_millis(time).to_string(), utc, "{text}");
        }
        for wrong in [
            "",
            "2026-11-22",
            "2026-11-22T14:00:00",
            "2026-11-22 14:00:00Z",
            "2026-11-22T14:00:00+2",
            "2026-11-22T14:00:00+24:00",
            "2026-11-22T14:00:00+02:60",
            "2026-11-22T14:00:00++2:00",
            "2026-11-22T14:00:00 02:00",
            "2026-11-22T14:00:00Z+02:00",
            "9999-12-31T23:59:59-01:00",
            "1970-01-01T00:00:00+01:00",
            "üüüüüü",
        ] {
            assert_eq!(parse_rfc3339(wrong), None, "{wrong}");
        }
        assert_eq!(parse_rfc3339("9999-12-31T23:59:59Z"), Some(last()));
        assert_eq!(parse_rfc3339("9999-12-31T23:59:59+00:00"), Some(last()));
    }
}
