//! Decides whose endings give way when the space for them is used up. Pure.

/// A network may take one part in so many of the space before its own endings give way first.
const PARTS: u64 = 4;

/// Whose endings give way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum GivesWay<N> {
    /// The oldest of this network, which takes that much more than its share.
    Network(N, u64),
    /// The oldest of all.
    Oldest,
}

impl<N> GivesWay<N> {
    /// Decides by the network that takes most and what it takes, in the unit of `space`.
    pub(super) fn choose(largest: Option<(N, u64)>, space: u64) -> Self {
        // Not less than one, so that an only ending does not give way to an older one.
        let share = (space / PARTS).max(1);
        match largest {
            Some((network, takes)) if takes > share => Self::Network(network, takes - share),
            Some(_) | None => Self::Oldest,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_network_gives_way_while_it_takes_more_than_a_quarter() {
        for (takes, expected) in [
            (401, GivesWay::Network("a", 301)),
            (101, GivesWay::Network("a", 1)),
            (100, GivesWay::Oldest),
            (0, GivesWay::Oldest),
        ] {
            assert_eq!(GivesWay::choose(Some(("a", takes)), 400), expected, "{takes}");
        }
        assert_eq!(GivesWay::choose(Some(("a", 1)), 3), GivesWay::Oldest);
        assert_eq!(GivesWay::<&str>::choose(None, 400), GivesWay::Oldest);
    }
}
