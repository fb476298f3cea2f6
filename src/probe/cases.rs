//! All exchanges with their cases, by theme.

mod closing;
mod codes;
mod data;
mod framing;
mod limits;
mod opening;
mod transport;
mod utf8;

use super::case::Exchange;

/// All exchanges, in the order in which they are played. The first shows whether the server can be
/// reached, the second whether it echoes.
pub fn all() -> impl Iterator<Item = &'static Exchange> {
    [
        closing::CONVERSATION,
        data::EXCHANGES,
        opening::EXCHANGES,
        closing::EXCHANGES,
        codes::EXCHANGES,
        framing::EXCHANGES,
        utf8::EXCHANGES,
        limits::EXCHANGES,
        transport::EXCHANGES,
    ]
    .into_iter()
    .flatten()
}

/// Returns the exchange that the case of this id judges.
pub fn find(id: &str) -> Option<&'static Exchange> {
    all().find(|exchange| exchange.cases.iter().any(|case| case.id == id))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::probe::case::Needs;

    #[test]
    fn ids_are_words_and_each_stands_once() {
        let cases: Vec<_> = all().flat_map(|exchange| exchange.cases).collect();
        let ids: BTreeSet<_> = cases.iter().map(|case| case.id).collect();
        assert_eq!(ids.len(), cases.len());
        assert!(cases.len() >= 60, "{}", cases.len());
        for case in cases {
            let is_word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            assert!(case.id.chars().all(is_word), "{}", case.id);
            for text in [case.title, case.rfc, case.sent, case.expected] {
                assert!(!text.is_empty() && !text.contains('\n'), "{}: {text:?}", case.id);
            }
        }
    }

    #[test]
    fn a_safe_run_takes_ten_connections_at_most() {
        let safe = all().filter(|exchange| exchange.safe && exchange.needs != Needs::Idle);
        assert!(safe.count() <= 10);
        assert!(all().filter(|exchange| exchange.safe).all(|it| it.needs != Needs::Echo));
    }
}
