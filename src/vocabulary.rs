//! Pure types named after RFC 6455 and the contract, without I/O, clock or serde.
//!
//! A Close that may not be sent cannot be built: [`CloseCode`] refuses the codes that RFC 6455 section
//! 7.4 reserves, and [`CloseReason`] refuses reasons that do not fit into a control frame.

/// Defines an enum in which each variant stands for one string of the contract.
macro_rules! contract_enum {
    (
        $(#[$outer:meta])*
        $vis:vis enum $name:ident { $( $(#[$inner:meta])* $variant:ident = $word:literal ),+ $(,)? }
    ) => {
        $(#[$outer])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        $vis enum $name { $( $(#[$inner])* $variant ),+ }

        impl $name {
            /// Every value, in the order of the contract.
            pub const ALL: &'static [Self] = &[$( Self::$variant ),+];

            /// Returns the string of the contract.
            pub const fn as_str(self) -> &'static str {
                match self { $( Self::$variant => $word ),+ }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }
    };
}

mod backend;
mod census;
mod close;
mod dialer;
mod drain;
mod ending;
mod event;
mod grant;
mod http_census;
mod identity;
mod listen_address;
mod message;
mod network;
mod open_failure;
mod origin;
#[cfg(feature = "contract")]
mod peer_filter;
mod revocation;
mod secret;
mod selector;
mod status;
mod tags;
pub(crate) mod timestamp;

pub use backend::{BackendState, BackendStatus};
pub use census::{Census, CensusLine, OpenByState, Verdict};
pub use close::{CloseCode, CloseFrame, CloseReason, CloseState, IllegalClose, ReceivedClose};
pub use dialer::{DialerChange, DialerEvent, DialerPhase, DialerStatus, Interval, Reconnecting};
pub use drain::{DrainPhase, DrainProgress, Stragglers};
pub use ending::{
    Advice, Cause, Ending, Fault, FirstClose, Kind, Limit, Outcome, Requester, Retry, TcpFacts,
    Traffic, TransportEnd,
};
pub use event::{Closing, ConnectionOpened, Event, Published, Record};
pub use grant::Grant;
pub use http_census::{HttpCensus, HttpOutcome};
pub(crate) use identity::{BuildIdHasher, IdMap, IdSet};
pub use identity::{ConnectionId, ConnectionName, InvalidId, InvalidName};
pub use listen_address::{InvalidListenAddress, ListenAddress};
pub use message::{Message, Text};
#[cfg(any(feature = "ledger-sqlite", feature = "control"))]
pub(crate) use network::ip_of;
pub(crate) use network::{Network, network_of};
pub use open_failure::OpenFailure;
pub use origin::{Direction, Origin, Role, Upstream};
#[cfg(feature = "contract")]
pub(crate) use peer_filter::PeerFilter;
#[cfg(feature = "ledger-sqlite")]
pub(crate) use peer_filter::Spelling;
pub use revocation::{Revocation, RevocationChange, RevocationCounts, RevocationTarget};
pub use secret::Secret;
pub use selector::Selector;
pub use status::ConnectionStatus;
pub use tags::{InvalidTag, LONGEST_TAG, MAX_TAGS};
#[doc(hidden)]
pub use tags::{check_tag_name, check_tag_value, check_tags, is_label};
