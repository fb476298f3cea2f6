//! One connection at work: the actor that decides, the task that moves its bytes, and the code that
//! takes its messages.

pub(crate) mod backend;
pub(crate) mod decider;
pub(crate) mod failure;
pub(crate) mod link;
mod mover;
mod scratch;
