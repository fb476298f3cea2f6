//! Cuts a stream into pieces, as a network does.

/// Splits `stream` behind each of these lengths, one after the other; the rest is one piece.
pub fn pieces<'s>(mut stream: &'s [u8], lengths: &[u8]) -> Vec<&'s [u8]> {
    let mut pieces = Vec::new();
    for length in lengths {
        let (piece, rest) = stream.split_at(usize::from(*length).min(stream.len()));
        if !piece.is_empty() {
            pieces.push(piece);
        }
        stream = rest;
    }
    if !stream.is_empty() {
        pieces.push(stream);
    }
    pieces
}
