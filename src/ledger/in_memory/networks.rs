//! The endings of each network, by number.

use std::collections::{BTreeSet, HashMap, VecDeque};

use crate::vocabulary::Network;

/// The numbers of the endings that are kept, by network.
#[derive(Debug, Default)]
pub(super) struct Networks {
    /// In ascending order; no network is without any.
    numbers: HashMap<Network, VecDeque<u64>>,
    by_count: BTreeSet<(usize, Network)>,
}

impl Networks {
    /// Adds an ending, which is newer than all others.
    pub(super) fn add(&mut self, network: Network, sequence: u64) {
        let numbers = self.numbers.entry(network).or_default();
        self.by_count.remove(&(numbers.len(), network));
        numbers.push_back(sequence);
        self.by_count.insert((numbers.len(), network));
    }

    /// Returns the network with the most endings, and how many it has.
    pub(super) fn largest(&self) -> Option<(Network, u64)> {
        self.by_count.last().map(|(count, network)| (*network, *count as u64))
    }

    /// Removes the oldest ending of a network, and returns its number.
    pub(super) fn remove_oldest(&mut self, network: Network) -> Option<u64> {
        let numbers = self.numbers.get_mut(&network)?;
        self.by_count.remove(&(numbers.len(), network));
        let oldest = numbers.pop_front();
        match numbers.len() {
            0 => {
                self.numbers.remove(&network);
            }
            left => {
                self.by_count.insert((left, network));
            }
        }
        oldest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_network_is_known() {
        let mut networks = Networks::default();
        let (a, b) = (Network::Ip([10, 0, 0, 1].into()), Network::Ip([10, 0, 0, 2].into()));
        assert_eq!(networks.largest(), None);
        for (network, sequence) in [(a, 1), (b, 2), (b, 3)] {
            networks.add(network, sequence);
        }
        assert_eq!(networks.largest(), Some((b, 2)));
        assert_eq!(networks.remove_oldest(b), Some(2));
        assert_eq!(networks.remove_oldest(b), Some(3));
        assert_eq!(networks.remove_oldest(b), None);
        assert_eq!(networks.largest(), Some((a, 1)));
    }
}
