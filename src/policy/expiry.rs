//! When to look whether a grant has expired.
//!
//! A grant expires by the wall clock, and a wait runs by the monotonic one. The wall clock may be
//! set, and the monotonic one stands still while the machine is suspended, so a wait is cut into
//! pieces, and the wall clock decides at the end of each.

use std::time::{Duration, Instant, SystemTime};

/// The longest time between two looks, after which a wall clock that was set forward is noticed.
pub const LOOK_EVERY: Duration = Duration::from_secs(10);

/// Returns when to look next whether `expires_at` has come, or `None` if it has.
pub fn next_look(expires_at: SystemTime, wall: SystemTime, now: Instant) -> Option<Instant> {
    let left = expires_at.duration_since(wall).ok().filter(|left| !left.is_zero())?;
    Some(now + left.min(LOOK_EVERY))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_last_look_is_at_the_expiry_and_none_is_early() {
        let (wall, now) = (SystemTime::UNIX_EPOCH + 1000 * SECOND, Instant::now());
        let at = |left| next_look(wall + left, wall, now);
        assert_eq!(at(3 * SECOND), Some(now + 3 * SECOND));
        assert_eq!(at(Duration::from_nanos(1)), Some(now + Duration::from_nanos(1)));
        assert_eq!(at(Duration::ZERO), None);
        assert_eq!(next_look(wall - SECOND, wall, now), None);
    }

    #[test]
    fn a_long_wait_is_cut_into_pieces() {
        let (wall, now) = (SystemTime::UNIX_EPOCH, Instant::now());
        assert_eq!(next_look(wall + 3600 * SECOND, wall, now), Some(now + LOOK_EVERY));
    }
}
