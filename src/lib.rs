//! lastword: a WebSocket connection manager.

pub mod config;
pub mod contract;
pub mod daemon;
pub mod ledger;
pub mod manager;
pub mod policy;
pub mod protocol;
pub mod supervision;
pub mod surfaces;
pub mod transport;
pub mod vocabulary;

pub use manager::*;
pub use vocabulary::{Ending, Event, Message};
