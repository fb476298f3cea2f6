//! The JSON of the contract: the only serde of what users hold on to.
