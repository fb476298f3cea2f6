//! The JSON of the contract: the only serde of what users hold on to.
//!
//! The words themselves live in [`crate::vocabulary`] and know nothing of JSON, so that a field
//! cannot be renamed on the wire by tidying a type. What is written here changes only by adding.

mod ending;
mod event;
pub mod masking;
mod rfc3339_millis;

pub use ending::{CloseRecord, EndingRecord, LimitRecord, OriginRecord, TcpRecord, UpstreamRecord};
pub use event::{EventRecord, OpenedRecord};
