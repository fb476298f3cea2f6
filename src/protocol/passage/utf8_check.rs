//! Checks that text is UTF-8 while it arrives in pieces, masked or not.

/// How many bytes are unmasked at a time.
const AT_A_TIME: usize = 2048;

/// The check of one text message (RFC 6455 section 8.1).
#[derive(Debug, Default)]
pub(super) struct Utf8Check {
    /// The beginning of an incomplete character.
    begun: [u8; 4],
    len: u8,
}

impl Utf8Check {
    /// Takes the next piece, masked with `mask`, at `offset` of its frame. Returns whether the text can
    /// still be UTF-8.
    pub(super) fn feed(&mut self, piece: &[u8], mask: Option<[u8; 4]>, offset: u64) -> bool {
        let Some(mask) = mask else { return self.feed_plain(piece) };
        let turn = (offset % 4) as usize;
        let mask = [0, 1, 2, 3].map(|i| mask[(turn + i) % 4]);
        let mut plain = [0; AT_A_TIME];
        // The chunk size is a multiple of 4, so each chunk starts at the same byte of the key.
        piece.chunks(AT_A_TIME).all(|chunk| {
            let plain = &mut plain[..chunk.len()];
            plain.copy_from_slice(chunk);
            crate::protocol::frame_encoder::apply_mask(plain, mask);
            self.feed_plain(plain)
        })
    }

    /// Returns whether the text may end here, outside of a character.
    pub(super) fn is_complete(&self) -> bool {
        self.len == 0
    }

    fn feed_plain(&mut self, mut piece: &[u8]) -> bool {
        while self.len > 0 {
            let Some((&byte, rest)) = piece.split_first() else { return true };
            piece = rest;
            self.begun[usize::from(self.len)] = byte;
            self.len += 1;
            match std::str::from_utf8(&self.begun[..usize::from(self.len)]) {
                Ok(_) => self.len = 0,
                // Incomplete, but not invalid: at most three bytes, so there is room for one more.
                Err(error) if error.error_len().is_none() => {}
                Err(_) => return false,
            }
        }
        match std::str::from_utf8(piece) {
            Ok(_) => true,
            Err(error) if error.error_len().is_none() => {
                let cut = &piece[error.valid_up_to()..];
                self.begun[..cut.len()].copy_from_slice(cut);
                self.len = cut.len() as u8;
                true
            }
            Err(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::frame_encoder::apply_mask;

    /// Feeds a text cut at every place, plain and masked.
    fn agrees(text: &[u8]) {
        let valid = std::str::from_utf8(text).is_ok();
        for cut in 0..=text.len() {
            for mask in [None, Some([0x81, 0x02, 0xc3, 0x74])] {
                let mut sent = text.to_vec();
                if let Some(mask) = mask {
                    apply_mask(&mut sent, mask);
                }
                let mut check = Utf8Check::default();
                let good = check.feed(&sent[..cut], mask, 0)
                    && check.feed(&sent[cut..], mask, cut as u64)
                    && check.is_complete();
                assert_eq!(good, valid, "{text:x?} cut at {cut}");
            }
        }
    }

    #[test]
    fn it_agrees_with_the_standard_library_wherever_text_is_cut() {
        for text in [
            &b""[..],
            b"plain",
            "κόσμε\u{10ffff}ü\u{ffff}".as_bytes(),
            b"\xed\xa0\x80",
            b"\xf4\x90\x80\x80",
            b"\xc0\xaf",
            b"ab\xff",
            b"\xf0\x9f\x98",
            b"\x80",
            &"ä€😀".repeat(1000).into_bytes(),
        ] {
            if text.len() < 100 {
                agrees(text);
            } else {
                let mut check = Utf8Check::default();
                let mut masked = text.to_vec();
                apply_mask(&mut masked, [1, 2, 3, 4]);
                assert!(check.feed(&masked, Some([1, 2, 3, 4]), 0) && check.is_complete());
            }
        }
    }

    #[test]
    fn what_cannot_become_utf_8_is_noticed_at_once() {
        let mut check = Utf8Check::default();
        assert!(check.feed(b"\xf4", None, 0));
        assert!(!check.feed(b"\x90", None, 1));
    }
}
