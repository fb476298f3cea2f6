//! Explains connections in sentences: how one ended, whose fault it was and what to do about it, or
//! the state of one that is open.
//!
//! Pure, and the only place where these sentences are made: the command `why`, the control API
//! (`explain=true`) and the page show the same ones.

mod closing;
mod evidence;
mod facts;
mod meaning;
mod open_connection;
mod remedy;
mod story;
#[cfg(test)]
pub(crate) mod tests;
pub(crate) mod wording;

#[cfg(feature = "daemon")]
pub(crate) use facts::kind_name;
pub(crate) use open_connection::describe as of_connection;
pub(crate) use story::explain as of_ending;
