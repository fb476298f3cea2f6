//! Connection ids, and the short names people use for them.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::hash::{BuildHasherDefault, Hash, Hasher};
use std::str::FromStr;

use uuid::Uuid;

/// Identifies one connection or attempt: a UUIDv7, never reused.
///
/// People may refer to it by its last 12 hexadecimal digits, see [`ConnectionId::short`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ConnectionId(Uuid);

impl ConnectionId {
    /// Makes a new id from the time and random bytes.
    #[allow(clippy::new_without_default, reason = "every call returns a different id")]
    pub fn new() -> Self {
        Self(Uuid::now_v7())
    }

    pub(crate) fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Uuid::from_bytes(bytes))
    }

    pub(crate) fn to_bytes(self) -> [u8; 16] {
        self.0.into_bytes()
    }

    /// Returns the last 12 hexadecimal digits, which people use to refer to the connection.
    pub fn short(self) -> String {
        format!("{:012x}", self.0.as_u128() & 0xffff_ffff_ffff)
    }
}

impl Hash for ConnectionId {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // The low half is random.
        state.write_u64(self.0.as_u64_pair().1);
    }
}

/// A map keyed by connection id.
pub(crate) type IdMap<T> = HashMap<ConnectionId, T, BuildIdHasher>;

/// A set of connection ids.
pub(crate) type IdSet = HashSet<ConnectionId, BuildIdHasher>;

/// Builds hashers for ids. Only this process makes ids, so no peer can force collisions.
pub(crate) type BuildIdHasher = BuildHasherDefault<IdHasher>;

/// Spreads the random bits of an id over the hash.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct IdHasher(u64);

impl Hasher for IdHasher {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64((*byte).into()));
    }

    fn write_u64(&mut self, number: u64) {
        // Maps use the highest and the lowest bits, so fold in the upper half of the product, which
        // depends on every input bit.
        let product = u128::from(self.0 ^ number) * 0x9e37_79b9_7f4a_7c15;
        self.0 = (product as u64) ^ ((product >> 64) as u64);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

/// A string that is not a connection id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not a connection id: a UUID such as 01982b7e-4f6a-7c3d-9e21-5b8f0a6d4c17 is expected"
)]
pub struct InvalidId(pub String);

impl FromStr for ConnectionId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Uuid::parse_str(text).map(Self).map_err(|_| InvalidId(text.to_owned()))
    }
}

/// The name of a connection as people give it: the id, or its last 12 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ConnectionName {
    /// The whole id.
    Id(ConnectionId),
    /// Its last 12 hexadecimal digits, as a number.
    Short(u64),
}

impl ConnectionName {
    /// Returns whether this name refers to the connection.
    pub fn names(self, id: ConnectionId) -> bool {
        match self {
            Self::Id(whole) => whole == id,
            Self::Short(digits) => id.0.as_u128() & 0xffff_ffff_ffff == u128::from(digits),
        }
    }

    /// Returns the last 12 hexadecimal digits.
    pub fn short(self) -> String {
        match self {
            Self::Id(id) => id.short(),
            Self::Short(digits) => format!("{digits:012x}"),
        }
    }
}

/// A string that is not the name of a connection.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not the name of a connection: a UUID such as 01982b7e-4f6a-7c3d-9e21-5b8f0a6d4c17, or its last \
     12 hexadecimal digits, is expected"
)]
pub struct InvalidName(pub String);

impl FromStr for ConnectionName {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            let digits = u64::from_str_radix(text, 16).map_err(|_| InvalidName(text.to_owned()))?;
            return Ok(Self::Short(digits));
        }
        text.parse().map(Self::Id).map_err(|_| InvalidName(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_version_seven_and_read_back() {
        let id = ConnectionId::new();
        assert_eq!(id.0.get_version_num(), 7);
        assert_eq!(id.to_string().parse::<ConnectionId>(), Ok(id));
        assert!(id.to_string().replace('-', "").ends_with(&id.short()));
        assert_eq!("x".parse::<ConnectionId>(), Err(InvalidId("x".to_owned())));
    }

    #[test]
    fn ids_are_spread_over_a_map() {
        let hash = |id: ConnectionId| {
            let mut hasher = IdHasher::default();
            id.hash(&mut hasher);
            hasher.finish()
        };
        let hashes: Vec<u64> = (0..4096).map(|_| hash(ConnectionId::new())).collect();
        // The bits that a map uses: the highest seven, those below them, and the lowest.
        for shift in [57, 51, 0] {
            let mut counts = [0_u32; 64];
            hashes.iter().for_each(|hash| counts[(hash >> shift) as usize % 64] += 1);
            assert!(counts.iter().all(|count| (16..=128).contains(count)), "{shift}: {counts:?}");
        }
    }

    #[test]
    fn a_connection_is_named_by_its_id_or_its_last_digits() {
        let id: ConnectionId = "01982b7e-4f6a-7c3d-9e21-5b8f0a6d4c17".parse().unwrap();
        let long: ConnectionName = id.to_string().parse().unwrap();
        let short: ConnectionName = "5b8f0a6d4c17".parse().unwrap();
        assert!(long.names(id) && short.names(id));
        assert_eq!((long.short(), short.short()), (id.short(), id.short()));
        let other: ConnectionName = "5b8f0a6d4c18".parse().unwrap();
        assert!(!other.names(id));
        for wrong in ["", "5b8f0a6d4c1", "+b8f0a6d4c17", "5b8f0a6d4c17 ", "zzzzzzzzzzzz"] {
            assert_eq!(
                wrong.parse::<ConnectionName>(),
                Err(InvalidName(wrong.to_owned())),
                "{wrong}"
            );
        }
    }
}
