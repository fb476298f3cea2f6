//! The store of endings.
