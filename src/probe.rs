//! `lastword probe`: how a WebSocket server closes, and whether it keeps to RFC 6455.
//!
//! A case is data: an [`Exchange`] says what is sent over one connection, step by step, and a pure
//! function judges what came back. Several cases may judge one exchange, so that a run against
//! production needs few connections. The exchanges and cases are below `cases`, one file for each theme.
//!
//! - [`Target`]: where the server is, and how to reach it.
//! - [`run`]: plays exchanges and judges them, within bounds of time and memory.

mod case;
mod cases;
mod clients;
mod describing;
mod frame;
mod guessing;
mod judging;
mod opening;
mod peer;
mod request;
mod running;
mod script;
mod seen;
mod target;

pub use case::{Case, Exchange, Judgement, Needs, Verdict};
pub use cases::{all, find};
pub use clients::{CLIENT_CASES, ClientCase, Results, ServeOptions, Tested, serve};
pub use running::{Options, Outcome, Report, run};
pub use target::{BadTarget, Target, TargetOptions, Unreachable};
