//! Where messages go.
