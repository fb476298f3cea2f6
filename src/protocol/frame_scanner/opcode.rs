//! The opcodes of frames (RFC 6455 section 5.2).

/// The opcode of a data frame (section 5.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DataOpcode {
    /// It continues the message in progress.
    Continuation,
    /// It begins a text message.
    Text,
    /// It begins a binary message.
    Binary,
}

/// The opcode of a control frame (section 5.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ControlOpcode {
    /// A Close (section 5.5.1).
    Close,
    /// A Ping (section 5.5.2).
    Ping,
    /// A Pong (section 5.5.3).
    Pong,
}
