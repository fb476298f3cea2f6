//! The public library API.
