//! The other direction: cases that are served to clients, and what each client made of them.
//!
//! - [`serve`]: the server, with a page for browsers.
//! - [`Results`]: what clients did, by User-Agent.

mod case;
mod cases;
mod judging;
mod results;
mod serving;

pub use case::ClientCase;
pub use cases::ALL as CLIENT_CASES;
pub use results::{Results, Tested};
pub use serving::{ServeOptions, serve};
