//! The decided cases of the contract, row by row, as server and as client.
//!
//! One row is missing, the killed actor: only the unit tests of supervision can kill one.

mod failures;
mod handshakes;
