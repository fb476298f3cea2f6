//! Looks out for texts in the messages that pass: some that a message contains, some that it is.

use super::search::Search;

/// The most texts that are looked for at once.
pub const MOST_TEXTS: usize = 64;

/// What of the texts was in one message: a bit for each, in their order.
pub type Sighted = u64;

/// Texts that are looked for in the messages that pass.
#[derive(Debug)]
pub struct Lookout {
    seekers: Vec<Seeker>,
    sighted: Vec<Sighted>,
}

#[derive(Debug)]
enum Seeker {
    /// A message that contains the text.
    Containing(Search),
    /// A text message that is the text.
    Being(Exact),
}

/// The comparison of messages with one text; it holds nothing of what passes.
#[derive(Debug)]
struct Exact {
    text: Box<[u8]>,
    /// So much of the text has come; `None` once something else has.
    matched: Option<usize>,
}

impl Lookout {
    /// Looks out for messages that contain one of these texts, and text messages that are one of
    /// those; of both together, the first [`MOST_TEXTS`].
    pub fn new<'a>(
        contained: impl IntoIterator<Item = &'a str>,
        exact: impl IntoIterator<Item = &'a str>,
    ) -> Self {
        let contained = contained.into_iter().map(|text| Seeker::Containing(Search::new(text)));
        let exact = exact
            .into_iter()
            .map(|text| Seeker::Being(Exact { text: text.as_bytes().into(), matched: None }));
        let seekers = contained.chain(exact).take(MOST_TEXTS).collect();
        Self { seekers, sighted: Vec::new() }
    }

    /// Enters a message; one that is compressed cannot be looked into.
    pub(super) fn begin(&mut self, is_text: bool, compressed: bool) {
        for seeker in &mut self.seekers {
            match seeker {
                Seeker::Containing(search) => search.begin(compressed),
                Seeker::Being(exact) => exact.matched = (is_text && !compressed).then_some(0),
            }
        }
    }

    /// Takes the next piece of the message, masked with `mask` from `offset` of its frame on.
    pub(super) fn feed(&mut self, piece: &[u8], mask: Option<[u8; 4]>, offset: u64) {
        for seeker in &mut self.seekers {
            match seeker {
                Seeker::Containing(search) => search.feed(piece, mask, offset),
                Seeker::Being(exact) => exact.feed(piece, mask.unwrap_or_default(), offset),
            }
        }
    }

    /// Leaves the message, and notes what was in it.
    pub(super) fn end(&mut self) {
        let found = |seeker: &Seeker| match seeker {
            Seeker::Containing(search) => search.has_found(),
            Seeker::Being(exact) => exact.matched == Some(exact.text.len()),
        };
        let seekers = self.seekers.iter().enumerate();
        let sighted =
            seekers.fold(0, |sighted, (at, seeker)| sighted | u64::from(found(seeker)) << at);
        if sighted > 0 {
            self.sighted.push(sighted);
        }
    }

    /// Returns, once, what was in each message in which something was.
    pub(super) fn take_sighted(&mut self) -> Vec<Sighted> {
        std::mem::take(&mut self.sighted)
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
        /// Cut and masked in any way, it sees what a look at each whole message sees.
        #[test]
        fn it_sees_what_is_there(
            contained in proptest::collection::vec("[ab]{1,3}", 0..3),
            exact in proptest::collection::vec("[ab]{1,3}", 0..3),
            messages in proptest::collection::vec(
                (any::<bool>(), proptest::collection::vec(("[ab]{0,3}", any::<Option<[u8; 4]>>()), 1..3)),
                0..6,
            ),
            cut in 1_usize..4,
        ) {
            let mut lookout = Lookout::new(
                contained.iter().map(|text| &**text),
                exact.iter().map(|text| &**text),
            );
            let mut expected = Vec::new();
            for (is_text, frames) in &messages {
                lookout.begin(*is_text, false);
                let mut message = String::new();
                for (payload, mask) in frames {
                    message.push_str(payload);
                    let mut payload = payload.clone().into_bytes();
                    apply_mask(&mut payload, mask.unwrap_or_default());
                    for (turn, piece) in payload.chunks(cut).enumerate() {
                        lookout.feed(piece, *mask, (turn * cut) as u64);
                    }
                }
                lookout.end();
                let found = contained.iter().map(|text| message.contains(text))
                    .chain(exact.iter().map(|text| *is_text && message == *text));
                let sighted = found.enumerate().fold(0, |bits, (at, found)| bits | u64::from(found) << at);
                expected.extend(Some(sighted).filter(|sighted| *sighted > 0));
            }
            prop_assert_eq!(lookout.take_sighted(), expected);
            prop_assert_eq!(lookout.take_sighted(), Vec::<Sighted>::new());
        }
    }

    #[test]
    fn a_compressed_message_is_not_looked_into() {
        let mut lookout = Lookout::new(["2"], ["2"]);
        lookout.begin(true, true);
        lookout.feed(b"2", None, 0);
        lookout.end();
        assert_eq!(lookout.take_sighted(), Vec::<Sighted>::new());
    }
}
