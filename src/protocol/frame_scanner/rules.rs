//! The rules for frame headers (RFC 6455 section 5).

use super::found::FramingViolation;
use super::opcode::DataOpcode;
use super::wire::{self, MAX_CONTROL_PAYLOAD, Opcode};
use crate::vocabulary::{Limit, Role};

/// Limits on what a peer may send, in bytes of payload (section 10.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScanLimits {
    /// The largest data frame.
    pub max_frame_size: u64,
    /// The largest message: the sum of its frames.
    pub max_message_size: u64,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum MessageProgress {
    None,
    Begun { bytes: u64 },
}

impl MessageProgress {
    pub(super) fn bytes(self) -> u64 {
        match self {
            Self::None => 0,
            Self::Begun { bytes } => bytes,
        }
    }
}

/// The rules for the frames of one peer.
#[derive(Debug)]
pub(super) struct Rules {
    /// This end's role.
    pub(super) role: Role,
    pub(super) limits: ScanLimits,
    pub(super) allowed_rsv: u8,
}

/// A violation, and the index of the header byte that causes it.
pub(super) struct Located {
    pub(super) at: usize,
    pub(super) violation: FramingViolation,
}

impl Rules {
    /// Checks a header, or as much of it as was received. Each rule is checked at the first byte that
    /// can violate it, because a hostile peer may never send the next one.
    #[inline]
    pub(super) fn check(&self, message: MessageProgress, header: &[u8]) -> Result<(), Located> {
        let Some(&first) = header.first() else { return Ok(()) };
        let opcode = Opcode::of(first);
        self.check_first(message, first, opcode)
            .map_err(|violation| Located { at: 0, violation })?;

        let Some(&second) = header.get(1) else { return Ok(()) };
        self.check_second(second, opcode).map_err(|violation| Located { at: 1, violation })?;

        // Section 5.2, "Payload length": in the shortest form, its most significant bit 0.
        let (last, len) = match (wire::short_len(second), header) {
            (126, &[_, _, a, b, ..]) => {
                let len = u16::from_be_bytes([a, b]);
                if len < 126 {
                    return Err(Located { at: 3, violation: FramingViolation::LengthNotShortest });
                }
                (3, u64::from(len))
            }
            (127, &[_, _, a, ..]) if a & 0x80 != 0 => {
                return Err(Located { at: 2, violation: FramingViolation::LengthTopBit });
            }
            (127, &[_, _, 0, 0, 0, 0, 0, 0, ..]) => {
                return Err(Located { at: 7, violation: FramingViolation::LengthNotShortest });
            }
            (127, &[_, _, a, b, c, d, e, f, g, h, ..]) => {
                (9, u64::from_be_bytes([a, b, c, d, e, f, g, h]))
            }
            (126 | 127, _) => return Ok(()),
            (short, _) => (1, u64::from(short)),
        };
        match opcode {
            Opcode::Data(_) => {
                self.check_size(message, len).map_err(|violation| Located { at: last, violation })
            }
            Opcode::Control(_) | Opcode::Reserved(_) => Ok(()),
        }
    }

    #[inline]
    fn check_first(
        &self,
        message: MessageProgress,
        first: u8,
        opcode: Opcode,
    ) -> Result<(), FramingViolation> {
        // Section 5.2, "RSV1, RSV2, RSV3". The bits of an extension mark whole messages, so only
        // their first frames carry them (RFC 7692 section 6.1).
        let allowed = match opcode {
            Opcode::Data(DataOpcode::Text | DataOpcode::Binary) => self.allowed_rsv,
            Opcode::Data(DataOpcode::Continuation) | Opcode::Control(_) | Opcode::Reserved(_) => 0,
        };
        let rsv = wire::rsv(first);
        if rsv & !allowed != 0 {
            return Err(FramingViolation::ReservedBit { rsv });
        }
        match opcode {
            // Section 5.2, "Opcode".
            Opcode::Reserved(opcode) => Err(FramingViolation::UnknownOpcode(opcode)),
            // Section 5.5: control frames must not be fragmented.
            Opcode::Control(_) if wire::is_fin(first) => Ok(()),
            Opcode::Control(_) => Err(FramingViolation::FragmentedControl),
            // Section 5.4: a frame with an opcode, then continuation frames until FIN.
            Opcode::Data(opcode) => match (opcode, message) {
                (DataOpcode::Continuation, MessageProgress::Begun { .. })
                | (DataOpcode::Text | DataOpcode::Binary, MessageProgress::None) => Ok(()),
                (DataOpcode::Continuation, MessageProgress::None) => {
                    Err(FramingViolation::ContinuationOfNothing)
                }
                (DataOpcode::Text | DataOpcode::Binary, MessageProgress::Begun { .. }) => {
                    Err(FramingViolation::MessageInsideMessage)
                }
            },
        }
    }

    #[inline]
    fn check_second(&self, second: u8, opcode: Opcode) -> Result<(), FramingViolation> {
        match (self.role, wire::is_masked(second)) {
            // Section 5.1: a client masks all its frames, a server none.
            (Role::Server, false) => Err(FramingViolation::UnmaskedFrame),
            (Role::Client, true) => Err(FramingViolation::MaskedFrame),
            (Role::Server, true) | (Role::Client, false) => match opcode {
                // Section 5.5: a control frame has at most 125 bytes of payload.
                Opcode::Control(_) if wire::short_len(second) > MAX_CONTROL_PAYLOAD => {
                    Err(FramingViolation::ControlTooLong)
                }
                Opcode::Control(_) | Opcode::Data(_) | Opcode::Reserved(_) => Ok(()),
            },
        }
    }

    /// Checks the limits (section 10.4). A frame over both is reported as over the message limit,
    /// because sending it in smaller frames would not help.
    #[inline]
    fn check_size(&self, message: MessageProgress, len: u64) -> Result<(), FramingViolation> {
        let ScanLimits { max_frame_size, max_message_size } = self.limits;
        let message = message.bytes().saturating_add(len);
        let (name, limit, observed) = if message > max_message_size {
            ("max_message_size", max_message_size, message)
        } else if len > max_frame_size {
            ("max_frame_size", max_frame_size, len)
        } else {
            return Ok(());
        };
        Err(FramingViolation::MessageTooBig(Limit { name, limit, observed }))
    }
}
