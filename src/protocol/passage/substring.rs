//! Searches for a text in messages that arrive in pieces, masked or not.

/// A search for one text by the Knuth-Morris-Pratt algorithm, which needs no buffer.
#[derive(Debug)]
pub(super) struct Search {
    text: Box<[u8]>,
    /// For each prefix of the text, the length of its longest border (a proper prefix it ends with).
    borders: Box<[usize]>,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// No message has begun, or it is compressed.
    Inactive,
    /// This many bytes of the text match the latest input.
    Matched(usize),
    Found,
}

impl Search {
    pub(super) fn new(text: &str) -> Self {
        let text = text.as_bytes();
        let mut borders = vec![0; text.len()];
        for at in 1..text.len() {
            let shorter = advance(text, &borders, borders[at - 1], text[at]);
            borders[at] = shorter;
        }
        Self { text: text.into(), borders: borders.into(), state: State::Inactive }
    }

    /// Begins a message; a compressed one cannot be searched.
    pub(super) fn begin(&mut self, compressed: bool) {
        self.state = match compressed {
            true => State::Inactive,
            false if self.text.is_empty() => State::Found,
            false => State::Matched(0),
        };
    }

    /// Takes the next piece of the message, masked with `mask`, at `offset` of its frame.
    pub(super) fn feed(&mut self, piece: &[u8], mask: Option<[u8; 4]>, offset: u64) {
        let State::Matched(mut matched) = self.state else { return };
        let mask = mask.unwrap_or_default();
        for (byte, turn) in piece.iter().zip(offset % 4..) {
            matched = advance(&self.text, &self.borders, matched, byte ^ mask[(turn % 4) as usize]);
            if matched == self.text.len() {
                self.state = State::Found;
                return;
            }
        }
        self.state = State::Matched(matched);
    }

    /// Returns whether the message, as far as it was read, contains the text.
    pub(super) fn has_found(&self) -> bool {
        self.state == State::Found
    }
}

/// Returns how many bytes of `text` match after `byte`, if `matched` bytes, fewer than all, did before.
fn advance(text: &[u8], borders: &[usize], mut matched: usize, byte: u8) -> usize {
    while matched > 0 && text[matched] != byte {
        matched = borders[matched - 1];
    }
    matched + usize::from(text[matched] == byte)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::frame_encoder::apply_mask;
    use proptest::prelude::*;

    proptest! {
        /// However the message is cut and masked, the result is that of searching the whole message.
        #[test]
        fn the_result_does_not_depend_on_cuts_and_masks(
            text in "[ab]{0,5}",
            frames in proptest::collection::vec(("[ab]{0,12}", any::<Option<[u8; 4]>>()), 0..6),
            cut in 1_usize..5,
        ) {
            let mut search = Search::new(&text);
            search.begin(false);
            let mut message = String::new();
            for (payload, mask) in &frames {
                message.push_str(payload);
                let mut payload = payload.clone().into_bytes();
                apply_mask(&mut payload, mask.unwrap_or_default());
                for (turn, piece) in payload.chunks(cut).enumerate() {
                    search.feed(piece, *mask, (turn * cut) as u64);
                }
            }
            prop_assert_eq!(search.has_found(), message.contains(&text));
        }
    }

    #[test]
    fn a_new_message_starts_over_and_a_compressed_one_is_not_searched() {
        let mut search = Search::new("ab");
        search.feed(b"ab", None, 0);
        assert!(!search.has_found(), "that was no message");
        search.begin(false);
        search.feed(b"xa", None, 0);
        search.begin(false);
        search.feed(b"b", None, 0);
        assert!(!search.has_found());
        search.begin(true);
        search.feed(b"ab", None, 0);
        assert!(!search.has_found());
    }
}
