//! What tests, the demo and `cargo control-plane` share: a real control plane, the real webhook and agents, and machines that are directories.
//!
//! In reading order: programs and processes, the control plane, what is installed on it, the machines.
//! It asserts nothing; tests do.

pub mod assets;
pub mod process;
pub mod programs;

pub mod control_plane;
pub mod identity;
pub mod wait;
