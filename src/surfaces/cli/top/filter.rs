//! Which connections `top` asks for, and in which order.

use clap::ValueEnum;

use crate::surfaces::cli::api::query;

/// The parameters of the API that a filter may name.
const NAMES: [&str; 8] =
    ["route", "state", "direction", "subject", "peer", "path", "tag", "upstream"];

/// What connections are sorted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Sort {
    /// When they opened, the newest first
    Opened,
    /// The last message sent or received, the latest first
    Active,
    /// Messages received, the most first
    In,
    /// Messages sent, the most first
    Out,
    /// Bytes received, the most first
    BytesIn,
    /// Bytes sent, the most first
    BytesOut,
    /// Bytes that wait to be sent, the most first
    Queued,
    /// The last Ping, the slowest first
    Ping,
}

impl Sort {
    /// Returns the parameter of the API.
    pub(super) const fn parameter(self, reverse: bool) -> &'static str {
        let (usual, reversed) = match self {
            Self::Opened => ("-opened_at", "opened_at"),
            Self::Active => ("last_activity_ms", "-last_activity_ms"),
            Self::In => ("-messages_in", "messages_in"),
            Self::Out => ("-messages_out", "messages_out"),
            Self::BytesIn => ("-bytes_in", "bytes_in"),
            Self::BytesOut => ("-bytes_out", "bytes_out"),
            Self::Queued => ("-queued_bytes", "queued_bytes"),
            Self::Ping => ("-ping_rtt_ms", "ping_rtt_ms"),
        };
        if reverse { reversed } else { usual }
    }

    /// Describes the order in words.
    pub(super) const fn words(self, reverse: bool) -> &'static str {
        let (usual, reversed) = match self {
            Self::Opened => ("newest first", "oldest first"),
            Self::Active => ("latest message first", "longest without a message first"),
            Self::In => ("most messages in first", "fewest messages in first"),
            Self::Out => ("most messages out first", "fewest messages out first"),
            Self::BytesIn => ("most bytes in first", "fewest bytes in first"),
            Self::BytesOut => ("most bytes out first", "fewest bytes out first"),
            Self::Queued => ("most queued first", "least queued first"),
            Self::Ping => ("slowest ping first", "fastest ping first"),
        };
        if reverse { reversed } else { usual }
    }

    /// Returns the sort that follows, or the one before.
    pub(super) fn next(self, forward: bool) -> Self {
        let all = Self::value_variants();
        let at = all.iter().position(|sort| *sort == self).unwrap_or(0);
        let step = if forward { 1 } else { all.len() - 1 };
        all[(at + step) % all.len()]
    }
}

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wanted {
    /// The filter as it was typed.
    pub(super) filter: String,
    pub(super) sort: Sort,
    pub(super) reverse: bool,
    /// The number of connections.
    pub(super) limit: usize,
}

impl Wanted {
    /// Returns the target of the request.
    pub(super) fn target(&self) -> String {
        let mut pairs: Vec<(&'static str, Option<String>)> = Vec::new();
        let mut search = Vec::new();
        for word in self.filter.split_whitespace() {
            let named = word.split_once('=').and_then(|(name, value)| {
                Some((*NAMES.iter().find(|known| **known == name)?, value.to_owned()))
            });
            match named {
                // Of two values for one name the last one counts, as the API takes one.
                Some((name, value)) => {
                    pairs.retain(|(known, _)| *known != name);
                    pairs.push((name, Some(value)));
                }
                None => search.push(word),
            }
        }
        pairs.push(("search", (!search.is_empty()).then(|| search.join(" "))));
        pairs.push(("sort", Some(self.sort.parameter(self.reverse).to_owned())));
        pairs.push(("limit", Some(self.limit.to_string())));
        format!("/v1/connections{}", query(pairs))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::surfaces::control;

    fn target(filter: &str) -> String {
        let filter = filter.to_owned();
        Wanted { filter, sort: Sort::Queued, reverse: false, limit: 50 }.target()
    }

    #[test]
    fn a_filter_is_a_text_and_parameters_of_the_api() {
        let after = "sort=-queued_bytes&limit=50";
        for (filter, query) in [
            ("", ""),
            ("  ann ", "search=ann&"),
            ("Mozilla 5", "search=Mozilla%205&"),
            ("route=chat ann state=open", "route=chat&state=open&search=ann&"),
            ("route=a route=b", "route=b&"),
            ("peer=[::1]:80", "peer=%5B%3A%3A1%5D%3A80&"),
            ("colour=red", "search=colour%3Dred&"),
            ("tag=room:7&limit=9", "tag=room%3A7%26limit%3D9&"),
        ] {
            assert_eq!(target(filter), format!("/v1/connections?{query}{after}"), "{filter}");
        }
    }

    #[test]
    fn the_names_of_a_filter_and_the_sorts_are_those_of_the_api() {
        let api = serde_json::to_value(control::openapi()).unwrap();
        let parameters = api["paths"]["/v1/connections"]["get"]["parameters"].as_array().unwrap();
        let described = |name| {
            let found = parameters.iter().find(|parameter| parameter["name"] == name);
            found.unwrap_or_else(|| panic!("no {name}"))["description"].as_str().unwrap()
        };
        for name in NAMES {
            described(name);
        }
        for sort in Sort::value_variants() {
            let field = sort.parameter(false).trim_start_matches('-');
            assert!(described("sort").contains(&format!("`{field}`")), "{field}");
        }
    }

    #[test]
    fn every_sort_comes_round_in_both_directions() {
        for forward in [true, false] {
            let mut seen = vec![Sort::Opened];
            while let next = seen.last().unwrap().next(forward)
                && next != Sort::Opened
            {
                seen.push(next);
            }
            assert_eq!(seen.len(), Sort::value_variants().len());
        }
    }
}
