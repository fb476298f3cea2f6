//! The values that configuration writes as text: sizes, durations, addresses.

use std::fmt;
use std::marker::PhantomData;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use serde::de::{self, Deserialize, Deserializer, Visitor};

use crate::vocabulary::{
    CloseCode, CloseReason, IllegalClose, InvalidListenAddress, ListenAddress, Secret,
};

/// Why a text is not the value it should be, and what to write instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidValue {
    /// The text is not a size.
    #[error(
        "{0:?} is not a size: write bytes (65536) or a whole number with B, kB, MB, GB, KiB, MiB or GiB (\"64KiB\")"
    )]
    Size(String),
    /// The size does not fit into 63 bits.
    #[error("{0:?} is larger than any machine: the largest size is 8388607TiB")]
    SizeTooLarge(String),
    /// The text is not a duration.
    #[error("{text:?} is not a duration: {why}; write \"5s\", \"250ms\" or \"2h\"")]
    Duration {
        /// What was written.
        text: String,
        /// What the parser stumbled over.
        why: String,
    },
    /// The duration is beyond what deadlines are computed with.
    #[error(
        "{0:?} is too long: the longest duration is 3650d; \"0s\" switches off what may be off"
    )]
    DurationTooLong(String),
    /// The text names no address to listen on.
    #[error(transparent)]
    Address(#[from] InvalidListenAddress),
    /// The text is neither a percentage nor a size.
    #[error(
        "{0:?} is no amount of memory: write a percentage from \"1%\" to \"100%\" or a size such as \"512MiB\""
    )]
    Memory(String),
    /// The text is not a path pattern.
    #[error(
        "{0:?} is not a path: start it with \"/\", use \"*\" only as a final \"/*\", and {{name}} only for a whole segment, each name once"
    )]
    Path(String),
    /// The text is not the value of a label.
    #[error(
        "{0:?} is no tag: write text with {{name}} for a segment of the path and {{query.name}} for a parameter of the query, at most 256 bytes"
    )]
    Tag(String),
    /// The text is not an origin.
    #[error(
        "{0:?} is not an origin: write scheme://host or scheme://host:port without a path, \"same\", \"null\" or \"*\""
    )]
    Origin(String),
    /// The number is not a close code that may be sent.
    #[error(transparent)]
    Close(#[from] IllegalClose),
    /// The number is too large for a close code.
    #[error(
        "{0} is not a close code: use 1000-1003, 1007-1014 or 3000-4999 (RFC 6455 section 7.4)"
    )]
    CloseCode(u64),
    /// The text is not a network.
    #[error(
        "{0:?} is not a network: write \"10.0.0.0/8\" with zeros behind its bits, an address, or \"unix\""
    )]
    Network(String),
    /// The text is not a host name.
    #[error("{0:?} is not a host: write the name or address alone, without scheme, port or path")]
    Host(String),
}

/// A number of bytes; written as an integer or as text: `65536`, `"64KiB"`, `"2GB"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct ByteSize(pub u64);

impl ByteSize {
    /// More than there can be: no limit.
    pub const MAX: Self = Self(u64::MAX);

    /// Makes a size of `n` KiB.
    pub const fn kib(n: u64) -> Self {
        Self(n << 10)
    }

    /// Makes a size of `n` MiB.
    pub const fn mib(n: u64) -> Self {
        Self(n << 20)
    }

    /// Makes a size of `n` GiB.
    pub const fn gib(n: u64) -> Self {
        Self(n << 30)
    }
}

const UNITS: [(&str, u64); 10] = [
    ("", 1),
    ("B", 1),
    ("kB", 1_000),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
];

impl FromStr for ByteSize {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let written = text.trim();
        let digits = written.find(|c: char| !c.is_ascii_digit()).unwrap_or(written.len());
        let (number, unit) = written.split_at(digits);
        let unit = unit.trim_start();
        let Some((_, factor)) = UNITS.into_iter().find(|(name, _)| *name == unit) else {
            return Err(InvalidValue::Size(text.to_owned()));
        };
        if number.is_empty() {
            return Err(InvalidValue::Size(text.to_owned()));
        }
        // Digits only, so what fails is too large; TOML's own integers end at 63 bits as well.
        number
            .parse::<u64>()
            .ok()
            .and_then(|number| number.checked_mul(factor))
            .filter(|bytes| i64::try_from(*bytes).is_ok())
            .map(Self)
            .ok_or_else(|| InvalidValue::SizeTooLarge(text.to_owned()))
    }
}

impl fmt::Display for ByteSize {
    /// Writes the largest unit that divides the size: `64KiB`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let binary = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)];
        for (unit, shift) in binary {
            if self.0 != 0 && self.0 & ((1 << shift) - 1) == 0 {
                return write!(f, "{}{unit}", self.0 >> shift);
            }
        }
        write!(f, "{}B", self.0)
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct SizeVisitor;
        impl Visitor<'_> for SizeVisitor {
            type Value = ByteSize;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a size such as \"64KiB\" or a number of bytes")
            }
            fn visit_i64<E: de::Error>(self, bytes: i64) -> Result<ByteSize, E> {
                u64::try_from(bytes)
                    .map(ByteSize)
                    .map_err(|_| E::invalid_value(de::Unexpected::Signed(bytes), &self))
            }
            fn visit_u64<E: de::Error>(self, bytes: u64) -> Result<ByteSize, E> {
                Ok(ByteSize(bytes))
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<ByteSize, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_any(SizeVisitor)
    }
}

impl<'de> Deserialize<'de> for ListenAddress {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text(deserializer, "an address such as \"127.0.0.1:8080\"", |text| Ok(text.parse()?))
    }
}

/// Over how long a drain spreads its Closes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Spread {
    /// At once for few connections, over half of `within` for many.
    Auto,
    /// Evenly over this duration; zero = at once.
    Over(Duration),
}

impl<'de> Deserialize<'de> for Spread {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text(deserializer, "\"auto\" or a duration such as \"30s\"", |text| match text {
            "auto" => Ok(Self::Auto),
            _ => parse_duration(text).map(Self::Over),
        })
    }
}

/// The longest duration: deadlines are `now` plus a duration, and that must not overflow.
pub(crate) const LONGEST: Duration = Duration::from_secs(3650 * 24 * 60 * 60);

/// Returns a duration for which zero means that there is no limit.
pub(crate) fn unless_zero(duration: Duration) -> Option<Duration> {
    (!duration.is_zero()).then_some(duration)
}

pub(crate) fn parse_duration(text: &str) -> Result<Duration, InvalidValue> {
    let duration = humantime::parse_duration(text.trim())
        .map_err(|why| InvalidValue::Duration { text: text.to_owned(), why: why.to_string() })?;
    if duration > LONGEST {
        return Err(InvalidValue::DurationTooLong(text.to_owned()));
    }
    Ok(duration)
}

/// Reads a duration; a bare number is refused because its unit would be a guess.
pub(crate) fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    text(deserializer, "a duration such as \"5s\"", parse_duration)
}

/// Reads a duration that overrides another.
pub(crate) fn some_duration<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Duration>, D::Error> {
    duration(deserializer).map(Some)
}

/// Reads a close code that may be sent.
pub(crate) fn close_code<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<CloseCode, D::Error> {
    let number = u64::deserialize(deserializer)?;
    let code = u16::try_from(number).map_err(|_| InvalidValue::CloseCode(number));
    code.and_then(|code| Ok(CloseCode::new(code)?)).map_err(de::Error::custom)
}

/// Reads a close reason that fits into a Close frame.
pub(crate) fn close_reason<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<CloseReason, D::Error> {
    CloseReason::new(String::deserialize(deserializer)?).map_err(de::Error::custom)
}

/// Reads a text that is not to be shown.
pub(crate) fn secret<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Secret, D::Error> {
    String::deserialize(deserializer).map(Secret::new)
}

/// Reads text where the empty text means "off".
pub(crate) fn unless_empty<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err: Into<InvalidValue>>,
{
    text(deserializer, "text, or \"\" for none", |text| match text {
        "" => Ok(None),
        _ => text.parse().map(Some).map_err(Into::into),
    })
}

/// Reads a path where the empty text means "none".
pub(crate) fn path_unless_empty<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<PathBuf>, D::Error> {
    text(deserializer, "a path, or \"\" for none", |text| {
        Ok((!text.is_empty()).then(|| PathBuf::from(text)))
    })
}

/// Reads a value that is written as text.
pub(crate) fn text<'de, D, T>(
    deserializer: D,
    expected: &'static str,
    parse: impl FnOnce(&str) -> Result<T, InvalidValue>,
) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
{
    struct TextVisitor<T, F>(&'static str, F, PhantomData<T>);
    impl<T, F: FnOnce(&str) -> Result<T, InvalidValue>> Visitor<'_> for TextVisitor<T, F> {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }
        fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
            (self.1)(text).map_err(E::custom)
        }
    }
    deserializer.deserialize_str(TextVisitor(expected, parse, PhantomData))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sizes_are_read_with_their_units() {
        for (text, bytes) in [
            ("0", 0),
            ("65536", 65536),
            ("1B", 1),
            ("2kB", 2000),
            ("64KiB", 65536),
            ("64 KiB", 65536),
            ("1MiB", 1 << 20),
            ("2GB", 2_000_000_000),
            ("8388607TiB", 8_388_607 << 40),
        ] {
            assert_eq!(text.parse(), Ok(ByteSize(bytes)), "{text}");
        }
    }

    #[test]
    fn what_is_no_size_is_refused() {
        for text in ["", "KiB", "64K", "1.5MiB", "-1", "+1", "64 KiB x", "64kib", "١"] {
            assert_eq!(text.parse::<ByteSize>(), Err(InvalidValue::Size(text.to_owned())));
        }
        for text in ["8388608TiB", "9223372036854775808", "99999999999999999999999"] {
            assert_eq!(text.parse::<ByteSize>(), Err(InvalidValue::SizeTooLarge(text.to_owned())));
        }
    }

    #[test]
    fn durations_need_a_unit_and_have_an_end() {
        assert_eq!(parse_duration("5s"), Ok(Duration::from_secs(5)));
        assert_eq!(parse_duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(parse_duration("1h 30m"), Ok(Duration::from_secs(5400)));
        assert_eq!(parse_duration("0s"), Ok(Duration::ZERO));
        assert_eq!(parse_duration("3650d"), Ok(LONGEST));
        assert!(matches!(parse_duration("5"), Err(InvalidValue::Duration { .. })));
        assert!(matches!(parse_duration("-5s"), Err(InvalidValue::Duration { .. })));
        assert!(matches!(parse_duration(""), Err(InvalidValue::Duration { .. })));
        assert!(matches!(parse_duration("3651d"), Err(InvalidValue::DurationTooLong(_))));
    }

    #[test]
    fn addresses_are_tcp_or_unix() {
        for text in ["127.0.0.1:8080", "[::]:8080", "unix:/run/x.sock"] {
            assert_eq!(text.parse::<ListenAddress>().unwrap().to_string(), text);
        }
        for text in ["", "8080", ":8080", "localhost:8080", "127.0.0.1", "unix:", "unix:x.sock"] {
            assert!(text.parse::<ListenAddress>().is_err(), "{text}");
        }
        assert!(format!("unix:/{}", "x".repeat(107)).parse::<ListenAddress>().is_err());
    }

    proptest! {
        #[test]
        fn a_size_survives_its_text(bytes in 0..=i64::MAX as u64) {
            prop_assert_eq!(ByteSize(bytes).to_string().parse(), Ok(ByteSize(bytes)));
        }

        #[test]
        fn no_text_makes_the_parsers_panic(text in "\\PC*", number in any::<u128>(), unit in "[a-zA-Zµ% .]{0,4}") {
            for text in [text, format!("{number}{unit}"), format!("{number}.{number}{unit}")] {
                let _ = text.parse::<ByteSize>();
                let _ = text.parse::<ListenAddress>();
                let _ = text.parse::<super::super::MemoryLimit>();
                let _ = text.parse::<super::super::PathPattern>();
                let _ = text.parse::<super::super::OriginPattern>();
                if let Ok(duration) = parse_duration(&text) {
                    prop_assert!(duration <= LONGEST);
                }
            }
        }
    }
}
