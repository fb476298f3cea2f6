//! lastword
pub mod vocabulary;
