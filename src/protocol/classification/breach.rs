//! Breaches of the protocol by the peer, and the kind of ending and close code each leads to.

use crate::protocol::frame_scanner::FramingViolation;
use crate::vocabulary::{CloseCode, Kind, Limit, ReceivedClose};

/// A rule of RFC 6455, or a limit, that the peer broke.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Breach {
    /// A framing rule (section 5) or a size limit (section 10.4).
    Framing(FramingViolation),
    /// A Close frame whose payload is one byte long (section 5.5.1).
    ShortClose,
    /// A Close frame with a code that may not be sent (section 7.4).
    IllegalCode(u16),
    /// A close reason that is not UTF-8 (section 8.1).
    InvalidReason,
    /// A text message that is not UTF-8 (section 8.1).
    InvalidText,
    /// Anything else that the message reader refuses.
    Other(String),
}

impl Breach {
    /// Returns the kind of ending that this breach leads to.
    pub fn kind(&self) -> Kind {
        self.verdict().0
    }

    /// Returns the close code that is sent (section 7.4.1).
    pub fn close_code(&self) -> CloseCode {
        self.verdict().1
    }

    /// Describes the breach in a clause.
    pub(in crate::protocol) fn describe(&self) -> String {
        format!("{}: {}", self.verdict().2, self.phrase())
    }

    fn verdict(&self) -> (Kind, CloseCode, &'static str) {
        match self {
            // Section 7.4.1, 1009.
            Self::Framing(violation) if violation.is_too_big() => {
                (Kind::MessageTooBig, CloseCode::MESSAGE_TOO_BIG, "the peer sent too much")
            }
            // Section 7.4.1, 1007.
            Self::InvalidReason | Self::InvalidText => (
                Kind::InvalidPayload,
                CloseCode::INVALID_PAYLOAD,
                "the peer sent what is not UTF-8",
            ),
            // Section 7.4.1, 1002.
            Self::Framing(_) | Self::ShortClose | Self::IllegalCode(_) | Self::Other(_) => {
                (Kind::ProtocolViolation, CloseCode::PROTOCOL_ERROR, "the peer broke the protocol")
            }
        }
    }

    /// Returns the limit that was exceeded, if the breach is one.
    pub(in crate::protocol) fn into_limit(self) -> Option<Limit> {
        match self {
            Self::Framing(FramingViolation::MessageTooBig(limit)) => Some(limit),
            Self::Framing(_)
            | Self::ShortClose
            | Self::IllegalCode(_)
            | Self::InvalidReason
            | Self::InvalidText
            | Self::Other(_) => None,
        }
    }

    /// Names the breach in a few words.
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

/// Parses the payload of the peer's Close (section 5.5.1), and returns the breach it contains, if any.
pub fn read_close(payload: &[u8]) -> (ReceivedClose, Option<Breach>) {
    let (code, reason) = match payload {
        // Section 7.1.5: an empty Close counts as 1005.
        [] => return (ReceivedClose::default(), None),
        // Section 5.5.1: a body begins with a 2-byte code.
        [_] => return (ReceivedClose::default(), Some(Breach::ShortClose)),
        [high, low, reason @ ..] => (u16::from_be_bytes([*high, *low]), reason),
    };
    let close = ReceivedClose { code: Some(code), reason: String::from_utf8_lossy(reason).into() };
    // Section 7.4: reserved and unassigned codes. Section 5.5.1: the reason is UTF-8.
    let breach = if CloseCode::new(code).is_err() {
        Some(Breach::IllegalCode(code))
    } else if std::str::from_utf8(reason).is_err() {
        Some(Breach::InvalidReason)
    } else {
        None
    };
    (close, breach)
}
