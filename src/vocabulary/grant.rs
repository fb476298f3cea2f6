//! The grant of a connection: what it was admitted with, and until when.

use std::time::SystemTime;

use super::timestamp;

/// What a connection was admitted with, beside its subject; without authentication there is none.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Grant {
    /// When the connection is closed (`exp` of a token, and the leeway).
    pub expires_at: Option<SystemTime>,
    /// When the token was issued (`iat`).
    pub issued_at: Option<SystemTime>,
    /// The id of the token (`jti`).
    pub token_id: Option<String>,
}

impl Grant {
    /// Makes a grant that expires at this time.
    pub const fn until(expires_at: SystemTime) -> Self {
        Self { expires_at: Some(expires_at), issued_at: None, token_id: None }
    }

    /// Returns when the connection is closed, at the latest at the last time that RFC 3339 can write.
    pub fn expires_at(&self) -> Option<SystemTime> {
        self.expires_at.map(|time| time.min(timestamp::last()))
    }

    /// Returns whether it has expired.
    pub fn has_expired(&self, wall: SystemTime) -> bool {
        self.expires_at.is_some_and(|expires_at| expires_at <= wall)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_grant_has_expired_from_its_expiry_on_and_never_before() {
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(100);
        let grant = Grant::until(at);
        assert!(!grant.has_expired(at - Duration::from_nanos(1)));
        assert!(grant.has_expired(at));
        assert!(grant.has_expired(at + Duration::from_secs(1)));
        assert!(!Grant::default().has_expired(at));
        let far = SystemTime::UNIX_EPOCH + Duration::from_secs(1 << 40);
        assert!(Grant::until(far).expires_at().unwrap() < far);
    }
}
