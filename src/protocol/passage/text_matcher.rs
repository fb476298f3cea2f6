//! Matches forwarded messages against texts: some that a message contains, some that it equals.

use super::substring::Search;

/// The most texts of one matcher.
pub const MAX_TEXTS: usize = 64;

/// The texts that matched one message: a bit for each, in their order.
pub type Matches = u64;

/// Matches messages against texts.
#[derive(Debug)]
pub struct TextMatcher {
    patterns: Vec<Pattern>,
    matches: Vec<Matches>,
}

#[derive(Debug)]
enum Pattern {
    /// Matches a message that contains the text.
    Contains(Search),
    /// Matches a text message that equals the text.
    Equals(Exact),
}

/// Compares messages with one text, without buffering them.
#[derive(Debug)]
struct Exact {
    text: Box<[u8]>,
    /// How much of the text was matched; `None` after a mismatch.
    matched: Option<usize>,
}

impl TextMatcher {
    /// Matches messages that contain one of the `contained` texts, and text messages that equal one of
    /// the `exact` texts. Of both together, the first [`MAX_TEXTS`] are used.
    pub fn new<'a>(
        contained: impl IntoIterator<Item = &'a str>,
        exact: impl IntoIterator<Item = &'a str>,
    ) -> Self {
        let contained = contained.into_iter().map(|text| Pattern::Contains(Search::new(text)));
        let exact = exact
            .into_iter()
            .map(|text| Pattern::Equals(Exact { text: text.as_bytes().into(), matched: None }));
        let patterns = contained.chain(exact).take(MAX_TEXTS).collect();
        Self { patterns, matches: Vec::new() }
    }

    /// Begins a message; a compressed one never matches.
    pub(super) fn begin(&mut self, is_text: bool, compressed: bool) {
        for pattern in &mut self.patterns {
            match pattern {
                Pattern::Contains(search) => search.begin(compressed),
                Pattern::Equals(exact) => exact.matched = (is_text && !compressed).then_some(0),
            }
        }
    }

    /// Takes the next piece of the message, masked with `mask`, at `offset` of its frame.
    pub(super) fn feed(&mut self, piece: &[u8], mask: Option<[u8; 4]>, offset: u64) {
        for pattern in &mut self.patterns {
            match pattern {
                Pattern::Contains(search) => search.feed(piece, mask, offset),
                Pattern::Equals(exact) => exact.feed(piece, mask.unwrap_or_default(), offset),
            }
        }
    }

    /// Ends the message, and records its matches, if any.
    pub(super) fn end(&mut self) {
        let found = |pattern: &Pattern| match pattern {
            Pattern::Contains(search) => search.has_found(),
            Pattern::Equals(exact) => exact.matched == Some(exact.text.len()),
        };
        let patterns = self.patterns.iter().enumerate();
        let matches =
            patterns.fold(0, |bits, (at, pattern)| bits | u64::from(found(pattern)) << at);
        if matches > 0 {
            self.matches.push(matches);
        }
    }

    /// Takes the matches recorded so far, one entry for each message with any.
    pub(super) fn take_matches(&mut self) -> Vec<Matches> {
        std::mem::take(&mut self.matches)
    }
}

impl Exact {
    fn feed(&mut self, piece: &[u8], mask: [u8; 4], offset: u64) {
        let Some(matched) = self.matched else { return };
        let rest = &self.text[matched..];
        let same = piece.len() <= rest.len()
            && rest
                .iter()
                .zip(piece.iter().zip(offset % 4..))
                .all(|(ours, (byte, turn))| *ours == byte ^ mask[(turn % 4) as usize]);
        self.matched = same.then_some(matched + piece.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::frame_encoder::apply_mask;
    use proptest::prelude::*;

    proptest! {
        /// However the messages are cut and masked, the matches are those of the whole messages.
        #[test]
        fn matches_do_not_depend_on_cuts_and_masks(
            contained in proptest::collection::vec("[ab]{1,3}", 0..3),
            exact in proptest::collection::vec("[ab]{1,3}", 0..3),
            messages in proptest::collection::vec(
                (any::<bool>(), proptest::collection::vec(("[ab]{0,3}", any::<Option<[u8; 4]>>()), 1..3)),
                0..6,
            ),
            cut in 1_usize..4,
        ) {
            let mut matcher = TextMatcher::new(
                contained.iter().map(|text| &**text),
                exact.iter().map(|text| &**text),
            );
            let mut expected = Vec::new();
            for (is_text, frames) in &messages {
                matcher.begin(*is_text, false);
                let mut message = String::new();
                for (payload, mask) in frames {
                    message.push_str(payload);
                    let mut payload = payload.clone().into_bytes();
                    apply_mask(&mut payload, mask.unwrap_or_default());
                    for (turn, piece) in payload.chunks(cut).enumerate() {
                        matcher.feed(piece, *mask, (turn * cut) as u64);
                    }
                }
                matcher.end();
                let found = contained.iter().map(|text| message.contains(text))
                    .chain(exact.iter().map(|text| *is_text && message == *text));
                let matches = found.enumerate().fold(0, |bits, (at, found)| bits | u64::from(found) << at);
                expected.extend(Some(matches).filter(|matches| *matches > 0));
            }
            prop_assert_eq!(matcher.take_matches(), expected);
            prop_assert_eq!(matcher.take_matches(), Vec::<Matches>::new());
        }
    }

    #[test]
    fn a_compressed_message_never_matches() {
        let mut matcher = TextMatcher::new(["2"], ["2"]);
        matcher.begin(true, true);
        matcher.feed(b"2", None, 0);
        matcher.end();
        assert_eq!(matcher.take_matches(), Vec::<Matches>::new());
    }
}
