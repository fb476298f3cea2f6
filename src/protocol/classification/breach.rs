//! How a peer breaks a rule, and what that makes of an ending.

use crate::protocol::frame_scanner::Violation;
use crate::vocabulary::{CloseCode, Kind, Limit, ReceivedClose};

/// A rule of RFC 6455, or a limit, that the peer broke.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Breach {
    /// Framing, or a size limit.
    Framing(Violation),
    /// A Close frame whose payload is one byte long.
    ShortClose,
    /// A Close frame with a code that may not be sent (section 7.4).
    IllegalCode(u16),
    /// A close reason that is not UTF-8.
    InvalidReason,
    /// A text message that is not UTF-8.
    InvalidText,
    /// Something that the scanner let pass and the reader of messages did not.
    Other(String),
}

impl Breach {
    /// Returns the kind of an ending that this breach brings about.
    pub fn kind(&self) -> Kind {
        self.verdict().0
    }

    /// Returns the code that tells the peer (section 7.4.1).
    pub fn close_code(&self) -> CloseCode {
        self.verdict().1
    }

    /// Says it in half a sentence.
    pub(in crate::protocol) fn describe(&self) -> String {
        format!("{}: {}", self.verdict().2, self.phrase())
    }

    fn verdict(&self) -> (Kind, CloseCode, &'static str) {
        match self {
            Self::Framing(violation) if violation.is_too_big() => {
                (Kind::MessageTooBig, CloseCode::MESSAGE_TOO_BIG, "the peer sent too much")
            }
            Self::InvalidReason | Self::InvalidText => (
                Kind::InvalidPayload,
                CloseCode::INVALID_PAYLOAD,
                "the peer sent what is not UTF-8",
            ),
            Self::Framing(_) | Self::ShortClose | Self::IllegalCode(_) | Self::Other(_) => {
                (Kind::ProtocolViolation, CloseCode::PROTOCOL_ERROR, "the peer broke the protocol")
            }
        }
    }

    /// Returns the limit that was broken, if it was one.
    pub(in crate::protocol) fn into_limit(self) -> Option<Limit> {
        match self {
            Self::Framing(Violation::MessageTooBig(limit)) => Some(limit),
            Self::Framing(_)
            | Self::ShortClose
            | Self::IllegalCode(_)
            | Self::InvalidReason
            | Self::InvalidText
            | Self::Other(_) => None,
        }
    }

    /// Names what was wrong, in a few words.
    pub fn phrase(&self) -> String {
        match self {
            Self::Framing(violation) => violation.to_string(),
            Self::ShortClose => "Close frame with a payload of 1 byte".to_owned(),
            Self::IllegalCode(code) => format!("Close frame with code {code}"),
            Self::InvalidReason => "close reason is not UTF-8".to_owned(),
            Self::InvalidText => "text message is not UTF-8".to_owned(),
            Self::Other(what) => what.clone(),
        }
    }
}

/// Reads the payload of the peer's Close (sections 5.5.1 and 7.4): what it says, and what is wrong.
pub fn read_close(payload: &[u8]) -> (ReceivedClose, Option<Breach>) {
    let (code, reason) = match payload {
        [] => return (ReceivedClose::default(), None),
        [_] => return (ReceivedClose::default(), Some(Breach::ShortClose)),
        [high, low, reason @ ..] => (u16::from_be_bytes([*high, *low]), reason),
    };
    let close = ReceivedClose { code: Some(code), reason: String::from_utf8_lossy(reason).into() };
    let breach = if CloseCode::new(code).is_err() {
        Some(Breach::IllegalCode(code))
    } else if std::str::from_utf8(reason).is_err() {
        Some(Breach::InvalidReason)
    } else {
        None
    };
    (close, breach)
}
