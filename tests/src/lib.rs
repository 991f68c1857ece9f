//! The test harness, shared by tests, the demo and `cargo control-plane`: a real control plane, the real webhook and agents,
//! and machines that are directories.
//!
//! The modules stand in reading order: programs and processes, the control plane, what is installed on it, the machines.
//! Not here: assertions about the product; they are in `tests/tests`.

pub mod assets;
pub mod compat;
pub mod go_module;
pub mod process;
pub mod programs;
pub mod tree;

pub mod audit;
pub mod control_plane;
pub mod identity;
pub mod wait;

mod egress;
pub mod figures;
mod follow;
mod tls;

pub mod mount;

pub mod certificates;
pub mod gitops;
pub mod helm;
pub mod install;
pub mod webhook;
pub mod workload;

pub mod foreign_webhook;

pub mod marks;

pub mod alertmanager;
pub mod cert_manager;
pub mod cluster;
pub mod containerd;
pub mod host;
pub mod kubelet;
pub mod machine;
pub mod metrics_lint;
pub mod prometheus;
pub mod real_node;
pub mod registry;

pub mod abuse;
pub mod adversaries;
pub mod demo;
pub mod faults;
pub mod hostile;
pub mod reboots;

/// The namespace in `manifests/base`.
pub const NAMESPACE: &str = "cordonhold";
/// The agents' ServiceAccount in `manifests/base`.
pub const AGENT_ACCOUNT: &str = "cordonhold-agent";
/// The webhook's ServiceAccount in `manifests/base`.
pub const WEBHOOK_ACCOUNT: &str = "cordonhold-webhook";
