//! The configuration of the daemon: the typed schema of CONTRACT.md section 6 and its layered
//! loading.
//!
//! [`load`] lays the layers over each other, refuses what is unknown, ill-typed, contradictory or
//! not built yet, and says where it stands: file, line, key and remedy. What it returns is valid,
//! so nothing behind it checks again. The values themselves are in [`settings`](crate::settings).

mod auth;
mod backend;
mod error;
mod layers;
mod loading;
mod patching;
mod refusals;
mod routing;
mod schema;
mod tree;
mod validation;

#[cfg(test)]
mod tests;

pub use auth::AuthKind;
pub use backend::{BackendChoice, BackendKind};
pub use error::{ConfigError, Place, Remedy};
pub use loading::{Loaded, Sources, load, load_all};
pub use routing::{Listener, Route};
pub use schema::{Config, Health, Log, LogFormat, Node};
#[cfg(test)]
pub(crate) use tree::keys_of;
#[cfg(feature = "daemon")]
pub(crate) use validation::collide;
pub use validation::{Violation, parse_filter};
