//! Formats numbers, times and texts for people: every sentence and table uses these.

use std::borrow::Cow;
use std::fmt::Write;
use std::time::SystemTime;

use crate::policy::masking::is_unprintable;

/// Escapes everything in a text that could control a terminal.
pub(crate) fn safe(text: &str) -> Cow<'_, str> {
    if !text.contains(is_unprintable) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_unprintable(c) {
            // Writing into a String cannot fail.
            let _ = write!(escaped, "{}", c.escape_default());
        } else {
            escaped.push(c);
        }
    }
    Cow::Owned(escaped)
}

/// Returns an optional text escaped for a terminal, or `missing`.
pub(crate) fn safe_or<'a>(text: &'a Option<Cow<'_, str>>, missing: &'a str) -> Cow<'a, str> {
    text.as_deref().map_or(Cow::Borrowed(missing), safe)
}

/// Returns the last 12 digits of an id, by which people name it.
pub(crate) fn short_id(id: &str) -> Cow<'_, str> {
    let id = safe(id);
    match id.char_indices().nth_back(11) {
        Some((at, _)) => Cow::Owned(id[at..].to_owned()),
        None => id,
    }
}

/// Writes a duration for a sentence: `80 ms`, `12.3 s`, `3 h 12 min`.
pub(crate) fn lasting(millis: u64) -> String {
    parts(millis, [" ms", " s", " min", " h", " d"], " ")
}

/// Writes a duration for a table: `80ms`, `12.3s`, `3h12m`.
pub(crate) fn lasting_short(millis: u64) -> String {
    parts(millis, ["ms", "s", "m", "h", "d"], "")
}

fn parts(millis: u64, units: [&str; 5], gap: &str) -> String {
    let [ms, s, min, h, d] = units;
    let seconds = millis / 1000;
    let two = |large: u64, large_unit: &str, small: u64, small_unit: &str| {
        if small == 0 {
            format!("{large}{large_unit}")
        } else {
            format!("{large}{large_unit}{gap}{small}{small_unit}")
        }
    };
    match seconds {
        0 => format!("{millis}{ms}"),
        1..60 if millis % 1000 < 100 => format!("{seconds}{s}"),
        1..60 => format!("{}.{}{s}", seconds, millis % 1000 / 100),
        60..3600 => two(seconds / 60, min, seconds % 60, s),
        3600..86_400 => two(seconds / 3600, h, seconds % 3600 / 60, min),
        86_400.. => two(seconds / 86_400, d, seconds % 86_400 / 3600, h),
    }
}

/// Writes a number of bytes: `12 bytes`, `1.5 KiB`.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return count(bytes, "byte");
    }
    let (mut value, mut unit) = (bytes as f64 / 1024.0, 0);
    // A value that would be rounded to 1024 of a unit is shown as 1 of the next.
    while value >= 1023.95 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    let text = format!("{value:.1}");
    format!("{} {}", text.strip_suffix(".0").unwrap_or(&text), UNITS[unit])
}

/// Writes a number of things: `1 message`, `9 messages`.
pub(crate) fn count(number: u64, thing: &str) -> String {
    if number == 1 { format!("1 {thing}") } else { format!("{number} {thing}s") }
}

/// Formats a time in UTC to the millisecond: `2026-03-01 12:00:12.595 UTC`.
pub(crate) fn utc(time: SystemTime) -> String {
    format!("{} {} UTC", date(time), clock(time))
}

/// Formats a time in UTC to the second: `2026-03-01 12:00:12`.
pub(crate) fn utc_seconds(time: SystemTime) -> String {
    let clock = clock(time);
    format!("{} {}", date(time), clock.split('.').next().unwrap_or(&clock))
}

/// Formats the time of day in UTC to the millisecond: `12:00:12.595`.
pub(crate) fn clock(time: SystemTime) -> String {
    let stamp = stamp(time);
    stamp.split_once('T').map_or(String::new(), |(_, clock)| clock.trim_end_matches('Z').to_owned())
}

fn date(time: SystemTime) -> String {
    let stamp = stamp(time);
    stamp.split_once('T').map_or(String::new(), |(date, _)| date.to_owned())
}

/// Formats a time as in the contract: RFC 3339, UTC, milliseconds.
pub(crate) fn stamp(time: SystemTime) -> String {
    humantime::format_rfc3339_millis(time.max(SystemTime::UNIX_EPOCH)).to_string()
}

/// Formats how long ago a time was: `3 minutes ago`.
pub(crate) fn ago(time: SystemTime, now: SystemTime) -> String {
    let Ok(passed) = now.duration_since(time) else {
        return "in the future (the clocks differ)".to_owned();
    };
    let seconds = passed.as_secs();
    match seconds {
        0 => "just now".to_owned(),
        1..60 => format!("{} ago", count(seconds, "second")),
        60..3600 => format!("{} ago", count(seconds / 60, "minute")),
        3600..86_400 => format!("{} ago", count(seconds / 3600, "hour")),
        86_400.. => format!("{} ago", count(seconds / 86_400, "day")),
    }
}

/// Names a close code as RFC 6455 section 7.4 and the IANA registry do; codes for free use are named
/// by who defines them.
pub(crate) const fn code_name(code: u16) -> &'static str {
    match code {
        1000 => "normal closure",
        1001 => "going away",
        1002 => "protocol error",
        1003 => "unsupported data",
        1005 => "no code in the Close",
        1006 => "no Close received",
        1007 => "invalid payload",
        1008 => "policy violation",
        1009 => "message too big",
        1010 => "missing extension",
        1011 => "internal error",
        1012 => "service restart",
        1013 => "try again later",
        1014 => "bad gateway",
        1015 => "TLS failed",
        3000 => "unauthorized",
        3003 => "forbidden",
        3008 => "timeout",
        4409 => "replaced by another connection",
        3001 | 3002 | 3004..=3007 | 3009..=3999 => "a code of a library or framework",
        4000..=4408 | 4410..=4999 => "a code of the application",
        _ => "not a legal close code",
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn nothing_that_a_peer_wrote_moves_a_terminal() {
        assert_eq!(safe("plain ü 漢"), "plain ü 漢");
        assert_eq!(
            safe("\u{1b}[2J\r\n\u{9b}31m\u{202e}\u{2028}"),
            "\\u{1b}[2J\\r\\n\\u{9b}31m\\u{202e}\\u{2028}"
        );
    }

    #[test]
    fn durations_have_at_most_two_units() {
        for (millis, long, short) in [
            (0, "0 ms", "0ms"),
            (999, "999 ms", "999ms"),
            (1000, "1 s", "1s"),
            (1099, "1 s", "1s"),
            (12_345, "12.3 s", "12.3s"),
            (59_999, "59.9 s", "59.9s"),
            (60_000, "1 min", "1m"),
            (3_599_999, "59 min 59 s", "59m59s"),
            (11_520_000, "3 h 12 min", "3h12m"),
            (86_400_000, "1 d", "1d"),
            (183_600_000, "2 d 3 h", "2d3h"),
        ] {
            assert_eq!((lasting(millis).as_str(), lasting_short(millis).as_str()), (long, short));
        }
    }

    #[test]
    fn sizes_are_binary_as_in_the_configuration() {
        for (bytes, text) in [
            (0, "0 bytes"),
            (1, "1 byte"),
            (1023, "1023 bytes"),
            (1024, "1 KiB"),
            (1536, "1.5 KiB"),
            ((1 << 20) - 1, "1 MiB"),
            (1 << 20, "1 MiB"),
            (u64::MAX, "16 EiB"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }

    #[test]
    fn times_are_utc_and_relative() {
        let time = humantime::parse_rfc3339("2026-03-01T12:00:12.595Z").unwrap();
        assert_eq!(utc(time), "2026-03-01 12:00:12.595 UTC");
        assert_eq!(utc_seconds(time), "2026-03-01 12:00:12");
        let after = |seconds| ago(time, time + Duration::from_secs(seconds));
        assert_eq!(
            [after(0), after(1), after(59), after(60), after(7200), after(90_000)],
            [
                "just now",
                "1 second ago",
                "59 seconds ago",
                "1 minute ago",
                "2 hours ago",
                "1 day ago"
            ]
        );
        assert!(ago(time, time - Duration::from_secs(9)).starts_with("in the future"));
    }

    #[test]
    fn ids_are_shortened_to_what_people_type() {
        assert_eq!(short_id("01982b7e-4f6a-7c3d-9e21-5b8f0a6d4c17"), "5b8f0a6d4c17");
        assert_eq!(short_id("ü"), "ü");
        assert_eq!(short_id(""), "");
    }

    #[test]
    fn every_code_has_a_name() {
        assert_eq!(code_name(1012), "service restart");
        assert_eq!(code_name(3500), "a code of a library or framework");
        assert_eq!(code_name(4000), "a code of the application");
        for code in [0, 999, 1004, 1016, 2999, 5000, u16::MAX] {
            assert_eq!(code_name(code), "not a legal close code", "{code}");
        }
    }
}
