//! What a second connection of one subject does.

use serde::Deserialize;

/// What a second connection of one subject does on a route.
///
/// The one that goes gets a Close with 4409 "replaced" and ends with cause `replaced`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Replace {
    /// Both stay.
    #[default]
    None,
    /// The oldest goes.
    Oldest,
    /// The newest goes. One that is closing already keeps no other out.
    Newest,
}
