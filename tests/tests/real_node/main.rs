//! The agent as its manifests ship it, on a node with a real kubelet and a real container runtime: its image, token, security context and probes;
//! drains of pods that end as pods do; and kubelet, containerd and the agent itself replaced in the middle of one.
//!
//! Not here: what a machine in namespaces cannot show, see `real_node` in the harness.

mod drain;
mod left;
mod shipped;
mod site;
