//! Close frames (RFC 6455 section 5.5.1), close codes (7.4), and the state of a closing handshake.

use std::fmt;
use std::num::NonZeroU16;

contract_enum! {
    /// The state of the closing handshake (CONTRACT: `state`).
    pub enum CloseState {
        /// No Close was requested or received.
        Open = "open",
        /// A close was requested here, and the peer's Close has not been received.
        CloseSent = "close_sent",
        /// The peer's Close was received, and ours has not been sent.
        CloseReceived = "close_received",
        /// Both Closes were exchanged.
        Closed = "closed",
    }
}

/// Why a close code or reason may not be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IllegalClose {
    /// The code is reserved or unassigned (RFC 6455 section 7.4).
    #[error(
        "close code {0} may not be sent: use 1000-1003, 1007-1014 or 3000-4999 (RFC 6455 section 7.4)"
    )]
    Code(u16),
    /// The reason does not fit into a control frame (RFC 6455 section 5.5).
    #[error(
        "the close reason has {0} bytes: at most 123 fit into a Close frame (RFC 6455 section 5.5)"
    )]
    ReasonTooLong(usize),
    /// A reason was given without a code, which a Close frame cannot carry.
    #[error("a close reason needs a close code (RFC 6455 section 5.5.1)")]
    ReasonWithoutCode,
}

/// A close code that may be sent in a Close frame: 1000–1003, 1007–1014 or 3000–4999.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CloseCode(NonZeroU16);

impl CloseCode {
    /// The connection has fulfilled its purpose.
    pub const NORMAL: Self = Self::known(1000);
    /// This end is going away.
    pub const GOING_AWAY: Self = Self::known(1001);
    /// The peer broke the protocol.
    pub const PROTOCOL_ERROR: Self = Self::known(1002);
    /// The peer sent a type of data that is not accepted.
    pub const UNSUPPORTED_DATA: Self = Self::known(1003);
    /// The peer sent a payload that is not what its type says, such as text that is not UTF-8.
    pub const INVALID_PAYLOAD: Self = Self::known(1007);
    /// The peer violated a policy.
    pub const POLICY_VIOLATION: Self = Self::known(1008);
    /// The peer sent a message that is too big.
    pub const MESSAGE_TOO_BIG: Self = Self::known(1009);
    /// Something failed on this end, or the peer did not answer a Ping.
    pub const INTERNAL_ERROR: Self = Self::known(1011);
    /// The service is restarting; the peer may reconnect.
    pub const SERVICE_RESTART: Self = Self::known(1012);
    /// The peer should try again later.
    pub const TRY_AGAIN_LATER: Self = Self::known(1013);
    /// The peer was idle for too long.
    pub const IDLE: Self = Self::known(3008);
    /// The credentials of the peer have expired or are revoked.
    pub const UNAUTHORIZED: Self = Self::known(3000);
    /// Another connection of the same subject stays.
    pub const REPLACED: Self = Self::known(4409);

    /// Makes a close code.
    ///
    /// # Errors
    /// [`IllegalClose::Code`] for a code that an endpoint may not send (RFC 6455 section 7.4).
    pub const fn new(code: u16) -> Result<Self, IllegalClose> {
        match (code, NonZeroU16::new(code)) {
            (1000..=1003 | 1007..=1014 | 3000..=4999, Some(code)) => Ok(Self(code)),
            _ => Err(IllegalClose::Code(code)),
        }
    }

    /// Returns the number.
    pub const fn get(self) -> u16 {
        self.0.get()
    }

    const fn known(code: u16) -> Self {
        match Self::new(code) {
            Ok(code) => code,
            // Only the constants above call this, so it is evaluated at compile time.
            Err(_) => panic!("not a close code"),
        }
    }
}

impl fmt::Display for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl TryFrom<u16> for CloseCode {
    type Error = IllegalClose;

    fn try_from(code: u16) -> Result<Self, Self::Error> {
        Self::new(code)
    }
}

/// A close reason that fits into a Close frame: at most 123 bytes of UTF-8.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct CloseReason(Box<str>);

impl CloseReason {
    /// The longest reason, in bytes.
    pub const MAX_LEN: usize = 123;

    /// Makes a close reason.
    ///
    /// # Errors
    /// [`IllegalClose::ReasonTooLong`] for more than 123 bytes.
    pub fn new(reason: impl Into<Box<str>>) -> Result<Self, IllegalClose> {
        let reason = reason.into();
        if reason.len() > Self::MAX_LEN {
            return Err(IllegalClose::ReasonTooLong(reason.len()));
        }
        Ok(Self(reason))
    }

    /// Makes a reason from as much of `text` as fits, cut at a character boundary.
    pub fn truncated(text: &str) -> Self {
        Self(text[..text.floor_char_boundary(Self::MAX_LEN)].into())
    }

    /// Returns the text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A Close frame that may be sent: empty, or a code with a reason.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum CloseFrame {
    /// A Close frame without a payload; the peer reads it as 1005.
    Empty,
    /// A Close frame with a code and a reason, which may be empty.
    Coded {
        /// The close code.
        code: CloseCode,
        /// The reason.
        reason: CloseReason,
    },
}

impl CloseFrame {
    /// Makes a Close frame from user input.
    ///
    /// # Errors
    /// Those of [`CloseCode::new`] and [`CloseReason::new`], and a reason without a code.
    pub fn new(code: Option<u16>, reason: &str) -> Result<Self, IllegalClose> {
        match code {
            Some(code) => {
                Ok(Self::Coded { code: CloseCode::new(code)?, reason: CloseReason::new(reason)? })
            }
            None if reason.is_empty() => Ok(Self::Empty),
            None => Err(IllegalClose::ReasonWithoutCode),
        }
    }

    /// Makes a Close frame, truncating a reason that is too long.
    pub fn coded(code: CloseCode, reason: &str) -> Self {
        Self::Coded { code, reason: CloseReason::truncated(reason) }
    }

    /// Makes a Close frame whose reason ends with the signature, if there is one; the reason is
    /// truncated to leave room for it.
    pub fn signed(code: CloseCode, reason: &str, signature: Option<&str>) -> Self {
        let Some(signature) = signature else { return Self::coded(code, reason) };
        let signature = format!(" [{signature}]");
        let room = CloseReason::MAX_LEN.saturating_sub(signature.len());
        let reason = &reason[..reason.floor_char_boundary(room)];
        Self::coded(code, &format!("{reason}{signature}"))
    }

    /// Returns the code; `None` for an empty Close.
    pub fn code(&self) -> Option<CloseCode> {
        match self {
            Self::Empty => None,
            Self::Coded { code, .. } => Some(*code),
        }
    }

    /// Returns the reason; empty for an empty Close.
    pub fn reason(&self) -> &str {
        match self {
            Self::Empty => "",
            Self::Coded { reason, .. } => reason.as_str(),
        }
    }

    /// Encodes the payload (section 5.5.1): nothing, or the code in network byte order and the reason.
    pub fn payload(&self) -> Vec<u8> {
        match self {
            Self::Empty => Vec::new(),
            Self::Coded { code, reason } => {
                let mut payload = Vec::with_capacity(2 + reason.as_str().len());
                payload.extend_from_slice(&code.get().to_be_bytes());
                payload.extend_from_slice(reason.as_str().as_bytes());
                payload
            }
        }
    }
}

/// A Close frame as it was received, including illegal codes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct ReceivedClose {
    /// The code; `None` for an empty Close.
    pub code: Option<u16>,
    /// The reason; bytes that are not UTF-8 are replaced.
    pub reason: Box<str>,
}

impl ReceivedClose {
    /// Returns the answer of RFC 6455 section 5.5.1, which echoes the code and reason.
    ///
    /// An empty Close, and one whose code may not be sent, is answered with an empty Close.
    pub fn in_kind(&self) -> CloseFrame {
        CloseFrame::new(self.code, &self.reason).unwrap_or(CloseFrame::Empty)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exactly_the_codes_of_the_contract_may_be_sent() {
        for code in 0..=u16::MAX {
            let allowed = matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999);
            assert_eq!(CloseCode::new(code).is_ok(), allowed, "{code}");
        }
    }

    #[test]
    fn a_reason_of_123_bytes_is_accepted_and_124_refused() {
        assert!(CloseReason::new("x".repeat(123)).is_ok());
        assert_eq!(CloseReason::new("x".repeat(124)), Err(IllegalClose::ReasonTooLong(124)));
        let umlauts = "ü".repeat(62);
        assert_eq!(CloseReason::new(umlauts.as_str()), Err(IllegalClose::ReasonTooLong(124)));
        assert_eq!(CloseReason::truncated(&umlauts).as_str().len(), 122);
    }

    #[test]
    fn a_long_reason_gives_way_to_the_signature() {
        let signed = |reason: &str, signature| {
            CloseFrame::signed(CloseCode::NORMAL, reason, signature).reason().to_owned()
        };
        assert_eq!(signed("bye", None), "bye");
        assert_eq!(signed("bye", Some("5b8f0a6d4c17")), "bye [5b8f0a6d4c17]");
        let long = signed(&"ü".repeat(61), Some("5b8f0a6d4c17"));
        assert!(long.len() <= 123 && long.ends_with("ü [5b8f0a6d4c17]"), "{long}");
    }

    #[test]
    fn a_reason_needs_a_code() {
        assert_eq!(CloseFrame::new(None, ""), Ok(CloseFrame::Empty));
        assert_eq!(CloseFrame::new(None, "bye"), Err(IllegalClose::ReasonWithoutCode));
        assert_eq!(CloseFrame::new(Some(1000), "bye").unwrap().payload(), b"\x03\xe8bye");
        assert!(CloseFrame::Empty.payload().is_empty());
    }
}
