//! What tests, the demo and `cargo control-plane` share: a real control plane, the real webhook and agents, and machines that are directories.
//!
//! In reading order: programs and processes, the control plane, what is installed on it, the machines.
//! It asserts nothing; tests do.

pub mod assets;
pub mod process;
pub mod programs;

pub mod audit;
pub mod control_plane;
pub mod identity;
pub mod wait;

pub mod install;
pub mod webhook;
pub mod workload;

pub mod host;
pub mod machine;
pub mod metrics_lint;

pub mod demo;

/// Names that `manifests/base` gives.
pub const NAMESPACE: &str = "cordonhold";
pub const AGENT_ACCOUNT: &str = "cordonhold-agent";
pub const WEBHOOK_ACCOUNT: &str = "cordonhold-webhook";
