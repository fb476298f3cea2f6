//! The names of header lines, and the tokens that they are made of.

/// Header lines that only the opening handshake itself may write, beside those of [`RESERVED_PREFIX`].
const RESERVED: [&str; 5] =
    ["host", "upgrade", "connection", "content-length", "transfer-encoding"];

const RESERVED_PREFIX: &str = "sec-websocket-";

/// Returns whether only the opening handshake may write a header line of this name, in any case.
pub fn is_reserved(name: &str) -> bool {
    let start = name.get(..RESERVED_PREFIX.len());
    RESERVED.iter().any(|word| name.eq_ignore_ascii_case(word))
        || start.is_some_and(|start| start.eq_ignore_ascii_case(RESERVED_PREFIX))
}

/// Returns whether `text` is a token of HTTP (RFC 9110 section 5.6.2).
pub fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(is_token_char)
}

/// Returns whether a byte may stand in a token.
pub const fn is_token_char(c: u8) -> bool {
    c.is_ascii_alphanumeric()
        || matches!(
            c,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_of_the_opening_handshake_are_reserved() {
        for name in ["Host", "upgrade", "Sec-WebSocket-Key", "sec-websocket-anything"] {
            assert!(is_reserved(name), "{name}");
        }
        for name in ["Hosts", "X-Host", "Sec-WebSocket", "Authorization", ""] {
            assert!(!is_reserved(name), "{name}");
        }
    }

    #[test]
    fn a_token_has_no_separators() {
        assert!(is_token("x-request_id.1~"));
        for text in ["", "a b", "a:b", "a/b", "ä", "a\"b", "a,b"] {
            assert!(!is_token(text), "{text}");
        }
    }
}
