//! Fuzzing: whatever bytes somebody else may choose, what is read of them keeps the promises of its module.
//!
//! A target is a pure function that fails if a promise is broken. `cargo test` runs each on the kept inputs and on some thousand changes of
//! them.

pub mod corpus;
pub mod long;
pub mod mutation;

mod targets;

pub use targets::{TARGETS, Target};
