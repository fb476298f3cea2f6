//! The typed schema and its layered loading.
